"""Writes docs/output.schema.json, the JSON Schema of `run --json`, `check --json` and `plan --json`, from causal_dsl/shapes.py."""

from __future__ import annotations

import ast
import inspect
import json
import types
import typing
from pathlib import Path
from typing import Any

from causal_dsl import shapes

FILE = Path(__file__).parent / "output.schema.json"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
CLASSES = {node.name: node for node in ast.parse(inspect.getsource(shapes)).body if isinstance(node, ast.ClassDef)}


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
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1])}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(each) for each in inner]}
    raise TypeError(f"no schema of {kind}")


def described(name: str) -> dict[str, str]:
    """The sentence that stands below each field of a shape, and of those that it extends."""
    shape = CLASSES[name]
    found: dict[str, str] = {}
    for base in shape.bases:
        if isinstance(base, ast.Name) and base.id in CLASSES:
            found |= described(base.id)
    for field, said in zip(shape.body, [*shape.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(said, ast.Expr), f"{name}.{field.target.id} has no description"
            found[field.target.id] = ast.literal_eval(said.value)
    return found


def definition(shape: type) -> dict[str, Any]:
    told = described(shape.__name__)
    fields = typing.get_type_hints(shape, include_extras=True)
    left_out = {name for name, kind in fields.items() if typing.get_origin(kind) is typing.NotRequired}
    return {
        "description": " ".join((shape.__doc__ or "").split()),
        "type": "object",
        "properties": {name: {"description": told[name], **schema_of(kind)} for name, kind in fields.items()},
        "required": [name for name in fields if name not in left_out],
        "additionalProperties": False,
    }


def document() -> dict[str, Any]:
    every = [shape for shape in vars(shapes).values() if typing.is_typeddict(shape)]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The documents of causal-dsl run --json, check --json and plan --json",
        "anyOf": [schema_of(shape) for shape in (shapes.RunJson, shapes.CheckJson, shapes.PlanJson)],
        "$defs": {shape.__name__.removesuffix("Json"): definition(shape) for shape in every},
    }


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
