"""Specs that are changed at random: words, as a slip of the keyboard would change them, and parts, as an author would.

``corpus()`` gives the specs of ``mutants/`` and the shipped ones, their draws made small. :func:`slip` changes a word, a number,
a name or a line. :func:`revise` puts a part in the place of one of its kind (a site for a site, a setting for a setting), so that most of
what it gives passes ``check``.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants")


def _words(text: str) -> list[str]:
    return text.split()


def _parts(text: str) -> list[str]:
    """What stands between bars."""
    return [part.strip() for part in " ".join(text.split()).split(" | ")]


WORD = re.compile(r'"[^"\n]*"|\w+|[^\w\s]|\s+')

ODD = _words(
    '0 1 -1 2 999999999999 1e308 0.5 0:0 3:1 "" "\\u0000" true base source mean none all last first logits next_token input '
    "layer [] () not == % where do do() {} output import é \u202e # n=0 n=1 seed=-1 balance=[] split=test padding=left "
    "dtype=bfloat16 dtype=float16 1/3 nats max(iia) iia_star report expect resid_mid q_rot pattern head[9] exhaustive=true"
)
ODD += [
    "/ 0",
    "div 0",
    '"a" "b"',
    "noise(std=0)",
    "noise(std=-1)",
    "via mask()",
    "via onehot()",
    "via pca(dim=0)",
    "1 == 1",
    "layers",
    "heads - 1",
    "in 0:layers",
    "in 1:heads",
]
ODD += ["\t", "in [0, 0]", "in []", "in 0:1000000", "solved(base)"]

VECTOR_SITES = _words(
    "input input[0] input[0:4] input[2,3] layer[0].out layer[1].out layer[0].out[0] layer[1].out[0:2] layer[1].out[2:4] "
    "layer[2].out logits logits[0] layer[0].out[-1]"
)
STREAM = _words("resid_pre resid_mid resid_post attn_in mlp_in attn_out mlp_out neurons")
HEADS = _words("q k v z q_rot k_rot pattern")
POSITIONS = _words('a b c d last first all 0 1 -2 "=" a.first b.all a(1) who who.first p')
FIT = _words(
    "n=16 n=2 n=1 epochs=1 epochs=2 batch=1 batch=8 batch=64 rate=0.01 rate=1000000 patience=1 restarts=2 controls=none "
    "controls=all joined=true seed=1"
)
FEATURES = _words(
    "rotation(dim=1 rotation(dim=2 lowrank(dim=1 affine(dim=1 affine(dim=2 revnet(dim=1,layers=2,width=4 mask( boundless( "
    "mask(over=heads linear_probe( pca(k=1 pca(k=2 pca(k=64 standardize( standardize().rotation(dim=1 pca(k=2).mask( "
    "standardize().pca(k=1 rotation(dim=2).rotation(dim=1 mask(weight=0,start=5 boundless(start=2,end=1"
)
ENCODINGS = _words("onehot() scalar() embedding(dim=4,seed=0) embedding(dim=1,seed=2)")
VALUES = _parts(
    """
    0 | 1 | -3.5 | mean | noise(std=3) | noise(std=0) | mean(source) | mean(base) | mean(pooled=true) | [1, 2] |
    1000000 | 2 * mean | mean(source) - mean(base) | 0.5 * noise(std=1, seed=4) | mean / 2 | 1 / 0 | 1e30 | 1e39 |
    -mean
    """
)
METRICS = _parts(
    """
    logit(true) - logit(false) | prob(true) | prob(label) | log_prob | cross_entropy | kl | js | moved |
    logit(label) > 0 | change(logit(true)) | change(prob(label)) | recovered(logit(true)) |
    recovered_per_pair(prob(true)) | change(kl) | logit(true) / logit(false) | logit(left) | logit(source.same) | 1
    / kl | logit(true) / 0 | prob(true) / prob(false) | gap | rank(true) | normalized(logit(true)) |
    logit(true) @ layer[0].resid_post[last] | logit(same) @ layer[l].resid_pre[last] | rank(same) @ layer[1].resid_post[a] |
    kl @ layer[0].resid_post[last] | norm @ layer[l].resid_post[p] | cosine(layer[0].resid_pre[a]) @ layer[1].resid_post[a] |
    attribution(logit(true)) @ layer[0].head[1] | attribution(gap) @ layer[0].mlp_out | attention(last, a) @ layer[1].head[0] |
    attention(a, last) @ layer[0].head[0] | previous_token @ layer[0].head[1] | induction @ layer[1].head[3] |
    probe_accuracy(left) @ layer[1].resid_post[last] | probe_selectivity(left, by=a) @ layer[0].resid_post[b] |
    norm @ layer[0].out[0] | cosine(layer[0].out) @ layer[1].out | save @ layer[0].resid_post[last] | save @ layer[1].out
    """
)
SCORES = _parts(
    """
    accuracy | iia | iia_informative | iia_star | cause | isolate | disentangle | moved | max(iia) | min(iia) |
    best(iia) | median(iia) | mean(iia_star) | argmax(iia) | argmin(moved) | argmax(iia).l | best(moved) | max(kl) |
    max(mean(kl)) | scrubbed | scrubbed(gap) | carried | local_consistency | abstraction_error |
    abstraction_error_resampled | faithfulness(gap) | completeness(gap) | minimality(gap) | cpr(gap) | cmd(gap) |
    necessity(gap) | sufficiency(gap) | recovered(gap) | faithfulness(logit(true))
    """
)
BOUNDS = _words("0 1 95% 5% 0.5 0.05nats 1bits 100% -1 last")
COMPARED = _words(">= > <= < == !=")
WHERES = _parts(
    """
    base.left != source.left | base.left == source.left | solved(base) | solved(source) | solved(base) and
    solved(source) | base.a == source.a | base.a != base.b | base.a == base.b and base.c == base.d | base.a == 1 |
    true | false | not solved(base) | base.same != source.same | base.same | base == source | base.a in {1, 2} |
    base.right or base.left
    """
)
DRAWS = _parts(
    """
    n=1 | n=2 | n=3 | n=5 | n=32 | n=64 | seed=1 | seed=-1 | split=fit | split=validation | split=test |
    controls=none | exhaustive=true | balance=[base.left] | balance=[base.left, source.left] | balance=[left] |
    balance=[base.a] | balance=[base.left, base.right, source.left, source.right] | balance=[same] |
    exhaustive=true, split=test
    """
)
NETWORK = _parts(
    """
    dtype=float64 | dtype=float16 | dtype=bfloat16 | dtype=float32 | padding=left | padding=right | device=cpu |
    device=auto
    """
)
TRAINING = _parts(
    """
    interchange=0 | task=0 | strict=0.5 | decay=none | decay=cosine | init=keep | steps=1 | steps=4 | batch=1 | n=8
    | n=1 | rate=1000 | seed=3 | layers=[0] | layers=[1, 2] | balance=[left]
    """
)
PROMPTS = _parts(
    """
    "{a} {b} {c} {d} =" | "{a} {b} =" | "{a} {a} {b} {c} {d} =" | "{b} {a} {d} {c} =" | "= {a} {b} {c} {d}" | "{a}"
    | "{a} {b} {c} {d} true" | "{who} {a} =" | "{d} {c} {b} {a} ="  where a == b | "{a} moon {c} {d} =" where a != b
    | "{a}{b} {c} {d} =" | "a b {c} {d} =" | " " | "{a} {b} {c} {d} = = = =" | "{a} {b} {c} {d} = = = = ="
    """
)
DOMAINS = _parts(
    """
    0..3 | 0..9 | bool | {1, 2} | {-1, 0, 1} | real(-1, 1) | real(0, 0) | {"arrow", "circle"} | {"arrow"} | 0..0 |
    0..1000 | lines("shapes.txt") | {true, false} | {"true", "false"}
    """
)
MECHANISMS = _parts(
    """
    a == b | a != b | true | left | c == d or a == b | if a == b then c == d else a == d | not left | left and right
    | a == b and left | 1 | 1 / 2 | a | 0 / 0 | Kinds[a].round | Kinds[a].sides > 3 | agree(a, b) | larger(x, y) |
    fragile(x, y) | share(x) | a + b | a mod 2 == 0 | a div b | a * b > 2 | x / y > 1
    """
)


def prepare(folder: Path) -> None:
    """Put the files that specs of the corpus read into the folder."""
    shutil.copytree(ROOT / "specs" / "studies", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.causal"))
    for file in MUTANTS.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)


def mutants() -> list[str]:
    """Small specs of every kind, for ``run``: vectors first, then prompts."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(MUTANTS.glob("*.causal"))]
    return [text for text in texts if re.search(r"^test ", text, re.M)]


