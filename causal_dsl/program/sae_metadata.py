"""The place in a sparse autoencoder's ``cfg.json`` where it was made, against where a spec uses it.

An autoencoder of another site, layer or network encodes any vector of its width, and its latents then mean nothing.
Names of hooks are those of TransformerLens (as SAELens writes them), or the paths of layers in transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.diagnostics import Diagnostics, Span, shown_path
from causal_dsl.program.components import head_count
from causal_dsl.program.program import NetworkRef
from causal_dsl.store.reads import LARGEST_SETTINGS
from causal_dsl.vocabulary.architectures import ARCHITECTURES
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.locations import Place, Site
from causal_dsl.vocabulary.network_facts import Facts

CONFIG = "cfg.json"
_LARGEST = LARGEST_SETTINGS


@dataclass(frozen=True)
class SaeOrigin:
    """The contents of a file: the ``hook`` it was made on ("": nothing), of which ``head`` (None: of all, or none has any), of
    which ``model``, whether its texts began with a mark (``begins``), whether weights were ``centred`` before.

    ``layer``: what it says of its layer beside the hook. ``by_heads``: its vectors had an axis of heads that was joined.
    ``doubts``: what it says of its place that cannot be read, or that contradicts the rest, in words.
    """

    hook: str = ""
    head: int | None = None
    model: str = ""
    begins: bool = False
    centred: bool = False
    layer: int | None = None
    by_heads: bool = False
    doubts: tuple[str, ...] = ()


def made_for(path: Path) -> SaeOrigin | None:
    """The contents of the ``cfg.json`` of an autoencoder's file or folder; None where there is none that can be read."""
    file = (path if path.is_dir() else path.parent) / CONFIG
    try:
        if file.stat().st_size > _LARGEST:
            return None
        said = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # `run` refuses a file that cannot be read
    if not isinstance(said, dict):
        return None
    inner = [said[key] for key in ("metadata", "architecture_params") if isinstance(said.get(key), dict)]

    def find(*keys: str) -> Any:
        return next((part[key] for part in (*inner, said) for key in keys if part.get(key) is not None), None)

    head, model, how = (
        find("hook_head_index", "hook_point_head_index"),
        find("model_name"),
        find("model_from_pretrained_kwargs"),
    )
    hooks = _all_of(*inner, said, keys=("hook_name", "hook_point"))
    layers = _all_of(*inner, said, keys=("hook_layer", "hook_point_layer"))
    numbers = [layer for _, value in layers if (layer := _whole(value)) is not None]
    layer = numbers[0] if numbers else None
    names = [value for _, value in hooks if isinstance(value, str)]
    if layer is not None:
        names = [name.replace("{layer}", str(layer)) for name in names]
    hook = next((name for name in names if name), "")
    doubts = [f"{key} is {_shown(value)}, and no text" for key, value in hooks if not isinstance(value, str)]
    doubts += [f"{key} is {_shown(value)}, and no whole number" for key, value in layers if _whole(value) is None]
    doubts += [f"it also names the hook `{name}`" for name in names if name and not _one_place(name, hook)]
    own = site_of(hook)
    wrong = [n for n in numbers if (own is not None and own.layer is not None and n != own.layer) or n != layer]
    doubts += [f"it also names the layer {number}" for number in wrong]
    return SaeOrigin(
        hook,
        head if isinstance(head, int) and not isinstance(head, bool) else None,
        model if isinstance(model, str) else "",
        find("prepend_bos") is True,
        isinstance(how, dict) and how.get("center_writing_weights") is True,
        layer,
        find("reshape_activations") == "hook_z",
        tuple(dict.fromkeys(doubts)),
    )


def _all_of(*parts: dict[str, Any], keys: Sequence[str]) -> list[tuple[str, Any]]:
    """All that is said under some keys, each with its key; the part that counts is first."""
    return [(key, part[key]) for part in parts for key in keys if part.get(key) is not None]


