"""The document of `run --json` and `check --json` on one file."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from causal_dsl.shapes.identity_fields import EmptyJson, IdentityJson, MachineJson, NetworkJson, RunCostJson
from causal_dsl.shapes.numbers_of_fields import Count
from causal_dsl.shapes.result_fields import AgreementJson, FamilyJson, ModelVariableJson, TestJson
from causal_dsl.shapes.score_fields import CeilingJson, DiagnosticJson


class SpecJson(TypedDict):
    """The results of a run of one file; also `results.json`, which has `interrupted` besides."""

    schema: Count
    "counts up when a field changes its meaning"
    path: str
    "the file"
    digest: str
    "SHA-256 of the spec and its imports"
    identity: IdentityJson | EmptyJson
    "what the numbers belong to; empty where nothing was run"
    versions: dict[str, str]
    "the versions of all that computed"
    text: str
    "the spec as it was run"
    imports: NotRequired[dict[str, str]]
    "the texts of all files that it imports, by their paths from its folder"
    models: dict[str, list[ModelVariableJson]]
    "the causal models of the tests, by name: their variables in topological order"
    machine: MachineJson | EmptyJson
    "the machine that ran it; empty where nothing was run"
    finished: str
    "when it ended, in ISO 8601 and UTC; empty where nothing was run"
    networks: dict[str, NetworkJson]
    "the networks, by their names"
    tests: list[TestJson]
    "the tests"
    families: NotRequired[list[FamilyJson]]
    "tests that were written out of one declaration"
    agreements: NotRequired[list[AgreementJson]]
    "alignments of which several measures say something, and where these part"
    cost: RunCostJson
    "what it took"
    diagnostics: list[DiagnosticJson]
    "the warnings"
    interrupted: NotRequired[bool]
    "in `results.json`: whether the run was stopped"
    seal: str
    "SHA-256 of the other fields, by which a document that was changed after the run is told"


class CheckedTestJson(TypedDict):
    """A test, before it is run."""

    name: str
    "its name"
    line: Count
    "where it begins, from 1"
    ceilings: dict[str, CeilingJson]
    "what rules without the hypothesis score"
    distinct: dict[str, int]
    "distinct inputs of each role"
    outputs: NotRequired[dict[str, dict[str, CeilingJson]]]
    "where it reads several outputs: the ceilings of each by itself, by its name"
    untrusted: NotRequired[list[str]]
    "the Python functions that its causal model calls and that may not be run: without `--trust` nothing is drawn, and no ceiling is known"


class CheckedSpecJson(TypedDict):
    """The document of `check` on one file. A file that another command cannot run or plan has this form too."""

    path: str
    "the file"
    diagnostics: list[DiagnosticJson]
    "faults and warnings"
    tests: list[CheckedTestJson]
    "the tests; empty where the file has faults that hide them"
