"""Write what the package's records decide: tables of the pages, the index of diagnostics, the defaults of configs,
the schema of the JSON, the colours of editors.

Run it after a measure, a finding, a family of features, an architecture, a field of the JSON or a page of a diagnostic was added or changed:
``python docs/generate.py``. With ``--check`` it writes nothing, names the files that would change, and exits with 1. ``--free``
lists the numbers that new diagnostics may have.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout that it stands in, and no installed package

sys.path.insert(1, str(Path(__file__).resolve().parent))

import editor_files

from causal_dsl import build, shapes
from causal_dsl.vocabulary.architectures import ARCHITECTURES, Architecture
from causal_dsl.vocabulary.architectures.architecture import ACTIVATIONS, SIZES
from causal_dsl.vocabulary.called_words import CALLED, DRAW
from causal_dsl.vocabulary.ceiling_rules import CEILINGS
from causal_dsl.vocabulary.components import COMPONENTS
from causal_dsl.vocabulary.discovery_methods import METHODS
from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from causal_dsl.vocabulary.findings import FINDINGS, FindingKind
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.readings import READINGS
from causal_dsl.vocabulary.settings import Setting
from causal_dsl.vocabulary.values import VALUES

DOCS = Path(__file__).parent
EDITORS = DOCS.parent / "editors"
DEFAULTS = DOCS.parent / "causal_dsl" / "vocabulary" / "architectures" / "defaults.json"
DECODERS = DEFAULTS.with_name("decoders.json")
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
FAMILIES = "| written | the variable is | fitted on labels | paper |"
_NEEDS = {"label": "an interchange", "patched": "an intervention", "placed": "placed variables"}
_UNITS = {"share": "a share", "ratio": "a ratio", "nats": "nats", "logits": "", "number": "a number"}
#: The first number of a stretch of codes, and what they are about.
CHAPTERS = (
    (100, "Syntax"),
    (200, "Names, settings and imports"),
    (300, "Causal models, domains and draws"),
    (340, "Tables and Python functions"),
    (400, "Networks and their sites"),
    (500, "Prompts, positions and tokens"),
    (514, "What files say of themselves"),
    (530, "Prompts and read-outs"),
    (545, "Sets of accepted answers, and where answers are read"),
    (575, "Chats"),
    (600, "Metrics and expectations"),
    (630, "Networks and the machine"),
    (663, "Networks as they are loaded"),
    (670, "Alignments, tests and interventions"),
    (701, "Commands and verdicts"),
    (710, "Parts of the inputs, and fits"),
    (720, "Features"),
    (730, "Training towards a causal model"),
    (740, "Masked tokens"),
    (750, "Which network, its tokens, and features of files"),
    (760, "Features of files, and what a test can tell"),
    (765, "Output, and fits without a gradient"),
    (770, "Revisions, answers and lists"),
    (777, "Adapters, recurrent modules and quantised weights"),
    (785, "Words that packages add"),
    (787, "Rows without an answer, and counts that are not known"),
    (790, "Written values"),
    (793, "Vocabularies and layouts"),
    (799, "Defects of causal_dsl"),
    (800, "Circuits"),
    (830, "Measures at a place"),
    (850, "Measures of a whole alignment"),
    (860, "Pages and figures of results"),
    (870, "Runs side by side, and the command line"),
    (880, "Editors"),
    (885, "Notebooks and agents"),
    (890, "More of circuits and readings"),
    (900, "Work in shards"),
    (915, "Workers, clusters and stores"),
    (930, "Very many pairs"),
    (940, "Weights that are in no one memory"),
    (950, "Dictionaries in circuits"),
    (960, "More of networks, features and fits"),
    (975, "More of written values, and of words that packages add"),
    (985, "More of measures"),
)
#: Chapters whose numbers may all be taken, by where they begin, and where the chapter begins that has the next codes of the kind.
CONTINUED = {
    500: 545,
    663: 960,
    710: 960,
    720: 960,
    730: 960,
    740: 960,
    750: 960,
    760: 960,
    770: 960,
    777: 960,
    785: 975,
    787: 545,
    790: 975,
    793: 960,
    850: 985,
    885: 880,
}


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.count("|") - 1
    return "\n".join([head, "|---" * columns + "|", *(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)])


def of_answers() -> str:
    """The measures that are shares of right or of other answers."""
    rows = [
        (f"`{m.name}`", m.says, next((_NEEDS[need] for need in m.needs if need in _NEEDS), ""))
        for m in MEASURES.own.values()
        if "answer" in m.needs
    ]
    return _table("| name | estimand | needs |", rows)


def of_logits() -> str:
    """The measures of logits."""
    some = (m for m in MEASURES.own.values() if not {"answer", "number"} & set(m.needs))
    return _table("| name | is | unit |", [(f"`{m.written}`", m.says, _UNITS[m.unit]) for m in some])


def readings() -> str:
    """What is computed from what is at a place."""
    rows = [
        (
            f"`{r.written} @ {r.example}`",
            r.says + (f" ({r.paper})" if r.paper else ""),
            _UNITS[r.unit] if r.unit else "that of the metric",
        )
        for r in READINGS.values()
    ]
    return _table("| written | is | unit |", rows)


def of_numbers() -> str:
    """The scores of outputs that are numbers."""
    rows = [(f"`{m.name}`", m.says.partition(": ")[2]) for m in MEASURES.own.values() if "number" in m.needs]
    return _table("| name | is |", rows)


_MEANT = "; info if the expectations ask for a failure"


def _weight(finding: FindingKind) -> str:
    """The severity of a finding, and where it is another one."""
    return (finding.graded or finding.severity) + _MEANT * finding.against


def findings() -> str:
    """The findings, but for those of learned features."""
    rows = [
        (f"`{f.code}`", f.says, _weight(f), f.forbids_when or ("yes" if f.forbids else ""))
        for f in FINDINGS.values()
        if f.about != "feature"
    ]
    return _table("| code | says | severity | forbids |", rows)


def findings_of_features() -> str:
    """The findings of learned features."""
    rows = [
        (f"`{f.code}`", f.says, _weight(f), f.forbids_when or ("yes" if f.forbids else ""))
        for f in FINDINGS.values()
        if f.about == "feature"
    ]
    return _table("| code | when | severity | forbids |", rows)


def default(setting: Setting) -> str:
    """A default as a spec writes it; `…` for what has none that could be written."""
    match setting.kind, setting.default:
        case "ints", _:
            return "[…]"
        case "string", "":
            return '"…"'
        case _, None:
            return "…"
        case "values", ():
            return "…"
        case _, bool() as truth:
            return str(truth).lower()
        case _, int() | float() as number:
            return f"{number:g}"
        case _, other:
            return str(other)


def row(family: FeatureFamily) -> tuple[str, ...]:
    """A line of the table."""
    settings = [
        f'"{name}"' if setting.positional else f"{name}={default(setting)}" for name, setting in family.settings.items()
    ]
    fitted = "yes" if family.trained else "the variable's own values" if family.classes else "no"
    return f"`{family.name}({', '.join(settings)})`", family.meaning, fitted, family.paper


def families() -> str:
    """The whole table: those that are fitted on labels come first, those from files last."""
    every = sorted(FEATURES.own.values(), key=lambda f: (not f.trained, not f.classes, f.file is not None))
    return _table(FAMILIES, map(row, every))


def methods() -> str:
    """The methods that find circuits."""
    rows = [(f"`{form}`", score, passes) for method in METHODS.values() for form, score, passes in method.forms]
    return _table("| method | score | passes |", rows)


def sites() -> str:
    """The components of networks, in the order in which a network computes them."""
    rows = []
    for one in COMPONENTS.values():
        of = "of a vector network: " * (one.kinds == ("vector",))
        rows.append((one.shown, of + (f"{one.meaning}. {one.more}" if one.more else one.meaning)))
    return _table("| site | what it is |", rows)


def values() -> str:
    """The written values: those that are made from the current vector after the others, and what is made of any of them last."""
    every = sorted(VALUES.own.values(), key=lambda value: ("any of these" in value.meaning, value.kind.current))
    return _table("| value | what is written |", ((value.forms, value.meaning) for value in every))


def read_outs() -> str:
    """The sites at which an answer is read, with their settings."""
    return _table(
        "| read-out | |", ((_called(one.name), one.says) for one in CALLED.values() if one.kind == "read-out")
    )


def _called(name: str) -> str:
    settings = ", ".join(f"{key}={default(one)}" for key, one in CALLED[name].settings.items())
    return f"`{name}({settings})`" if settings else f"`{name}`"


def spreads() -> str:
    """The settings that say how the rows of a draw are spread."""
    return _table("| setting | rows |", ((f"`{one.shown}`", one.says) for one in DRAW.values() if one.shown))


def discovers() -> str:
    """The settings of `discover(…)`."""
    methods = [f"`{row_of_method(method.name)}`" for method in METHODS.values()]
    told = f": [{', '.join(methods[:-1])} or {methods[-1]}](measures.md#how-circuits-are-found)"
    settings = CALLED["discover"].settings.items()
    return _table("| setting | |", ((f"`{one.shown}`", one.says + told * (name == "method")) for name, one in settings))


def row_of_method(name: str) -> str:
    """A method with its settings and their defaults."""
    settings = ", ".join(f"{key}={default(one)}" for key, one in METHODS[name].settings.items())
    return f"{name}({settings})" if settings else name


def _settings(owners: Iterable[tuple[str, Mapping[str, Setting]]]) -> str:
    """Settings with their defaults: whatever takes one, and what it decides."""
    found: dict[tuple[str, str], list[str]] = {}
    for owner, settings in owners:
        for name, one in settings.items():
            choices = f" ({', '.join(f'`{choice}`' for choice in one.choices)})" if one.choices else ""
            written = f"`{name}`" if one.required else f"`{name}={default(one)}`"
            found.setdefault((written, one.says + choices), []).append(f"`{owner}`")
    return _table("| setting | in | |", ((name, ", ".join(of), says) for (name, says), of in found.items()))


def settings_of_features() -> str:
    """What families of features take beside the settings of every fit."""
    return _settings((family.name, family.settings) for family in FEATURES.own.values())


def settings_of_values() -> str:
    """What written values take."""
    return _settings((value.name, value.settings) for value in VALUES.own.values())


def settings_of_readings() -> str:
    """What readings at a place take."""
    return _settings((reading.name, reading.options) for reading in READINGS.values())


def settings_of_methods() -> str:
    """What methods that find circuits take."""
    return _settings((method.name, method.settings) for method in METHODS.values())


def ceilings() -> str:
    """The chance levels of answers."""
    return _table("| name | is |", ((f"`{one.name}`", one.says) for one in CEILINGS.values() if not one.numbers))


# ── the page for agents ─────────────────────────────────────────────────────────────────────────


def _list(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {names}: {says}" for names, says in rows)


def measures_in_brief() -> str:
    """Every measure in a line."""
    units = {**_UNITS, "logits": "", "number": "", "share": "", "ratio": ""}
    rows = [(m, f" ({units[m.unit]})" if units[m.unit] else "") for m in MEASURES.own.values()]
    return _list((f"`{m.written}`{unit}", re.split(r"; |(?<!et al)\. ", m.says)[0]) for m, unit in rows)


def readings_in_brief() -> str:
    """Every reading at a place in a line."""
    return _list(
        (f"`{r.written} @ {r.example}`", re.split(r"; |(?<!et al)\. |: ", r.says)[0]) for r in READINGS.values()
    )


def features_in_brief() -> str:
    """Every family of features in a line."""
    return _list((row(f)[0], f.meaning) for f in FEATURES.own.values())


def values_in_brief() -> str:
    """The forms of written values, side by side."""
    return ", ".join(form for value in VALUES.own.values() for form in [value.forms] if form) + "."


def verdicts_in_brief() -> str:
    """Every verdict in a line."""
    return _list((f"`{f.code}`", f.says) for f in FINDINGS.values() if f.about == "verdict")


def alarms_in_brief() -> str:
    """Every other finding that can be an alarm."""
    some = (f for f in FINDINGS.values() if f.about != "verdict" and "alarm" in (f.graded or f.severity))
    return _list((f"`{f.code}`", f.says) for f in some)


TABLES = {
    "measures of answers": of_answers,
    "measures of logits": of_logits,
    "readings": readings,
    "measures of numbers": of_numbers,
    "findings": findings,
    "findings of features": findings_of_features,
    "families of features": families,
    "methods that find circuits": methods,
    "sites": sites,
    "written values": values,
    "read-outs": read_outs,
    "settings of a draw": spreads,
    "settings of discover": discovers,
    "settings of features": settings_of_features,
    "settings of values": settings_of_values,
    "settings of readings": settings_of_readings,
    "settings of methods": settings_of_methods,
    "ceilings": ceilings,
    "measures in brief": measures_in_brief,
    "readings in brief": readings_in_brief,
    "features in brief": features_in_brief,
    "values in brief": values_in_brief,
    "verdicts in brief": verdicts_in_brief,
    "alarms in brief": alarms_in_brief,
}


def page(text: str) -> str:
    """A page with the tables between its marks ``<!-- NAME -->`` and ``<!-- end -->`` written anew."""
    for name, table in TABLES.items():
        mark = rf"(<!-- {name} -->\n\n).*?(\n\n<!-- end -->)"
        text = re.sub(mark, lambda found, table=table: found[1] + table() + found[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text


# ── whole files ─────────────────────────────────────────────────────────────────────────────────


def free() -> list[tuple[int, str, list[int]]]:
    """Where each chapter of diagnostics begins, its name, and its numbers that no code has, be it of an error or of a warning."""
    taken = {int(page.stem[1:]) for page in (DOCS / "diagnostics.d").glob("*.md")}
    stops = [number for number, _ in CHAPTERS[1:]] + [1000]
    return [
        (start, name, [number for number in range(start, stop) if number not in taken])
        for (start, name), stop in zip(CHAPTERS, stops, strict=True)
    ]


def shown_free() -> list[str]:
    """A line for each chapter: its numbers that are free, or the chapter to which a new code goes instead."""
    names = dict(CHAPTERS)
    lines = []
    for start, name, numbers in free():
        runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda placed: placed[1] - placed[0])]
        told = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
        if not told:
            there = CONTINUED.get(start)
            told = f"full; go to {there} {names[there]}" if there else "full"
        lines.append(f"{start} {name}: {told}")
    return lines


def index(_: str = "") -> str:
    """The text of the index: a chapter for each stretch of codes, a line for each code."""
    titles = {}
    for page in (DOCS / "diagnostics.d").glob("*.md"):
        code, title = page.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ").split(": ", 1)
        titles[code] = title
    parts = [
        "# Diagnostics",
        "Codes that begin with E are errors: nothing is run. W are warnings: look, and go on. F is an expectation that "
        "failed: the spec is right, and the network does not do what it says. `causal-dsl explain CODE` shows a page here.",
    ]
    stops = [number for number, _ in CHAPTERS[1:]] + [1000]
    for (start, name), stop in zip(CHAPTERS, stops, strict=True):
        codes = sorted((c for c in titles if start <= int(c[1:]) < stop), key=lambda c: (int(c[1:]), c))
        if codes:
            parts.append(f"## {name}")
            parts.append("\n".join(f"- [{code}](diagnostics.d/{code}.md): {titles[code]}" for code in codes))
    return "\n\n".join(parts) + "\n"


#: Pages in the order in which one reads them; the index of all others follows.
READING_ORDER = (
    "skill",
    "tutorial",
    "language",
    "measures",
    "controls",
    "features",
    "running",
    "scale",
    "training",
    "extending",
    "architectures",
    "editors",
    "gallery/index",
)


def llms(_: str = "") -> str:
    """The text of llms.txt: what the package is, and a line for each page."""
    lines = [
        "# causal_dsl",
        "> A language for hypotheses about what a neural network computes, and an engine that tests them by intervening on the "
        "network. One .causal file holds a causal model, a network, where each variable of the model lives, and the answers to expect.",
        "Read skill.md first: it teaches the language, its measures and their traps. `causal-dsl skill` prints it, "
        "`causal-dsl explain WORD` explains a message, or a word of the language.",
        "## Pages",
        "\n".join(f"- [{title}]({name}.md): {says}" for name in READING_ORDER for title, says in [opening(name)])
        + "\n- [A notebook](notebook.ipynb): specs in the cells of a notebook by `%%causal`, with their results",
        "## Optional",
        "- [Diagnostics](diagnostics.md): every message by its code, each with a page\n"
        "- [The JSON documents](output.schema.json): the schema of what --json prints",
    ]
    return "\n\n".join(lines) + "\n"


def opening(name: str) -> tuple[str, str]:
    """The title of a page, and its first sentence."""
    title, text = (DOCS / f"{name}.md").read_text(encoding="utf-8").split("\n", 1)
    blocks = (block for block in text.strip().split("\n\n") if not block.startswith(("#", "<!--", "|", "```")))
    first = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(next(blocks).split()))
    return title.removeprefix("# "), re.split(r"(?<=[.:]) ", first)[0].rstrip(".:")


def names_of(record: Architecture) -> list[str]:
    """The names under which a config is asked: of its sizes, its tokens, and what settles the record."""
    asked: dict[str, None] = {}
    if record.settle is not None:
        record.settle(record, lambda name: asked.setdefault(name))
    if record.inner is not None:
        record.inner(lambda name: asked.setdefault(name) or 1)
    if record.count is not None:
        record.count(lambda name: asked.setdefault(name) or 1)
    if record.dense is not None:
        record.dense(lambda name: asked.setdefault(name) or (1 if name == "num_hidden_layers" else None))
    return list(dict.fromkeys([*(name for names in SIZES.values() for name in names), *ACTIVATIONS, *TOKENS, *asked]))


def defaults() -> dict[str, dict[str, Any]]:
    """By model type: the settings of its class that are asked for, and what they are by default."""
    from transformers import CONFIG_MAPPING

    found = {}
    for record in ARCHITECTURES.own.values():
        taken = inspect.signature(CONFIG_MAPPING[record.name]).parameters
        found[record.name] = {name: taken[name].default for name in names_of(record) if name in taken}
    return dict(sorted(found.items()))


def decoders() -> dict[str, dict[str, Any]]:
    """The same of every other model type that transformers calls a causal language model, and of those that read pictures or sound
    as well as text: whose layout is inferred at load."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )

    names = [*(name for names in SIZES.values() for name in names), *TOKENS]
    found = {}
    for family in sorted(
        (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() | MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.keys())
        - ARCHITECTURES.own.keys()
    ):
        taken = inspect.signature(CONFIG_MAPPING[family]).parameters
        said = {name: taken[name].default for name in names if name in taken}
        found[family] = {name: value for name, value in said.items() if isinstance(value, int | None)}
    return found


