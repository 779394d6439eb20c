"""Files of tuned lenses (Belrose et al. 2023): of each layer the map that turns the stream entering it into that of the end.

A file is the state dict of the `tuned-lens` package as safetensors: ``l.weight`` [width, width] and ``l.bias`` [width] belong to the
stream that enters layer l, which becomes h + weight h + bias.
"""

from __future__ import annotations

from pathlib import Path

from causal_dsl.causal.named_files import folder_of
from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean, shown_path
from causal_dsl.program.file_shapes import tensor_shapes
from causal_dsl.store import reads
from causal_dsl.store.reading import may_read, no_file
from causal_dsl.store.tensor_headers import header_fault
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.locations import Site
from causal_dsl.vocabulary.network_facts import Facts

#: Bytes of the largest file that is taken.
_LARGEST = 2**40
_CODE = "E848"
_HELP = 'convert it: safetensors.torch.save_file(torch.load("params.pt", weights_only=True), "lens.safetensors")'


def translator_of(expr: tree.Expr, site: Site, facts: Facts, found: Diagnostics) -> tuple[Path, str] | None:
    """The file, and what the names of the tensors for a site begin with (empty at the end of the stream, where nothing is to
    be turned); None where a fault was reported (E848)."""
    span = expr.span
    if not isinstance(expr, tree.String):
        help = 'write tuned_lens(logit(answer), "lens.safetensors") @ layer[5].resid_post[last]'
        found.report(_CODE, "a tuned lens is read from a file, named in quotes", span, help=help)
        return None
    path = _file(expr.value, span, found)
    if path is None:
        return None
    layer = (site.layer or 0) + (site.component == "resid_post")
    if site.component not in ("resid_pre", "resid_post"):
        help = "name `layer[l].resid_pre` or `layer[l].resid_post`"
        found.report(_CODE, f"a tuned lens has no map for `{site}`", span, help=help)
        return None
    if facts.layers is not None and layer >= facts.layers:
        return path, ""
    shapes = tensor_shapes(path)
    if shapes is None:
        found.report(_CODE, f"`{shown_path(path)}` is not a safetensors file", span, help=_HELP)
        return None
    for prefix in ("", "layer_translators."):
        name = f"{prefix}{layer}"
        weight, bias = shapes.get(f"{name}.weight"), shapes.get(f"{name}.bias")
        if weight is None or bias is None:
            continue
        width = facts.width if facts.width is not None else bias[0]
        if weight == (width, width) and bias == (width,):
            return path, name
        title = (
            f"the map of layer {layer} in `{shown_path(path)}` is {list(weight)}, and the stream has {width} numbers"
        )
        found.report(_CODE, title, span, help="name a lens that was fitted on this network")
        return None
    note = "it has " + ", ".join(f"`{name}`" for name in sorted(shapes)[:4]) if shapes else "it has no tensors"
    title = f"`{shown_path(path)}` has no `{layer}.weight` and `{layer}.bias`"
    found.report(_CODE, title, span, notes=(note,), help="name a lens that was fitted on this network")
    return None


def _file(name: str, span: Span, found: Diagnostics) -> Path | None:
    path = folder_of(span) / name
    try:
        if not may_read(path, name, span, found, _LARGEST, folder=False):
            return None
        if not path.is_file():
            beside = sorted(p.name for p in path.parent.iterdir())[:10000] if path.parent.is_dir() else []
            close = did_you_mean(path.name, beside) if beside else ""
            note = f"looked for {shown_path(path)}"
            found.report(_CODE, no_file(path, name), span, notes=(note,), help=close)
            return None
        with path.open("rb") as file:
            if file.read(2) in (b"PK", b"\x80\x02"):
                note = "files of torch are pickles, which can run code as they are read"
                found.report(_CODE, f"`{name}` is a file of torch", span, notes=(note,), help=_HELP)
                return None
        if why := header_fault(path):
            found.report(_CODE, f"`{name}` is not a safetensors file", span, notes=(why,), help=_HELP)
            return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        found.report(_CODE, f"`{name}` cannot be read", span, label=why)
        return None
    reads.note(path)
    return path


__all__ = ["translator_of"]