def _whole(value: Any) -> int | None:
    """A whole number, also where it was written as text or with a point."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e9:
        return None
    return int(value) if value == int(value) else None


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _one_place(name: str, other: str) -> bool:
    one, two = site_of(name), site_of(other)
    return name == other or (one is not None and two is not None and same_vector(one, two))


# ── the place ───────────────────────────────────────────────────────────────────────────────────

_HOOK = re.compile(r"blocks\.(\d+)\.(?:(attn|mlp|ln1|ln2)\.)?hook_(\w+)")
_HOOKS = {
    ("", "in"): "resid_pre",
    ("", "out"): "resid_post",
    ("", "resid_pre"): "resid_pre",
    ("", "resid_mid"): "resid_mid",
    ("", "resid_post"): "resid_post",
    ("", "attn_out"): "attn_out",
    ("", "mlp_out"): "mlp_out",
    ("attn", "q"): "q",
    ("attn", "k"): "k",
    ("attn", "v"): "v",
    ("attn", "z"): "z",
    ("attn", "rot_q"): "q_rot",
    ("attn", "rot_k"): "k_rot",
    ("attn", "pattern"): "pattern",
    ("mlp", "post"): "neurons",
    ("mlp", "in"): "mlp_in",
    ("mlp", "out"): "mlp_out",
    ("attn", "in"): "attn_in",
    ("attn", "out"): "attn_out",
}
_ENDS = {"hook_embed": "embed", "unembed.hook_in": "final_norm"}
_PATH = re.compile(r"(?:[\w.]*\.)?(?:layers|layer|h|blocks)\.(\d+)(?:\.(mlp|self_attn|attn|attention))?")
_BLOCKS = {None: "resid_post", "mlp": "mlp_out", "self_attn": "attn_out", "attn": "attn_out", "attention": "attn_out"}


def site_of(hook: str) -> Site | None:
    """The site that a hook's name stands for; None for a name that is not known, or that no site here is."""
    if hook in _ENDS:
        return Site(_ENDS[hook])
    if (found := _HOOK.fullmatch(hook)) is not None:
        component = _HOOKS.get((found[2] or "", found[3]))
        return None if component is None else Site(component, int(found[1]))
    if (found := _PATH.fullmatch(hook)) is not None:
        return Site(_BLOCKS[found[2]], int(found[1]))
    return None


#: What follows the norm of a hook's name, and is that vector times the gain of the norm.
_NORMED = {"ln1": "attn_in", "ln2": "mlp_in"}
_NORMALIZED = re.compile(r"(?:blocks\.(\d+)\.(ln1|ln2)|ln_final)\.hook_normalized")


def before_the_gain(hook: str) -> Site | None:
    """The site that holds, with the gain of the norm, what a hook has without it; None for any other hook."""
    found = _NORMALIZED.fullmatch(hook)
    if found is None:
        return None
    return Site("final_norm") if found[1] is None else Site(_NORMED[found[2]], int(found[1]))


def with_the_gain(normed: Site) -> str:
    """The mend for a dictionary that was made before the gain, in words."""
    ends = {site: hook for hook, site in _ENDS.items()}
    parts = {site: f"blocks.{normed.layer}.{part}.hook_{what}" for (part, what), site in _HOOKS.items() if part}
    hook = (ends | parts)[normed.component]
    return f"divide the rows of W_enc by it (docs/features.md says the rest), and let its cfg.json name `{hook}`"


def same_vector(one: Site, other: Site) -> bool:
    """Whether two sites are one vector: what leaves a layer enters the next."""

    def key(site: Site) -> tuple[str, int | None]:
        if site.component in ("resid_pre", "resid_post") and site.layer is not None:
            return "stream", site.layer + (site.component == "resid_post")
        return site.component, site.layer

    return key(one) == key(other)


