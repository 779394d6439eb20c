"""Networks whose weights are never all in one memory: `weights=stream` reads them as they are needed, `shard=auto` shares
them out over devices."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from causal_dsl.diagnostics import Diagnostics, Span, fail
from causal_dsl.vocabulary.called_words import HELD

#: What :func:`held` says of weights that are read from their files as they are needed.
STREAMED = "`weights=stream`"


def held(settings: Mapping[str, Any]) -> str:
    """The setting that keeps the weights of an `hf` network out of one memory, as it is written; empty where they are in one memory."""
    return next((f"`{name}={settings[name]}`" for name in HELD if settings.get(name) is not None), "")


def is_follower() -> bool:
    """Whether this process computes with others that ``torchrun`` started, and another tells of the results and writes them."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def unshared(networks: Iterable[Mapping[str, Any]]) -> str:
    """The note where ``torchrun`` started several processes, this is the first of them, and none of the networks, by their settings, is
    shared out among them; else nothing."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count < 2 or is_follower() or any(settings.get("shard") == "auto" for settings in networks):
        return ""
    return f"{count} processes were started, and no network has shard=auto: each of them computes everything by itself, which shares nothing"


def refuse_in_group(option: str, at: Span) -> None:
    """Raise E948 where this process is one of several that ``torchrun`` started, for an ``option`` that shares out the work as well."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        raise fail(
            "E948",
            f"`{option}` does not go with the {count} processes that torchrun started",
            at,
            notes=(
                "they share out the blocks of each network with `shard=auto` among themselves, and pass through its layers together",
            ),
            help=f"leave `{option}` out, or start one process without torchrun, which loads whole networks",
        )


def judge_held(settings: Mapping[str, Any], span: Span, found: Diagnostics) -> bool:
    """Whether the settings of an `hf` network go together; reports E940 where they do not."""
    said = held(settings)
    beside = [
        f"`{name}`" for name in ("shard", "adapter") if settings.get(name) is not None and f"`{name}=" not in said
    ]
    if settings.get("device") == "auto":
        beside.append("`device=auto`")
    if not said or not beside:
        return True
    why = {
        "`adapter`": "an adapter is merged into weights that are in memory",
        "`shard`": "weights are read from the files as they are needed, or shared out over devices",
        "`device=auto`": "`device=auto` says by itself where each layer is",
    }[beside[0]]
    found.report(
        "E940",
        f"{said} and {beside[0]} cannot be said of one network",
        span,
        notes=(why,),
        help="merge the adapter, save the network, and name its folder"
        if beside[0] == "`adapter`"
        else "keep one of them",
    )
    return False


__all__ = ["STREAMED", "held", "is_follower", "judge_held", "refuse_in_group", "unshared"]
