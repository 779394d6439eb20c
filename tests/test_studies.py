"""The studies of ``specs/studies``: on a small random network their numbers are those of hooks by hand; those that need no
pretrained model find what their comments say; the others do on few rows of the real one (``pytest -m real``)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

import causal_dsl as cd
from causal_dsl.running.running import run_specs

STUDIES = Path(__file__).parents[1] / "specs" / "studies"
LAYERS, HEADS, WIDE = 30, 9, 4
#: How many pairs those of circuits are run on here, whose controls are some hundred circuits; others are run on 16.
FEW = {"circuit_of_ioi": 2, "path_patching": 4, "induction_heads": 4}
REAL = sorted(path.stem for path in STUDIES.glob("*.causal") if "smollm" in path.read_text(encoding="utf-8"))
#: Those of heads and circuits, which take as long as all others.
OF_CIRCUITS = ["circuit_of_ioi", "induction_heads", "path_patching", "successor"]


# ── against hooks by hand ───────────────────────────────────────────────────────────────────────


class Small:
    """A llama of the real one's layers and heads and of random weights, whose tokens are the words of the studies."""

    def __init__(self, folder: Path):
        text = "".join(path.read_text(encoding="utf-8") for path in STUDIES.glob("*.causal"))
        split = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
        words = dict.fromkeys(word for word, _ in split.pre_tokenize_str(text.replace("\\n", "\n")))
        self.tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*words, "?"])}, unk_token="?"))
        self.tokenizer.pre_tokenizer = split
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(words) + 1,
            hidden_size=HEADS * WIDE,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=3,
            head_dim=WIDE,
            initializer_range=0.2,
            attn_implementation="eager",
            bos_token_id=None,
            eos_token_id=None,
        )
        self.model = LlamaForCausalLM(config).eval()
        self.model.save_pretrained(folder)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        self.layers = self.model.model.layers
        self.folder = folder

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text).ids
        return found

    def id(self, word: str) -> int:
        (found,) = self.ids(word)
        return found

    @torch.no_grad()
    def logits(self, text: str) -> Tensor:
        return self.model(torch.tensor([self.ids(text)])).logits[0, -1].double()

    def prob(self, text: str, word: str) -> float:
        return float(self.logits(text).softmax(0)[self.id(word)])

    def stream(self, layer: int, text: str, at: int) -> Tensor:
        """The residual stream after a layer."""
        seen: list[Tensor] = []
        with self.changing(self.layers[layer], lambda hidden: seen.append(hidden[0, at].clone())):
            self.logits(text)
        return seen[0]

    @contextmanager
    def changing(self, module: nn.Module, act: Callable[[Tensor], Any], entering: bool = False) -> Iterator[None]:
        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            act(args[0])

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            act(output[0] if isinstance(output, tuple) else output)

        handle = module.register_forward_pre_hook(before) if entering else module.register_forward_hook(after)
        try:
            yield
        finally:
            handle.remove()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small"))


def run(name: str, small: Small, out: Path, *tests: str) -> tuple[cd.Results, pandas.DataFrame]:
    """Tests of a study on the small network, and the rows of their pairs."""
    asked = cd.Options(tests=tests, networks={"smollm": small.folder}, out=out)
    results = cd.run(cd.load(STUDIES / f"{name}.causal"), asked)
    return results, pandas.read_parquet(out / name / "pairs.parquet")


def rows_of(pairs: pandas.DataFrame, test: str, columns: list[str], **cell: Any) -> list[tuple[Any, ...]]:
    mine = pairs[pairs["test"] == test]
    for key, value in cell.items():
        mine = mine[mine[key].astype(str) == str(value)]
    return list(mine[columns].itertuples(index=False, name=None))


@contextmanager
def without_attention(small: Small, layers: range, key: int) -> Iterator[None]:
    """The last token's weights on a token are 0 in some layers, after the softmax."""
    own = modeling_llama.eager_attention_forward
    cut = {id(small.layers[layer].self_attn) for layer in layers if 0 <= layer < LAYERS}

    def attention(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, scaling: float, **more: Any) -> Any:
        if id(module) not in cut:
            return own(module, q, k, v, mask, scaling, **more)
        k, v = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (k, v))
        scores = q @ k.transpose(2, 3) * scaling
        late = torch.ones(scores.shape[-2:]).triu(1).bool()
        weights = scores.masked_fill(late, -torch.inf).softmax(-1)
        weights[:, :, -1, key] = 0
        return (weights @ v).transpose(1, 2).contiguous(), weights

    modeling_llama.eager_attention_forward = attention
    try:
        yield
    finally:
        modeling_llama.eager_attention_forward = own