def check_sae(path: Path, places: Sequence[Place], network: NetworkRef, span: Span, diagnostics: Diagnostics) -> bool:
    """Judge an autoencoder at its places. False with E515 (made for another site, or heads in another order) or E516
    (for another network); W517 and W518 for what cannot be told."""
    made = made_for(path)
    if made is None or not made.hook:
        for place in places:
            if list(place.site.heads) != sorted(place.site.heads):
                diagnostics.report(
                    "W518",
                    "it is unclear whether the sparse autoencoder was made for heads in this order",
                    span,
                    notes=(f"it is used at `{place.site}`", "its files name no hook"),
                    help=f"heads side by side are mostly in their order: head[{', '.join(map(str, sorted(place.site.heads)))}]",
                )
    if made is None:
        return True
    for place in places:
        if not _at_its_site(made, path, place, network.facts, span, diagnostics):
            return False
    if not _of_its_network(made, path, network, span, diagnostics):
        return False
    if made.doubts:
        diagnostics.report(
            "W518",
            "it is unclear whether the sparse autoencoder was made for this place",
            span,
            notes=(_says(made, path), *made.doubts[:4], *(f"it is used at `{place.site}`" for place in places[:1])),
            help="make sure that it was made on this vector, and let its cfg.json say so",
        )
    if made.centred and any(
        place.site.component in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out") for place in places
    ):
        diagnostics.report(
            "W518",
            "the sparse autoencoder was made on a network whose weights were centred",
            span,
            notes=(
                f"{shown_path(_file(path))} says center_writing_weights: the mean was subtracted from its vectors",
                "the vectors here include their mean",
            ),
            help="use one that was made on the weights as they are",
        )
    return True


def _at_its_site(made: SaeOrigin, path: Path, place: Place, facts: Facts, span: Span, diagnostics: Diagnostics) -> bool:
    used = place.site
    if used.component == "module":
        found = site_of(used.module or "")
        used = found if found is not None else used
    if made.by_heads and not COMPONENTS[used.component].by_heads:
        if used.component != "module":
            return _elsewhere(
                made,
                path,
                place,
                "reshape_activations is `hook_z`, which joins the vectors of heads",
                "place it at the heads' `z`, or use one that was made for this place",
                span,
                diagnostics,
            )
        _untold(
            made, path, place, "reshape_activations is `hook_z`, which joins the vectors of heads", span, diagnostics
        )
    if not made.hook:
        return made.layer is None or _in_its_layer(made, made.layer, path, place, used, span, diagnostics)
    own = site_of(made.hook)
    if own is None or used.component == "module":
        normed = before_the_gain(made.hook)
        if normed is not None and used.component != "module":
            return _elsewhere(
                made,
                path,
                place,
                f"that is before the gain of the norm, and `{normed}` after it",
                f"place it at `{normed}`, with the gain moved into its weights: {with_the_gain(normed)}",
                span,
                diagnostics,
            )
        known = own is not None or normed is not None or _HOOK.fullmatch(made.hook) is not None
        if own is None and _HOOK.fullmatch(made.hook) is not None and used.component != "module":
            return _elsewhere(
                made,
                path,
                place,
                "no site here is that vector",
                "use one that was made for an existing site",
                span,
                diagnostics,
            )
        diagnostics.report(
            "W518",
            "it is unclear whether the sparse autoencoder was made for this place",
            span,
            notes=(
                f"{shown_path(_file(path))} says that it was made on `{made.hook}`",
                f"it is used at `{place.site}`" if known else "no hook of that name is known",
            ),
            help="make sure that both are the same vector",
        )
        return True
    if own.layer is not None and facts.layers is not None and own.layer >= facts.layers:
        few = f"the network here has {facts.layers} layers, counted from 0"
        return _elsewhere(made, path, place, few, "use one that was made for this network", span, diagnostics)
    if not same_vector(own, used):
        return _elsewhere(
            made,
            path,
            place,
            f"here that is `{own}`",
            f"place it at `{own}`, or use one that was made for this place",
            span,
            diagnostics,
        )
    heads = head_count(used.component, facts) if COMPONENTS[used.component].by_heads else None
    if heads is None:
        return True
    wanted = tuple(range(heads)) if made.head is None else (made.head,)
    if used.heads and used.heads != wanted and (made.head is not None or sorted(used.heads) == list(wanted)):
        listed = ", ".join(map(str, wanted))
        said = (
            f"it was made on head {made.head}" if made.head is not None else "it was made on all heads, in their order"
        )
        return _elsewhere(made, path, place, said, f"write head[{listed}]", span, diagnostics)
    return True


def _in_its_layer(
    made: SaeOrigin, layer: int, path: Path, place: Place, used: Site, span: Span, diagnostics: Diagnostics
) -> bool:
    """Judge by the layer alone: what leaves a layer is also what enters the next, so of the stream two layers may be meant."""
    if used.layer == layer or (used.component == "embed" and layer == 0):
        return True
    beside = {"resid_post": 1, "resid_pre": -1}.get(used.component)
    if used.layer is not None and (beside is None or layer != used.layer + beside):
        return _elsewhere(
            made,
            path,
            place,
            "it names no hook",
            "use it in its layer, or use one that was made for this place",
            span,
            diagnostics,
        )
    _untold(made, path, place, "it names no hook", span, diagnostics)
    return True


