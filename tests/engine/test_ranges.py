"""Ranges of layers and of tokens, offsets, and positions by name: what is written where, against hooks by hand.

Prompts are ragged: values are of one to three tokens, and there are two templates. The tokens of a placeholder are found
here in the text, apart from the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.engine.execute import Execution
from causal_dsl.planning import graph as g
from causal_dsl.planning.lower import by_reference
from tests.engine.byhand import ByHand, hook
from tests.engine.tiny import BOTH_WAYS, execution_of, folder_of, numbers_of, same
from tests.thinning import some, spread

torch.set_num_threads(1)
FAMILIES = ("llama", "gpt2", "gpt_neox", "bert")
CLOSE = 1e-4
DRAW = "base, source ~ m(n=5, seed=4)"

SPEC = """
domain V = {"w10", "w11 w12", "w13 w14 w15", "w16", "w17 w18"}
domain W = {"w20", "w21", "w22"}
causal m {
  x, y ~ V
  z ~ W
  late ~ bool
  same := x == y
  output o := z
}
network net = hf("FOLDER", padding=PADDING)
align a(l in 0:3, k in [0, 1, 2]) : m -> net {
  prompt "w4 {x} w1 {y} MASKw2 {z} w3"
  prompt "w4 w5 {x} MASKw1 {y} w5 w2 {z}"
  o @ READ(among=W)
}
"""


@dataclass(frozen=True)
class Told:
    """A prompt taken apart: its ids, and where the tokens of each placeholder begin and end."""

    ids: tuple[int, ...]
    spans: dict[str, tuple[int, int]]
    late: bool = False

    def first(self, name: str) -> int:
        return self.spans[name][0]

    def last(self, name: str) -> int:
        return self.spans[name][1] - 1

    @property
    def same(self) -> bool:
        x, y = (self.ids[slice(*self.spans[name])] for name in "xy")
        return x == y

    @property
    def length(self) -> int:
        return len(self.ids)


def told(text: str, ids: tuple[int, ...], late: bool = False) -> Told:
    found = re.fullmatch(
        r"w4 (?:w5 )?(?P<x>.+?) (?:\[MASK\] )?(?:w1 (?P<y>.+?) (?:\[MASK\] |w5 )?)?w2 (?P<z>\S+)(?: w3)?", text
    )
    assert found, text
    extra = 1 if len(ids) > len(text.split()) else 0  # a token before the text
    spans = {}
    for name in "xyz" if found["y"] else "xz":
        before = len(text[: found.start(name)].split())
        spans[name] = (before + extra, before + extra + len(found[name].split()))
    return Told(ids, spans, late)


#: What is written at the tokens of one site: component, layer, head, token -> vector (of one head: its part).
Writes = list[tuple[str, int, int, Tensor]]
#: From base and source to that.
Worked = Callable[[ByHand, Told, Told], Writes]


def layers(component: str, chosen: range, at: Callable[[Told], list[int]], shift: int = 0) -> Worked:
    """Each layer's vectors from the same layer (or ``shift`` layers off) of the source."""

    def work(hand: ByHand, base: Told, source: Told) -> Writes:
        found = []
        for layer in chosen:
            vectors = hand.vector(source.ids, component, layer + shift)
            found += [(component, layer, b, vectors[s]) for b, s in zip(at(base), at(source), strict=True)]
        return found

    return work


At = Callable[[Told], list[int]]


def mixed(component: str, layer: int, here: At, there: At) -> Worked:
    """Tokens of the base from other tokens of the source."""

    def work(hand: ByHand, base: Told, source: Told) -> Writes:
        vectors = hand.vector(source.ids, component, layer)
        return [(component, layer, b, vectors[s]) for b, s in zip(here(base), there(source), strict=True)]

    return work


def zeros(component: str, layer: int | tuple[int, ...], at: At) -> Worked:
    """Nothing at tokens of the base."""

    def work(hand: ByHand, base: Told, source: Told) -> Writes:
        several = layer if isinstance(layer, tuple) else (layer,)
        return [(component, i, b, torch.zeros(32)) for i in several for b in at(base)]

    return work