@pytest.mark.slow
def test_attention_knockout_is_that_of_hooks(small: Small, tmp_path: Path) -> None:
    results, pairs = run("attention_knockout", small, tmp_path, "the_city", "another_word")
    for test, word in (("the_city", None), ("another_word", "located")):
        moved = []
        for layer in (0, 4, 16, 29):
            found, plain = [], []
            for text, country in rows_of(pairs, test, ["base", "base_answer"], l=layer):
                tokens = text.split()
                key = tokens.index(word or tokens[3])  # The city of CITY is located …
                with without_attention(small, range(layer - 4, layer + 5), key):
                    found.append(small.prob(text, country))
                plain.append(small.prob(text, country))
            told = results[test].cell(l=layer).scores["prob(country)"]
            assert told.n == len(found) == 24
            assert told.value == pytest.approx(np.mean(found), rel=1e-3)
            moved.append(abs(np.mean(found) - np.mean(plain)) / np.mean(plain))
        assert max(moved) > 0.01  # a cut that does nothing would equal any cut


@pytest.mark.nightly
def test_patchscopes_are_those_of_hooks(small: Small, tmp_path: Path) -> None:
    results, pairs = run("patchscopes", small, tmp_path, "read_early")
    for layer in (0, 7, 20):
        found = []
        for base, source in rows_of(pairs, "read_early", ["base", "source"], l=layer)[:64]:
            word = source.split()[-1]
            vector = small.stream(layer, source, -1)
            at = small.ids(base).index(small.id("x"))

            def put(hidden: Tensor, vector: Tensor = vector, at: int = at) -> None:
                hidden[0, at] = vector

            with small.changing(small.layers[2], put):
                found.append(small.prob(base, word))
        told = results["read_early"].cell(l=layer).scores["prob(source.said)"]
        assert told.value == pytest.approx(np.mean(found), rel=1e-3)


@pytest.mark.slow
def test_function_vectors_are_those_of_hooks(small: Small, tmp_path: Path) -> None:
    results, pairs = run("function_vectors", small, tmp_path, "vector_added")
    for layer in (1, 14, 29):
        rows = rows_of(pairs, "vector_added", ["base", "shown", "base_answer"], l=layer)
        shown = torch.stack([small.stream(layer, text, -1) for _, text, _ in rows]).mean(0)
        alone = torch.stack([small.stream(layer, text, -1) for text, _, _ in rows]).mean(0)

        def add(hidden: Tensor, vector: Tensor = shown - alone) -> None:
            hidden[0, -1] += vector

        found = []
        with small.changing(small.layers[layer], add):
            for text, _, answer in rows:
                logits = small.logits(text)
                found.append(float(logits[small.id(answer)] - logits[small.id(text.split()[0])]))
        told = results["vector_added"].cell(l=layer).scores["logit(answer) - logit(base.word)"]
        assert told.value == pytest.approx(np.mean(found), rel=1e-3, abs=1e-4)


@pytest.mark.nightly
def test_successor_heads_are_those_of_hooks(small: Small, tmp_path: Path) -> None:
    results, pairs = run("successor", small, tmp_path, "without_head")
    for layer, head in ((0, 0), (13, 8), (29, 4)):
        rows = rows_of(pairs, "without_head", ["base", "base_answer"], l=layer, h=head)
        assert len(rows) == 7
        part, out = slice(head * WIDE, (head + 1) * WIDE), small.layers[layer].self_attn.o_proj
        seen: list[Tensor] = []

        def keep(z: Tensor, part: slice = part, seen: list[Tensor] = seen) -> None:
            seen.append(z[0, -1, part].clone())

        with small.changing(out, keep, entering=True):
            plain = [small.logits(text) for text, _ in rows]
        mean = torch.stack(seen).mean(0)

        def put(z: Tensor, part: slice = part, mean: Tensor = mean) -> None:
            z[0, -1, part] = mean

        with small.changing(out, put, entering=True):
            changed = [small.logits(text) for text, _ in rows]
        ends = [(small.id(answer), small.id(text.split()[2].strip("."))) for text, answer in rows]
        found = [(new[a] - new[d]) - (old[a] - old[d]) for new, old, (a, d) in zip(changed, plain, ends, strict=True)]
        told = results["without_head"].cell(l=layer, h=head).scores["change(ahead)"]
        assert told.value == pytest.approx(float(np.mean(found)), rel=1e-3, abs=1e-5)


# ── what they find ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.causal")), ids=lambda path: path.stem)
def test_every_study_says_what_was_found(path: Path) -> None:
    assert len(re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))[0].splitlines()) >= 2  # type: ignore[index]


@pytest.mark.nightly
def test_a_network_that_tells_brackets_holds_neither_part_of_the_program_alone() -> None:
    results = cd.run(cd.load(STUDIES / "brackets.causal"), cd.Options(trust=True))
    assert results.passed, results.diagnostics
    for part in ("even", "below"):
        assert all(cell.verdict not in ("supported", "exact") for cell in results[f"held(v={part})"].cells)


