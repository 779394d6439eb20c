"""One virtual environment for each peer: each has requirements of its own, and none may change what another gets.

``python -m benchmarks setup`` makes them by pip, outside the repository. An environment is whole where its
``made.json`` holds the requirements that stand here; a second call only compares them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: The same torch everywhere: what is compared is the way of doing it, not the version of a kernel.
TORCH = "torch==2.13.0"
MADE = "made.json"
#: The published code of edge attribution patching with integrated gradients (Hanna et al. 2024), which is no package.
EAP_IG = "eap @ git+https://github.com/hannamw/EAP-IG@795f5607b25638935aec89aee3c1cb4bd9ed72f1"
VARIABLE = "CAUSAL_DSL_BENCHMARKS"


@dataclass(frozen=True)
class Environment:
    """What pip installs beside :data:`TORCH`, and the modules that must import afterwards."""

    name: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    needs_torch: bool = True

    def to_json(self) -> dict[str, object]:
        torch = [TORCH] if self.needs_torch else []
        return {"requirements": [*torch, *self.requirements], "python": list(sys.version_info[:2])}


_TRANSFORMERS = "transformers==5.23.0"

ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        Environment("plain", (_TRANSFORMERS,), ("torch", "transformers")),
        Environment("pyvene", ("pyvene==0.1.8", _TRANSFORMERS), ("torch", "pyvene")),
        Environment("nnsight", ("nnsight==0.8.1", _TRANSFORMERS), ("torch", "nnsight")),
        Environment("transformer_lens", ("transformer-lens==4.3.0", _TRANSFORMERS), ("torch", "transformer_lens")),
        Environment(
            "eap_ig",
            ("transformer-lens==2.18.0", "transformers==4.57.3", "pyarrow<22", EAP_IG),
            ("torch", "eap.attribute"),
        ),
        Environment("plot", ("matplotlib==3.*", "numpy"), ("matplotlib",), needs_torch=False),
    )
}


def default_folder() -> Path:
    """``CAUSAL_DSL_BENCHMARKS``, else a folder in the user's cache."""
    import platformdirs

    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("causal_dsl", appauthor=False)) / "benchmarks"


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of an environment."""
    return folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_whole(folder: Path, name: str) -> bool:
    """Whether the environment was made to the end with the requirements that stand here."""
    try:
        made = json.loads((folder / name / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return made == ENVIRONMENTS[name].to_json() and python_of(folder, name).exists()


def versions_of(folder: Path, name: str) -> dict[str, str]:
    """What is installed in an environment, by distribution."""
    listed = subprocess.run(
        [python_of(folder, name), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {found["name"].lower().replace("_", "-"): found["version"] for found in json.loads(listed.stdout)}


def make(folder: Path, name: str) -> None:
    """Make (or make anew) one environment; raises ``CalledProcessError`` where pip or an import fails."""
    environment = ENVIRONMENTS[name]
    home = folder / name
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    install: list[str | Path] = [python_of(folder, name), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text(f"{TORCH}\n", encoding="utf-8")
        # torch goes first and stays pinned: left to a peer's own requirement, pip may pick another build of it.
        if environment.needs_torch:
            subprocess.run([*install, "-c", constraints, TORCH], check=True)
        subprocess.run([*install, "-c", constraints, *environment.requirements], check=True)
    code = "\n".join(f"import {module}" for module in environment.imports)
    subprocess.run([python_of(folder, name), "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    (home / MADE).write_text(json.dumps(environment.to_json(), indent=2) + "\n", encoding="utf-8")


def setup(folder: Path, only: tuple[str, ...] = ()) -> list[str]:
    """Make every environment that is not whole yet; gives the names of those that could not be made."""
    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or tuple(ENVIRONMENTS):
        if is_whole(folder, name):
            print(f"{name:17} is there")
            continue
        print(f"{name:17} is being made: {', '.join(ENVIRONMENTS[name].requirements)}", flush=True)
        try:
            make(folder, name)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name:17} failed (exit {error.returncode})", flush=True)
    return failed