def corpus() -> list[str]:
    """Those, and the shipped specs, their draws made small; of a network that would have to be fetched, on another one."""
    shipped = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "specs").rglob("*.causal"))]
    here = [re.sub(r'zoo\("smollm2[^"]*"', 'zoo("equality-gpt2"', text) for text in shipped]
    return [*mutants(), *(re.sub(r"n=\d+", "n=8", text) for text in here)]


def on_tokens(text: str) -> bool:
    return "prompt " in text


def slip(rng: random.Random, text: str, specs: list[str]) -> str:
    """One change of a word, a number or a line."""
    words = WORD.findall(text)
    real = [i for i, word in enumerate(words) if not word.isspace()]
    if not real:
        return text
    at, other = rng.choice(real), rng.choice(real)
    match rng.randrange(10):
        case 0:
            del words[at]
        case 1:
            words.insert(at, words[other])
        case 2:
            words[at], words[other] = words[other], words[at]
        case 3 | 4:
            words[at] = words[other]
        case 5:
            words[at] = rng.choice(ODD)
        case 6:
            words.insert(at, rng.choice(ODD) + " ")
        case 7:
            numbers = [i for i in real if words[i].isdigit()]
            if numbers:
                words[rng.choice(numbers)] = rng.choice(("0", "1", "2", "3", "7", "64", "1000", "100000000"))
        case 8:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(rng.choice(specs).split("\n")))
            words = ["\n".join(lines)]
        case 9:
            lines = text.split("\n")
            del lines[rng.randrange(len(lines))]
            words = ["\n".join(lines)]
    return "".join(words)