@pytest.mark.slow
def test_a_steering_curve_turns_more_answers_the_further_it_goes() -> None:
    moved = [cell.scores["moved"].value for cell in cd.run(cd.load(STUDIES / "steering.causal"))["steered"].cells]
    assert moved[3] == 0 and moved[6] == max(moved) > 0.3


LETTERS = STUDIES / "letters"


def of_letters(rows: list[str], act: dict[str, Callable[[Tensor], None]], model: Any) -> Tensor:
    """The last token's logits [n, vocabulary] for prompts, with some outputs of modules changed in place."""
    tokenizer = Tokenizer.from_file(str(LETTERS / "base" / "tokenizer.json"))
    handles = []
    for path, change in act.items():

        def after(_: nn.Module, args: Any, output: Any, change: Callable[[Tensor], None] = change) -> None:
            change(output[0] if isinstance(output, tuple) else output)

        handles.append(model.get_submodule(path).register_forward_hook(after))
    try:
        with torch.no_grad():
            found: Tensor = model(input_ids=torch.tensor([tokenizer.encode(text).ids for text in rows])).logits[:, -1]
    finally:
        for handle in handles:
            handle.remove()
    return found.double()


@pytest.mark.slow
def test_a_lora_changes_where_a_variable_is_and_merged_it_is_the_same(tmp_path: Path) -> None:
    import peft

    results = cd.run(cd.load(STUDIES / "lora.causal"), cd.Options(out=tmp_path))
    before, after, apart = (results[f"held_{name}"] for name in ("before", "after", "apart"))
    assert before.cell(l=0, p="last").scores["iia"].value > 0.9 > 0.75 > after.cell(l=0, p="last").scores["iia"].value
    for one, other in zip(after.cells, apart.cells, strict=True):
        assert one.cell == other.cell
        assert {n: e.value for n, e in one.scores.items()} == {n: e.value for n, e in other.scores.items()}
    pairs = pandas.read_parquet(tmp_path / "lora" / "pairs.parquet")
    model = peft.PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(LETTERS / "base"), str(LETTERS / "lora"))
    for cell in results["without"].cells:
        layer, module = cell.cell["k"], str(cell.cell["m"]).strip('"')
        rows = [text for (text,) in rows_of(pairs, "without", ["base"], k=float(layer), m=cell.cell["m"])]
        path = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_B.default"
        plain, cut = (of_letters(rows, act, model)[:, [9, 10]].argmax(-1) for act in ({}, {path: Tensor.zero_}))
        assert cell.scores["moved"].value == pytest.approx(float((plain != cut).double().mean())) and len(rows) == 128
    assert results["without"].cells[0].scores["moved"].value > 0.4


