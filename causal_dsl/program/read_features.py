"""`via rotation(dim=8, seed=0)`: which features there are, what they take, and who shares one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean, real_path, shown_path
from causal_dsl.program.components import width
from causal_dsl.program.feature_files import are_whole, files_of
from causal_dsl.program.identity import NetworkKey, Origin
from causal_dsl.program.read_settings import read_settings
from causal_dsl.store import reads
from causal_dsl.store.reading import is_file, is_folder, may_read, no_file
from causal_dsl.store.tensor_headers import header_fault
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.syntax.substitute import substitute
from causal_dsl.vocabulary.called_words import FITTING
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from causal_dsl.vocabulary.locations import FeatureSite, Place, Position
from causal_dsl.vocabulary.network_facts import Facts

#: Those that speak of training.
_TRAINING = ("epochs", "batch", "rate", "patience", "restarts")

#: Those that say how a feature, or its file, is used: not how it is fitted.
_OF_FILES = ("joined", "file", "elsewhere")

Variant = Literal["", "whole", "random", "natural", "shuffled", "untrained"]


@dataclass(frozen=True)
class Fitting:
    """How features are fitted.

    ``n`` pairs, ``epochs`` over them in batches of ``batch``, by Adam at ``rate`` (Kingma and Ba, 2015); it ends when
    the loss on the validation inputs has not fallen for ``patience`` epochs. Of ``restarts`` seeds the best on those
    inputs is kept. ``seed`` decides where it starts and the order of the
    pairs. ``file``: a fit that was kept is taken in its place.
    """

    n: int = 1024
    epochs: int = 20
    batch: int = 32
    rate: float = 0.001
    patience: int = 5
    restarts: int = 1
    controls: str = "all"
    seed: int = 0
    file: str = ""


@dataclass(frozen=True)
class FeatureRef:
    """A feature at a place of a network, as a value: two that are equal are one fitted map.

    ``alignment`` says where it is declared, ``network`` whose vectors it reads. ``variables`` are those that share its coordinates, ``block`` the coordinates of one of them (None: all).
    ``variant``: the feature itself (empty), or what it is compared with: the ``whole`` vector, ``random`` maps of its
    size, its change along the site's ``natural`` axes, fits on ``shuffled`` labels and on an ``untrained`` network;
    ``number`` tells several of a kind apart. ``joined``: the vectors of all tokens of the place are one.
    """

    alignment: Origin
    network: NetworkKey
    variables: tuple[str, ...]
    place: Place
    chain: tuple[FeatureSite, ...]
    fitting: Fitting
    block: tuple[int, int] | None = None
    variant: Variant = ""
    number: int = 0
    joined: bool = False
    #: the spec says that its file may be of another place or network
    elsewhere: bool = False
    #: of a transcoder or a crosscoder: the places that it reads, and which of its outputs is written
    reads: tuple[Place, ...] = ()
    output: int = 0
    span: Span | None = field(default=None, compare=False)

    @property
    def map(self) -> FeatureRef:
        """The fitted map that it is (a block of)."""
        return replace(self, block=None)

    @property
    def fitted(self) -> FeatureRef:
        """The map that a variant is made from: fitted as the spec says, or on other labels or another network."""
        return replace(self.map, variant=self.variant if self.variant in ("shuffled", "untrained") else "", number=0)

    @property
    def layers(self) -> int:
        """How many layers its map that bends has; 0 for linear maps."""
        told: list[Any] = [dict(f.settings)[family(f).bends] for f in self.chain if family(f).bends]
        return max((int(layers) for layers in told), default=0)

    def with_layers(self, layers: int) -> FeatureRef:
        """The same feature with a map of another capacity."""
        chain = tuple(
            replace(f, settings=tuple((k, layers if k == family(f).bends else v) for k, v in f.settings))
            for f in self.chain
        )
        return replace(self, chain=chain)

    @property
    def trained(self) -> bool:
        """Whether anything in it is trained on labels."""
        return any(family(feature).trained for feature in self.chain)

    @property
    def labelled(self) -> bool:
        """Whether it is fitted here, and on labels."""
        return not self.fitting.file and (self.trained or any(family(feature).classes for feature in self.chain))

    def __str__(self) -> str:
        return ".".join(str(feature) for feature in self.chain)

    @property
    def told(self) -> str:
        """The feature in a few words: whose it is, and what it is a control of."""
        short = ".".join(feature.name for feature in self.chain)
        named = {"random": "random for", "natural": "natural part of", "shuffled": "shuffled", "untrained": "untrained"}
        return f"{named.get(self.variant, '')} {short}".strip() + (
            f"[{self.block[0]}:{self.block[1]}]" if self.block else ""
        )


@dataclass(frozen=True)
class Via:
    """A chain of features as it is written, in one cell: its members with their settings, and how it is fitted."""

    chain: tuple[FeatureSite, ...]
    fitting: Fitting
    joined: bool
    span: Span
    elsewhere: bool = False

    @property
    def dim(self) -> int | None:
        """The number of coordinates that its last member gives, where its settings say so."""
        found: Any = dict(self.chain[-1].settings).get(family(self.chain[-1]).dim)
        return found


def chain_of(via: tree.Expr) -> list[tuple[tree.Ident | tree.Name, tuple[tree.Argument, ...]]] | None:
    """`standardize().rotation(dim=8)` as its members, outermost first; None for what is no chain of calls."""
    found: list[tuple[tree.Ident | tree.Name, tuple[tree.Argument, ...]]] = []
    while isinstance(via, tree.Call):
        function = via.function
        if isinstance(function, tree.Name):
            found.append((function, via.arguments))
            return found[::-1]
        if not isinstance(function, tree.Attribute):
            return None
        found.append((function.name, via.arguments))
        via = function.value
    return None


def read_via(
    via: tree.Expr, cell: Mapping[str, tree.Expr], folder: Path, diagnostics: Diagnostics, known: Sequence[str] = ()
) -> Via | None:
    """The features of a placement in one cell of a sweep; None where a fault was reported.

    ``known``: further names that may stand after `via`, for the help.
    """
    members = chain_of(via)
    names = [*known, *FEATURES]
    if members is None:
        diagnostics.report("E215", f"no feature `{format_expr(via)[:60]}`", via.span, help=did_you_mean("", names))
        return None
    chain: list[FeatureSite] = []
    fitting: dict[str, Any] = {}
    joined = elsewhere = False
    told: dict[str, Span] = {}
    for name, arguments in members:
        if name.name not in FEATURES:
            diagnostics.report("E215", f"no feature `{name.name}`", name.span, help=did_you_mean(name.name, names))
            return None
        about = FEATURES.find(name.name, name.span, diagnostics)
        if about is None:
            return None
        here = tuple(replace(argument, value=_placed(argument.value, cell)) for argument in arguments)
        settings = read_settings(name.name, here, {**about.settings, **FITTING}, diagnostics, name.span)
        if settings is None:
            return None
        given = {argument.name.name for argument in arguments if argument.name is not None}
        fitting |= {key: settings[key] for key in (*FITTING, "seed") if key in given and key not in _OF_FILES}
        told |= {a.name.name: a.span for a in arguments if a.name is not None}
        joined, elsewhere = joined or settings["joined"], elsewhere or settings["elsewhere"]
        if "file" in given:
            if (found := _named(folder, settings["file"], name.span, diagnostics)) is None:
                return None
            if not is_file(found):
                diagnostics.report(
                    "E729",
                    no_file(found, settings["file"]),
                    name.span,
                    help="name a file that a run with --out wrote into `features/`, relative to this spec",
                )
                return None
            if why := header_fault(found):
                help = "name a file that a run with --out wrote into `features/`"
                diagnostics.report("E729", f"cannot read `{shown_path(found)}`", name.span, notes=(why,), help=help)
                return None
            fitting["file"] = str(real_path(found))
        own = {key: settings[key] for key in about.settings}
        if about.file is not None:
            what, help = about.file
            if (found := _named(folder, own["path"], name.span, diagnostics)) is None:
                return None
            if not own["path"] or not (is_file(found) or (what != "file" and is_folder(found))):
                title = no_file(found, own["path"], what)
                diagnostics.report("E721", title, name.span, help=f"name {help}, relative to this spec")
                return None
            if not are_whole(name.name, found, name.span, settings["path"], diagnostics):
                return None
            own["path"] = str(real_path(found))
        for file in (*files_of(name.name, own), *([Path(fitting["file"])] if "file" in given else [])):
            reads.note(file)  # they are read when the feature is made
        if chain and family(chain[-1]).gated:
            diagnostics.report(
                "E726",
                f"`{chain[-1].name}` comes last in a chain",
                name.span,
                notes=("a value that is written to a coordinate with a closed gate would be lost",),
                help=f"write `{name.name}(…).{chain[-1].name}(…)`, or leave one out",
            )
            return None
        chain.append(FeatureSite(name.name, tuple(own.items())))
    trained = any(family(feature).trained for feature in chain)
    for key in _TRAINING:
        if key in told and (not trained or "file" in fitting):
            why = "a finished fit is taken from a file" if trained else "nothing in it is trained on labels"
            diagnostics.report(
                "E717",
                f"`{key}` has no use here: {why}",
                told[key],
                help="leave it out"
                if trained
                else f"leave it out, or use {', '.join(_some_trained())} or another that is trained",
            )
            return None
    if elsewhere and not fitting.get("file") and not any(family(feature).encoder for feature in chain):
        diagnostics.report(
            "E761",
            "`elsewhere` has no use here: no file says where its feature belongs",
            told["elsewhere"],
            help='leave it out; it goes with `file="…"` and with `sae("…")`',
        )
        return None
    return Via(tuple(chain), Fitting(**fitting), joined, via.span, elsewhere)


def family(feature: FeatureSite) -> FeatureFamily:
    """The record of a feature."""
    return FEATURES[feature.name]


def _some_trained() -> list[str]:
    return sorted(about.name for about in FEATURES.own.values() if about.trained)[:3]


def _named(folder: Path, written: str, span: Span, diagnostics: Diagnostics) -> Path | None:
    """The file or folder that is written, where it may be read; None where that was refused. It need not be there."""
    found = folder / written
    return found if may_read(found, written, span, diagnostics) else None


def _placed(value: tree.Expr, cell: Mapping[str, tree.Expr]) -> tree.Expr:
    """A setting with the parameter that it names written out."""
    return substitute(value, cell)


def check_width(via: Via, places: Sequence[Place], facts: Facts, diagnostics: Diagnostics) -> bool:
    """Refuse a feature of more dimensions than the vectors at its places have (E723), as far as their width is known."""
    for place in places:
        known = width(place.site, facts)
        if known is None or via.joined:
            continue
        for feature in via.chain:
            asked: Any = dict(feature.settings).get(family(feature).dim)
            if asked is not None and asked > known:
                diagnostics.report(
                    "E723",
                    f"`{feature.name}` takes {asked} dimensions of a vector of {known}",
                    via.span,
                    notes=(f"{place} has {known} numbers",),
                    help=f"take at most {known}",
                )
                return False
            known = asked if asked is not None else known
            if family(feature).unsized:
                break  # how many numbers these give is not known yet
    return True


def join(places: Sequence[Place]) -> Place | None:
    """Several tokens at one site as one place; None where they are not of one site."""
    if len({place.site for place in places}) > 1 or any(place.position is None for place in places):
        return None
    if len(places) == 1:
        return places[0]
    return Place(places[0].site, Position("several", parts=tuple(p.position for p in places if p.position is not None)))


def share(
    vias: Mapping[str, tuple[Via, tuple[Place, ...]]], variable: str
) -> tuple[tuple[str, ...], Via, tuple[int, int] | None]:
    """Who shares the map of a variable (in the order of the alignment), the map of them all, and this one's block.

    Variables at the same places through the same chain take disjoint blocks of one map, where the last member has a `dim`.
    """
    via, places = vias[variable]
    last = family(via.chain[-1])
    if not last.shared:
        return (variable,), via, None
    alike = [name for name, (other, there) in vias.items() if there == places and _alike(via, other)]
    if len(alike) == 1:
        return (variable,), via, None
    sizes = [vias[name][0].dim or 0 for name in alike]
    start = sum(sizes[: alike.index(variable)])
    whole = replace(
        via.chain[-1], settings=tuple((k, sum(sizes) if k == last.dim else v) for k, v in via.chain[-1].settings)
    )
    return tuple(alike), replace(via, chain=(*via.chain[:-1], whole)), (start, start + sizes[alike.index(variable)])


def _alike(one: Via, other: Via) -> bool:
    def bare(via: Via) -> tuple[Any, ...]:
        last = tuple((key, value) for key, value in via.chain[-1].settings if key != family(via.chain[-1]).dim)
        return via.chain[:-1], via.chain[-1].name, last, via.fitting, via.joined

    return bare(one) == bare(other)


__all__ = [
    "FeatureRef",
    "Fitting",
    "Via",
    "chain_of",
    "check_width",
    "family",
    "join",
    "read_via",
    "share",
]