def _site(rng: random.Random, text: str) -> str:
    if not on_tokens(text):
        return rng.choice(VECTOR_SITES)
    layer, position = rng.choice("0012l"), rng.choice(POSITIONS)
    match rng.randrange(8):
        case 0:
            return rng.choice((f"embed[{position}]", f"final_norm[{position}]", f"logits[{position}]", "logits"))
        case 1 | 2:
            heads = rng.choice(("0", "1, 3", "0:2", "0:4"))
            return f"layer[{layer}].head[{heads}].{rng.choice(HEADS)}[{position}]"
        case 3:
            return f"layer[{layer}].{rng.choice(STREAM)}[{position}, {rng.choice(('0', '0:8', '3, 5', '60:64'))}]"
        case 4:
            name = rng.choice(
                ("transformer.h.1.mlp", "transformer.wte", "transformer.h.0.attn", "transformer.ln_f", "lm_head")
            )
            return f'module("{name}")[{position}]'
    return f"layer[{layer}].{rng.choice(STREAM)}[{position}]"


def _feature(rng: random.Random) -> str:
    written = rng.choice(FEATURES)
    settings = rng.sample(FIT, rng.choice((0, 1, 1, 2)))
    if not any(word.startswith("n=") for word in settings) and rng.random() < 0.9 and "linear" not in written:
        settings += ["n=16", "epochs=1"] if not any(word.startswith("epochs") for word in settings) else ["n=16"]
    inside = "" if written.endswith("(") else ", " if settings else ""
    return f" via {written}{inside}{', '.join(settings)})"


