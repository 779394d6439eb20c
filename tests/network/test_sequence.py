"""One's own sequence networks: token ids to logits, their vocabulary and their layout in the spec."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import causal_dsl as cd
from causal_dsl.diagnostics import SpecError
from causal_dsl.network.forward import SiteRead, SiteWrite, forward
from causal_dsl.network.known_of_network import proof_of
from causal_dsl.network.load import CheckpointReference, Network, load
from causal_dsl.network.site_tensors import refuse
from causal_dsl.tools.cli import main
from causal_dsl.vocabulary.locations import Site
from tests.thinning import some, spread

WORDS = ("BOS", "a", "b", "c", "d", "e", "f")
LAYOUT = {
    "layers": "blocks", "attention": "attn", "mlp": "mlp", "middle": "second", "norm": "last", "embed": "tokens",
    "unembed": "head", "q": "attn.q", "k": "attn.k", "v": "attn.v", "out": "attn.o", "neurons": "mlp.2",
    "pattern": "attn.weights",
}  # fmt: skip
CODE = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, ahead):
        super().__init__()
        self.heads, self.ahead = heads, ahead
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.weights = nn.Identity()

    def forward(self, x, mask):
        rows, tokens, width = x.shape
        q, k, v = (m(x).view(rows, tokens, self.heads, -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if not self.ahead:
            scores = scores.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), float("-inf"))
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None] == 0, float("-inf"))
        weights = self.weights(scores.softmax(-1))
        return self.o((weights @ v).transpose(1, 2).reshape(rows, tokens, width))


class Fused(Attention):
    def __init__(self, width, heads, ahead):
        super().__init__(width, heads, ahead)
        del self.q, self.k, self.v
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x, mask):
        rows, tokens, width = x.shape
        q, k, v = (p.view(rows, tokens, self.heads, -1).transpose(1, 2) for p in self.qkv(x).split(width, -1))
        weights = self.weights((q @ k.transpose(2, 3)).masked_fill(torch.ones(tokens, tokens).triu(1) > 0, -1e9).softmax(-1))
        return self.o((weights @ v).transpose(1, 2).reshape(rows, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads, ahead, kind):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = kind(width, heads, ahead)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.ReLU(), nn.Linear(3 * width, width))

    def forward(self, x, mask=None):
        x = x + self.attn(self.first(x), mask)
        return x + self.mlp(self.second(x))


class Own(nn.Module):
    def __init__(self, layers, width, heads, words, ahead, kind):
        super().__init__()
        self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(9, width)
        self.blocks = nn.ModuleList(Block(width, heads, ahead, kind) for _ in range(layers))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, ids):
        return self.through(ids, None)

    def through(self, ids, mask):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.last(x))


class Masked(Own):
    def forward(self, ids, attention_mask=None):
        return self.through(ids, attention_mask)


def build(layers=3, heads=4, words=7, ahead=False, kind=Attention, of=Own):
    torch.manual_seed(0)
    return of(layers, 16, heads, words, ahead, kind).double()


def fused():
    return build(kind=Fused)


def ahead():
    return build(ahead=True, of=Masked)


def unmasked():
    return build(ahead=True)


class Last(Own):
    def forward(self, ids):
        return super().forward(ids)[:, -1]


def last():
    return build(of=Last)


class Few(Own):
    def forward(self, ids):
        if len(ids) > MOST or ids.shape[1] < SHORT:
            raise ValueError("this is not for me")
        return super().forward(ids)


MOST, SHORT = 2, 0


def few():
    return build(of=Few)


def more():
    global MOST, SHORT
    MOST, SHORT = 9, 5
    return build(of=Few)
"""
SPEC = """
domain Letter = {{"a", "b", "c"}}

causal copy {{
  x, y, z ~ Letter
  output out : Letter := y
}}

network net = torch("net.py:{function}", {said})

align tau(l in 0:3, p in [x, y, z]) : copy -> net {{
  prompt "BOS {{x}} {{y}} {{z}}"
  prompt "BOS {{y}} {{x}} {{z}} d"
  y   @ layer[l].{site}[p]
  out @ next_token
}}

test moves on tau {{
  base, source ~ copy(n=24, seed=0)
  do(y <- source)
  report iia, kl, moved
}}
"""


