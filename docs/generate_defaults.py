"""Write into ``defaults.json`` of the architectures what the configuration classes of transformers say by default.

Run it after an architecture was added: ``python docs/generate_defaults.py``. It asks the installed transformers.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING

from causal_dsl.vocabulary.architectures import ARCHITECTURES, Architecture
from causal_dsl.vocabulary.architectures.record import SIZES

FILE = Path(__file__).parents[1] / "causal_dsl" / "vocabulary" / "architectures" / "defaults.json"
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")


def names_of(record: Architecture) -> list[str]:
    """The names under which a config is asked: of its sizes, its tokens, and what settles the record."""
    asked: dict[str, None] = {}
    if record.settle is not None:
        record.settle(record, lambda name: asked.setdefault(name))
    if record.inner is not None:
        record.inner(lambda name: asked.setdefault(name) or 1)
    return list(dict.fromkeys([*(name for names in SIZES.values() for name in names), *TOKENS, *asked]))


def defaults() -> dict[str, dict[str, Any]]:
    """By model type: the settings of its class that are asked for, and what they are by default."""
    found = {}
    for record in ARCHITECTURES.own.values():
        taken = inspect.signature(CONFIG_MAPPING[record.name]).parameters
        found[record.name] = {name: taken[name].default for name in names_of(record) if name in taken}
    return dict(sorted(found.items()))


def text() -> str:
    rows = [f" {json.dumps(name)}: {json.dumps(settings)}" for name, settings in defaults().items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
