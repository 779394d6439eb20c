"""A spec as data: text, tree, and what a caller changes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from causal_dsl.base.garbage import rarely_collected
from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import (
    NOWHERE,
    Diagnostic,
    Diagnostics,
    Source,
    SpecError,
    one_line,
    printable,
    real_path,
    shown_path,
)
from causal_dsl.program.modules import read_source
from causal_dsl.score.format_numbers import counted
from causal_dsl.store.addresses import is_address, local_path
from causal_dsl.store.out import kept_source
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_tree
from causal_dsl.syntax.parse import parse as parse_text

#: How many processes run the units of a plan.
Workers: TypeAlias = int | Literal["auto"] | None

#: The declarations that the line of a spec counts.
_KINDS: dict[type[tree.Node], str] = {
    tree.CausalDecl: "causal model",
    tree.NetworkDecl: "network",
    tree.AlignDecl: "alignment",
    tree.CircuitDecl: "circuit",
    tree.FitDecl: "fit",
    tree.TestDecl: "test",
}


class WrongType(SpecError, TypeError):
    """A TypeError that is a diagnostic as well (E863): a value of another type is given where a spec, options or a plan belongs."""


@dataclass(eq=False, repr=False)
class Spec:
    """A spec: its tree, where it stands, and the folder that its relative paths start from."""

    tree: tree.Tree
    source_text: Source
    folder: Path
    path: Path | None = None

    def source(self) -> str:
        """The spec as canonical ``.causal`` text; parsing it gives the same tree."""
        return format_tree(self.tree)

    @property
    def name(self) -> str:
        return self.source_text.path

    def __repr__(self) -> str:
        kinds: Counter[type[tree.Node]] = Counter(type(node) for node in self.tree.declarations)
        told = [counted(kinds[kind], what) for kind, what in _KINDS.items() if kinds[kind]]
        return f"<Spec {printable(one_line(self.name))}: {', '.join(told) or 'empty'}>"

    def _repr_html_(self) -> str:
        """Its text as HTML for a notebook, in the colours of the notebook's own editor."""
        from causal_dsl.report.highlighted import highlighted

        return highlighted(self.source_text.text)


@dataclass(frozen=True)
class Options:
    """The changes that a caller makes of a spec without touching its text; ``tests`` are the names of those wanted (all).

    ``allow``: folders whose files a spec may read beside those of its project. ``memory``: bytes that a pass may take beside the weights. ``out``: a folder for results and finished blocks, or an address such as ``s3://bucket/runs``.
    ``compiled``: feed-forward blocks go through ``torch.compile``. ``load``: a plan may load the networks.
    ``reference``: every intervention is run by whole forward passes, cell by cell, and none in one pass with others.
    ``shared``: several processes share the work, so nothing of how it is cut may depend on what memory is free in one of them.
    ``rehash``: hashes of files that are remembered are not used. ``command``: the words that were typed, for the results. ``without``: switches of the plan that are left off.
    ``workers``: so many processes run the units of the plan, on this machine or on the Ray cluster of an address, ``cluster``
    (``"auto"``: one for each GPU, without GPUs one for each core; as a cluster, that of ``RAY_ADDRESS``); a worker without a sign for ``silence`` seconds is ended.
    """

    trust: bool = False
    networks: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    tests: tuple[str, ...] = ()
    device: str | None = None
    dtype: str | None = None
    memory: int | None = None
    out: str | Path | None = None
    progress: bool = False
    compiled: bool = False
    reference: bool = False
    load: bool = False
    allow: tuple[Path, ...] = ()
    rehash: bool = False
    shared: bool = False
    command: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    workers: Workers = None
    cluster: str | None = None
    silence: float = 600.0

    @classmethod
    def of(cls, said: Mapping[str, Any], **known: Any) -> Self:
        """The options that a command line, a request or a file says, by the names of the fields; ``known`` values take their place. What it
        does not say, or says as None, has its default. A field takes a list as the tuple that it holds."""
        given = {one.name: said[one.name] for one in fields(cls) if said.get(one.name) is not None}
        held = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return cls(**{**held, **known})

    @property
    def distributed(self) -> bool:
        """Whether units of the run go to several workers."""
        return self.workers is not None or self.cluster is not None

    @property
    def folder(self) -> Path | None:
        """``out`` as a path; None where it is an address, which a run has a folder for (:mod:`causal_dsl.store.mirror`)."""
        return None if self.out is None or is_address(self.out) else local_path(self.out)