def _action(rng: random.Random, text: str) -> str:
    names = re.findall(r"^\s*(?:output )?(\w+)\s*(?:: \w+ )?:=", text, re.M) or ["left"]
    roles = ("source", "source", "one", "two", "base")
    match rng.randrange(8):
        case 0 | 1:
            return f"{rng.choice(names)} <- {rng.choice(roles)}"
        case 2:
            return f"{rng.choice(names)} = {rng.choice(('true', 'false', '1', '3'))}"
        case 3:
            return f"{_site(rng, text)} <- {rng.choice(roles)}"
        case 4:
            return f"{_site(rng, text)} <- {rng.choice(roles)}.{_site(rng, text)}"
        case 5:
            return f"{_site(rng, text)} += {rng.choice(VALUES)}"
        case 6:
            return rng.choice(
                (
                    "outside(path) = mean",
                    "path.early -> path.late.v <- source",
                    "early = 0",
                    "path = mean",
                    "outside(known) <- source",
                    "outside(found, among=[head]) = mean",
                    "outside(wired, at=[b, last]) <- source",
                    "known.early -> known.late.q <- source",
                    "edges(known) = 0",
                    "nodes(wired) <- source",
                )
            )
    return f"{_site(rng, text)} = {rng.choice(VALUES)}"


def _judged(rng: random.Random) -> str:
    if rng.random() < 0.4:
        metric = rng.choice(METRICS)
        score = rng.choice((metric, f"mean({metric})", f"median({metric})", f"max({metric})", f"best(mean({metric}))"))
    else:
        score = rng.choice(SCORES)
    if rng.random() < 0.5:
        return f"report {score}"
    first = f"{score} {rng.choice(COMPARED)} {rng.choice(BOUNDS)}"
    return f"expect {first}" + rng.choice(("", "", "", f" and not {first}", f" or {rng.choice(SCORES)} > 0"))


def _put(rng: random.Random, text: str, pattern: str, new: str, insert: bool = False) -> str:
    """``new`` in the place of one match of the pattern; behind it where ``insert``."""
    found = list(re.finditer(pattern, text, re.M))
    if not found:
        return text
    chosen = rng.choice(found)
    return text[: chosen.end() if insert else chosen.start()] + new + text[chosen.end() :]


SITE = r"(?<![\w.])(?:layer\[\w+\]\.(?:head\[[^\]]*\]\.)?\w+(?:\[[^\]]*\])?|input\[[^\]]*\]|logits)(?! *:)"


def revise(rng: random.Random, text: str) -> str:
    """One part in the place of another of its kind."""
    match rng.randrange(20):
        case 0 | 1:
            return _put(rng, text, SITE, _site(rng, text))
        case 2:
            return _put(rng, text, r" via (?!onehot|scalar|embed)[^\n]*\)", _feature(rng))
        case 3:
            return _put(rng, text, r"@ layer[^\n]*?(?=\n)", _feature(rng), insert=True)
        case 4:
            return _put(rng, text, r"(?<=via )(onehot|scalar|embedding)\([^)]*\)", rng.choice(ENCODINGS))
        case 5 | 6:
            return _put(rng, text, r"(?<=do\()[^\n]*(?=\))", _action(rng, text))
        case 7:
            return _put(rng, text, r"do\([^\n]*(?=\))", ", " + _action(rng, text), insert=True)
        case 8 | 9:
            return _put(rng, text, r"(?:expect|report) [^\n]*", _judged(rng))
        case 10:
            return _put(rng, text, r"(?:expect|report) [^\n]*", "\n  " + _judged(rng), insert=True)
        case 11 | 12:
            return _put(
                rng,
                text,
                r"(?<=\()(?:n=\d+(?:, seed=\d+)?|exhaustive=true)(?:, [^\n]*)?(?=\))",
                ", ".join(rng.sample(DRAWS, rng.choice((1, 2)))),
            )
        case 13:
            return _put(rng, text, r"~ \w+\([^\n]*", f" where {rng.choice(WHERES)}", insert=True)
        case 14:
            return _put(rng, text, r"(?:zoo|torch)\([^)]*", ", " + rng.choice(NETWORK), insert=True)
        case 15:
            return _put(rng, text, r"train\([^)]*", ", " + rng.choice(TRAINING), insert=True)
        case 16:
            return _put(
                rng,
                text,
                r"(?<=prompt )[^\n]*",
                rng.choice(PROMPTS) + rng.choice(("", "\n  prompt " + rng.choice(PROMPTS))),
            )
        case 17:
            return _put(
                rng, text, r"(?<=~ )[\w.{][^(\n]*$|(?<== )(?:\d+\.\.\d+|\{[^\n]*\}|lines[^\n]*)$", rng.choice(DOMAINS)
            )
        case 18:
            return _put(rng, text, r"(?<=:= )[^\n]*", rng.choice(MECHANISMS))
    return _put(rng, text, r"(?<=own\.py:)\w+", rng.choice(("flat", "broken", "build")))


