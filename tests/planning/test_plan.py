"""The plan: equal work is one node, its cost is what counting by hand gives, and it prints in three forms."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import causal_dsl as cd
from causal_dsl.planning import graph as g
from causal_dsl.planning.chunk_to_memory import chunk_to_memory
from causal_dsl.planning.cost import cost_of, stop_layer, work_of
from causal_dsl.planning.liveness import LiveTokens, Rules
from causal_dsl.planning.memory import Budget
from causal_dsl.planning.network_parts import of_tests
from causal_dsl.planning.peak import Peaks, columns_of
from causal_dsl.planning.plan import CellScores, Plan, Remembered
from causal_dsl.planning.switches import CHUNKS, SWITCHES, Switch, all_off, turned_on
from causal_dsl.tools.cli import main
from tests.equality import gpt2

SPEC = gpt2(
    "left @ layer[l].resid_post[b]",
    "right @ layer[l].resid_pre[d]",
    align="at(l in 0:3)",
    shapes=("arrow", "circle", "cross"),
    tests="""
test one on at {
  base, source ~ equality(n=50, seed=0)
  do(left <- source)
  report iia
}
test two on at(1) {
  base, source ~ equality(n=50, seed=0)
  do(left <- source)
  report iia
}
test three on at(l=0) {
  base, other ~ equality(n=50, seed=9)
  do(right <- other, layer[2].mlp_out[last] = mean)
  report mean(kl)
}
""",
)


def alive(live: LiveTokens) -> list[str]:
    """Which rows run which tokens of a layer: `#` in full, `k` for keys and values alone."""
    shown = np.full(live.slots.shape, ".")
    shown[live.rows, live.positions], shown[live.keys_rows, live.keys_positions] = "#", "k"
    rows: dict[str, list[int]] = {}
    for row, tokens in enumerate(shown):
        rows.setdefault("".join(tokens), []).append(row)
    return [f"    {tokens}  rows {ranges(own)}" for tokens, own in sorted(rows.items()) if tokens.strip(".")]


def ranges(numbers: list[int]) -> str:
    """Rising numbers, those that follow one another as a range."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def steps_text(plan: Plan) -> str:
    """The steps as they stand: what each is, and which rows of its first block run which tokens in each layer."""
    peaks, lines = Peaks(plan), []
    for step in plan.steps:
        sized = peaks.size(step, step.blocks[0])
        layout, made = sized.layout, sized.schedule
        kept = sum(len(rows) for rows, _ in layout.kept.values())
        lines.append(str(step))
        lines.append(
            f"  {len(layout.inputs)} prompts, {len(made.home) - len(layout.inputs)} rows intervened on, {kept} vectors kept"
        )
        for level, live in enumerate(made.levels[:-1]):
            alone = f" + {live.keys_only} for keys alone" if live.keys_only else ""
            lines.append(f"  layer {level}: {live.tokens} tokens{alone}")
            lines += alive(live)
        columns = columns_of(plan, step)
        lines.append(f"  read-out: {made.levels[-1].tokens} tokens, {columns or 'all'} columns")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def plan():  # type: ignore[no-untyped-def]
    return cd.plan(cd.parse(SPEC))


def test_a_plan_is_a_value(plan: Plan) -> None:
    """Nothing of it is assigned to. What differs in its steps alone has the same graph, other scores have their own."""
    for one in fields(plan):
        with pytest.raises(FrozenInstanceError):
            setattr(plan, one.name, getattr(plan, one.name))
    assert all_off(plan).graph is plan.graph
    fewer = replace(plan, scores=CellScores({"three": plan.scores["three"]}))
    assert 0 < len(fewer.graph) < len(plan.graph)
    (written,) = (read for read in g.of_kind(fewer.graph, g.ReadNode) if isinstance(read.run, g.Resume))
    assert list(fewer.reads_of([written.run])) == [written] and written in plan.reads_of([written.run])


def test_equal_work_is_one_node(plan) -> None:  # type: ignore[no-untyped-def]
    resumes = list(g.of_kind(plan.graph, g.Resume))
    # `two` is the cell l=1 of `one`: 3 cells of one, 1 of three, none of two
    assert len(resumes) == 4
    assert len(list(g.of_kind(plan.graph, g.DrawNode))) == 2
    assert len(list(g.of_kind(plan.graph, g.ScoreNode))) == 5
    assert nx.is_directed_acyclic_graph(plan.graph)


