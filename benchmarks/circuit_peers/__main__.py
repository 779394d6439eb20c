"""Prepares the task, runs peers in their environments, and shows how they compare."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import environments
from benchmarks.circuit_peers.task import EVERY, WORKS, Task
from benchmarks.harness import pinned

#: The environment of each peer.
PEERS = {"ours": "", "tlens": "transformer_lens", "eap_ig": "eap_ig"}


def main() -> int:
    given = _parser().parse_args()
    folder: Path = given.out.resolve()
    if given.command == "prepare":
        from benchmarks.circuit_peers.ours import prepare

        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, given.network, given.pairs)
        return 0
    if not (folder / "task.npz").exists():
        print(f"nothing is prepared in {folder}: python -m benchmarks.circuit_peers prepare", file=sys.stderr)
        return 2
    if given.command == "show":
        return show(folder)
    peers, works = given.peers.split(","), given.works.split(",") if given.works else []
    if unknown := [*(p for p in peers if p not in PEERS), *(w for w in works if w not in WORKS)]:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join([*PEERS, *WORKS])}", file=sys.stderr)
        return 2
    envs = given.envs or environments.default_folder()
    for peer in peers:
        name = PEERS[peer]
        if name and not environments.is_whole(envs, name):
            print(f"no environment for {peer}: python -m benchmarks setup {name}", file=sys.stderr)
            return 2
        told = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        job = {"peer": peer, "works": works, "rounds": given.rounds, "folder": str(folder), "network": told["folder"]}
        path = folder / f"job-{peer}.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        python = environments.python_of(envs, name) if name else sys.executable
        done = subprocess.run([python, "-m", "benchmarks.circuit_peers.worker", path], env=pinned(1), cwd=folder)
        if done.returncode:
            print(f"{peer} ended with exit code {done.returncode}", file=sys.stderr)
            return 1
    return show(folder)


def show(folder: Path) -> int:
    """Print the times as multiples of plain forwards, and how far the numbers agree with ours."""
    task = Task.load(folder / "task.npz")
    print(f"{task.pairs} pairs of {task.base.shape[2]} tokens, {len(task.senders)} edges, one thread, CPU time")
    for name, told in WORKS.items():
        print(told)
        for peer in PEERS:
            path = folder / f"{peer}.json"
            rounds = json.loads(path.read_text(encoding="utf-8")).get(name) if path.exists() else None
            if rounds:
                ratios = "; ".join(f"{_ratios(rounds, kind)} {kind}" for kind in rounds[0]["plain"])
                scaled = f", {1 / rounds[0]['scale']:.3g} of them timed" if rounds[0]["scale"] > 1 else ""
                memory = max(one["resident"] for one in rounds) / 2**30
                seconds = statistics.median(one["cpu"] for one in rounds)
                print(f"  {peer:7} {seconds:7.1f} s = {ratios}{scaled}; resident {memory:.2f} GiB")
                if peer != "ours" and (told := _agreement(folder, peer, name)):
                    print(f"          {told}")
    return 0


def _ratios(rounds: list[dict[str, object]], kind: str) -> str:
    found = [one["cpu"] / one["plain"][kind] for one in rounds]  # type: ignore[index, operator]
    return f"{statistics.median(found):.3g} ({min(found):.3g} to {max(found):.3g}, {len(found)} rounds) x"


def _agreement(folder: Path, peer: str, name: str) -> str:
    """The largest difference from ours over the largest number, and the correlation."""
    paths = [folder / f"{one}-{name}.npy" for one in (peer, "ours")]
    if not all(path.exists() for path in paths):
        return ""
    theirs, own = (np.load(path) for path in paths)
    if name == "circuits" and len(theirs) != len(own):
        own = own[::EVERY]
    difference = float(np.abs(theirs - own).max())
    correlation = float(np.corrcoef(theirs.ravel(), own.ravel())[0, 1])
    return f"differs from ours by at most {difference:.2e} of {np.abs(own).max():.3g}; correlation {correlation:.6f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.circuit_peers", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/circuit_peers"), help="folder of task and results")
    parser.add_argument("--envs", type=Path, help="folder of the environments, as of `python -m benchmarks`")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="write the task")
    prepare.add_argument("--network", default="smollm2-135m-instruct-q4")
    prepare.add_argument("--pairs", type=int, default=16)
    run = commands.add_parser("run", help="time peers; results are added to those of earlier runs")
    run.add_argument("--peers", default=",".join(PEERS), help="some of %(default)s")
    run.add_argument("--works", default="", help=f"some of {','.join(WORKS)} (all that a peer can do)")
    run.add_argument("--rounds", type=int, default=3)
    commands.add_parser("show", help="the table of what was run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
