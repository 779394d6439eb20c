"""Spec files and what they import from each other: names, without what the names mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from pathlib import Path
from types import MappingProxyType

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Source, Span, did_you_mean, nearest, real_path, shown_path
from causal_dsl.program.runs_under import misplaced, refuse_misplaced
from causal_dsl.store import reads
from causal_dsl.store.reading import kind_of, may_read
from causal_dsl.syntax import tree
from causal_dsl.syntax.parse import parse
from causal_dsl.syntax.tree import Ident, Import

#: Files that no person wrote: a spec is text, and longer than this it is something else.
LARGEST_SPEC = 8_000_000
#: How long a chain of files that import each other may be.
_DEEPEST = 100

KINDS: dict[type, str] = {
    tree.DomainDecl: "domain",
    tree.TableDecl: "table",
    tree.NetworkDecl: "network",
    tree.MetricDecl: "metric",
    tree.CausalDecl: "causal model",
    tree.AlignDecl: "alignment",
    tree.CircuitDecl: "circuit",
    tree.CircuitAs: "circuit",
    tree.FitDecl: "fit",
    tree.TestDecl: "test",
}


@dataclass(frozen=True, eq=False)
class PythonName:
    """A function named in `from "tasks.py" import plural`."""

    name: tree.Ident
    path: Path


@dataclass(frozen=True, eq=False)
class Definition:
    """A declaration and the module whose names it uses."""

    declaration: tree.AnyDeclaration | PythonName
    module: Module
    #: of a member of a family: what the family is called, and the parameters that make it this member
    family: str = ""
    variant: tuple[tuple[str, int | float | str], ...] = ()
    #: of a test: what its parameters stand for in the metrics that it names
    given: Mapping[str, tree.Expr] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return KINDS.get(type(self.declaration), "Python function")

    @property
    def name(self) -> str:
        return self.declaration.name.name  # type: ignore[union-attr]

    @property
    def span(self) -> Span:
        return self.declaration.name.span  # type: ignore[union-attr]


@dataclass(eq=False)
class Module:
    """One spec file: its tree, and its names, imported ones included."""

    source: Source
    folder: Path
    tree: tree.Tree
    names: dict[str, Definition] = field(default_factory=dict)
    #: names whose declaration or import is at fault, and was reported: they are not unknown
    faulty: set[str] = field(default_factory=set)
    #: names that are declared more than once: which declaration was meant is not known
    twice: set[str] = field(default_factory=set)

    #: families that were written out, by name, and what their members are called
    families: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _written: dict[str, Definition] = field(default_factory=dict)
    _kinds: tuple[int, dict[str, dict[str, Definition]]] = (0, {})

    def declared(self) -> dict[str, Definition]:
        """The names as the file has them: families stand for themselves."""
        return {**self.names, **self._written} if self._written else self.names

    def put(self, members: Mapping[str, Sequence[Definition]]) -> None:
        """Put the members of each family in the place of its name; one without members is at fault, and was reported."""
        names: dict[str, Definition] = {}
        for name, definition in self.names.items():
            if name not in members:
                names[name] = definition
                continue
            self._written[name] = definition
            names.update((member.name, member) for member in members[name])
            if not members[name]:
                self.faulty.add(name)
            elif any(member.family for member in members[name]):
                self.families[name] = tuple(member.name for member in members[name])
        self.names, self._kinds = names, (0, {})

    def of_kind(self, kind: str) -> dict[str, Definition]:
        """The definitions of a kind, by name."""
        if self._kinds[0] != len(self.names):  # else none was added
            kinds: dict[str, dict[str, Definition]] = {}
            for name, definition in self.names.items():
                kinds.setdefault(definition.kind, {})[name] = definition
            self._kinds = len(self.names), kinds
        return self._kinds[1].get(kind, {})


#: What an editor holds of files that are not saved yet, by their real paths: it is read in the place of the files.
_UNSAVED: ContextVar[Mapping[Path, str]] = ContextVar("unsaved", default=MappingProxyType({}))


@contextmanager
def unsaved_texts(texts: Mapping[Path, str]) -> Iterator[None]:
    """Within, spec files are what ``texts`` say, by their real paths; files that are not among them are read."""
    token = _UNSAVED.set(texts)
    try:
        yield
    finally:
        _UNSAVED.reset(token)


def read_source(path: Path, diagnostics: Diagnostics, span: Span | None = None) -> Source | None:
    """The text of a spec file; a diagnostic (at ``span``, or at the file) where it cannot be read as one."""
    shown = shown_path(path)
    held = _UNSAVED.get()
    if held and (text := held.get(real_path(path))) is not None:
        reads.note(path, text.encode("utf-8", "surrogatepass"))
        return Source(shown, text)
    place = span or Span(Source(shown, ""), 0, 0)

    def refuse(why: str, help: str) -> None:
        diagnostics.report("E220", f"cannot read `{shown}`: {why}", place, help=help)

    try:
        if path.is_dir():
            refuse("it is a folder", "name a `.causal` file in it")
            return None
        if (kind := kind_of(path)) is not None:
            refuse(f"it is {kind}", "name a regular file: a device or a pipe may have no end")
            return None
        if not path.is_file():
            refuse("there is no such file", _similar_file(path))
            return None
        if path.stat().st_size > LARGEST_SPEC:
            refuse(
                f"it has {path.stat().st_size:,} bytes", "a spec is a text that people read; is this the right file?"
            )
            return None
        return Source(shown, reads.read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        refuse(f"it is not UTF-8 text (byte {error.start})", "save it as UTF-8; is this the right file?")
    except OSError as error:
        refuse(error.strerror or str(error), "make the file readable")
    return None


def _similar_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    except OSError:
        return f"there is no folder `{shown_path(path.parent)}` either"
    close = nearest(path.stem, [name.removesuffix(path.suffix) for name in names])
    if close is not None:
        return f"did you mean `{close}{path.suffix}`?"
    return "check the path: it is relative to the file that names it"


class Loader:
    """Reads spec files once each and follows their imports."""

    def __init__(self, diagnostics: Diagnostics):
        self.diagnostics = diagnostics
        #: the files read, by path
        self.modules: dict[Path, Module] = {}
        self._open: list[Path] = []

    def file(self, path: Path, span: Span | None = None) -> Module | None:
        """The module of a spec file; None where it cannot be read."""
        path = real_path(path)
        if path in self.modules:
            return self.modules[path]
        source = read_source(path, self.diagnostics, span)
        if source is None:
            return None
        self._open.append(path)
        try:
            module = self.text(source, path.parent)
        finally:
            self._open.pop()
        self.modules[path] = module
        return module

    def text(self, source: Source, folder: Path) -> Module:
        """The module of a text whose relative paths start at ``folder``."""
        return self.tree(parse(source, self.diagnostics), source, folder)

    def tree(self, parsed: tree.Tree, source: Source, folder: Path) -> Module:
        module = Module(source, folder, parsed, faulty=set(parsed.broken))
        for declaration in parsed.declarations:
            wrong = next(misplaced(declaration), None)
            if wrong is not None:
                refuse_misplaced(wrong, self.diagnostics)
                if not isinstance(declaration, Import):
                    module.faulty.add(declaration.name.name)
                continue
            if isinstance(declaration, Import):
                module.faulty |= {name.name for name in declaration.names}
                for definition, name in self._imported(declaration, folder):
                    self._declare(module, name, definition)
            else:
                self._declare(module, declaration.name, Definition(declaration, module))
        module.faulty -= module.names.keys() - module.twice
        return module

    def _declare(self, module: Module, name: Ident, definition: Definition) -> None:
        earlier = module.names.get(name.name)
        if earlier is not None:
            self.diagnostics.report(
                "E202",
                f"`{name.name}` is declared twice",
                name.span,
                others=((earlier.span, "first declared here"),),
                help="give one of them another name",
            )
            module.twice.add(name.name)
            module.faulty.add(name.name)
            return
        module.names[name.name] = definition

    def _imported(self, declaration: Import, folder: Path) -> Iterable[tuple[Definition, Ident]]:
        written = declaration.path.value
        span = declaration.path.span
        path = Path(written)
        if not written.strip() or "\0" in written:
            self.diagnostics.report(
                "E221", "this import names no file", span, help='write from "file.causal" import name'
            )
            return
        if not may_read(folder / path, written, span, self.diagnostics, LARGEST_SPEC, folder=False):
            return
        path = real_path(folder / path)
        if path.suffix == ".py":
            yield from self._python(declaration, path)
            return
        if path in self._open:
            chain = [p.name for p in self._open[self._open.index(path) :]] + [path.name]
            self.diagnostics.report(
                "E223",
                "these files import each other: " + " -> ".join(chain),
                span,
                help="move what both need into a third file",
            )
            return
        if len(self._open) >= _DEEPEST and path not in self.modules:
            self.diagnostics.report(
                "E229",
                f"these imports are nested more than {_DEEPEST} files deep",
                span,
                help="import what is needed from the file that declares it",
            )
            return
        module = self.file(path, span)
        if module is None:
            return
        for name in declaration.names:
            definition = module.names.get(name.name)
            if definition is None and name.name in module.faulty:
                continue
            if definition is None:
                self.diagnostics.report(
                    "E203",
                    f"`{path.name}` declares no `{name.name}`",
                    name.span,
                    help=did_you_mean(name.name, module.names, "it declares nothing"),
                )
            elif isinstance(definition.declaration, tree.TestDecl):
                self.diagnostics.report(
                    "E204",
                    f"`{name.name}` is a test, and tests are not imported",
                    name.span,
                    help=f"run `{shown_path(path)}` as well, or import the alignment it is on",
                )
            else:
                yield definition, name

    def _python(self, declaration: Import, path: Path) -> Iterable[tuple[Definition, Ident]]:
        source = read_source(path, self.diagnostics, declaration.path.span)
        if source is None:
            return
        holder = Module(source, path.parent, tree.Tree(()))
        for name in declaration.names:
            yield Definition(PythonName(name, path), holder), name