def written(hand: ByHand, ids: tuple[int, ...], writes: Writes) -> Tensor:
    """The logits [tokens, vocabulary] once all of ``writes`` are in place."""
    by_site: dict[tuple[str, int], list[tuple[int, Tensor]]] = {}
    for component, layer, at, vector in writes:
        by_site.setdefault((component, layer), []).append((at, vector))
    with ExitStack() as stack:
        for (component, layer), places in by_site.items():
            path, side, columns, factor = hand.places[component]
            assert columns is None and factor == 1.0

            def put(tensor: Tensor, places: list[tuple[int, Tensor]] = places) -> Tensor:
                tensor = tensor.clone()
                for at, vector in places:
                    tensor[0, at] = vector
                return tensor

            stack.callback(hook(hand.model.get_submodule(path.format(l=layer)), side, put).remove)
        return hand.logits(ids)


def spec_of(family: str, tests: str, padding: str = "right") -> str:
    both = family in BOTH_WAYS
    text = SPEC.replace("FOLDER", folder_of(family)).replace("PADDING", padding)
    text = text.replace("MASK", "[MASK] " if both else "").replace("READ", "mask" if both else "next_token")
    return text + tests


#: action -> what is written by hand. Networks have three layers.
CASES: dict[str, Worked] = {
    "layer[0:2].mlp_out[x] <- source": layers("mlp_out", range(2), lambda t: [t.last("x")]),
    "layer[1:].attn_out[last] <- source": layers("attn_out", range(1, 3), lambda t: [t.length - 1]),
    "layer[:2].resid_post[y.first] <- source": layers("resid_post", range(2), lambda t: [t.first("y")]),
    # clipped at both ends
    "layer[l - 5:l + 5].mlp_out[z] <- source": layers("mlp_out", range(3), lambda t: [t.last("z")]),
    "layer[l + 1:l + 9].mlp_out[z] <- source": layers("mlp_out", range(1, 3), lambda t: [t.last("z")]),
    "layer[0:l + 1].attn_out[x] <- source": layers("attn_out", range(1), lambda t: [t.last("x")]),
    "layer[0:2].mlp_out[x] <- source.layer[1:3].mlp_out[x]": layers("mlp_out", range(2), lambda t: [t.last("x")], 1),
    # offsets
    "layer[1].resid_post[x + 1] <- source": layers("resid_post", range(1, 2), lambda t: [t.last("x") + 1]),
    "layer[1].mlp_out[y.first - k] <- source": layers("mlp_out", range(1, 2), lambda t: [t.first("y") - 1]),
    "layer[1].resid_post[last - 1] <- source": layers("resid_post", range(1, 2), lambda t: [t.length - 2]),
    'layer[l].attn_out["w1" + 1] <- source': layers("attn_out", range(1), lambda t: [t.first("y")]),
    "layer[1].resid_post[z] <- source.layer[1].resid_post[x + 2 - 1]": mixed(
        "resid_post", 1, lambda t: [t.last("z")], lambda t: [t.last("x") + 1]
    ),
    # ranges of tokens
    "layer[1].resid_post[0:3] <- source": layers("resid_post", range(1, 2), lambda t: [0, 1, 2]),
    "layer[0].mlp_out[x.first:x.last + 1] = 0": zeros("mlp_out", 0, lambda t: list(range(*t.spans["x"]))),
    "layer[1].resid_post[0:y] = 0": zeros("resid_post", 1, lambda t: list(range(t.last("y")))),
    "layer[0:2].resid_post[:x.first] = 0": zeros("resid_post", (0, 1), lambda t: list(range(t.first("x")))),
    "layer[1].mlp_out[z:] = 0": zeros("mlp_out", 1, lambda t: list(range(t.last("z"), t.length))),
    "layer[1].mlp_out[z - 1:-1] = 0": zeros("mlp_out", 1, lambda t: list(range(t.last("z") - 1, t.length - 1))),
    "layer[1].resid_post[y - 1:y + 1] <- source.layer[1].resid_post[x - 1:x + 1]": mixed(
        "resid_post", 1, lambda t: [t.last("y") - 1, t.last("y")], lambda t: [t.last("x") - 1, t.last("x")]
    ),
    "layer[1].resid_post[x - 1:x + 2] <- source": layers(
        "resid_post", range(1, 2), lambda t: [t.last("x") + i for i in (-1, 0, 1)]
    ),
    # by the variables of the row: of one that is in the prompt, and of one that is not
    "layer[1].resid_post[if late then x else z] <- source": layers(
        "resid_post", range(1, 2), lambda t: [t.last("x" if t.late else "z")]
    ),
    "layer[1].mlp_out[if same or late then z else x.first] = 0": zeros(
        "mlp_out", 1, lambda t: [t.last("z") if t.same or t.late else t.first("x")]
    ),
    "layer[0:2].resid_post[if late then x + 1 else last - k] <- source": layers(
        "resid_post", range(2), lambda t: [t.last("x") + 1 if t.late else t.length - 2]
    ),
    "layer[1].resid_post[0:(if late then y else z)] = 0": zeros(
        "resid_post", 1, lambda t: list(range(t.last("y" if t.late else "z")))
    ),
}