def test_every_node_stands_after_what_it_needs(plan) -> None:  # type: ignore[no-untyped-def]
    for node in plan.graph.nodes:
        assert set(node.inputs) == set(plan.graph.predecessors(node))


def test_what_is_remembered_of_blocks_is_what_they_take(plan) -> None:  # type: ignore[no-untyped-def]
    """A plan that was made of another, and that differs in what decides it, has the cost of one that remembers nothing."""
    changed = {
        "the same": plan,
        "steps": replace(plan, steps=tuple(replace(step, rules=Rules(), shared=False) for step in plan.steps)),
        "rows": replace(plan, rows={run: np.zeros_like(rows) for run, rows in plan.rows.items()}),
        "a part": of_tests(plan, plan.program.tests),
    }
    costs = []
    for other in changed.values():
        cost_of(plan)  # which is remembered
        costs.append(cost_of(other))
        assert costs[-1] == cost_of(replace(other, sizes=Remembered()))
    assert costs[0] not in costs[1:3] and costs[0] == costs[3]


def test_source_runs_stop_at_the_deepest_site_that_is_read(plan) -> None:  # type: ignore[no-untyped-def]
    stops = {(f.role, f.draw.text): stop_layer(plan, f) for f in g.of_kind(plan.graph, g.Forward)}
    assert stops["base", "base, source ~ equality(n=50, seed=0)"] == 3  # its answer is read
    assert stops["source", "base, source ~ equality(n=50, seed=0)"] == 3  # resid_post of layer 2
    assert stops["other", "base, other ~ equality(n=50, seed=9)"] == 0  # resid_pre of layer 0 needs no layer


def test_cost_counts_what_is_alive(plan) -> None:  # type: ignore[no-untyped-def]
    """Counted by hand: prompts of `a b c d =` have five tokens and the network three layers."""
    inputs, work, cost = next(iter(plan.inputs.values())), work_of(plan), cost_of(plan)
    bases = {inputs.ids(i) for f, rows in plan.rows.items() for i in rows.tolist() if f.role == "base"}
    resumes = list(g.of_kind(plan.graph, g.Resume))
    pairs = {
        (inputs.ids(b), inputs.ids(s))
        for b, s in zip(*(plan.rows[f] for f in plan.rows if "seed=0" in f.draw.text), strict=True)
    }
    # written after layer 0 at the second of five tokens: layer 1 runs four of them, layer 2 the last alone
    first = next(r for r in resumes if str(r.writes[0].place) == "layer[0].resid_post[b]")
    assert work[first].layer_tokens == len(pairs) * (4 + 1)
    # written after the last layer, where nothing reads that token
    last = next(r for r in resumes if str(r.writes[0].place) == "layer[2].resid_post[b]")
    assert work[last].dead and work[last].layer_tokens == 0
    assert not work[first].dead
    # a base's tokens all run, but in the last layer the one that is read
    clean = sum(work[f].layer_tokens for f in g.of_kind(plan.graph, g.Forward))
    assert clean >= len(bases) * (5 + 5 + 1)
    assert cost.layer_tokens == clean + sum(work[r].layer_tokens for r in resumes)
    assert cost.naive_layer_tokens == 5 * 50 * 3 * 5 * 3  # base, source and patched run of 5 cells
    assert cost.exact


SWITCH_SPEC = SPEC.replace("n=50", "n=4").replace("[b]", "[c]")


@pytest.mark.parametrize("name", [switch.name for switch in SWITCHES])
def test_what_each_switch_does(name: str) -> None:
    """The steps before a switch is on and after it, as the file of its name has them."""
    number = next(i for i, switch in enumerate(SWITCHES) if switch.name == name)
    before = turned_on(all_off(cd.plan(cd.parse(SWITCH_SPEC))), SWITCHES[:number])
    text = f"before\n\n{steps_text(before)}\n\nafter {name}\n\n{steps_text(SWITCHES[number].turn_on(before))}\n"
    assert text == (Path(__file__).parent / "switches" / f"{name}.txt").read_text(encoding="utf-8")


