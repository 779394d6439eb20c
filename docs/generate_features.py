"""Write the table of families in ``docs/features.md`` from their records.

Run it after a family was added or changed: ``python docs/generate_features.py``.
"""

from __future__ import annotations

from pathlib import Path

from causal_dsl.vocabulary.features import FEATURES, FeatureFamily
from causal_dsl.vocabulary.settings import Setting

PAGE = Path(__file__).parent / "features.md"
HEAD = "| written | the variable is | fitted on labels | paper |\n|---|---|---|---|\n"


def default(setting: Setting) -> str:
    """A default as a spec writes it; `…` for what has none that could be written."""
    match setting.kind, setting.default:
        case "ints", _:
            return "[…]"
        case "string", "":
            return '"…"'
        case _, None:
            return "…"
        case _, int() | float() as number:
            return f"{number:g}"
        case _, other:
            return str(other)


def row(family: FeatureFamily) -> str:
    """A line of the table."""
    settings = [
        f'"{name}"' if setting.positional else f"{name}={default(setting)}" for name, setting in family.settings.items()
    ]
    fitted = "yes" if family.trained else "the variable's own values" if family.classes else "no"
    cells = f"`{family.name}({', '.join(settings)})`", family.meaning, fitted, family.paper
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def table() -> str:
    """The whole table: those that are fitted on labels come first, those from files last."""
    families = sorted(FEATURES.own.values(), key=lambda f: (not f.trained, not f.classes, f.file is not None))
    return HEAD + "".join(f"{row(family)}\n" for family in families)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(HEAD)
    PAGE.write_text(before + table() + after[after.index("\n\n") + 1 :], encoding="utf-8")