def cases() -> list[tuple[str, str]]:
    return [
        (family, padding)
        for family in FAMILIES
        for padding in ("right", "left")
        if padding == "right" or family in ("llama", "gpt2")
    ]


def roles(execution: Execution, name: str, cell: int = 0) -> tuple[g.Resume, list[Told], list[Told], list[int]]:
    """An intervention of a test, with its prompts taken apart and the tokens that are read."""
    plan = execution.plan
    ((key, inputs),) = plan.inputs.items()
    score = plan.scores[name][cell]
    resume = score.read("patched").run  # type: ignore[union-attr]
    found = {}
    for role in ("base", "source"):
        rows = plan.rows.get(g.Forward(key, score.label.draw, role), np.zeros(0, int)).tolist()
        late = (
            plan.drawn[score.label.draw].values.get(role, {}).get("late", rows)[: len(rows)]
        )  # none where it is not run
        found[role] = [told(inputs.text(i), inputs.ids(i), bool(one)) for i, one in zip(rows, late, strict=True)]
    reads = [inputs.prompts[i].read for i in plan.rows[g.Forward(key, score.label.draw, "base")].tolist()]
    return resume, found["base"], found["source"], reads


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize(("family", "padding"), spread(cases(), 2))
def test_equal_to_hooks(family: str, padding: str) -> None:
    tests = "".join(
        f"test t{i} on a(l=0, k=1) {{ {DRAW}\n do({action}) report mean(kl) }}\n" for i, action in enumerate(CASES)
    )
    execution, _ = execution_of(spec_of(family, tests, padding))
    assert not [step.why for step in execution.plan.steps if step.why], "something does not ride in one pass"
    got, hand = execution.logits(), ByHand(family)
    plain, _ = execution_of(spec_of(family, tests, padding), change=by_reference)
    reference = plain.logits()
    for number, (action, work) in enumerate(CASES.items()):
        resume, bases, sources, reads = roles(execution, f"t{number}")
        others = roles(plain, f"t{number}")[0]
        assert len({base.length for base in bases}) > 1, "the prompts are to be ragged"
        moved = 0.0
        for row, (base, source) in enumerate(zip(bases, sources or bases, strict=True)):
            expected = written(hand, base.ids, work(hand, base, source))[reads[row]]
            for logits in (got[resume][row], reference[others][row]):
                assert float((logits - expected).abs().max()) < CLOSE, (action, row)
            moved = max(moved, float((expected - hand.logits(base.ids)[reads[row]]).abs().max()))
        assert moved > 100 * CLOSE, f"{action} does nothing, so nothing is shown"


def test_a_window_slides_over_both_ends() -> None:
    """A sweep over windows equals the windows written out, with their reference."""
    windows = {0: "0:1", 1: "0:2", 2: "1:3"}
    one = f"test t on a(k=1) {{ {DRAW}\n do(layer[l - 1:l + 1].mlp_out[z] <- source) report mean(kl) }}\n"
    for layer, said in windows.items():
        one += f"test w{layer} on a(l=0, k=1) {{ {DRAW}\n do(layer[{said}].mlp_out[z] <- source) report mean(kl) }}\n"
    execution, _ = execution_of(spec_of("llama", one))
    list(execution.run())
    found = numbers_of(execution)
    for layer in windows:
        for (name, cell, run, quantity), values in found.items():
            if (name, cell) == ("t", layer):
                assert np.array_equal(values, found[f"w{layer}", 0, run, quantity], equal_nan=True)
    plain, _ = execution_of(spec_of("llama", one), change=by_reference)
    list(plain.run())
    same(found, numbers_of(plain))


