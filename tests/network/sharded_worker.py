"""What one of several processes runs for ``test_sharded.py``: a spec by the package's own API; the first writes what it found."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

from causal_dsl import api
from causal_dsl.api import Options
from causal_dsl.engine.execute import Execution
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.running.session import Session
from causal_dsl.score.targets import target_ids


def logits_of(spec: Path, die: bool = False) -> list[Any]:
    """The logits of every intervention of a spec, in the order of its plan."""
    checked = api.check(api.load(spec), Options(trust=True))
    checked.raise_errors()
    assert checked.plan is not None
    networks = Session().networks(checked.plan.networks.values())
    if die and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    execution = Execution(checked.plan, networks, checked.answers, target_ids(checked.plan, checked.answers, networks))
    found = [value.numpy() for value in execution.logits().values()]
    (network,) = networks.values()
    layers = [parameter for layer in network.layers for parameter in layer.parameters()]
    held = sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in layers)
    proof = proof_of(network)
    assert proof is not None
    return [sorted(proof.ok), proof.sweep, held, found]


def tests_of(spec: Path, memory: int | None) -> Any:
    """What a run of a spec says of its tests."""
    return json.loads(
        json.dumps(api.run(api.load(spec), Options(seed=0, memory=memory)).to_json()["specs"][0]["tests"])
    )


def found_of(what: str, spec: Path, memory: int | None = None) -> Any:
    return tests_of(spec, memory) if what == "run" else logits_of(spec, what == "die")


def write(out: Path, found: Any) -> None:
    """The first process tells what was found; every process, that it has ended."""
    if os.environ.get("RANK", "0") == "0":
        out.write_bytes(pickle.dumps(found))


def serve() -> None:
    """One job after the other, a line of standard input each: to start takes longer than most of them."""
    for line in sys.stdin:
        job = json.loads(line)
        os.environ["CAUSAL_DSL_CACHE"] = job["cache"]
        write(Path(job["out"]), found_of(job["what"], Path(job["spec"]), job["memory"]))
        print("done", flush=True)


def main() -> None:
    if sys.argv[1] == "serve":
        serve()
    else:
        write(Path(sys.argv[3]), found_of(sys.argv[1], Path(sys.argv[2])))


if __name__ == "__main__":
    main()
