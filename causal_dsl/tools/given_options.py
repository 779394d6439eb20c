"""The options of a run from the arguments that say them: a field of ``Options`` takes the argument of its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from causal_dsl.checking.specs import Options

#: Fields of ``Options`` whose argument has another name.
OTHERWISE = {"tests": "test", "networks": "network", "memory": "batch_memory", "compiled": "compile"}


def options_of(arguments: Mapping[str, Any], **known: Any) -> Options:
    """The options that arguments say by their names. ``known``: fields that are read in another way, such as the networks of
    ``--network NAME=PATH``."""
    said = {field: arguments[argument] for field, argument in OTHERWISE.items() if argument in arguments}
    return Options.of({**arguments, **said}, **known)


__all__ = ["OTHERWISE", "options_of"]