def test_chunks_are_as_many_as_the_budget_asks_for() -> None:
    plan = turned_on(all_off(cd.plan(cd.parse(SWITCH_SPEC))))
    after = chunk_to_memory(plan, dict.fromkeys(plan.networks, Budget(120_000)))
    text = f"before\n\n{steps_text(plan)}\n\nafter chunk_to_memory\n\n{steps_text(after)}\n"
    assert text == (Path(__file__).parent / "switches" / "chunk_to_memory.txt").read_text(encoding="utf-8")


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("budget", [700_000, 1_000_000, 2_000_000])
def test_no_block_exceeds_the_budget(budget: int) -> None:
    """50 pairs are seldom cut evenly, and each block has prompts of its own: the first does not stand for the others."""
    plan = turned_on(all_off(cd.plan(cd.parse(SPEC))))
    given = Budget(budget)
    after, peaks = chunk_to_memory(plan, dict.fromkeys(plan.networks, given)), Peaks(plan)
    cut = [step for step in after.steps if len(step.blocks) > 1]
    assert cut
    for step in cut:
        assert max(peaks.excess(step, block, given) for block in step.blocks) <= 1


@pytest.mark.slow
def test_the_cost_of_large_plans_is_estimated_and_says_so() -> None:
    spec = SPEC.replace("n=50", "n=9000").replace("l in 0:3", "l in 0:3, p in [a, b, c, d, last]")
    spec = spec.replace("resid_post[b]", "resid_post[p]").replace("at(1)", "at(1, b)").replace("at(l=0)", "at(0, b)")
    plan = cd.plan(cd.parse(spec))
    assert cost_of(plan).exact  # in blocks that are small enough to be counted
    cost = cost_of(turned_on(all_off(plan)))
    assert not cost.exact
    assert cost.layer_tokens > 0


def test_it_prints_as_text_mermaid_and_json(plan) -> None:  # type: ignore[no-untyped-def]
    text = plan.text(explain=True)
    assert "test one" in text and "layer-tokens" in text and "share_forwards" in text
    mermaid = plan.mermaid()
    assert mermaid.startswith("flowchart LR") and mermaid.count("-->") == plan.graph.number_of_edges()
    document = json.loads(json.dumps(plan.to_json()))
    again = nx.node_link_graph(document["graph"], edges="edges", directed=True)
    assert again.number_of_nodes() == plan.graph.number_of_nodes()
    assert {data["kind"] for _, data in again.nodes(data=True)} >= {
        "draw",
        "forward",
        "capture",
        "write",
        "resume",
        "read",
        "score",
    }


def test_a_span_of_another_length_names_the_row() -> None:
    spec = SPEC.replace("layer[l].resid_post[b]", "layer[l].resid_post[all]").replace(
        '{a} {b} {c} {d} ="', '{a} {b} {c} {d} ="\n  prompt "{a} {b} {c} {d} = ="'
    )
    with pytest.raises(cd.SpecError) as caught:
        cd.plan(cd.parse(spec))
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == "E539" and "row" in diagnostic.notes[0]


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_left_off_says_what_it_is_worth(
    switch: Switch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text(SPEC, encoding="utf-8")
    assert main(["plan", str(spec), "--without", switch.name]) == 0
    said = capsys.readouterr().out
    others = [other.name for other in SWITCHES if other is not switch]
    assert f"without {switch.name}: " in said and all(f"\n{name} " in said for name in others)
    assert f"\n{switch.name} " not in said
    left_off = cd.plan(cd.load(spec), cd.Options(without=(switch.name,)))
    assert cost_of(left_off).flops >= cost_of(cd.plan(cd.load(spec))).flops * 0.999


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no switch 'stop'"):
        cd.plan(cd.parse(SPEC), cd.Options(without=("stop",)))


def test_what_the_table_lists_and_no_option_turns_off_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "s.causal"
    spec.write_text(SPEC, encoding="utf-8")
    assert main(["plan", str(spec), "--explain", "--batch-memory", "1MB"]) == 0
    said = capsys.readouterr().out
    listed = [line.split()[0] for line in said.splitlines() if line.endswith("%") or " MB   " in line]
    assert listed == [*(switch.name for switch in SWITCHES), CHUNKS.name]
    assert CHUNKS.refusal in said
    with pytest.raises(SystemExit):
        main(["plan", str(spec), "--without", CHUNKS.name])
    assert CHUNKS.refusal in capsys.readouterr().err
    with pytest.raises(ValueError, match=CHUNKS.refusal):
        cd.plan(cd.load(spec), cd.Options(without=(CHUNKS.name,)))