def lines_of(found: dict[str, dict[str, Any]]) -> str:
    """A file of defaults: a line a model type."""
    rows = [f" {json.dumps(name)}: {json.dumps(settings)}" for name, settings in found.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


# ── the schema of the JSON ──────────────────────────────────────────────────────────────────────

#: Types of the shapes as JSON Schema names them.
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
#: The classes of the shapes as they are written, with the sentences below their fields.
SHAPES = {
    node.name: node
    for file in sorted(Path(str(shapes.__file__)).parent.glob("*_fields.py"))
    for node in ast.parse(file.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type that the shapes use."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if typing.is_typeddict(kind):
        return {"$ref": f"#/$defs/{kind.__name__.removesuffix('Json')}"}
    if origin is typing.NotRequired:
        return schema_of(inner[0])
    if origin is typing.Annotated:
        low, high = inner[1]
        return {**schema_of(inner[0]), "minimum": low, "maximum": high}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in inner]}
    raise TypeError(f"no schema of {kind}")


def sentences_of(name: str) -> dict[str, str]:
    """The sentence that stands below each field of a shape, and of those that it extends."""
    shape = SHAPES[name]
    found: dict[str, str] = {}
    for base in shape.bases:
        if isinstance(base, ast.Name) and base.id in SHAPES:
            found |= sentences_of(base.id)
    for field, said in zip(shape.body, [*shape.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(said, ast.Expr), f"{name}.{field.target.id} has no description"
            found[field.target.id] = ast.literal_eval(said.value)
    return found


def definition(shape: type) -> dict[str, Any]:
    """The schema of a document, field by field."""
    told = sentences_of(shape.__name__)
    fields = typing.get_type_hints(shape, include_extras=True)
    left_out = {name for name, kind in fields.items() if typing.get_origin(kind) is typing.NotRequired}
    return {
        "description": " ".join((shape.__doc__ or "").split()),
        "type": "object",
        "properties": {name: {"description": told[name], **schema_of(kind)} for name, kind in fields.items()},
        "required": [name for name in fields if name not in left_out],
        "additionalProperties": False,
    }


def schema() -> dict[str, Any]:
    """The JSON Schema of what the commands print with `--json`, from causal_dsl/shapes/."""
    every = [shape for shape in vars(shapes).values() if typing.is_typeddict(shape)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The documents that causal-dsl prints with --json",
        "anyOf": [
            schema_of(shape)
            for shape in (shapes.RunJson, shapes.CheckJson, shapes.PlanJson, shapes.DiffJson, shapes.HistoryJson)
        ],
        "$defs": {shape.__name__.removesuffix("Json"): definition(shape) for shape in every},
    }


def schema_text(_: str = "") -> str:
    """The file of the schema."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


# ── the names of the package ──────────────────────────────────────────────────────────────────

INIT = DOCS.parent / "causal_dsl" / "__init__.py"


def package_names(text: str) -> str:
    """The imports from the builder that type checkers read, and ``__all__``, written anew."""
    names = sorted({*build.__all__} - set(MEASURES.own))
    imported = "".join(f"        {name},\n" for name in names)
    start = text.index("    from causal_dsl.build import (\n")
    text = (
        text[:start] + f"    from causal_dsl.build import (\n{imported}    )" + text[text.index("    )", start) + 5 :]
    )
    elsewhere = runpy.run_path(str(INIT))["_ELSEWHERE"]
    public = "".join(f'    "{name}",\n' for name in sorted({*names, *elsewhere}))
    start = text.index("__all__ = [\n")
    return text[:start] + f"__all__ = [\n{public}]" + text[text.index("]", start) + 1 :]


# ── all of it ───────────────────────────────────────────────────────────────────────────────────

#: What is written: a file, and its text given the one that is there.
FILES: dict[Path, Callable[[str], str]] = {
    DOCS / "language.md": page,
    DOCS / "measures.md": page,
    DOCS / "features.md": page,
    DOCS / "skill.md": page,
    DOCS / "diagnostics.md": index,
    DOCS / "llms.txt": llms,
    INIT: package_names,
    DEFAULTS: lambda _: lines_of(defaults()),
    DECODERS: lambda _: lines_of(decoders()),
    DOCS / "output.schema.json": schema_text,
    EDITORS / "vscode" / "syntaxes" / "causal.tmLanguage.json": editor_files.textmate,
    EDITORS / "vim" / "syntax" / "causal.vim": editor_files.vim,
    EDITORS / "emacs" / "causal-mode.el": editor_files.emacs,
}


def _of_gallery() -> None:
    """The pages of the gallery, which docs/gallery.py makes of the specs."""
    for path, text in runpy.run_path(str(DOCS / "gallery.py"))["pages"]().items():
        FILES[path] = lambda _, text=text: text  # type: ignore[misc]


_of_gallery()


def stale() -> dict[Path, str]:
    """The files that are not as they would be written, and what they should hold."""
    found = {}
    for path, write in FILES.items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        if (made := write(there)) != there:
            found[path] = made
    return found


def main(words: list[str]) -> int:
    if "--free" in words:
        print("\n".join(shown_free()))
        return 0
    changes = stale()
    for path, text in changes.items():
        print(path.relative_to(DOCS.parent))
        if "--check" not in words:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if changes and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
