"""Fitted features on disk, found again by what decides them.

A file of a finished fit holds its maps and, as metadata, what they were fitted on; a key of everything that decides them
is its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_dsl.diagnostics import NOWHERE, fail, shown_path
from causal_dsl.fitting.job import Job
from causal_dsl.fitting.precomputed import FitActivations
from causal_dsl.inputs import Inputs
from causal_dsl.network.fingerprint import anywhere, fingerprint
from causal_dsl.network.network import Network
from causal_dsl.planning.plan import FitUnit
from causal_dsl.planning.steps import taken
from causal_dsl.program.feature_files import files_of
from causal_dsl.program.read_features import FeatureRef
from causal_dsl.store import keys, later, reads, rooms, stopping_points
from causal_dsl.store.hashes import of_file
from causal_dsl.store.keys import FitInputs, versions
from causal_dsl.store.tensors import Damaged, load_tensors, take_tensors, write_tensors

FORMAT = 2


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def key_of(unit: FitUnit, job: Job, cache: FitActivations, network: Network, seed: int) -> FitInputs:
    """Everything that decides a fit: maps, data, labels, the network, the numbers that are computed with."""
    found = hashlib.sha256()
    for materials in zip(job.fit, job.validation, strict=True):
        for material in materials:
            for write in material.resume.writes:
                block = None if write.feature is None else write.feature.block
                found.update(f"{write.place} {write.add} {block} {write.value.told()}".encode())
                if write.feature is not None and write.inside:
                    found.update(f"inside {told(write.feature)}".encode())
            found.update(np.ascontiguousarray(material.labels.target).tobytes())
            if material.labels.columns is not None:
                found.update(np.ascontiguousarray(material.labels.columns).tobytes())
            for told_apart in (material.labels.spelling, material.labels.own):
                if told_apart is not None:
                    found.update(np.ascontiguousarray(told_apart).tobytes())
            runs = [material.resume.base, *(capture.forward for capture in taken(material.resume))]
            for run in dict.fromkeys(runs):
                rows = cache.plan.rows[run]
                inputs = cache.plan.inputs[network.key]
                for index in rows.tolist():
                    found.update(inputs.content(index))
                for write in material.resume.writes:
                    found.update(np.array(cache.layouts.spans(write.place.position, run)[1]).tobytes())
    read = [path for ref in unit.maps for f in ref.chain for path in files_of(f.name, dict(f.settings))]
    writes = [write for material in (*job.fit, *job.validation) for write in material.resume.writes]
    read += [path for write in writes for value in write.value.walk() for path in value.files]
    inside = [write.feature for write in writes if write.feature is not None and write.inside]
    read += [path for ref in inside for f in ref.chain for path in files_of(f.name, dict(f.settings))]
    return FitInputs(
        fitting=asdict(unit.fitting),
        maps=tuple(told(ref) for ref in unit.maps),
        files={str(number): of_file(path) for number, path in enumerate(read)},
        data=found.hexdigest(),
        seed=seed,
        network=anywhere(network),
        way=cache.why,
        versions=versions(),
    )


def hash_of(inputs: Inputs, index: int) -> int:
    """A number for the content of an input: prompts of the same tokens have the same."""
    return int.from_bytes(hashlib.blake2b(inputs.content(index), digest_size=7).digest(), "little")


def told(ref: FeatureRef) -> list[Any]:
    """A map, without where its files lie: what they hold is among the inputs of a fit."""
    chain = [[f.name, {k: v for k, v in f.settings if k != "path"}] for f in ref.chain]
    return [list(ref.variables), str(ref.place), chain, ref.joined, ref.variant]


# ── finished fits ───────────────────────────────────────────────────────────────────────────────


def write(path: Path, job: Job, cache: FitActivations, network: Network, made_for: FitInputs) -> None:
    """Keep the maps of a finished fit, and beside them what they were made for."""
    tensors: dict[str, Tensor] = {}
    for number, feature in enumerate(job.features.values()):
        tensors |= {f"{number}/{name}": tensor for name, tensor in feature.tensors().items()}
    inputs = cache.plan.inputs[network.key]
    seen = {
        hash_of(inputs, index)
        for material in (*job.fit, *job.validation)
        for run in (material.resume.base, *(capture.forward for capture in taken(material.resume)))
        for index in np.unique(cache.plan.rows[run]).tolist()
    }
    tensors["fitted_on"] = torch.tensor(sorted(seen), dtype=torch.int64)
    about = {
        "format": FORMAT,
        "key": keys.key_of(made_for),
        "made_for": keys.told(made_for),
        "maps": [told(ref) for ref in job.unit.maps],
        "network": network.name,
        "fingerprint": fingerprint(network),
        "losses": job.losses,
        "checks": job.checks,
        "steps": job.step,
        "best_at": job.best_at,
        "moved": job.moved,
        "restart": job.restart,
        "pairs": job.total,
        "inputs": len(seen),
        "says": str(job.unit),
        "later": later.told_now(),
        "widths": [feature.width for feature in job.features.values()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, about, keys.key_of(made_for))
    stopping_points.reached("fit")


def read(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the metadata of the kept fit of a key; None where there is none, or a file that the network read as it was fitted
    is another by now. A damaged one is set aside (W659)."""
    found = take_tensors(path, "a fitted feature in the cache", key)
    return found if found is not None and later.holds(found[1].get("later")) else None


