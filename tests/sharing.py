"""Networks that the tests of a process share: each is loaded, proved and held steady once, and not again for every run on it.

What is shared are the checkpoints that tests write (``tests/engine/tiny.py``) and the networks of the zoo, as long as no file of
theirs changes. Modules of a user's own code, streamed and trained networks are each run's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from torch import nn

from causal_dsl.inputs.protocol import InputRows
from causal_dsl.network import at_hand
from causal_dsl.network.network import Network
from causal_dsl.network.steadiness import refuse_unsteady
from causal_dsl.program.program import NetworkRef
from causal_dsl.running import running
from causal_dsl.running.session import Session

#: Bytes of files up to which a network is kept.
LARGEST = 50_000_000
_POOL: dict[Any, Session] = {}
#: The modules that are shared, and those of them that were held steady.
_SHARED: WeakSet[nn.Module] = WeakSet()
_STEADY: WeakSet[nn.Module] = WeakSet()


def _files(ref: NetworkRef) -> tuple[tuple[str, int, int], ...] | None:
    """The files of a network, each with its size and when it changed; None where it is not shared."""
    key = ref.key
    if key.kind not in ("hf", "zoo") or key.training is not None:
        return None
    if {"weights", "shard", "elsewhere", "adapter", "tokenizer", "revision"} & {
        name for name, value in ref.settings if value
    }:
        return None
    folder = Path(key.target)
    if key.kind == "hf" and not (folder.is_absolute() and folder.is_dir()):
        return None
    found = [file.stat() for file in sorted(folder.rglob("*")) if file.is_file()] if key.kind == "hf" else []
    if sum(stat.st_size for stat in found) > LARGEST:
        return None
    return tuple((str(stat.st_ino), stat.st_size, stat.st_mtime_ns) for stat in found)


class SharingSession(Session):
    """A session that takes networks which another run loaded."""

    def network(self, ref: NetworkRef) -> Network:
        files = _files(ref)
        if files is None:
            return super().network(ref)
        options = self.options
        asked = ref.key.loaded, options.device, options.dtype, options.trust, files
        network = _POOL.setdefault(asked, Session(options)).network(ref)
        _SHARED.add(network.model)
        return network


def _held_steady_once(network: Network, inputs: InputRows, span: Any) -> None:
    if network.model not in _STEADY:
        refuse_unsteady(network, inputs, span)
        if network.model in _SHARED:
            _STEADY.add(network.model)


@pytest.fixture
def own_networks() -> None:
    """For a test that changes what a network is made of, such as a class of transformers: nothing is shared with it."""


@pytest.fixture(autouse=True)
def shared_networks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the ``conftest.py`` of a folder whose tests are not about loading."""
    if "own_networks" in request.fixturenames:
        return
    monkeypatch.setattr(running, "Session", SharingSession)
    monkeypatch.setattr(at_hand, "refuse_unsteady", _held_steady_once)
