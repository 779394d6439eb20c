"""The notebook: the tutorial in a kernel, faults, imports, progress, and an interrupt of the kernel."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
pytestmark = pytest.mark.tools


def lasting(text: str) -> str:
    """An output without times, and without the digits of intervals, which hang on the resamples."""
    timeless = re.sub(r"; \d+\.\d s\b", "", text)
    return re.sub(r"\[-?\d[-\d., ]*\]|up to [\d.]+ wide", "…", timeless)


def words(text: str, kind: str) -> str:
    """What is read: of HTML its text, which the numbers are in, without the style and the drawing."""
    if kind != "text/html":
        return text
    text = re.sub(r"<(style|svg)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def shown(cell: Any) -> list[tuple[str, str]]:
    """What a cell shows, as kinds and texts."""
    found = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            found.append((output.name, lasting(output.text)))
        elif output.output_type == "error":
            found.append((output.ename, lasting("\n".join(output.traceback))))
        else:
            found += [(kind, lasting(words(str(value), kind))) for kind, value in sorted(output.data.items())]
    return [(kind, re.sub(r"<\w+ at 0x\w+>", "", text)) for kind, text in found if text]


class Kernel:
    """A notebook's kernel, and what its cells show."""

    def __init__(self, folder: Path, **more: Any):
        from nbclient import NotebookClient
        from nbformat.v4 import new_notebook

        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        self.notebook = new_notebook(metadata=kernel)
        resources = {"metadata": {"path": str(folder)}}
        self.client = NotebookClient(self.notebook, timeout=120, allow_errors=True, resources=resources, **more)

    def run(self, source: str) -> Any:
        from nbformat.v4 import new_code_cell

        self.notebook.cells.append(new_code_cell(source))
        return self.client.execute_cell(self.notebook.cells[-1], len(self.notebook.cells) - 1)

    def text(self, source: str) -> str:
        """All text that a cell shows, errors too."""
        return "\n".join(text for _, text in shown(self.run(source)))


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(tmp_path)
    with made.client.setup_kernel():
        assert made.text("%load_ext causal_dsl\nimport causal_dsl as cd") == ""
        yield made


