"""The results of a run before that lie in the folder of a spec. They give way as soon as it is known that a run of another identity has begun: a
process that is killed says nothing, and what it leaves must not tell of numbers that are not its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from causal_dsl.checked import Checked
from causal_dsl.checking.specs import Options, Spec
from causal_dsl.network.network import Network
from causal_dsl.program.identity import NetworkKey
from causal_dsl.running.provenance import network_inputs
from causal_dsl.running.unrun import all_versions, keep_unrun, not_run
from causal_dsl.store.documents import read_object
from causal_dsl.store.files import CannotWrite
from causal_dsl.store.hashes import of_file
from causal_dsl.store.keys import RunInputs, told
from causal_dsl.store.out import RESULTS, SpecFolder
from causal_dsl.store.ran_on import is_compared

#: Options that are part of the identity of a run; its tests are compared by themselves, and its networks once they are loaded.
_OPTIONS = {one.name for one in fields(RunInputs)} & {one.name for one in fields(Options)} - {"tests", "networks"}


class EarlierResults:
    """The results in ``folder`` as a run of ``spec`` begins. Blocks and fits stay, so the run that they belong to gives its results again."""

    def __init__(self, folder: SpecFolder, spec: Spec, checked: Checked, options: Options):
        self.folder, self.spec, self.checked, self.options = folder, spec, checked, options
        self._before = None if is_compared() else _read(folder.folder / RESULTS)

    def begin(self) -> None:
        """Replace them by results that say that nothing was measured yet, where the spec, a file, an option or a version is another now. Raises
        :class:`CannotWrite`."""
        if self._before is not None and not self._same_files(self._before):
            self._give_way()

    def loaded(self, networks: Mapping[NetworkKey, Network], behaviour: Mapping[str, str]) -> None:
        """The same, where one of the networks that were loaded is another now."""
        if self._before is None:
            return
        identity = self._before["identity"]
        now = {name: told(inputs) for name, inputs in network_inputs(networks).items()}
        known = identity.get("networks"), identity.get("behaviour")
        for before, found in zip(known, (now, behaviour), strict=True):
            if not isinstance(before, dict) or any(before.get(name) != one for name, one in found.items()):
                self._give_way()
                return

    def _give_way(self) -> None:
        self._before = None
        try:
            keep_unrun(self.folder, self.spec, self.checked, not_run(self.spec, self.checked))
        except CannotWrite:
            raise
        except OSError as error:
            raise CannotWrite(self.folder.folder, error) from error

    def _same_files(self, before: Mapping[str, Any]) -> bool:
        identity, program = before["identity"], self.checked.program
        tests = {test.name for test in self.checked.lost} | {test.name for test in (program.tests if program else ())}
        return (
            identity.get("spec") == self.checked.digest
            and all(identity.get(name) == getattr(self.options, name) for name in _OPTIONS)
            and {str(test.get("name")) for test in before["tests"]} == tests
            and before.get("versions") == all_versions()
            and all(_has(self.spec.folder / path, known) for path, known in identity.get("files", {}).items())
        )


def _has(path: Path, known: object) -> bool:
    """Whether a file has the content that a run read."""
    try:
        return path.is_file() and of_file(Path(os.path.abspath(path))) == known
    except OSError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """The results of a run that measured something; None where there are none. Of those that cannot be read the reports say why."""
    try:
        found = read_object(path)
    except (OSError, ValueError):
        return None
    if not isinstance(found.get("tests"), list):
        return None
    identity = found.get("identity")
    well = isinstance(identity, dict) and isinstance(identity.get("files", {}), dict) and identity
    return found if well and all(isinstance(test, dict) for test in found["tests"]) else None


__all__ = ["EarlierResults"]