def with_workers(options: Options, workers: Workers, cluster: str | None) -> Options:
    """The options with ``workers`` and ``cluster`` where they are given."""
    asked = {name: value for name, value in (("workers", workers), ("cluster", cluster)) if value is not None}
    return replace(options, **asked) if asked else options  # type: ignore[arg-type]


def load(path: str | Path) -> Spec:
    """Read a ``.causal`` file. Raises :class:`SpecError` where it cannot be read or has a fault of syntax."""
    if not isinstance(path, str | PathLike):
        raise wrong_type("the path of a spec", path, 'write cd.load("equality.causal")')
    found = Diagnostics()
    source = read_source(Path(path), found)
    found.raise_errors()
    assert source is not None
    kept = kept_source(Path(path))
    if kept is not None:  # the spec of a folder of results: its files are kept as they lay beside it
        return _parsed(Source(shown_path(kept), source.text), real_path(kept).parent, kept)
    return _parsed(source, real_path(path).parent, Path(path))


def load_all(paths: Iterable[str | Path]) -> list[Spec]:
    """The specs of several files. Raises E863 for one path, whose characters would be taken for paths."""
    if isinstance(paths, str | PathLike) or not isinstance(paths, Iterable):
        raise wrong_type("a list of paths", paths, "write cd.run_files([path]), or cd.run(path)")
    return [load(path) for path in paths]


def opened(spec: Spec | str | Path, options: Options = Options()) -> Spec:
    """The spec itself, or that of a file. Raises E863 where the arguments are neither a spec nor a path, or no options."""
    if not isinstance(options, Options):
        raise wrong_type("cd.Options", options, "write cd.Options(seed=1), with the settings as arguments")
    if isinstance(spec, Spec):
        return spec
    if not isinstance(spec, str | PathLike):
        raise wrong_type("a spec, or the path of one,", spec, _INSTEAD.get(type(spec).__name__, _SPECS))
    return load(spec)


#: How a spec is made; and what is done with values that the package gives, which are no specs.
_SPECS = "make one by cd.load(path), cd.parse(text) or, of objects of the builder, cd.spec(objects)"
_INSTEAD = {
    "PrintedPlan": "run it by cd.execute(plan), or give cd.run the spec that it was made from",
    "Checked": "give the spec that was checked",
    "list": "give one spec at a time; cd.run_files takes several paths",
    "tuple": "give one spec at a time; cd.run_files takes several paths",
}


def wrong_type(needed: str, given: object, help: str) -> WrongType:
    """The fault of a value of another type (E863)."""
    title = f"{needed} is needed, and this is of the type {type(given).__name__}"
    return WrongType([Diagnostic("E863", title, NOWHERE, help=help)])


def parse(text: str, path: str = "<text>", folder: Path | None = None) -> Spec:
    """Read a spec from a text; its relative paths start from ``folder``, the working directory if none is given."""
    return _parsed(Source(path, text), folder or Path.cwd())


def of_tree(made: tree.Tree) -> Spec:
    """A spec of a tree that was built; the tree is parsed again from its text, for its places are those of the text."""
    return _parsed(Source("<python>", format_tree(made)), Path.cwd())


def _parsed(source: Source, folder: Path, path: Path | None = None) -> Spec:
    found = Diagnostics()
    with rarely_collected():
        parsed = parse_text(source, found)
    found.raise_errors()
    return Spec(parsed, source, folder, path)