def test_the_notebook_of_the_docs_shows_what_it_computes() -> None:
    """``UPDATE_GOLDEN=1`` writes its outputs anew."""
    import nbformat
    from nbclient import NotebookClient

    there = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(again, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    if os.environ.get("UPDATE_GOLDEN"):
        for cell in again.cells:
            cell.metadata.pop("execution", None)
        again.metadata["language_info"] = {"name": "python"}
        nbformat.write(again, NOTEBOOK)
        return
    assert len(there.cells) > 10
    (printed,) = there.cells[-1].outputs  # in a notebook, too, the text is text
    assert printed.name == "stdout" and printed.text.startswith("test solves")
    for before, after in zip(there.cells, again.cells, strict=True):
        assert shown(before) == shown(after), before.source


def test_a_fault_is_a_diagnostic_and_no_traceback(kernel: Kernel) -> None:
    for source in ("%%causal check\ncausal x {\n  a ~ 0..3\n  output b := c\n}", 'cd.load("nowhere.causal")'):
        (output,) = kernel.run(source).outputs
        assert output.output_type in ("error", "execute_result")
        text = "\n".join(output.traceback) if output.output_type == "error" else output.data["text/html"]
        assert re.search(r"error\[E\d{3}\]", text) and "Traceback" not in text and "File " not in text
    assert "error[E885]" in kernel.text("%%causal run --json\ndomain A = bool")
    assert "error[E885]" in kernel.text("%%causal run other.causal\ndomain A = bool")
    assert "write it first: `%%causal run --trust`" in kernel.text("%%causal --trust run\ndomain A = bool")
    lines = re.sub(r"\x1b\[[0-9;]*m|<[^>]*>", "", kernel.text("%%causal run --nope\ndomain A = bool")).splitlines()
    at = next(n for n, line in enumerate(lines) if "%%causal run --nope" in line and "|" in line)
    assert lines[at].index("--nope") == lines[at + 1].index("^") and lines[at + 1].count("^") == len("--nope")
    assert "error[E885]" in kernel.text("%%causal run -o class\ndomain A = bool")
    unknown = kernel.text("%%causal nonsense\ndomain A = bool")
    assert "`%%causal` has no `nonsense`" in unknown and "`check`, `plan` and `run`" in unknown and "mcp" not in unknown
    assert "did you mean `run`?" in kernel.text("%%causal rum\ndomain A = bool")
    assert "!causal-dsl fmt" in kernel.text("%%causal fmt\ndomain A = bool")
    assert "usage: causal-dsl run" in kernel.text("%%causal run --help\ndomain A = bool")


def test_a_name_that_results_do_not_have_is_a_diagnostic(kernel: Kernel) -> None:
    kernel.run(f"found = cd.run({str(ROOT / 'specs' / 'equality_relu.causal')!r})")
    for source, said in (
        ("found['solves_the_tsk']", "did you mean `solves_the_task`?"),
        ("found.solves_the_task", 'ask for `results["solves_the_task"]`'),
        ("found['solves_the_task'].cell(l=9)", "has no cell with l=9"),
        ("found['solves_the_task'].cell().scores['accurcy']", "did you mean `accuracy`?"),
        ("found['solves_the_task'].accuracy", '.cell().scores["accuracy"]'),
        ("found.txt()", "did you mean `text`?"),
    ):
        (output,) = kernel.run(source).outputs
        text = "\n".join(output.traceback)
        assert text.startswith("error[E862]") and said in text and "Traceback" not in text, text
    assert kernel.text("print(hasattr(found, 'nothing'), getattr(found, 'nothing', 3))") == "False 3\n"
    kernel.run("try:\n    found['nothing']\nexcept KeyError:\n    print('a KeyError')")
    assert shown(kernel.notebook.cells[-1]) == [("stdout", "a KeyError\n")]


def test_progress_leaves_nothing_and_takes_nothing_away(kernel: Kernel) -> None:
    """Work shows how far it is; afterwards there is the result alone, beside all else that its cell has shown."""
    work = (
        "import time\nfrom causal_dsl.report.which_progress import progress\n"
        "def work():\n    with progress() as bar:\n        for _ in range(3):\n"
        "            bar.begin('work', 3); time.sleep(0.4)\n    return 'worked'\n"
        "get_ipython().ast_node_interactivity = 'all'"
    )
    assert kernel.text(work) == ""
    seen: list[str] = []
    process = kernel.client.process_message

    def listen(message: Any, cell: Any, cell_index: int) -> Any:
        seen.append(message["msg_type"])
        return process(message, cell, cell_index)

    kernel.client.process_message = listen  # type: ignore[method-assign]
    (only,) = kernel.run("work()").outputs
    assert only.output_type == "execute_result" and "display_data" in seen and "clear_output" in seen
    assert kernel.run("_ = work()").outputs == []
    for before in ("print('before')", "3", "display(3)", "import sys; _ = sys.stderr.write('before')"):
        seen.clear()
        first, *_, last = kernel.run(f"{before}\nwork()").outputs
        assert "clear_output" not in seen and "'worked'" in str(last) and ("before" in str(first) or "3" in str(first))


def test_options_names_and_imports_are_those_of_the_notebook(kernel: Kernel, tmp_path: Path) -> None:
    """An import starts from the notebook's folder, wherever the kernel has gone since."""
    (tmp_path / "shapes.causal").write_text('domain Shape = {"heart", "moon", "star"}\n', encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study.ipynb").write_text("{}", encoding="utf-8")
    spec = """from "shapes.causal" import Shape

causal equality {
  a, b, c, d ~ Shape

  left  := a == b
  right := c == d
  output same := left == right
}

network net = zoo("equality-gpt2")

align tau : equality -> net {
  prompt "{a} {b} {c} {d} ="

  left @ layer[0].resid_post[b]
  same @ next_token
}

test one on tau {
  base ~ equality(n=16, seed=0)
  expect accuracy >= 99%
}

test two on tau {
  base ~ equality(n=16, seed=0)
  expect accuracy >= 99%
}
"""
    assert "<Results: 1 test, 1 of 1 expectations passed>" in kernel.text(
        "%%causal run --test two -o found -s spec\n" + spec
    )
    assert kernel.text("print(found, [t.name for t in found], spec)").split(">")[0] == (
        "<Results: 1 test, 1 of 1 expectations passed"
    )
    path = str(tmp_path / "study.ipynb")
    kernel.run(f"import os; os.chdir('elsewhere'); os.environ['JPY_SESSION_NAME'] = {path!r}")
    assert "no faults; 2 tests" in kernel.text("%%causal\n" + spec)
    assert "<Plan: 2 tests, 2 cells, 1 network>" in kernel.text("%%causal plan\n" + spec)
    (tmp_path / "kept.causal").write_text(spec, encoding="utf-8")
    assert "<Results: 2 tests" in kernel.text("%causal run ../kept.causal --seed 3")


SLOW = """
domain Shape = {"arrow", "circle", "cross", "diamond", "heart", "moon", "ring", "square", "star", "triangle"}

causal equality {
  a, b, c, d ~ Shape

  left  := a == b
  right := c == d
  output same := left == right
}

network net = zoo("equality-gpt2")

align tau(l in 0:3, p in [a, b, c, d, last]) : equality -> net {
  prompt "{a} {b} {c} {d} ="

  left @ layer[l].resid_post[p]
  same @ next_token
}

test quick on tau(l=0, p=b) {
  base, source ~ equality(n=8, seed=0)
  do(left <- source)
  report iia
}

test slow on tau {
  base, source ~ equality(n=20000, seed=0)
  do(left <- source)
  report iia
}
"""


def test_progress_and_an_interrupt(tmp_path: Path) -> None:
    """A long run shows how far it is, and leaves nothing of that behind; interrupted, it keeps what was finished."""
    seen: list[str] = []
    interrupted: list[float] = []

    made = Kernel(tmp_path)
    process = made.client.process_message

    def listen(message: Any, cell: Any, cell_index: int) -> Any:
        kind, content = message["msg_type"], message["content"]
        if kind == "comm_msg":
            seen.append(str(content["data"].get("state", {}).get("value", "")))
        told = re.search(r"(\d[\d,]*) of ([\d,]+)", seen[-1]) if seen else None
        if told and not interrupted and int(told[1].replace(",", "")) > 0.2 * int(told[2].replace(",", "")):
            interrupted.append(time.monotonic())
            os.kill(made.client.km.provisioner.process.pid, 2)
        return process(message, cell, cell_index)

    made.client.process_message = listen  # type: ignore[method-assign]
    with made.client.setup_kernel():
        made.run("%load_ext causal_dsl")
        said = made.text("%%causal run --batch-memory 40MB -o found\n" + SLOW)
        assert interrupted and "stopped; `found` holds what was finished" in said
        assert any("left" in text for text in seen)
        views = [
            o
            for o in made.notebook.cells[-1].outputs
            if "application/vnd.jupyter.widget-view+json" in o.get("data", {})
        ]
        assert not views
        assert "interrupted" in made.text("found")
        assert made.text("print([t.status for t in found])").strip() in (
            "['finished', 'interrupted']",
            "['interrupted', 'interrupted']",
        )
