"""causal_dsl: write down what a neural network is thought to compute, and test it by intervening on the network.

    import causal_dsl as cd

    spec = cd.load("specs/equality_relu.causal")
    print(cd.check(spec).text())
    results = cd.run(spec)
    results["left_is_localised"].cell().scores["iia"]

Faults raise :class:`SpecError`, whose ``diagnostics`` say where, why and what to write. The builder
(:class:`Causal`, :func:`domain`, :func:`align`, …) makes the same tree as the parser.

Names are imported when they are first used: the pytest plugin loads this package in every pytest run.
"""

import os as _os
import sys as _sys


def _is_command() -> bool:
    """Whether this process is the command ``causal-dsl``, and not one that imports the package or that the command has started."""
    typed, script = _sys.orig_argv[1:], (_sys.argv or [""])[0]
    if script == "-m":  # as long as Python looks for the module that it is to run
        return "-m" in typed[:-1] and typed[typed.index("-m") + 1].partition(".")[0] == __name__
    return script in typed and _os.path.basename(script).partition(".")[0] == "causal-dsl"


def _stopped(*_: object) -> None:
    """End at a Ctrl-C that comes before the command line heeds it, as at one that comes later: quietly, and with its exit code."""
    try:
        _os.write(2, b"stopped\n")
    finally:  # standard error may be closed
        _os._exit(130)


try:
    if _is_command():
        import signal as _signal

        if (
            _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
        ):  # not where it is ignored, as behind `nohup`
            _signal.signal(_signal.SIGINT, _stopped)
    from importlib import import_module
    from typing import TYPE_CHECKING, Any
except KeyboardInterrupt:
    if not _is_command():
        raise
    _stopped()

if TYPE_CHECKING:
    from causal_dsl.api import (
        Checked,
        Options,
        Spec,
        check,
        execute,
        load,
        networks,
        parse,
        plan,
        run,
        run_files,
        spec,
    )
    from causal_dsl.build import (
        Causal,
        Expression,
        add_to,
        align,
        all,
        argmax,
        argmin,
        best,
        between,
        bits,
        bool_,
        change,
        chat,
        chosen,
        circuit,
        cmd,
        completeness,
        cpr,
        csv,
        dataset,
        discover,
        domain,
        embed,
        embedding,
        equivalence_test,
        faithfulness,
        faithfulness_median,
        faithfulness_per_pair,
        final_norm,
        first,
        fit,
        hf,
        if_,
        import_,
        independence_test,
        input,
        json,
        jsonl,
        label,
        last,
        layer,
        lines,
        logits,
        max,
        mean,
        median,
        metric,
        min,
        minimality,
        minimality_test,
        module,
        name,
        nats,
        necessity,
        next_token,
        node_of,
        noise,
        onehot,
        outside,
        param,
        parquet,
        patch,
        path,
        percent,
        real,
        recovered,
        recovered_median,
        recovered_per_pair,
        relative_change,
        relative_change_median,
        relative_change_per_pair,
        scalar,
        set_to,
        solved,
        sufficiency,
        swap,
        table,
        test,
        torch,
        train,
        values,
        vector,
        via,
        zoo,
    )
    from causal_dsl.compare.recorded import read_results
    from causal_dsl.diagnostics import Diagnostic, SpecError
    from causal_dsl.score.spec_results import Results

__all__ = [
    "Causal",
    "Checked",
    "Diagnostic",
    "Expression",
    "Options",
    "Results",
    "Spec",
    "SpecError",
    "add_to",
    "align",
    "all",
    "argmax",
    "argmin",
    "best",
    "between",
    "bits",
    "bool_",
    "change",
    "chat",
    "check",
    "chosen",
    "circuit",
    "cmd",
    "completeness",
    "cpr",
    "csv",
    "dataset",
    "discover",
    "domain",
    "embed",
    "embedding",
    "equivalence_test",
    "execute",
    "faithfulness",
    "faithfulness_median",
    "faithfulness_per_pair",
    "final_norm",
    "first",
    "fit",
    "hf",
    "if_",
    "import_",
    "independence_test",
    "input",
    "json",
    "jsonl",
    "label",
    "last",
    "layer",
    "lines",
    "load",
    "logits",
    "max",
    "mean",
    "median",
    "metric",
    "min",
    "minimality",
    "minimality_test",
    "module",
    "name",
    "nats",
    "necessity",
    "networks",
    "next_token",
    "node_of",
    "noise",
    "onehot",
    "outside",
    "param",
    "parquet",
    "parse",
    "patch",
    "path",
    "percent",
    "plan",
    "read_results",
    "real",
    "recovered",
    "recovered_median",
    "recovered_per_pair",
    "relative_change",
    "relative_change_median",
    "relative_change_per_pair",
    "run",
    "run_files",
    "scalar",
    "set_to",
    "solved",
    "spec",
    "sufficiency",
    "swap",
    "table",
    "test",
    "torch",
    "train",
    "values",
    "vector",
    "via",
    "zoo",
]

_ELSEWHERE = {
    "Diagnostic": "diagnostics",
    "SpecError": "diagnostics",
    "Results": "score.spec_results",
    "Checked": "api",
    "Options": "api",
    "Spec": "api",
    "check": "api",
    "execute": "api",
    "load": "api",
    "networks": "api",
    "parse": "api",
    "plan": "api",
    "read_results": "compare.recorded",
    "run": "api",
    "run_files": "api",
    "spec": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _words(name):
        raise AttributeError(f"module 'causal_dsl' has no attribute {name!r}")
    value = getattr(import_module(f"causal_dsl.{_ELSEWHERE.get(name, 'build')}"), name)
    globals()[name] = value
    return value


def _words(name: str) -> Any:
    """The words of features, written values (``cd.clamp(0, 8)``) and measures (``cd.iia``); none for names that no word can have."""
    return () if name.startswith("_") else import_module("causal_dsl.vocabulary.words").words()


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext causal_dsl``: adds the magic ``%%causal`` to a notebook."""
    import_module("causal_dsl.tools.notebook_magic").load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext causal_dsl``."""
    import_module("causal_dsl.tools.notebook_magic").unload(shell)


def __dir__() -> list[str]:
    return [*__all__, *_words("")]
