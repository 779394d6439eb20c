"""Mistakes of this package, told apart from faults of a spec, a network or a machine.

One that shows while interventions share one pass costs nobody their numbers: the reference executor computes them, and
the report says so. In this project's own tests it is raised (``fall_back`` is off there).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

#: Whether a mistake of this package is told and gone around; it is raised otherwise.
fall_back = True

_HERE = Path(__file__).parents[1]
#: Code that others call: folders and files whose lines say nothing of who was wrong.
_BELOW = frozenset({"torch", "numpy", "contextlib.py", "functools.py"})


class OwnFault(Exception):
    """Something that this package holds to be true of itself is not: it is at fault, and nothing else."""


#: Whether this process was told to stop, by a signal that an exception tells of: a library may make another exception of that one.
_STOPPED = [False]


def note_stop(stopped: bool = True) -> None:
    """Note that this process was told to stop, or that it goes on."""
    _STOPPED[0] = stopped


def raise_if_stopped() -> None:
    """Raise KeyboardInterrupt where this process was told to stop: what was raised meanwhile is nobody's fault."""
    if _STOPPED[0]:
        raise KeyboardInterrupt


class Stop(BaseException):
    """Stops what this package does, as Ctrl-C does: no code in between may take it for a fault."""


class NotBegun(KeyboardInterrupt):
    """Ctrl-C before a run began: nothing was written."""


class Ended(Exception):
    """An exception by which code that is not ours would have ended this process. The name of its class, and what it says, are those of
    what was raised."""


class _Foreign:
    """Within runs code that is not ours. An exception of it that would end this process, such as SystemExit, becomes an ordinary one
    (:class:`Ended`), and so the fault of that code; Ctrl-C stays."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, Exception | KeyboardInterrupt | Stop):
            return
        raise_if_stopped()
        ended = type(type(error).__name__, (Ended,), {})
        raise ended(*error.args).with_traceback(trace) from None


foreign = _Foreign()


def is_ours(error: BaseException) -> bool:
    """Whether an exception came out of this package's own code: what a model's code raises is the model's affair.

    The code that decides is the innermost that is not of torch, numpy or Python. What a machine lacks (memory, disk) is
    nobody's mistake.
    """
    raise_if_stopped()
    if isinstance(error, OwnFault):
        return True
    if isinstance(error, MemoryError | OSError):
        return False
    deciding = deciding_file(error)
    return bool(deciding) and _HERE in Path(deciding).parents


def deciding_file(error: BaseException) -> str:
    """The file of the code that decides about an exception: the innermost that is not of torch, numpy or Python; empty for none."""
    deciding = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if not _BELOW.intersection(Path(path).parts) and not path.startswith("<"):
            deciding = path
        trace = trace.tb_next
    return deciding


def strict() -> bool:
    """Whether mistakes of this package are looked for at every step, and raised: in its tests, and where ``CAUSAL_DSL_DEBUG`` is set."""
    return not fall_back or os.environ.get("CAUSAL_DSL_DEBUG", "") not in ("", "0")


def raise_if_strict(error: BaseException) -> None:
    """Raise a mistake of this package where it is not to be gone around: in its tests, and where ``CAUSAL_DSL_DEBUG`` is set."""
    if strict():
        raise error


def in_words(error: BaseException) -> str:
    """Why interventions cannot share a pass that an exception ended, for a reader of the spec; :func:`told` is for us."""
    return (
        f"such a pass, whose rows are not those of the network's own, ends in a {type(error).__name__} in this network"
    )


def told(error: BaseException) -> str:
    """A mistake in one line: its class, what it says, and where it was raised."""
    raise_if_stopped()
    trace, where = error.__traceback__, ""
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if _HERE in path.parents:
            where = f" ({path.relative_to(_HERE)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}{': ' + said[:160] if said else ''}{where}"