def find(key: str) -> tuple[Path, tuple[dict[str, Tensor], dict[str, Any]]] | None:
    """The kept fit of a key and its file, in the cache or in a store of results."""
    return rooms.found("features", f"{key}.safetensors", lambda path: read(path, key))


def keep(path: Path, job: Job, cache: FitActivations, network: Network, made_for: FitInputs) -> None:
    """Keep a finished fit in the store of results as well, where there is one, whether or not the cache could take it. Raises
    :class:`~causal_dsl.store.files.CannotWrite`."""
    room = rooms.room()
    if room is None:
        return
    if path.is_file():
        rooms.put("features", path)
    else:
        write(room / "features" / path.name, job, cache, network, made_for)
        rooms.put("features", room / "features" / path.name)


def take(job: Job, found: tuple[dict[str, Tensor], dict[str, Any]]) -> bool:
    """Let a job have the maps of a kept fit; False where they are not those of its features."""
    tensors, about = found
    try:
        for number, feature in enumerate(job.features.values()):
            head = f"{number}/"
            feature.load({k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)})
    except ValueError:
        return False
    job.losses, job.checks = list(about["losses"]), [(loss, share) for loss, share in about["checks"]]
    job.moved = about.get("moved", True)
    job.step, job.best_at, job.done, job.best = about["steps"], about["best_at"], True, {}
    return True


def from_file(path: Path, job: Job, network: Network) -> np.ndarray:
    """Let a job have the maps of a file that a spec names; gives the inputs that they were fitted on, as :func:`hash_of`.

    Raises E729 for a file that cannot be read, or holds features of another site, width or network.
    """
    ref = job.unit.maps[0]
    span, shown = ref.span or NOWHERE, shown_path(path)
    reads.note(path)
    try:
        found = load_tensors(path)
    except (OSError, Damaged) as error:
        raise fail(
            "E729",
            f"`{shown}` holds no fitted feature",
            span,
            notes=(str(error),),
            help="name a file that a run with --out wrote into `features/`",
        ) from error
    about = found[1]
    if not about.keys() >= {"widths", "fingerprint", "network", "says", "maps"}:
        raise fail(
            "E729",
            f"`{shown}` holds no fitted feature",
            span,
            notes=("it is of another kind",),
            help="name a file that a run with --out wrote into `features/`",
        )
    widths = [feature.width for feature in job.features.values()]
    if about["widths"] != widths:
        raise fail(
            "E729",
            f"`{shown}` is for vectors of {_listed(about['widths'])} numbers, and these have {_listed(widths)}",
            span,
            help="name a file that was fitted at this site",
        )
    if about["fingerprint"] != fingerprint(network) and not ref.elsewhere:
        raise fail(
            "E729",
            f"`{shown}` was fitted on another network, or on other weights of it",
            span,
            notes=(f"it was fitted on `{about['network']}`",),
            help="leave `file` out to fit it again, or write elsewhere=true if the transfer is what you study",
        )
    if not take(job, found):
        raise fail(
            "E729",
            f"`{shown}` holds another feature",
            span,
            notes=(f"it holds {about['says']}", f"the spec says {ref}"),
            help="write the feature with the settings with which it was fitted",
        )
    hashes: np.ndarray = found[0]["fitted_on"].numpy()
    return hashes


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