def test_written_values_take_layer_by_layer() -> None:
    """Values that are made from runs at a range are made at each of its layers."""
    action = "layer[0:2].mlp_out[z] = 2 * source.layer[1:3].mlp_out[x] - mean(source)"
    tests = f"test t on a(l=0, k=1) {{ {DRAW}\n do({action}) report mean(kl) }}\n"
    execution, _ = execution_of(spec_of("gpt2", tests))
    got, hand = execution.logits(), ByHand("gpt2")
    resume, bases, sources, reads = roles(execution, "t")
    for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
        writes = []
        for layer in (0, 1):
            mean = torch.stack([hand.vector(s.ids, "mlp_out", layer)[s.last("z")] for s in sources]).mean(0)
            new = 2 * hand.vector(source.ids, "mlp_out", layer + 1)[source.last("x")] - mean
            writes.append(("mlp_out", layer, base.last("z"), new))
        assert float((got[resume][row] - written(hand, base.ids, writes)[reads[row]]).abs().max()) < CLOSE


def test_cumulative_patching_is_a_sweep() -> None:
    """Parameters stand for ends of ranges: each cell equals the range written out."""
    text = spec_of("gpt2", "").replace("k in [0, 1, 2]", "p in [x, y, z], k in [1, 2]")
    tests = f"test t on a(l=0) {{ {DRAW}\n do(layer[1].resid_post[0:p + k - 1] = 0) report mean(kl) }}\n"
    tests += f"test f on a(l=0, k=1) {{ {DRAW}\n do(layer[1].resid_post[p.first - 1:p.last] = 0) report mean(kl) }}\n"
    execution, _ = execution_of(text + tests)
    got, hand = execution.logits(), ByHand("gpt2")
    cells = [(p, k) for p in "xyz" for k in (1, 2)]
    for number, (p, k) in enumerate(cells):
        resume, bases, _, reads = roles(execution, "t", number)
        for row, base in enumerate(bases):
            writes = [("resid_post", 1, at, torch.zeros(32)) for at in range(base.last(p) + k - 1)]
            assert float((got[resume][row] - written(hand, base.ids, writes)[reads[row]]).abs().max()) < CLOSE
    for number, p in enumerate("xyz"):
        resume, bases, _, reads = roles(execution, "f", number)
        for row, base in enumerate(bases):
            writes = [("resid_post", 1, at, torch.zeros(32)) for at in range(base.first(p) - 1, base.last(p))]
            assert float((got[resume][row] - written(hand, base.ids, writes)[reads[row]]).abs().max()) < CLOSE


FAULTS = {
    "layer[1].resid_post[z + 3] = 0": ("E506", "the prompt has"),
    "layer[1].resid_post[x.first - 3] = 0": ("E506", "the prompt has"),
    "layer[1].resid_post[last - 40] = 0": ("E506", "the prompt has"),
    "layer[1].resid_post[last + 1] = 0": ("E506", "the prompt has"),
    "layer[1].resid_post[0:32] = 0": ("E506", "leaves the prompt"),
    "layer[1].resid_post[z - 20:z] = 0": ("E506", "leaves the prompt"),
    "layer[1].resid_post[last:last] = 0": ("E465", "holds no token"),
    "layer[1].resid_post[y.first:x.last] = 0": ("E465", "holds no token"),
    "layer[1].resid_post[x.first:x.last] = 0": ("E465", "holds no token"),  # of one token in some row
    "layer[1].resid_post[x] <- source.layer[1].resid_post[z + 3]": ("E506", "the prompt has"),
    "layer[1].resid_post[x.first:x.last + 1] <- source": ("E539", "tokens in the base"),
    "layer[1].resid_post[x - 1] = 0, layer[1].resid_post[x.first - 1] = 0": ("E461", "are one token of a prompt"),
    "layer[1].resid_post[z] = 0, layer[1].resid_post[y:] = 0": ("E461", "are one token of a prompt"),
}


@pytest.mark.parametrize("action", FAULTS)
def test_what_leaves_the_prompt_is_refused_with_the_row(action: str) -> None:
    code, says = FAULTS[action]
    with pytest.raises(SpecError) as caught:
        execution_of(spec_of("gpt2", f"test t on a(l=0, k=1) {{ {DRAW}\n do({action}) report mean(kl) }}\n"))
    (fault,) = (found for found in caught.value.diagnostics if found.code.startswith("E"))
    assert fault.code == code and says in fault.title
    assert "w1" in " ".join(fault.notes), "a prompt is named"
    assert fault.span.text, "the place in the spec is shown"