def written(said: dict[str, Any]) -> str:
    return ", ".join(f"{name}={json.dumps(list(v) if isinstance(v, tuple) else v)}" for name, v in said.items())


def own(folder: Path, function: str = "build", **said: Any) -> Network:
    (folder / "net.py").write_text(CODE, encoding="utf-8")
    asked = {"vocabulary": WORDS, **LAYOUT, **said}
    asked = {name: value for name, value in asked.items() if value is not None}
    return load(
        None,
        CheckpointReference("torch", f"net.py:{function}", folder, said=tuple(asked.items())),
        trust=True,
        dtype="float64",
    )


EVERY = {
    "attn_in",
    "attn_out",
    "embed",
    "final_norm",
    "k",
    "logits",
    "mlp_in",
    "mlp_out",
    "module",
    "neurons",
    "pattern",
    "q",
}
EVERY |= {"resid_mid", "resid_post", "resid_pre", "v", "z"}


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("function", ["build", "fused", "ahead"])
def test_every_site_of_a_layout_is_proved(tmp_path: Path, function: str) -> None:
    more = {"q": None, "k": None, "v": None, "qkv": "attn.qkv"} if function == "fused" else {}
    network = own(tmp_path, function, **more)
    proof = proof_of(network)
    assert proof is not None and proof.refused == {}
    assert proof.ok == EVERY
    assert max(proof.errors.values()) < 1e-10
    assert proof.sweep == "whole"
    facts = network.facts
    assert (facts.layers, facts.heads, facts.head_dim, facts.width, facts.mlp_width) == (3, 4, 4, 16, 48)
    assert (facts.both_ways, facts.masked) == (function == "ahead", False)


def hooked(module: torch.nn.Module, change: Callable[[Tensor], Tensor], before: bool = False) -> Any:
    if before:
        return module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    return module.register_forward_hook(lambda _, args, output: change(output))


#: a site, the module of a layer where a person puts the hook, whether before it, and the columns
PLACES = {
    "resid_pre": ("", True, slice(None)),
    "resid_post": ("", False, slice(None)),
    "attn_out": ("attn", False, slice(None)),
    "mlp_out": ("mlp", False, slice(None)),
    "neurons": ("mlp.2", True, slice(None)),
    "z": ("attn.o", True, slice(8, 12)),
    "q": ("attn.q", False, slice(8, 12)),
    "k": ("attn.k", False, slice(8, 12)),
    "v": ("attn.v", False, slice(8, 12)),
}


def hold_against_a_hook(network: Network, component: str) -> None:
    """What the package reads in one run and writes in another is what hooks read and write."""
    path, before, columns = PLACES[component]
    ids, other = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 4, 5, 6]])
    module = network.model.blocks[1].get_submodule(path)  # type: ignore[index,union-attr]
    seen: list[Tensor] = []
    handle = hooked(module, lambda t: (seen.append(t.clone()), t)[1], before)
    network.model(other)
    handle.remove()

    def change(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed[0, 2, columns] = seen[0][0, 2, columns]
        return changed

    handle = hooked(module, change, before)
    expected = network.model(ids)[:, -1]
    handle.remove()
    heads = (2,) if columns != slice(None) else ()
    site, one, two = Site(component, 1, heads=heads), torch.tensor([0]), torch.tensor([2])
    value = forward(network, other, [SiteRead(site, one, two)]).reads[0]
    got = forward(network, ids, (), [SiteWrite(site, one, two, lambda old: value)], readout=one).logits
    assert got is not None
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, network.model(ids)[:, -1])


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("component", spread(PLACES, 2))
def test_what_is_written_is_what_a_hook_writes(tmp_path: Path, component: str) -> None:
    network = own(tmp_path)
    hold_against_a_hook(network, component)


@pytest.mark.slow
def test_attention_weights_are_written_where_they_leave_their_module(tmp_path: Path) -> None:
    network = own(tmp_path)
    ids = torch.tensor([[0, 1, 2, 3], [0, 4, 5, 6]])
    site, row, place = Site("pattern", 1, heads=(2,)), torch.tensor([0]), torch.tensor([3])
    sharp = torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)

    def change(weights: Tensor) -> Tensor:
        changed = weights.clone()
        changed[0, 2, 3] = sharp[0]
        return changed

    handle = hooked(network.model.blocks[1].attn.weights, change)  # type: ignore[index,union-attr]
    expected = network.model(ids)[:1, -1]
    handle.remove()
    got = forward(network, ids, (), [SiteWrite(site, row, place, lambda old: sharp)], readout=row).logits
    assert got is not None
    torch.testing.assert_close(got, expected)
    plain = forward(network, ids, [SiteRead(site, row, place)]).reads[0]
    assert plain.sum() == pytest.approx(1.0)