def _untold(made: SaeOrigin, path: Path, place: Place, note: str, span: Span, diagnostics: Diagnostics) -> None:
    diagnostics.report(
        "W518",
        "it is unclear whether the sparse autoencoder was made for this place",
        span,
        notes=(f"{_says(made, path)}: {note}", f"it is used at `{place.site}`"),
        help="make sure that both are the same vector",
    )


def _says(made: SaeOrigin, path: Path) -> str:
    """The place that the file names, in words."""
    if made.hook:
        return f"{shown_path(_file(path))} says that it was made on `{made.hook}`"
    if made.layer is not None:
        return f"{shown_path(_file(path))} says that it was made in layer {made.layer}"
    return f"{shown_path(_file(path))} names no hook"


def _elsewhere(
    made: SaeOrigin, path: Path, place: Place, note: str, help: str, span: Span, diagnostics: Diagnostics
) -> bool:
    diagnostics.report(
        "E515",
        "the sparse autoencoder was made for another place",
        span,
        notes=(f"{_says(made, path)}: {note}", f"it is used at `{place.site}`"),
        help=help,
    )
    return False


def _file(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / CONFIG


# ── the network ─────────────────────────────────────────────────────────────────────────────────


def architectures_named(name: str) -> set[str]:
    """The architectures that a network of this name may have: those whose pattern explains most of it."""
    found: dict[str, int] = {}
    for record in ARCHITECTURES.usable():
        for pattern in record.checkpoints:
            for part in re.finditer(pattern, name):
                found[record.name] = max(found.get(record.name, 0), len(part[0]))
    return {kind for kind, length in found.items() if length == max(found.values())}


def check_network(path: Path, network: NetworkRef, span: Span, diagnostics: Diagnostics) -> bool:
    """Judge an autoencoder by the network that its file names alone: False with E516, and W517 for what cannot be told."""
    made = made_for(path)
    return made is None or _of_its_network(made, path, network, span, diagnostics)


def _of_its_network(made: SaeOrigin, path: Path, network: NetworkRef, span: Span, diagnostics: Diagnostics) -> bool:
    name = made.model.lower().replace("_", "-").rpartition("/")[2]
    if not name:
        return True
    notes = (
        f"{shown_path(_file(path))} says that it was made on `{made.model}`",
        f"the network here is `{network.target}`"
        + (f", of the kind `{network.facts.architecture}`" if network.facts.architecture else ""),
    )
    kinds = architectures_named(name)
    if kinds and network.facts.architecture and network.facts.architecture not in kinds:
        diagnostics.report(
            "E516",
            "the sparse autoencoder was made for another network",
            span,
            notes=notes,
            help="use one that was made for this network",
        )
        return False
    ours = {_bare(other) for other in _names(network)} - {""}
    if _bare(name) not in ours:
        diagnostics.report(
            "W517",
            "it is unclear whether the sparse autoencoder was made for this network",
            span,
            notes=notes,
            help="make sure that it was made on exactly these weights",
        )
    return True


def _bare(name: str) -> str:
    """A network's name without its publisher and what is written between words: "gpt2-small" is "gpt2"."""
    last = name.lower().rstrip("/").rpartition("/")[2]
    for record in ARCHITECTURES.usable():
        last = record.same.get(last, last)
    return re.sub(r"[^a-z0-9]", "", last)


def _names(network: NetworkRef) -> list[str]:
    """The names of a network: where it is declared from, and in its own config."""
    found = [network.target]
    folder = network.facts.folder
    if folder is not None:
        found.append(folder.name)
        try:
            said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            found += [str(said[key]) for key in ("_name_or_path", "_model_name_or_path") if said.get(key)]
        except (OSError, ValueError, AttributeError, RecursionError):
            pass  # it was read before; by then it said no name
    return found


__all__ = ["SaeOrigin", "check_network", "check_sae", "made_for", "same_vector", "site_of"]