# ── attention weights to named tokens ───────────────────────────────────────────────────────────

#: (head, query, key) -> the weight that is written there, of one layer.
Weights = dict[tuple[int, int, int], float]


def attended(hand: ByHand, ids: tuple[int, ...], layer: int, new: Weights) -> Tensor:
    """The logits [tokens, vocabulary] once some attention weights of a layer are others."""

    def put(number: int, what: str, tensor: Tensor) -> Tensor:
        if (what, number) != ("pattern", layer):
            return tensor
        tensor = tensor.clone()
        for (head, query, key), weight in new.items():
            tensor[0, head, query, key] = weight
        return tensor

    with hand.attention(put):
        return hand.logits(ids)


def weight(hand: ByHand, told: Told, layer: int, head: int, query: int, key: int) -> float:
    return float(hand.vector(told.ids, "pattern", layer)[query, head, key])


def moved_weights(head_list: tuple[int, ...], layer: int, query: At, key: At, there: At | None = None) -> Callable:
    def work(hand: ByHand, base: Told, sources: list[Told], row: int) -> Weights:
        source = sources[row]
        return {
            (h, q, k): weight(hand, source, layer, h, qs, ks)
            for h in head_list
            for q, qs in zip(query(base), query(source), strict=True)
            for k, ks in zip(key(base), (there or key)(source), strict=True)
        }

    return work


def averaged_weight(hand: ByHand, base: Told, sources: list[Told], row: int) -> Weights:
    every = [weight(hand, s, 1, 1, s.length - 1, s.last("x")) for s in sources]
    return {(1, base.length - 1, base.last("x")): sum(every) / len(every)}


def cut(head_list: tuple[int, ...], layer: int, query: At, key: At) -> Callable:
    return lambda hand, base, sources, row: {(h, q, k): 0.0 for h in head_list for q in query(base) for k in key(base)}


def final(t: Told) -> list[int]:
    return [t.length - 1]


WEIGHTS: dict[str, Callable] = {
    "layer[1].head[1].pattern[last, x] <- source": moved_weights((1,), 1, final, lambda t: [t.last("x")]),
    "layer[1].head[0, 2].pattern[last, y.first] <- source": moved_weights((0, 2), 1, final, lambda t: [t.first("y")]),
    "layer[1].head[1].pattern[last, x.all] = 0": cut((1,), 1, final, lambda t: list(range(*t.spans["x"]))),
    "layer[1].pattern[z, first:x] = 0": cut(
        (0, 1, 2, 3), 1, lambda t: [t.last("z")], lambda t: list(range(t.last("x")))
    ),
    "layer[0].head[3].pattern[z - 1:z + 1, x] <- source": moved_weights(
        (3,), 0, lambda t: [t.last("z") - 1, t.last("z")], lambda t: [t.last("x")]
    ),
    'layer[1].head[1].pattern[last, "w1"] <- source.layer[1].head[1].pattern[last, x + 1]': moved_weights(
        (1,), 1, final, lambda t: [t.first("y") - 1], lambda t: [t.last("x") + 1]
    ),
    "layer[1].head[1].pattern[last, x] = mean(source)": averaged_weight,
    "layer[1].head[1].pattern[last, x] = scale(0.5)": lambda hand, base, sources, row: {
        (1, base.length - 1, base.last("x")): 0.5 * weight(hand, base, 1, 1, base.length - 1, base.last("x"))
    },
    "layer[1].head[1].pattern[last, x] = 0, layer[1].head[1].pattern[last, y] = 0.5": lambda hand, base, sources, row: {
        (1, base.length - 1, base.last("x")): 0.0,
        (1, base.length - 1, base.last("y")): 0.5,
    },
    "layer[1].head[1].pattern[last, if late then x else y] <- source": moved_weights(
        (1,), 1, final, lambda t: [t.last("x" if t.late else "y")]
    ),
    # a token that a causal network does not look at
    "layer[0].head[1].pattern[x, z] = 0.5": lambda hand, base, sources, row: {(1, base.last("x"), base.last("z")): 0.5},
}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("padding", some(["right", "left"], ["left"]))
@pytest.mark.parametrize("family", spread(FAMILIES, 2))
def test_weights_to_named_tokens(family: str, padding: str) -> None:
    """In ragged prompts, in one pass with tests of other sites, against weights changed by hand."""
    tests = "".join(
        f"test t{i} on a(l=0, k=1) {{ {DRAW}\n do({action}) report mean(kl) }}\n" for i, action in enumerate(WEIGHTS)
    )
    execution, _ = execution_of(spec_of(family, tests, padding))
    plain, _ = execution_of(spec_of(family, tests, padding), change=by_reference)
    got, reference, hand = execution.logits(), plain.logits(), ByHand(family)
    for number, (action, work) in enumerate(WEIGHTS.items()):
        resume, bases, sources, reads = roles(execution, f"t{number}")
        others = roles(plain, f"t{number}")[0]
        assert len({base.length for base in bases}) > 1
        moved = 0.0
        for row, base in enumerate(bases):
            layer = int(action[6])
            expected = attended(hand, base.ids, layer, work(hand, base, sources, row))[reads[row]]
            for logits in (got[resume][row], reference[others][row]):
                assert float((logits - expected).abs().max()) < CLOSE, (action, row)
            moved = max(moved, float((expected - hand.logits(base.ids)[reads[row]]).abs().max()))
        assert moved > 10 * CLOSE, f"{action} does nothing, so nothing is shown"