def mutated(rng: random.Random, specs: list[str]) -> str:
    """One to three mutations of a spec."""
    text = rng.choice(specs)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = slip(rng, text, specs) if rng.random() < 0.5 else revise(rng, text)
    return text


#: Numbers that a setting may have.
SETTINGS = {
    "n": "1 2 3 5 8 16 33",
    "seed": "0 1 2 7",
    "epochs": "1 2",
    "batch": "1 3 8",
    "dim": "1 2 3",
    "k": "1 2 3",
    "steps": "1 2 4",
    "rate": "0 0.001 0.1 10",
    "std": "0 1 3",
}
#: Words of which one may stand for another.
ALIKE = [
    _words("== != < > <= >="),
    _words("and or"),
    _words("+ - *"),
    _words("base source one two"),
    _words("true false"),
    _words("iia iia_star iia_informative moved accuracy"),
    _words("kl js cross_entropy entropy"),
    _words("max min best median mean argmax argmin"),
    STREAM,
    HEADS,
    _words("0 1 2 3 4"),
    _words("mean noise(std=1) current 0 0.5"),
    _words("rotation lowrank affine boundless mask"),
]
DECLARED = re.compile(r"^\s*(?:output )?((?:\w+, )*\w+)(?: : \w+)? (?:~|:=)", re.M)


def exchange(rng: random.Random, text: str) -> str:
    """A word in the place of another of its kind that the spec may have there: a name, a number, a sign, a text."""
    names = list(dict.fromkeys(name for found in DECLARED.findall(text) for name in found.split(", ")))
    words = WORD.findall(text)
    at = rng.randrange(len(words))
    for i in [*range(at, len(words)), *range(at)]:
        word, before = words[i], "".join(words[max(0, i - 2) : i])
        if word in ("=", "!", "<", ">") and i + 1 < len(words) and words[i + 1] == "=":
            words[i : i + 2] = [word + "="]
            word = words[i]
        chosen: list[str] = []
        setting = re.search(r"(\w+)=$", before)
        if setting and setting[1] in SETTINGS and re.fullmatch(r"\d+", word):
            chosen = SETTINGS[setting[1]].split()
        elif word in names:
            chosen = names
        elif word.startswith('"') and not re.search(r"[./{]", word):
            chosen = [one for one in words if one.startswith('"') and not re.search(r"[./{]", one)]
        elif word.isdigit() and i + 1 < len(words) and words[i + 1] == "%":
            chosen = _words("0 5 50 99 100")
        else:
            kinds = [kind for kind in ALIKE if word in kind]
            chosen = rng.choice(kinds) if kinds else []
        chosen = [one for one in chosen if one != word]
        if chosen and rng.random() < 0.7:
            words[i] = rng.choice(chosen)
            break
    return "".join(words)


def kept(rng: random.Random, specs: list[str], passes: Callable[[str], bool]) -> str:
    """Some revisions and exchanges of a spec, of which each stays only if what it gives ``passes``."""
    text = rng.choice(specs)
    wanted, made = rng.choice((1, 2, 3)), 0
    for _ in range(20):
        new = exchange(rng, text) if rng.random() < 0.7 else revise(rng, text)
        if new != text and passes(new):
            text, made = new, made + 1
        if made == wanted:
            break
    return text
