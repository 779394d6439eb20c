"""`layer[10].resid_post[last] via sae("…", latents=[3]) = 8`: a site that is written in the numbers of a feature of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from causal_dsl.diagnostics import Diagnostics, Span
from causal_dsl.program.file_shapes import shapes_fit
from causal_dsl.program.identity import Origin
from causal_dsl.program.program import NetworkRef
from causal_dsl.program.read_features import FeatureRef, Fitting, Via, check_width, family, read_via
from causal_dsl.program.sae_metadata import check_sae
from causal_dsl.program.transcoders import Across, across_of, read_across
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.features import FEATURES
from causal_dsl.vocabulary.locations import Place


def read_inside(
    via: tree.Call,
    places: tuple[Place, ...],
    owner: Origin,
    network: NetworkRef,
    cell: Mapping[str, tree.Expr],
    folder: Path,
    found: Diagnostics,
) -> tuple[FeatureRef, ...] | None:
    """The feature in whose numbers each of ``places`` of a network is written, in what ``owner`` declares; None where a fault was
    reported."""
    read = read_via(via, cell, folder, found)
    if read is None or not (_given(read, found) and _takes_vectors(places, read, found)):
        return None
    made = FeatureRef(
        owner,
        network.key,
        (),
        places[0],
        read.chain,
        Fitting(),
        elsewhere=read.elsewhere,
        span=read.span,
    )
    if (across := across_in(read)) is not None:
        return read_across(across, made, places, network, found)
    facts = network.facts
    if not (check_width(read, places, facts, found) and shapes_fit(read, places, facts, found)):
        return None
    path = Path(str(dict(read.chain[0].settings)["path"]))
    if family(read.chain[0]).encoder and not read.elsewhere and not check_sae(path, places, network, read.span, found):
        return None
    return tuple(replace(made, place=place) for place in places)


def across_in(via: Via) -> Across | None:
    """Where the first feature of a chain reads and writes, where that is not one site."""
    first = via.chain[0]
    return across_of(Path(str(dict(first.settings)["path"]))) if family(first).encoder else None


def size_of(ref: FeatureRef) -> int | None:
    """How many numbers a feature has; None where that is not known before its file is read."""
    named = dict(ref.chain[-1].settings).get("latents")
    return len(named) if isinstance(named, tuple) and named else None


def _given(via: Via, found: Diagnostics) -> bool:
    fitted = next((feature for feature in via.chain if family(feature).file is None), None)
    if fitted is not None:
        some = ", ".join(f"`{name}`" for name, about in FEATURES.own.items() if about.file is not None)
        found.report(
            "E758",
            f"a site is not written through `{fitted.name}`, which is fitted",
            via.span,
            notes=("a feature is fitted where a variable is placed: there the spec says what it should hold",),
            help=f"write through {some}, or place a variable here and write `variable <- source`",
        )
        return False
    across = across_in(via)
    if across is not None and len(via.chain) > 1:
        found.report(
            "E764",
            f"a {across.named} stands alone in a chain",
            via.span,
            notes=("its numbers are read at one place and written at another",),
            help="leave out what is chained to it",
        )
        return False
    if via.joined or via.fitting != Fitting():
        found.report(
            "E759",
            "a feature of a file is not fitted: its settings here are those of the file alone",
            via.span,
            notes=("each token that is written is read and written by itself",),
            help="leave out `joined`, `controls`, `file` and the settings of fits",
        )
        return False
    return True


def _takes_vectors(places: tuple[Place, ...], via: Via, found: Diagnostics) -> bool:
    weights = next((place for place in places if place.site.component == "pattern"), None)
    if weights is None:
        return True
    found.report(
        "E468",
        "a feature is of vectors, not of attention weights",
        via.span,
        notes=(f"{weights} has as many numbers as the prompt has tokens",),
        help="leave `via` out, or write at `z`, which the weights make",
    )
    return False


def refuse_variable(name: str, span: Span, found: Diagnostics) -> None:
    """E754: the feature of a variable stands in its alignment."""
    found.report(
        "E754",
        f"`{name}` is a causal variable, and its feature stands where it is placed",
        span,
        help=f"leave `via` out here, or write it in the alignment: {name} @ site via …",
    )


__all__ = ["read_inside", "refuse_variable", "size_of"]
