"""Names to what they mean: from the tree of a file to a :class:`Program`.

Faults are reported, and the part at fault is left out, so that one run finds many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from causal_dsl.causal.domains import Domain
from causal_dsl.causal.functions import PythonFunction, read_function
from causal_dsl.causal.members import compile_model
from causal_dsl.causal.model import CausalModel, Scope, compile_domain
from causal_dsl.causal.predicates import compile_predicate
from causal_dsl.causal.tables import LookupTable, load_table
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean, nearest
from causal_dsl.program.factories import arguments_of, for_factory
from causal_dsl.program.facts import Facts, facts_of_reference, local_folder
from causal_dsl.program.identity import NetworkKey, TrainingKey, files_digest, network_key
from causal_dsl.program.modules import Definition, Module, PythonName
from causal_dsl.program.parameters import MOST_CELLS, values_of
from causal_dsl.program.placements import PlacementReader
from causal_dsl.program.program import Alignment, NetworkRef, PromptLine
from causal_dsl.program.prompts import check_holes, check_mask, parse_template
from causal_dsl.program.settings import Setting, call_name, read_settings
from causal_dsl.program.shown import warn_unseen
from causal_dsl.program.tokens import Tokens
from causal_dsl.program.training import TRAIN, TrainingReader, training_settings, unlike
from causal_dsl.program.zoo import facts_of_zoo
from causal_dsl.reading import is_file, shortened
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr

_DTYPES = ("float32", "float16", "bfloat16", "float64")
_COMMON = {
    "dtype": Setting("word", choices=_DTYPES),
    "device": Setting("word"),
    "padding": Setting("word", "right", choices=("left", "right")),
}
NETWORKS: dict[str, dict[str, Setting]] = {
    "hf": {"name": Setting("string", positional=True, required=True), "revision": Setting("string"), **_COMMON},
    "zoo": {"name": Setting("string", positional=True, required=True), **_COMMON},
    "torch": {
        "factory": Setting("string", positional=True, required=True),
        "weights": Setting("string"),
        "tokenizer": Setting("string"),
        **_COMMON,
    },
    "train": TRAIN,
}

#: The tokenizer of a network; None where it has none, or where it is not known without loading. Raises :class:`SpecError`.
Tokenizers = Callable[[NetworkRef], Tokens | None]


@dataclass
class ResolverOptions:
    """What the caller changes of a spec without touching its text."""

    trust: bool = False
    #: the folder of another checkpoint for a network, by the id of its declaration
    networks: Mapping[int, Path] = field(default_factory=dict)
    #: facts read from the loaded network, where its file could not tell
    facts: Mapping[NetworkKey, Facts] = field(default_factory=dict)
    #: what each network is called, by the id of its declaration, where not as it is declared
    names: Mapping[int, str] = field(default_factory=dict)
    #: added to the seed of every draw
    seed: int = 0
    #: the tokenizer of a network, where it is known
    tokens: Tokenizers = lambda network: None


class Resolver:
    """Makes values of definitions, each once. Methods give None where a fault was reported."""

    def __init__(self, diagnostics: Diagnostics, options: ResolverOptions):
        self.diagnostics = diagnostics
        self.options = options
        self._made: dict[Any, Any] = {}

    # ── looking names up ────────────────────────────────────────────────────────────────────────

    def find(self, module: Module, name: tree.Ident | tree.Name, *kinds: str) -> Definition | None:
        """The definition of a name, which must be of one of these kinds."""
        definition = module.names.get(name.name)
        wanted = " or ".join(f"{_article(kind)} {kind}" for kind in kinds)
        if definition is None and name.name in module.faulty:
            return None
        if definition is None:
            known = [n for n, d in module.names.items() if d.kind in kinds]
            self.diagnostics.report(
                "E200",
                f"no {' or '.join(kinds)} `{name.name}`",
                name.span,
                help=did_you_mean(name.name, known, f"this file declares no {' or '.join(kinds)}"),
            )
            return None
        if definition.kind not in kinds and name.name in module.faulty:
            return None
        if definition.kind not in kinds:
            known = [n for n, d in module.names.items() if d.kind in kinds]
            self.diagnostics.report(
                "E205",
                f"`{name.name}` is {_article(definition.kind)} {definition.kind}, not {wanted}",
                name.span,
                others=((definition.span, "declared here"),),
                help=did_you_mean(name.name, known),
            )
            return None
        return definition

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._made:
            self._made[key] = None  # a definition that needs itself finds nothing
            self._made[key] = make()
        return self._made[key]

    # ── domains, tables, functions, models ──────────────────────────────────────────────────────

    def scope(self, module: Module) -> Scope:
        """What the expressions of a module's causal models may name."""
        found: Scope | None = self._made.get((id(module), "scope"))
        if found is None:
            found = self._made[id(module), "scope"] = Scope(
                dict.fromkeys(module.faulty), {}, dict.fromkeys(module.faulty)
            )
            for name, definition in module.names.items():
                if definition.kind == "domain":
                    found.domains[name] = self.domain(definition)
                elif definition.kind == "table":
                    found.tables[name] = self._table(definition)
                elif definition.kind == "Python function":
                    key = (id(definition.declaration), "function")
                    found.functions[name] = self._once(key, lambda d=definition: self._function(d))
        return found

    def _table(self, definition: Definition) -> LookupTable | None:
        declaration = definition.declaration
        assert isinstance(declaration, tree.TableDecl)
        return self._once(
            (id(declaration), "table"), lambda: load_table(declaration, definition.module.folder, self.diagnostics)
        )

    def _function(self, definition: Definition) -> PythonFunction | None:
        python = definition.declaration
        assert isinstance(python, PythonName)
        return read_function(
            python.path, python.name.name, python.name.span, self.diagnostics, trust=self.options.trust
        )

    def domain(self, definition: Definition) -> Domain | None:
        declaration = definition.declaration
        assert isinstance(declaration, tree.DomainDecl)
        key = (id(declaration), "domain")
        if key in self._made and self._made[key] is None and key in self._open_domains:
            self.diagnostics.report(
                "E206",
                f"the domain `{declaration.name.name}` is defined by itself",
                declaration.name.span,
                help="write out its values",
            )
            return None
        if key not in self._made:
            self._open_domains.add(key)
            self._made[key] = None
            known: dict[str, Domain | None] = dict.fromkeys(definition.module.faulty)
            tables: dict[str, LookupTable | None] = {}
            for node in declaration.domain.walk():
                if isinstance(node, tree.Name) and node.name in definition.module.names:
                    other = definition.module.names[node.name]
                    if other.kind == "domain":
                        value = self.domain(other)
                        if value is None:
                            self._open_domains.discard(key)
                            return None
                        known[node.name] = value
                    elif other.kind == "table":
                        tables[node.name] = self._table(other)
            self._made[key] = compile_domain(
                declaration.domain, Scope(known, tables, {}), definition.module.folder, self.diagnostics
            )
            self._open_domains.discard(key)
        return self._made[key]

    @property
    def _open_domains(self) -> set[Any]:
        return self._made.setdefault("open domains", set())

    def model(self, definition: Definition) -> CausalModel | None:
        declaration = definition.declaration
        assert isinstance(declaration, tree.CausalDecl)
        return self._once(
            (id(declaration), "model"),
            lambda: compile_model(declaration, self.scope(definition.module), self.diagnostics),
        )

    def metrics(self, module: Module) -> dict[str, tree.Expr]:
        """The metrics that a module's tests may name, each with the metrics of its own file written out."""
        found = {}
        for name, definition in module.of_kind("metric").items():
            assert isinstance(definition.declaration, tree.MetricDecl)
            value = definition.declaration.value
            found[name] = value if definition.module is module else _inlined(value, definition.module, (name,))
        return found

    # ── networks ────────────────────────────────────────────────────────────────────────────────

    def network(self, definition: Definition) -> NetworkRef | None:
        key = (id(definition.declaration), "network")
        if key in self._open_domains:
            self._trained_from_itself(definition)
            return None
        if key not in self._made:
            self._open_domains.add(key)
            self._made[key] = self._network(definition)
            self._open_domains.discard(key)
        return self._made[key]

    def _trained_from_itself(self, definition: Definition) -> None:
        name = definition.declaration.name  # type: ignore[union-attr]
        self.diagnostics.report(
            "E730",
            f"`{name.name}` is trained from itself",
            name.span,
            notes=("the alignment that it is trained towards is one of this very network",),
            help="align another network, `network blank = …`, and train that",
        )

    def _network(self, definition: Definition) -> NetworkRef | None:
        declaration = definition.declaration
        assert isinstance(declaration, tree.NetworkDecl)
        name = self.options.names.get(id(declaration), declaration.name.name)
        folder, other = definition.module.folder, self.options.networks.get(id(declaration))
        called = call_name(declaration.value)
        if called is None or called[0] not in NETWORKS:
            close = nearest(called[0], NETWORKS) if called else None
            self.diagnostics.report(
                "E207",
                f"a network comes from {', '.join(NETWORKS)}, not from `{format_expr(declaration.value.function)}`",
                declaration.value.span,
                help=f"did you mean `{close}`?"
                if close
                else 'write hf("folder or name"), zoo("name"), torch("file.py:function") or train(alignment)',
            )
            return None
        kind = called[0]
        place = declaration.value.span
        own, given = for_factory(kind, declaration.value.arguments, NETWORKS)
        settings = read_settings(kind, own, NETWORKS[kind], self.diagnostics, place)
        if settings is None:
            return None
        if given:
            arguments = arguments_of(settings["factory"], given, folder, self.diagnostics)
            if arguments is None:
                return None
            settings["arguments"] = arguments
        if kind == "train" and other is None:
            return self._trained(definition, name, settings)
        target = settings.pop("factory" if kind == "torch" else "alignment" if kind == "train" else "name")
        if other is not None:
            kind, target = "hf", str(other.absolute())
            settings = {key: value for key, value in settings.items() if key in _COMMON}
        if kind == "hf" and settings.get("revision") is not None and local_folder(target, folder) is not None:
            self.diagnostics.report(
                "E770",
                f"`{target}` is a folder, which has no revision `{settings['revision']}`",
                place,
                notes=("what lies in the folder would be run, whatever its revision",),
                help="leave `revision` out, or name the repository that it is a revision of",
            )
            return None
        key = network_key(kind, target, settings, folder, name)
        facts = self.options.facts.get(key) or self._facts(kind, target, settings, folder, place)
        if facts is None:
            return None
        kept = tuple((key, value) for key, value in settings.items() if value is not None)
        return NetworkRef(name, kind, target, kept, folder, facts, place, key)  # type: ignore[arg-type]

    def _trained(self, definition: Definition, name: str, settings: dict[str, Any]) -> NetworkRef | None:
        """The outcome of training the network of an alignment: it has its shape, and runs as it does."""
        declaration = definition.declaration
        assert isinstance(declaration, tree.NetworkDecl)
        above = self.find(definition.module, settings["alignment"], "alignment")
        if above is not None and (id(above.declaration), "alignment") in self._open_domains:
            self._trained_from_itself(definition)
            return None
        alignment = self.alignment(above) if above is not None else None
        if alignment is None:
            return None
        place = declaration.value.span
        training = TrainingReader(name, alignment, settings, self.diagnostics, place).read()
        if training is None:
            return None
        blank = alignment.network
        kept = tuple((key, value) for key, value in blank.settings if key in _COMMON)
        folder = definition.module.folder
        decided = TrainingKey(blank.key, alignment.name, training_settings(training), files_digest(definition.module))
        key = network_key("train", "", dict(kept), folder, name, decided)
        facts = self.options.facts.get(key) or blank.facts
        return NetworkRef(name, "train", alignment.name, kept, folder, facts, place, key, training)

    def _facts(self, kind: str, target: str, settings: dict[str, Any], folder: Path, span: Span) -> Facts | None:
        if kind == "zoo":
            return facts_of_zoo(target, span, self.diagnostics)
        if kind == "torch":
            return self._code_of(target, folder, span)
        return facts_of_reference(target, settings.get("revision"), folder, span, self.diagnostics)

    def _code_of(self, target: str, folder: Path, span: Span) -> Facts | None:
        """What is known of a network that code makes before it is run: that the file is there (else E637)."""
        file, _, function = target.rpartition(":")
        if file and function and not is_file(folder / file):
            self.diagnostics.report(
                "E637",
                f"there is no file `{shortened(file)}`",
                span,
                notes=("paths are relative to the spec",),
                help="name a Python file that is there",
            )
            return None
        return Facts("unknown")

    # ── alignments ──────────────────────────────────────────────────────────────────────────────

    def alignment(self, definition: Definition) -> Alignment | None:
        key = (id(definition.declaration), "alignment")
        if key in self._made and self._made[key] is None and key in self._open_domains:
            declaration = definition.declaration
            assert isinstance(declaration, tree.AlignDecl)
            self.diagnostics.report(
                "E208",
                f"the alignment `{declaration.name.name}` takes its placements from itself",
                declaration.name.span,
                help="name another alignment after the `:`",
            )
            return None
        if key not in self._made:
            self._open_domains.add(key)
            self._made[key] = None
            self._made[key] = self._alignment(definition)
            self._open_domains.discard(key)
        return self._made[key]

    def _alignment(self, definition: Definition) -> Alignment | None:
        declaration, module = definition.declaration, definition.module
        assert isinstance(declaration, tree.AlignDecl)
        parent: Alignment | None = None
        model: CausalModel | None
        network: NetworkRef | None
        if declaration.network is None:
            above = self.find(module, declaration.model, "alignment", "causal model")
            if above is None:
                return None
            if above.kind == "causal model":
                self.diagnostics.report(
                    "E209",
                    f"`{declaration.name.name}` aligns `{declaration.model.name}` with no network",
                    declaration.model.span,
                    help=f"write `: {declaration.model.name} -> network`",
                )
                return None
            parent = self.alignment(above)
            if parent is None:
                return None
            model, network = parent.model, parent.network
        else:
            high = self.find(module, declaration.model, "causal model", "alignment")
            low = self.find(module, declaration.network, "network")
            if high is not None and high.kind == "alignment":
                parent = self.alignment(high)
                model = parent.model if parent else None
            else:
                model = self.model(high) if high else None
            network = self.network(low) if low else None
            if model is None or network is None or (parent and not self._carries(parent, network, declaration)):
                return None
        parameters = self._parameters(declaration, parent)
        lines = self._prompts(declaration, module, model)
        if lines is None or parameters is None:
            return None
        if lines and network.facts.kind == "vector":
            self.diagnostics.report(
                "E676",
                f"`{network.name}` has no tokens: it reads no prompt",
                lines[0].span,
                help="leave it out; values enter as `a @ input[0:4] via onehot()`",
            )
            return None
        prompts = lines or (parent.prompts if parent else ())
        reader = PlacementReader(self.diagnostics, model, network, prompts, parameters, self, module)
        placements, readouts, inputs, good = reader.read(declaration, parent)
        if good and any(readout.kind == "mask" for readout in readouts.values()):
            good = all([check_mask(line.template, line.span, self.diagnostics) for line in prompts])
        if not good:
            return None
        made = Alignment(
            declaration.name.name,
            model,
            network,
            parameters,
            prompts,
            placements,
            readouts,
            inputs,
            declaration.name.span,
            (parent.origin, *parent.parents) if parent else (),
            module.folder,
        )
        if parent is None or (parent.prompts, parent.inputs) != (prompts, inputs):
            warn_unseen(made, self.diagnostics)
        return made

    def _carries(self, parent: Alignment, network: NetworkRef, declaration: tree.AlignDecl) -> bool:
        """Whether the placements of ``parent`` can be taken over for another network, which must be of the same shape."""
        why = unlike(network.facts, parent.network.facts)
        if why is not None:
            assert declaration.network is not None
            self.diagnostics.report(
                "E731",
                f"`{network.name}` is not of the shape of `{parent.network.name}`",
                declaration.network.span,
                others=((declaration.model.span, f"its places are in `{parent.network.name}`"),),
                notes=(why,),
                help=f"write an alignment of its own: align {declaration.name.name} : {parent.model.name} -> {network.name} {{ … }}",
            )
        return why is None

    def _parameters(
        self, declaration: tree.AlignDecl, parent: Alignment | None
    ) -> dict[str, tuple[tree.Expr, ...]] | None:
        found: dict[str, tuple[tree.Expr, ...]] = {}
        good = True
        for parameter in declaration.parameters:
            name = parameter.name
            if name.name in found:
                self.diagnostics.report(
                    "E202", f"`{name.name}` is declared twice", name.span, help="give one of them another name"
                )
                good = False
                continue
            values = values_of(parameter, self.diagnostics)
            if values is None:
                good = False
                continue
            found[name.name] = values
        # Parameters of the parent that this alignment does not restate are its own as well.
        merged = {**(parent.parameters if parent else {}), **found}
        count = 1
        for values in merged.values():
            count *= len(values)
        if count > MOST_CELLS:
            self.diagnostics.report(
                "E670",
                f"`{declaration.name.name}` sweeps over {count:,} cells",
                declaration.name.span,
                help=f"make the sweep smaller: at most {MOST_CELLS:,}",
            )
            return None
        return merged if good else None

    def _prompts(
        self, declaration: tree.AlignDecl, module: Module, model: CausalModel
    ) -> tuple[PromptLine, ...] | None:
        before = len(self.diagnostics.errors)
        found = []
        for member in declaration.members:
            if not isinstance(member, tree.Prompt):
                continue
            template = parse_template(member.text.value, member.text.span, self.diagnostics)
            if template is None:
                continue
            check_holes(template, model.variables, member.text.span, self.diagnostics)
            where = None
            if member.where is not None:
                where = compile_predicate(member.where, {"": model}, self.diagnostics)
            found.append(PromptLine(template, where, member.text.span))
        return tuple(found) if len(self.diagnostics.errors) == before else None


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _inlined(node: Any, module: Module, open_names: tuple[str, ...]) -> Any:
    """An imported metric with the names of its own file's metrics replaced by what they stand for."""
    if isinstance(node, tree.Name) and node.name in module.names and node.name not in open_names:
        definition = module.names[node.name]
        if isinstance(definition.declaration, tree.MetricDecl):
            return _inlined(definition.declaration.value, definition.module, (*open_names, node.name))
    changed: dict[str, Any] = {}
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, tree.Node):
            changed[f.name] = _inlined(value, module, open_names)
        elif isinstance(value, tuple) and value and isinstance(value[0], tree.Node):
            changed[f.name] = tuple(_inlined(item, module, open_names) for item in value)
    return replace(node, **changed) if changed else node