WRONG = {
    "heads": ({"heads": 2}, {"v", "z", "pattern"}),
    "a middle that is the end": ({"middle": "first"}, {"resid_mid", "attn_out"}),
    "attention and MLP exchanged": (
        {"attention": "mlp", "mlp": "attn", "q": None, "k": None, "v": None, "out": None, "pattern": None, "neurons": None},
        {"resid_mid", "attn_out", "mlp_out"},
    ),
    "values for queries": ({"q": "attn.v", "v": "attn.q"}, {"pattern", "v"}),
    "another output projection": ({"out": "attn.q"}, {"z"}),
    "another norm": ({"norm": "tokens"}, {"final_norm"}),
}  # fmt: skip


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_layout_is_refused(tmp_path: Path, how: str) -> None:
    said, parts = WRONG[how]
    network = own(tmp_path, **said)
    proof = proof_of(network)
    assert proof is not None
    absent = network.facts.record.absent if network.facts.record is not None else {}
    assert parts & (proof.refused.keys() | absent.keys())
    assert not (parts & proof.ok) or how == "values for queries"


ROLES = {
    "exchanged": ({"q": "attn.k", "k": "attn.q"}, {"q", "k"}),
    "keys for both": ({"q": "attn.k"}, {"q"}),
    "queries for both": ({"k": "attn.q"}, {"k"}),
    "values for keys": ({"k": "attn.v"}, {"k"}),
    "what comes after attention": ({"q": "attn.o"}, {"q"}),
}


@pytest.mark.thinned(always=2, values=True, slow=2)
@pytest.mark.parametrize("function", ["build", "ahead"])
@pytest.mark.parametrize("how", ROLES)
def test_queries_and_keys_are_told_from_each_other(tmp_path: Path, how: str, function: str) -> None:
    said, wrong = ROLES[how]
    network = own(tmp_path, function, **said)
    proof = proof_of(network)
    assert proof is not None and network.facts.record is not None
    assert {"q", "k", "v"} & network.facts.record.absent.keys() == wrong
    assert {"q", "k", "v"} & proof.ok == {"q", "k", "v"} - wrong


