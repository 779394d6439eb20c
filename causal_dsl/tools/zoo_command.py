"""``causal-dsl zoo``: what networks there are, training one again, fetching one before it is needed."""

from __future__ import annotations

import sys
from argparse import Namespace

from causal_dsl.diagnostics import shown_path
from causal_dsl.program.zoo_entries import cached_folder, catalogue, entry_of
from causal_dsl.tools.budget import megabytes
from causal_dsl.tools.command_line import CommandLine
from causal_dsl.tools.output import say


def zoo(arguments: Namespace, line: CommandLine) -> int:
    if arguments.action == "train":
        return _train(arguments, line)
    if arguments.action == "fetch":
        from causal_dsl.network.zoo.open import open_zoo

        place = line.place(arguments.name)
        entry = entry_of(arguments.name, place)
        open_zoo(arguments.name, place)
        folder = cached_folder(arguments.name)
        say(f"{arguments.name} is made in memory" if entry.coded else f"{arguments.name} is in {folder}")
        return 0
    _list()
    return 0


def _list() -> None:
    for entry in catalogue().values():
        size = megabytes(entry.size) if entry.size else "made in memory"
        comes = "with the package" if entry.ships else f"fetched once, {entry.fetch['bytes'] / 1e6:,.0f} MB"
        say(f'zoo("{entry.name}")')
        say(f"    task      {entry.task}")
        say(f"    size      {entry.parameters:,} parameters, {size}; {comes}")
        if entry.accuracy is not None:
            say(f"    accuracy  {entry.accuracy:.2%} of {entry.over}")


def _train(arguments: Namespace, line: CommandLine) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from causal_dsl.network.zoo.remake import train_zoo
    from causal_dsl.training.retraining import TRAININGS, train_logic

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training")

        def tick(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, description=f"training, loss {loss:.4f}")

        given = (arguments.name, arguments.out, arguments.steps, arguments.seed, tick, line.place(arguments.name))
        if arguments.name in TRAININGS:
            made = train_logic(*given)
            say(f"{arguments.name} is in {shown_path(made.folder)}")
            say(f"accuracy {made.accuracy:.2%}, interchange intervention accuracy {made.iia:.2%} towards its algorithm")
            return 0
        trained = train_zoo(*given)
    say(f"{arguments.name} is in {shown_path(trained.folder)}")
    say(f"accuracy {trained.seen:.2%} on its training inputs, {trained.held_out:.2%} on held-out inputs")
    return 0
