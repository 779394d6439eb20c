"""Arguments of calls that set things: `hf("repo", dtype=float32)`, `ioi(n=512, seed=0)`, `rotation(dim=8)`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, did_you_mean, nearest
from causal_dsl.syntax import tree
from causal_dsl.syntax.format import format_expr
from causal_dsl.vocabulary.settings import Setting

#: What each kind of setting takes, in words.
SAYS = {
    "int": "a whole number",
    "number": "a number",
    "bool": "true or false",
    "string": 'a text in quotes, as in "name"',
    "word": "a bare word",
    "run": "the name of a run",
    "names": "a list of names, as in [a, b]",
    "several": "a name, or a list of names, as in [a, b]",
    "texts": 'a list of texts, as in ["a", "b"], or the name of a domain',
    "ints": "a list of whole numbers, as in [3, 14]",
    "alignment": "the name of an alignment",
    "domain": 'a domain, as in Name or {"is", "are"}',
    "ending": 'the bare word `word`, or texts that may follow an answer, as in "." or {".", "\\n"}',
    "file": 'a path in quotes, as in "name.safetensors"',
    "value": "a value that can be written",
    "values": "further values that can be written, one after the other",
}


#: Lists that say what of a circuit is looked at, each as a message shows it.
EXAMPLES = {"among": "[head]", "at": "[last]"}
#: The kinds of settings that are lists, in which nothing stands twice. Of texts their settings say so.
_LISTS = ("names", "several", "ints")


def call_name(call: tree.Expr) -> tuple[str, Span] | None:
    """The bare name that is called (or stands alone), with its place."""
    if isinstance(call, tree.Call):
        call = call.function
    return (call.name, call.span) if isinstance(call, tree.Name) else None


def constant(expr: tree.Expr | tree.Slice) -> Any:
    """The value of a literal number, text, truth value or a negated number; None for anything else."""
    match expr:
        case tree.Number(value=value, unit=unit):
            return value / 100 if unit == "%" else value if unit is None else None
        case tree.String(value=value) | tree.Bool(value=value):
            return value
        case tree.Unary(op="-", operand=tree.Number() as operand):
            value = constant(operand)
            return None if value is None else -value
    return None


def read_settings(
    what: str, arguments: tuple[tree.Argument, ...], known: Mapping[str, Setting], diagnostics: Diagnostics, span: Span
) -> dict[str, Any] | None:
    """Match arguments to the known settings of ``what``; None (and diagnostics) where they do not fit.

    Every known setting is in the result, with its default where it was not given.
    """
    positional = [name for name, setting in known.items() if setting.positional]
    found: dict[str, Any] = {}
    good = True
    last = positional[-1] if positional and known[positional[-1]].kind == "values" else ""
    for argument in arguments:
        if argument.name is None and last and positional == [last]:
            found[last] = (*found.get(last, ()), argument.value)
            continue
        if argument.name is None:
            if not positional:
                hint = ", ".join(f"{name}=…" for name in known if not known[name].positional or name not in found)
                bare = [f"`{name}`" for name, setting in known.items() if setting.positional]
                diagnostics.report(
                    "E210",
                    f"`{what}` takes {len(bare)} setting{'s' * (len(bare) > 1)} without a name: {', '.join(bare)}"
                    if bare
                    else f"`{what}` takes its settings by name",
                    argument.span,
                    help=f"write {hint}" if hint else "leave this out" if bare else f"write `{what}()`",
                )
                good = False
                continue
            name, place = positional.pop(0), argument.span
        else:
            name, place = argument.name.name, argument.name.span
        if name in positional:
            positional.remove(name)
        if name not in known:
            diagnostics.report(
                "E211",
                f"`{what}` has no setting `{name}`",
                place,
                help=did_you_mean(name, known, _all_of(known) or f"`{what}` takes no settings"),
            )
            good = False
            continue
        if name in found:
            diagnostics.report("E212", f"`{name}` is set twice", place, help="keep one of them")
            good = False
            continue
        value = _read(known[name], argument.value)
        if value is None:
            _refuse(what, name, known[name], argument.value, diagnostics)
            good = False
        if value is not None and known[name].kind in _LISTS and isinstance(argument.value, tree.List):
            good = once(name, argument.value.items, diagnostics) and good
        found[name] = value
    for name, setting in known.items():
        if name not in found:
            if setting.required:
                diagnostics.report("E214", f"`{what}` needs `{name}`", span, help=f"write {name}=…, {wanted(setting)}")
                good = False
            found[name] = setting.default
    return found if good else None


def once(
    name: str, items: Sequence[tree.Expr], diagnostics: Diagnostics, meant: Sequence[object] | None = None
) -> bool:
    """Whether a list holds each thing once (else E776); ``meant``: what each of its ``items`` stands for, where that is not its text."""
    told: list[object] = [*map(format_expr, items)] if meant is None else [*meant]
    place = next((place for place, one in enumerate(told) if one in told[:place]), None)
    if place is None:
        return True
    shown, before = format_expr(items[place]), format_expr(items[told.index(told[place])])
    diagnostics.report(
        "E776",
        f"`{name}` has `{shown}` twice",
        items[place].span,
        notes=(() if shown == before else (f"it is the same as `{before}`",)),
        help="leave one of them out",
    )
    return False


def holds(what: str, name: str, expr: tree.Expr, example: str, diagnostics: Diagnostics) -> bool:
    """Whether what a setting of ``what`` is given says anything, and each thing once: a list that is empty (else E213) is not the same as
    none. ``example``: how it may be written."""
    if not isinstance(expr, tree.List):
        return True
    if expr.items:
        return once(name, expr.items, diagnostics)
    help = f"write {name}={example}, or leave `{name}` out"
    diagnostics.report("E213", f"`{name}` of `{what}` cannot be `[]`", expr.span, help=help)
    return False


def _all_of(known: Mapping[str, Setting]) -> str:
    return f"there is {', '.join(f'`{name}`' for name in known)}" if known else ""


def _read(setting: Setting, expr: tree.Expr) -> Any:
    value = constant(expr)
    match setting.kind:
        case "int":
            good = isinstance(value, int) and not isinstance(value, bool) and value >= setting.low
            return value if good else None
        case "number":
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
            return value if good and setting.low <= value <= setting.high and math.isfinite(value) else None
        case "bool":
            return value if isinstance(value, bool) else None
        case "value":
            return expr
        case "string" | "file":
            return value if isinstance(value, str) else None
        case "word" | "run":
            word = expr.name if isinstance(expr, tree.Name) else value if isinstance(value, str) else None
            return word if not setting.choices or word in setting.choices else None
        case "ending":
            texts = [constant(item) for item in expr.items] if isinstance(expr, tree.Set) else [value]
            if isinstance(expr, tree.Name):
                return () if expr.name == "word" else None
            return tuple(texts) if texts and all(isinstance(text, str) and text for text in texts) else None
        case "domain":
            return expr if isinstance(expr, (tree.Name, tree.Call, tree.Attribute, tree.Set, tree.Range)) else None
        case "alignment":
            return expr if isinstance(expr, tree.Name) else None
        case "texts":
            if isinstance(expr, tree.Name):
                return expr
            if not isinstance(expr, tree.List) or not expr.items:
                return None
            texts = [constant(item) for item in expr.items]
            return tuple(texts) if all(isinstance(text, str) for text in texts) else None
        case "ints":
            if not isinstance(expr, tree.List) or not expr.items:
                return None
            numbers = [constant(item) for item in expr.items]
            good = all(isinstance(n, int) and not isinstance(n, bool) and n >= setting.low for n in numbers)
            return tuple(numbers) if good else None
        case "several" if isinstance(expr, (tree.Name, tree.Attribute)):
            return (expr,)
        case "names" | "several":
            if isinstance(expr, tree.List) and expr.items:
                fits = all(isinstance(item, (tree.Name, tree.Attribute)) for item in expr.items)
                return expr.items if fits else None
    return None


def wanted(setting: Setting) -> str:
    text = SAYS[setting.kind]
    if setting.low > -math.inf:
        text += f" of at least {setting.low:g}"
    if setting.high < math.inf:
        text += f" and at most {setting.high:g}"
    if setting.choices:
        text = "one of " + ", ".join(f"`{choice}`" for choice in setting.choices)
    return text


def _refuse(what: str, name: str, setting: Setting, value: tree.Expr, diagnostics: Diagnostics) -> None:
    notes: tuple[str, ...] = ()
    help = f"write {name}=…, {wanted(setting)}"
    if setting.choices and isinstance(value, tree.Name):
        close = nearest(value.name, setting.choices)
        if close is not None:
            help, notes = f"did you mean `{close}`?", (f"it takes {wanted(setting)}",)
    diagnostics.report(
        "E213",
        f"`{name}` of `{what}` cannot be `{format_expr(value)[:60]}`",
        value.span,
        notes=notes,
        help=help,
    )


__all__ = ["Setting", "call_name", "constant", "holds", "once", "read_settings"]