@pytest.mark.slow
def test_a_latent_that_is_clamped_turns_answers_and_one_that_is_ablated_does_not(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    results = cd.run(cd.load(STUDIES / "sae_clamping.causal"), cd.Options(out=tmp_path))
    pairs = pandas.read_parquet(tmp_path / "sae_clamping" / "pairs.parquet")
    sae = load_file(LETTERS / "sae" / "sae_weights.safetensors")
    model = LlamaForCausalLM.from_pretrained(LETTERS / "base")
    for test, latents in (("clamped", [19]), ("ablated", [19, 33, 50, 0])):
        for cell in results[test].cells:
            latent, to = (latents[0], cell.cell["c"]) if test == "clamped" else (cell.cell["k"], 0)
            cells = {name: float(value) for name, value in cell.cell.items()}
            rows = rows_of(pairs, test, ["base", "kl", "moved"], **cells)

            def clamp(hidden: Tensor, latent: int = latent, to: float = to) -> None:
                read = torch.relu((hidden[:, -1] - sae["b_dec"]) @ sae["W_enc"][:, latent] + sae["b_enc"][latent])
                hidden[:, -1] += (to - read)[:, None] * sae["W_dec"][latent]

            texts = [text for text, _, _ in rows]
            plain, changed = (of_letters(texts, act, model) for act in ({}, {"model.layers.0": clamp}))
            moved = (plain[:, [9, 10]].argmax(-1) != changed[:, [9, 10]].argmax(-1)).double()
            p, q = plain.log_softmax(-1), changed.log_softmax(-1)
            assert len(rows) == 56 and [row[2] for row in rows] == moved.tolist()
            assert np.allclose([row[1] for row in rows], (p.exp() * (p - q)).sum(-1), rtol=1e-4, atol=1e-6)
    values = [cell.scores["moved"].value for cell in results["clamped"].cells]
    assert values[:2] == [0, 0] and values == sorted(values) and values[-1] == 1


def _few(home: Path, names: Sequence[str]) -> list[cd.Spec]:
    """The studies of the real model, on few rows and in short fits."""
    shutil.copytree(STUDIES, home / "studies")
    shutil.copytree(STUDIES.parent, home, ignore=shutil.ignore_patterns("studies", "tracr"), dirs_exist_ok=True)
    (home / "pyproject.toml").touch()  # one project, so that studies import the specs beside their folder
    for name in names:
        path = home / "studies" / f"{name}.causal"
        text = re.sub(r"\bn=\d+", f"n={FEW.get(name, 16)}", path.read_text(encoding="utf-8"))
        path.write_text(text.replace("epochs=12", "epochs=1"), encoding="utf-8")
    return [cd.load(home / "studies" / f"{name}.causal") for name in names]


@dataclass
class Found:
    """What studies of the real model found; one load of the network serves all of them."""

    of: dict[tuple[str, str], Any]

    @classmethod
    def in_studies(cls, home: Path, names: Sequence[str]) -> Found:
        results = run_specs(_few(home, names), cd.Options())
        assert [Path(spec.path).stem for spec in results.specs] == list(names)
        assert not results.faults
        return cls({(Path(spec.path).stem, test.name): test for spec in results.specs for test in spec.tests})

    def score(self, study: str, test: str, name: str, **cell: Any) -> float:
        found = self.of[study, test].cell(**cell).scores[name].value
        assert found is not None
        return float(found)


@pytest.mark.real
def test_studies_of_places_in_the_real_model_find_what_they_say(tmp_path: Path) -> None:
    score = Found.in_studies(tmp_path, [name for name in REAL if name not in OF_CIRCUITS]).score
    tracing = [("mlp_out", "city", 5), ("attn_out", "last", 20)]
    for site, at, layer in tracing:
        assert score("causal_tracing", "restored", "prob(country)", l=layer, s=site, p=at) > 0.8
    assert score("causal_tracing", "restored", "prob(country)", l=5, s="attn_out", p="city") < 0.1
    assert score("greater_than", "held", "recovered(cut)", l=10, p="decade") > 0.9
    assert score("greater_than", "held", "recovered(cut)", l=23, p="last") > 0.9
    assert score("patchscopes", "read", "iia", l=8) == 1 and score("patchscopes", "read", "iia", l=25) == 0
    assert score("attention_knockout", "the_city", "prob(country)", l=24) < 0.75
    assert score("attention_knockout", "another_word", "prob(country)", l=24) > 0.9
    assert score("mcqa_chat", "pointer", "iia", l=21, p="last") > 0.6
    assert score("attributes_of_cities", "whole_vector", "cause", l=12) > 0.9
    assert score("attributes_of_cities", "whole_vector", "isolate", l=12) < 0.6
    assert score("function_vectors", "by_example", "accuracy") > 0.5
    assert score("steering_a_mood", "steered", "change(happier)", l=20, c=1) > 1.5
    assert score("steering_a_mood", "steered", "change(happier)", l=20, c=-1) < -1.5


@pytest.mark.real
def test_studies_of_heads_and_circuits_in_the_real_model_find_what_they_say(tmp_path: Path) -> None:
    found = Found.in_studies(tmp_path, OF_CIRCUITS)
    of, score = found.of, found.score
    ahead = {(c.cell["l"], c.cell["h"]): c.scores["change(ahead)"].value for c in of["successor", "without_head"].cells}
    assert min(ahead, key=lambda at: ahead[at]) == (23, 3)
    assert score("circuit_of_ioi", "on_other_inputs", "faithfulness(logit_diff)", k=120) > 0.8
    assert score("circuit_of_ioi", "on_other_names", "faithfulness(logit_diff)") > 0.6
    assert score("circuit_of_ioi", "on_another_sentence", "faithfulness(logit_diff)") > 0.6
    told = {
        n: score("path_patching", f"inhibit_to_{n}_of_mover", "change(logit_diff)")
        for n in ("queries", "keys", "values")
    }
    assert told["queries"] < -0.4 and max(map(abs, (told["keys"], told["values"]))) < 0.3
    heads: dict[Any, float] = {}
    for cell in of["induction_heads", "scores"].cells:
        (value,) = (told.value for name, told in cell.scores.items() if name.startswith("induction"))
        heads[cell.cell["l"], cell.cell["h"]] = value or 0.0
    assert set(sorted(heads, key=lambda at: -heads[at])[:4]) == {(17, 3), (17, 4), (17, 5), (18, 6)}
    ablated = {
        g: score("induction_heads", f"without{g}", "change(prob(next))") for g in ("", "_others_one", "_others_two")
    }
    assert min(ablated, key=lambda g: ablated[g]) == ""
