"""The provenance of the numbers of a run: the inputs of its key, and what identifies it in its results."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.network.fingerprint import made_of, shown
from causal_dsl.network.known_of_network import with_changes
from causal_dsl.network.network import Network
from causal_dsl.program.identity import NetworkKey
from causal_dsl.program.program import NetworkRef
from causal_dsl.store.hashes import of_bytes
from causal_dsl.store.keys import NetworkInputs, RunInputs, key_of, told, versions
from causal_dsl.store.reads import Reads


def say_made_of(ref: NetworkRef, network: Network, reads: Reads) -> Network:
    """Let a network that was just loaded remember what it was made of."""
    return with_changes(network, inputs=made_of(ref, network, reads), reads=reads)


def network_inputs(networks: Mapping[NetworkKey, Network]) -> dict[str, NetworkInputs]:
    """The parts that each network of a run was made of, by its name in the spec."""
    found = {}
    for key, name in names_of(networks).items():
        inputs = networks[key].inputs
        assert inputs is not None, f"`{name}` was loaded without a record of what was read"
        found[name] = inputs
    return found


def names_of(networks: Mapping[NetworkKey, Network]) -> dict[NetworkKey, str]:
    """Networks by their names in the spec; where two have one name, who they are is added."""
    names = [network.name for network in networks.values()]
    return {key: n.name if names.count(n.name) == 1 else f"{n.name}: {key}" for key, n in networks.items()}


def files_of(spec: Spec, checked: Checked, networks: Mapping[NetworkKey, Network]) -> dict[Path, str]:
    """The SHA-256 of every file that a run reads: those of the spec, and those of its networks."""
    found = dict(checked.reads.digests())
    for network in networks.values():
        if network.reads is not None:
            found |= network.reads.digests()
    return found


def code_of(ref: NetworkRef) -> Path | None:
    """The folder of the user's code that makes a network, or the one that it is trained from; None where there is none."""
    while ref.training is not None:
        ref = ref.training.alignment.network
    return (ref.base / ref.target.rpartition(":")[0]).parent if ref.kind == "torch" else None


def inputs_of(
    spec: Spec,
    checked: Checked,
    networks: Mapping[NetworkKey, Network],
    options: Options,
    features: str,
    behaviour: Mapping[str, str],
) -> RunInputs:
    """All that decides the numbers of a run. Raises E757 where a file was changed since it was read."""
    tests = checked.plan.tests if checked.plan is not None else []
    own = None if spec.path is None else Path(os.path.abspath(spec.path))
    files = {shown(p, spec.folder): known for p, known in sorted(files_of(spec, checked, networks).items()) if p != own}
    return RunInputs(
        spec=checked.digest,
        tests=tuple(test.name for test in tests),
        seed=options.seed,
        dtype=options.dtype,
        device=options.device,
        compiled=options.compiled,
        reference=options.reference,
        memory=options.memory,
        files=files,
        networks=network_inputs(networks),
        features=features,
        circuits=_circuits(checked),
        behaviour=behaviour,
        versions=versions(),
    )


def _circuits(checked: Checked) -> str:
    """A digest of the circuits that were discovered; empty where none is."""
    if checked.plan is None or checked.searches is None:
        return ""
    told = [
        f"{test.name} {number} {[tuple(map(str, member)) for member in i.circuit.members]}"
        for test in checked.plan.tests
        for number, cell in enumerate(test.cells)
        for i in cell.interventions
        if i.circuit is not None and i.circuit.found
    ]
    return of_bytes("\n".join(told).encode())


def identity_of(inputs: RunInputs, options: Options) -> dict[str, Any]:
    """The identity of a run in its results, as plain data."""
    return {
        "key": key_of(inputs),
        "command": ["causal-dsl", *options.command] if options.command else None,
        **{name: value for name, value in told(inputs).items() if name != "versions"},
    }


def machine_of(networks: Iterable[Network]) -> dict[str, Any]:
    """The machine that runs networks, by its kind: nothing in it names the one machine or its user."""
    import torch

    devices = dict.fromkeys(str(network.device) for network in networks)
    used = [torch.cuda.get_device_name(device) if device.startswith("cuda") else device for device in devices]
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "accelerators": list(dict.fromkeys(name for name in used if name != "cpu")),
    }


@cache
def _processor() -> str:
    """The model of the processor where the system tells it, else its kind."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return models[0] if models else platform.machine()


__all__ = ["code_of", "files_of", "identity_of", "inputs_of", "machine_of", "names_of", "network_inputs", "say_made_of"]
