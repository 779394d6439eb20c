"""``causal-dsl merge DIR… --out DIR``: what shards finished, united in one folder of results, and scored."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.checking.checking import check
from causal_dsl.checking.specs import Options, Spec, load
from causal_dsl.diagnostics import Diagnostic, Span, SpecError, did_you_mean, fail, shown_path
from causal_dsl.network.fingerprint import shown
from causal_dsl.store.documents import read_object
from causal_dsl.store.keys import RunInputs, changes, versions
from causal_dsl.store.out import RESULTS, UNITS, folder_of, opened, unwritable
from causal_dsl.store.ran_on import RanOn
from causal_dsl.units.shard_contents import ShardFolder, copy_units, is_whole, known_runs, run_of, shards_in
from causal_dsl.units.shards import SHARD

#: How many missing units a message names.
_NAMED = 6


@dataclass(frozen=True, eq=False)
class MergedSpec:
    """A spec whose shards were united, the options that it was run with, and all that its units were computed on."""

    spec: Spec
    options: Options
    units: int
    shards: int
    ran_on: RanOn


def merged(
    folders: Sequence[Path],
    out: Path,
    trust: bool,
    allow: Sequence[Path],
    spec: Path | None,
    place: Callable[[str], Span],
    replaces: bool = False,
) -> tuple[list[MergedSpec], dict[str, SpecError]]:
    """Unite the shards below some folders in ``out``. Raises E902 for a folder without shards, E903 for shards of different
    runs, E904 where units are missing, E905 where a spec is not where the shards read it, E906 where ``out`` has results of another
    run and ``replaces`` does not say that they may go, and E708, E755 and E756 of ``out``. A fault of one of several specs keeps no other
    from being united: they are given by its name, and raised where all specs have one."""
    specs: dict[str, list[ShardFolder]] = {}
    for folder in folders:
        found = list(shards_in(folder))
        if not found:
            raise _no_shards(folder, place(str(folder)))
        for one in found:
            specs.setdefault(one.said["spec"] if one.said["path"] is None else Path(one.said["path"]).name, []).append(
                one
            )
    if spec is not None and len(specs) > 1:
        raise fail(
            "E905",
            "`--spec` names one spec, and the shards are of several",
            place(str(spec)),
            notes=(f"there are {', '.join(f'`{name}`' for name in specs)}",),
            help="leave --spec out, or merge the shards of one spec alone",
        )
    at = place(str(folders[0]))
    united: list[MergedSpec] = []
    faults: dict[str, SpecError] = {}
    for name, shards in specs.items():
        try:
            united.append(_merged(shards, out, trust, allow, spec, at, place(str(out)), replaces))
        except SpecError as error:
            faults[name] = error
    if not united:
        raise SpecError(list(dict.fromkeys(one for error in faults.values() for one in error.diagnostics)))
    return united, faults


def _no_shards(folder: Path, at: Span) -> SpecError:
    if not folder.is_dir():
        near = [entry.name for entry in folder.parent.glob("*")] if folder.parent.is_dir() else []
        help = did_you_mean(folder.name, near, "name the --out of `causal-dsl run SPEC --shard i/N --out DIR`")
        return fail("E902", f"there is no folder `{shown_path(folder)}`", at, help=help)
    return fail(
        "E902",
        f"`{shown_path(folder)}` holds no shard",
        at,
        notes=(f"no folder in it has a `{SHARD}`, which a shard writes as it begins",),
        help="name the --out of `causal-dsl run SPEC --shard i/N --out DIR`",
    )


def _merged(
    shards: list[ShardFolder],
    out: Path,
    trust: bool,
    allow: Sequence[Path],
    spec: Path | None,
    at: Span,
    there: Span,
    replaces: bool,
) -> MergedSpec:
    first = shards[0]
    for other in shards[1:]:
        _refuse_others(first, other, at)
    of = first.said["spec"]
    read = load(_spec_of(first, spec, at))
    shown = read.name
    _refuse_runs(shards, at)
    networks = _networks_of(shards, at)
    options = _options_of(first, out, trust, allow)
    _refuse_now(shards, read, options, at)
    if not replaces:
        _refuse_others_results(folder_of(out, shown), shards, there)
    missing, damaged = _missing(shards)
    with opened(out, shown) as held:
        try:
            for one in shards:
                copy_units(one.units.root, held.folder / UNITS)
        except OSError as error:
            raise unwritable(out, shown, error) from error
    if missing:
        raise _incomplete(first, missing, damaged, shown, len(shards), at)
    runs = {part: about["inputs"] for part, about in known_runs(shards).items()}
    ran_on = RanOn(networks, runs, lambda found: _other_now(of, found, at))
    return MergedSpec(read, options, len(first.said["units"]), first.said["of"], ran_on)


def _options_of(shard: ShardFolder, out: Path, trust: bool, allow: Sequence[Path]) -> Options:
    networks = {name: Path(one) for name, one in shard.said["networks"].items()}
    said = shard.said["identity"]
    return Options.of(said, networks=networks, trust=trust, allow=tuple(allow), out=out, shared=True)


def _refuse_now(shards: Sequence[ShardFolder], spec: Spec, options: Options, at: Span) -> None:
    """Raise E903 where the spec, a file that it reads, or a version is another now than when the shards ran."""
    checked = check(spec, options)
    checked.raise_errors()
    first = shards[0].said
    if checked.digest != first["identity"]["spec"]:
        raise _other_spec(spec, at)
    own = None if spec.path is None else Path(os.path.abspath(spec.path))
    now = {shown(path, spec.folder): known for path, known in checked.reads.digests().items() if path != own}
    found = changes(first["versions"], versions())
    for about in known_runs(shards).values():
        before = about["inputs"]["files"]
        found += changes(
            {path: before[path] for path in now if path in before}, {p: now[p] for p in now if p in before}
        )
    if found:
        raise _other_now(spec.name, list(dict.fromkeys(found)), at)


def _other_now(spec: str, found: Sequence[str], at: Span) -> SpecError:
    notes = ("from the shards to this merge:", *found[:_NAMED])
    return fail(
        "E903",
        f"the shards of {spec} ran on something else than there is now",
        at,
        notes=(*notes, *([f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else [])),
        help="restore it, or run the shards again; nothing was computed, and nothing was removed",
    )


def not_stored(place: Span) -> Diagnostic:
    """E903: something that the scores need is not among what the shards stored."""
    return Diagnostic(
        "E903",
        "the shards stored nothing for a part of what is to be scored",
        place,
        notes=("all units are there, and one of them was computed on something else than there is now",),
        help="run the shards again: what is stored for what is there now is found",
    )


def _refuse_others(first: ShardFolder, other: ShardFolder, at: Span) -> None:
    """Raise E903 for shards of different runs."""
    one, two = ({k: v for k, v in shard.said["identity"].items() if k != "networks"} for shard in (first, other))
    found = [
        *changes(one, two),
        *_other_networks(first, other),
        *changes(first.said["versions"], other.said["versions"]),
        *changes({"the number of shards": first.said["of"]}, {"the number of shards": other.said["of"]}),
    ]
    if not found and _units(first) != _units(other):
        found = ["the work was cut into other units, or shared out otherwise"]
    if found:
        raise _different(first, other, found, at)


def _other_networks(first: ShardFolder, other: ShardFolder) -> list[str]:
    """Which `--network` one of two shards was given and the other was not; their folders may be others on each machine."""
    one, two = first.said["networks"], other.said["networks"]
    found = [f"`--network {name}={one[name]}` is gone" for name in one if name not in two]
    return found + [f"`--network {name}={two[name]}` is new" for name in two if name not in one]


def _other_spec(spec: Spec, at: Span) -> SpecError:
    return fail(
        "E903",
        "the spec is another than the one that the shards ran",
        at,
        notes=(f"`{spec.name}`, or a file that it imports, has another content",),
        help="restore it, or run the shards again",
    )


def _units(shard: ShardFolder) -> list[Any]:
    return [[unit["key"], unit["shard"]] for unit in shard.said["units"]]


def _different(first: ShardFolder, other: ShardFolder, found: Sequence[str], at: Span) -> SpecError:
    notes = [
        f"from {first.name} in `{shown_path(first.folder)}` to {other.name} in `{shown_path(other.folder)}`:",
        *found[:_NAMED],
    ]
    return fail(
        "E903",
        f"the shards of {first.said['spec']} are of different runs",
        at,
        notes=(*notes, *([f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else [])),
        help="run every shard with the same command except for i of --shard i/N, with the same files and the same versions",
    )


def _refuse_runs(shards: Sequence[ShardFolder], at: Span) -> None:
    """Raise E903 where the blocks of one part belong to different runs, though the spec and versions are the same: of other
    weights, say, or cut otherwise."""
    known: dict[str, tuple[ShardFolder, dict[str, Any]]] = {}
    for shard in shards:
        for unit in shard.said["units"]:
            done = shard.units.done(unit["key"]) if unit["kind"] == "block" else None
            for file in done.files[:1] if done is not None else ():
                about = run_of(shard.units.root / file)
                if about is None:
                    continue
                first, before = known.setdefault(unit["network"], (shard, about))
                found = changes(before["inputs"], about["inputs"])
                if not found and before["cut"] != about["cut"]:
                    found = ["the work was cut into other blocks: give every shard the same --batch-memory"]
                if found:
                    raise _different(first, shard, found, at)


def _networks_of(shards: Sequence[ShardFolder], at: Span) -> dict[str, list[dict[str, Any]]]:
    """The networks that the units of shards were computed on, by name, in each way in which one was loaded. Raises E903 where it was another
    for some of them."""
    known: dict[tuple[str, ...], tuple[ShardFolder, dict[str, Any]]] = {}
    for shard in shards:
        for unit in shard.said["units"]:
            done = shard.units.done(unit["key"])
            for name, inputs in shard.units.networks_of(done) if done is not None else ():
                way = (name, *(str(inputs.get(what)) for what in ("kind", "dtype", "device")))
                first, before = known.setdefault(way, (shard, inputs))
                found = changes(before, inputs, f"network `{name}`")
                if found:
                    raise _different(first, shard, found, at)
    networks: dict[str, list[dict[str, Any]]] = {}
    for (name, *_), (_, inputs) in known.items():
        networks.setdefault(name, []).append(inputs)
    return networks


def _refuse_others_results(folder: Path, shards: Sequence[ShardFolder], at: Span) -> None:
    """Raise E906 where a folder has the results of another run: of another spec, with other options or versions, or of other weights."""
    try:
        kept = read_object(folder / RESULTS)
        before, versions = dict(kept["identity"]), dict(kept["versions"])
        measured = bool(before) or any(test["cells"] for test in kept["tests"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        found = [f"its `{RESULTS}` cannot be read"]  # whatever it is, no run of these shards wrote it
    else:
        if not measured:
            return  # no numbers are lost
        said, own = shards[0].said["identity"], shards[0].said["versions"]
        listed = ("tests", "networks")  # the tests of all parts, and the names alone of networks
        now = {one.name: said[one.name] for one in fields(RunInputs) if one.name in said and one.name not in listed}
        parts = [about["inputs"] for about in known_runs(shards).values()]
        if len(parts) == 1:  # one part is all of the spec
            now = {name: value for name, value in parts[0].items() if name != "versions"}
        found = [
            *changes({name: before.get(name) for name in now}, now),
            *changes({name: versions.get(name) for name in own}, own),
        ]
    if found:
        raise fail(
            "E906",
            f"`{shown_path(folder)}` has the results of another run",
            at,
            notes=(
                "from that run to the shards:",
                *found[:_NAMED],
                *([f"and {len(found) - _NAMED} more"] * (len(found) > _NAMED)),
            ),
            help="pass another folder to --out, or --replace, which puts the results of the shards in their place",
        )


def _missing(shards: Sequence[ShardFolder]) -> tuple[list[dict[str, Any]], list[Path]]:
    """The units that no shard has finished, and files that are not as they were written."""
    missing, damaged = [], []
    for unit in shards[0].said["units"]:
        there = False
        for shard in shards:
            done = shard.units.done(unit["key"])
            if done is None:
                continue
            broken = [shard.units.root / file for file in done.files if not is_whole(shard.units.root / file)]
            damaged += broken
            there = there or not broken
        if not there:
            missing.append(unit)
    return missing, damaged


def _incomplete(
    first: ShardFolder, missing: Sequence[dict[str, Any]], damaged: Sequence[Path], spec: str, there: int, at: Span
) -> SpecError:
    of = first.said["of"]
    whose: dict[int, list[str]] = {}
    for unit in missing:
        whose.setdefault(unit["shard"], []).append(unit["label"])
    notes = [
        f"shard {number}/{of}: {', '.join(labels[:2])}{f' and {len(labels) - 2} more' if len(labels) > 2 else ''}"
        for number, labels in sorted(whose.items())
    ]
    more = [f"and of {len(notes) - _NAMED} more shards"] if len(notes) > _NAMED else []
    more += [f"`{shown_path(path)}` is not as it was written" for path in damaged[:_NAMED]]
    number = min(whose)
    return fail(
        "E904",
        f"{len(missing)} of {len(first.said['units'])} units of {spec} are missing",
        at,
        notes=(*notes[:_NAMED], *more, f"{there} of {of} shards are here; what they finished was united and is kept"),
        help=f"run the missing shards (causal-dsl run {spec} --shard {number}/{of} --out DIR), and merge again",
    )


def _spec_of(shard: ShardFolder, given: Path | None, at: Span) -> Path:
    path = given or (Path(shard.said["path"]) if shard.said["path"] else None)
    if path is not None and path.is_file():
        return path
    raise fail(
        "E905",
        f"the spec of the shards is not there: `{shown_path(path) if path else shard.said['spec']}`",
        at,
        help="name it with --spec PATH",
    )


__all__ = ["MergedSpec", "merged", "not_stored"]