def test_positions_are_of_the_template_of_their_run() -> None:
    """What only the source's prompts have is looked for in them, and the other way round."""
    text = spec_of("llama", "").replace("w4 w5 {x} w1 {y} w5 w2 {z}", "w4 w5 {x} w2 {z}")
    draw = "base, source ~ m(n=6, seed=1) where base.template == 1 and source.template == 0"
    every: dict[str, Worked] = {
        'layer[1].resid_post[z] <- source.layer[1].resid_post["w3"]': mixed(
            "resid_post", 1, lambda t: [t.last("z")], final
        ),
        'layer[1].resid_post["w5"] <- source.layer[0].resid_post[y.first]': lambda hand, base, source: [
            ("resid_post", 1, 1, hand.vector(source.ids, "resid_post", 0)[source.first("y")])
        ],
        'layer[1].resid_post[if late then "w5" else x] = 0': zeros(
            "resid_post", 1, lambda t: [1 if t.late else t.last("x")]
        ),
    }
    tests = "".join(f"test t{i} on a(l=0, k=1) {{ {draw}\n do({a}) report mean(kl) }}\n" for i, a in enumerate(every))
    execution, _ = execution_of(text + tests)
    got, hand = execution.logits(), ByHand("llama")
    for number, work in enumerate(every.values()):
        resume, bases, sources, reads = roles(execution, f"t{number}")
        for row, base in enumerate(bases):
            expected = written(hand, base.ids, work(hand, base, sources[row] if sources else base))[reads[row]]
            assert float((got[resume][row] - expected).abs().max()) < CLOSE
    for action in ('layer[1].resid_post["w3"] <- source', 'layer[1].resid_post[z] <- source.layer[1].resid_post["w5"]'):
        with pytest.raises(SpecError) as caught:
            execution_of(text + f"test t on a(l=0, k=1) {{ {draw}\n do({action}) report mean(kl) }}\n")
        fault = next(found for found in caught.value.diagnostics if found.code.startswith("E"))
        assert fault.code == "E504" and fault.span.text


def test_the_builder_writes_the_same_sites() -> None:
    at, p, x = cd.param("l"), cd.param("p"), cd.name("x")
    sites = {
        "layer[l - 5:l + 5].mlp_out[x]": cd.layer[at - 5 : at + 5].mlp_out[x],
        "layer[:3].resid_post[p.first:p.last]": cd.layer[:3].resid_post[p.first : p.last],
        "layer[0].resid_post[if x == 1 then first else last - 2]": cd.layer[0].resid_post[
            cd.if_(x == 1, cd.first, cd.last - 2)
        ],
        "layer[l].head[1].pattern[last, x + 1]": cd.layer[at].head[1].pattern[cd.last, x + 1],
    }
    for text, site in sites.items():
        assert repr(site) == text