REFUSED = {
    "no such layers": ("build", {"layers": "block"}, "E797"),
    "layers that hold none": ("build", {"layers": "head"}, "E797"),
    "no such attention": ("build", {"attention": "attention"}, "E797"),
    "heads that do not divide": ("build", {"heads": 3}, "E794"),
    "the last token alone": ("last", {}, "E796"),
    "words beyond the logits": ("build", {"vocabulary": (*WORDS, *(f"w{n}" for n in range(40)))}, "E794"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_is_told(tmp_path: Path, how: str) -> None:
    function, said, code = REFUSED[how]
    with pytest.raises(SpecError) as caught:
        own(tmp_path, function, **said)
    assert [d.code for d in caught.value.diagnostics] == [code]


def test_tokens_that_look_ahead_need_a_mask(tmp_path: Path) -> None:
    network = own(tmp_path, "unmasked")
    proof = proof_of(network)
    assert proof is not None
    assert "resid_post" in proof.refused  # beside a longer prompt a shorter one sees its padding
    with pytest.raises(SpecError, match="attention_mask") as caught:
        refuse(network, Site("resid_post", 0))
    assert [d.code for d in caught.value.diagnostics] == ["E425"]


def test_an_exception_of_a_networks_own_code_is_no_misplaced_site(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        own(tmp_path, "few")
    assert caught.value.diagnostics[0].code == "E752" and "not for me" in caught.value.diagnostics[0].notes[0]
    with pytest.raises(SpecError, match="raises an exception when it is run") as caught:
        refuse(own(tmp_path, "more"), Site("resid_post", 0))
    (told,) = caught.value.diagnostics
    assert told.code == "E425" and "not for me" in told.notes[1] and "token ids" in told.help


def ran(folder: Path, capsys: pytest.CaptureFixture[str], spec: str, *more: str) -> tuple[int, dict[str, Any], str]:
    (folder / "net.py").write_text(CODE, encoding="utf-8")
    (folder / "own.causal").write_text(spec, encoding="utf-8")
    rc = main(["run", str(folder / "own.causal"), "--trust", "--json", *more])
    out, told = capsys.readouterr()
    return rc, json.loads(out)["specs"][0] if rc < 2 else {}, out + told


@pytest.mark.thinned(always=1, values=True, slow=2)
@pytest.mark.parametrize("site", ["resid_post", "head[1].z", "head[1].pattern"])
@pytest.mark.parametrize("function", some(["build", "ahead"], ["build"]))
def test_a_spec_on_it_has_the_scores_of_whole_forwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], function: str, site: str
) -> None:
    spec = SPEC.format(function=function, said=written({"vocabulary": WORDS, **LAYOUT}), site=site)
    if "pattern" in site:  # attention weights go between prompts of one length
        spec = spec.replace('  prompt "BOS {y} {x} {z} d"\n', "")
    rc, one, told = ran(tmp_path, capsys, spec)
    assert rc == 0, told
    _, other, _ = ran(tmp_path, capsys, spec, "--reference")
    for a, b in zip(one["tests"][0]["cells"], other["tests"][0]["cells"], strict=True):
        assert {n: s["value"] for n, s in a["scores"].items()} == pytest.approx(
            {n: s["value"] for n, s in b["scores"].items()}, abs=1e-6
        )


@pytest.mark.slow
def test_without_a_layout_modules_are_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = written({"vocabulary": WORDS})
    spec = (
        SPEC.format(function="build", said=said, site="resid_post")
        .replace("layer[l].resid_post[p]", 'module("blocks.1")[p]')
        .replace("tau(l in 0:3, p", "tau(p")
    )
    rc, named, told = ran(tmp_path, capsys, spec)
    assert rc == 0, told
    rc, _, told = ran(tmp_path, capsys, SPEC.format(function="ahead", said=said, site="resid_post"))
    assert rc == 2 and "write layers=" in told  # no layout is inferred where tokens look at later ones
    whole = SPEC.format(function="build", said=written({"vocabulary": WORDS, **LAYOUT}), site="resid_post")
    _, sites, _ = ran(tmp_path, capsys, whole.replace("l in 0:3", "l in 1:2"))
    values = [[c["scores"]["kl"]["value"] for c in found["tests"][0]["cells"]] for found in (named, sites)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_a_word_that_is_not_in_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = written({"vocabulary": WORDS, **LAYOUT})
    spec = SPEC.format(function="build", said=said, site="resid_post").replace("BOS {y}", "BOS, {y}")
    rc, _, told = ran(tmp_path, capsys, spec)
    assert rc == 2 and "E793" in told and "BOS," in told
    assert main(["check", str(tmp_path / "own.causal")]) == 2  # before the network is made
    told = "".join(capsys.readouterr())
    assert "E793" in told and "BOS," in told
    (tmp_path / "own.causal").write_text(spec.replace("BOS, {y}", "BOS {y}").replace('"c"}', '"k"}'), encoding="utf-8")
    assert main(["check", str(tmp_path / "own.causal")]) == 2 and '"k"' in "".join(capsys.readouterr())


@pytest.mark.slow
def test_a_domain_may_be_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = SPEC.format(function="build", said=written({"vocabulary": WORDS, **LAYOUT}), site="resid_post")
    shown = ", ".join(f'"{word}"' for word in WORDS)
    named = f"domain Word = {{{shown}}}\n" + SPEC.format(
        function="build", said="vocabulary=Word, " + written(LAYOUT), site="resid_post"
    )
    _, one, _ = ran(tmp_path, capsys, listed)
    rc, other, told = ran(tmp_path, capsys, named)
    assert rc == 0, told
    assert one["tests"][0]["cells"][0]["scores"] == other["tests"][0]["cells"][0]["scores"]


def test_a_number_is_the_functions_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``layers=2`` is how many the function makes, ``layers="blocks"`` where they are; ``heads`` is for both."""
    said = {"vocabulary": WORDS, **{k: v for k, v in LAYOUT.items() if k != "layers"}}
    spec = SPEC.format(function="build", said=written(said) + ', layers="blocks", layers=2, heads=2', site="head[1].z")
    rc, found, told = ran(tmp_path, capsys, spec.replace("l in 0:3", "l in 0:2"))
    assert rc == 0, told
    assert next(iter(found["networks"].values()))["layers"] == 2


def test_python_declares_the_same() -> None:
    letters = cd.domain("Letter", ["a", "b"])
    listed = cd.torch(
        "net.py:build", name="one", vocabulary=["BOS", "a"], layers="blocks", attention="self.attn", heads=4
    )
    named = cd.torch("net.py:build", name="two", vocabulary=letters)
    text = cd.spec(listed, named).source()
    assert 'vocabulary=["BOS", "a"], heads=4' in " ".join(text.split()) or 'vocabulary=["BOS", "a"]' in text
    assert 'layers="blocks"' in text and 'attention="self.attn"' in text and "vocabulary=Letter" in text
    assert text.index("domain Letter") < text.index("network two")
    assert cd.parse(text).source() == text


@pytest.mark.parametrize(("given", "rc"), [("l=2", 0), ("l=layers - 1", 0), ("l=3", 2)])
@pytest.mark.thinned(always=1)
def test_a_layer_is_given_before_it_is_known_how_many_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, rc: int
) -> None:
    """The network has three layers, which is known once it is loaded; `l=3` is a fault then, and of that test alone."""
    spec = SPEC.format(function="build", said=written({"vocabulary": WORDS, **LAYOUT}), site="resid_post")
    spec = spec.replace("l in 0:3, p in [x, y, z]", "l in 0:layers").replace("[p]", "[y]")
    one = spec.replace("test moves on tau {", f"test moves on tau({given}) {{")
    assert main(["check", str(_file(tmp_path, one)), "--trust"]) == 0, capsys.readouterr()
    capsys.readouterr()
    code, found, told = ran(tmp_path, capsys, one)
    assert code == rc, told
    if rc:
        assert "E696" in told and "one of 0, 1, 2" in told
        return
    _, every, _ = ran(tmp_path, capsys, spec)
    assert found["tests"][0]["cells"][0]["scores"] == every["tests"][0]["cells"][2]["scores"]


@pytest.mark.thinned(always=2)
@pytest.mark.parametrize(
    ("counted", "plain"),
    [
        ("layer[layers - 2].mlp_out[y]", "layer[1].mlp_out[y]"),
        ("layer[1:].attn_out[y]", "layer[1:3].attn_out[y]"),
        ("layer[1].head[1:].z[y]", "layer[1].head[1:4].z[y]"),
        ("layer[0].head[heads - 1].z[y]", "layer[0].head[3].z[y]"),
        ("late(k=layers - 1)", "late(k=2)"),
    ],
)
def test_what_counts_layers_and_heads_is_not_judged_before_they_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counted: str, plain: str
) -> None:
    """Sites, ranges without an end, and circuits: `check` passes, and the numbers are those of the site that is written out."""
    spec = SPEC.format(function="build", said=written({"vocabulary": WORDS, **LAYOUT}), site="resid_post")
    spec = spec.replace("l in 0:3, p in [x, y, z]", "l in 1:layers").replace("[p]", "[y]")
    spec += "\ncircuit late(k in 1:layers) : net { it = layer[0:k].mlp_out }\n"
    spec += "".join(
        f"test {name} on tau(l=1) {{ base, source ~ copy(n=8) where base.template == source.template do({site} <- source) report kl }}\n"
        for name, site in (("counted", counted), ("plain", plain))
    )
    assert main(["check", str(_file(tmp_path, spec)), "--trust"]) == 0, capsys.readouterr()
    capsys.readouterr()
    _, found, told = ran(tmp_path, capsys, spec)
    assert found, told
    one, two = (test["cells"][0]["scores"] for test in found["tests"][-2:])
    assert one == two, told
    assert one["kl"]["value"] > 0


def _file(folder: Path, spec: str) -> Path:
    (folder / "net.py").write_text(CODE, encoding="utf-8")
    (folder / "own.causal").write_text(spec, encoding="utf-8")
    return folder / "own.causal"
