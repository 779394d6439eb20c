"""A run that is told to stop says so, whatever the code that runs at that moment makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from causal_dsl.tools.cli import main
from tests.store.small import VECTOR

NET = """
import os
import signal
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.in_features, self.times = 8, 0
        self.layers = nn.ModuleList([nn.Linear(8, 6), nn.Linear(6, 6)])
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        self.times += 1
        if self.times == WHEN:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(100):
                    pass
            except KeyboardInterrupt:
                raise RuntimeError("a library was interrupted") from None
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.head(x)

def build():
    return Net()
"""


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread")
@pytest.mark.thinned(always=1)
@pytest.mark.parametrize("when", [4, 1, 2, 8])
def test_what_a_library_makes_of_a_signal_is_no_fault_of_the_network(
    when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET.replace("WHEN", str(when)))
    Path("v.causal").write_text(VECTOR.replace(" VIA", "").replace(', weights="net.safetensors"', ""))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["run", "v.causal", "--trust"]) == 128 + signal.SIGTERM
    said = capfd.readouterr()
    assert "error[" not in said.err + said.out and "stopped" in said.err, said
    assert signal.getsignal(signal.SIGTERM) == before
    Path("net.py").write_text(NET.replace("WHEN", "-1"))
    assert main(["run", "v.causal", "--trust"]) == 0, "the next command of the process is not stopped"


#: A console script as pip writes it, and Ctrl-C at the moment when a module is looked for.
SCRIPT = """
import os
import sys

class Stop:
    def find_spec(self, name, *more):
        if name == MODULE:
            os.kill(os.getpid(), 2)
            for _ in range(100):
                pass

sys.modules.pop("signal", None)
sys.meta_path.insert(0, Stop())
from causal_dsl.tools.cli import main
if __name__ == "__main__":
    sys.exit(main(["--version"]))
"""


def script(folder: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, folder / name], capture_output=True, text=True, env=environment)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal reaches a process from itself there")
@pytest.mark.parametrize(
    "module",
    ["signal", "causal_dsl.tools", "causal_dsl.tools.cli", "causal_dsl.base.faults", "causal_dsl.tools.output"],
)
def test_a_command_that_is_stopped_while_the_package_is_imported_is_quiet(module: str, tmp_path: Path) -> None:
    done = script(tmp_path, "causal-dsl", SCRIPT.replace("MODULE", repr(module)))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_a_program_that_imports_the_package_is_stopped_as_it_pleases(tmp_path: Path) -> None:
    said = "import causal_dsl, signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert script(tmp_path, "study.py", said).stdout == "True\n"
    assert script(tmp_path, "causal-dsl", said).stdout == "False\n"
    interrupted = script(tmp_path, "other.py", SCRIPT.replace("MODULE", '"causal_dsl.tools"'))
    assert "KeyboardInterrupt" in interrupted.stderr and "stopped\n" not in interrupted.stderr
