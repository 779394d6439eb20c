"""Words that are called in declarations, with their settings: where networks come from, read-outs, encodings, circuits that are found or
read, chats; and the settings that every draw and every fit takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from causal_dsl.base.quick_dataclasses import dataclass
from causal_dsl.vocabulary.layout_settings import SEQUENCE
from causal_dsl.vocabulary.record_tables import table
from causal_dsl.vocabulary.settings import Setting

#: The parts of the inputs of a model.
PARTS = ("fit", "validation", "test")

#: What ``base, source ~ model(…)`` takes.
DRAW: Mapping[str, Setting] = {
    "n": Setting("int", low=1, says="how many rows are drawn"),
    "seed": Setting("int", says="another seed draws other rows"),
    "like": Setting("run", says="the run that each row is like, in all variables but those of `vary`"),
    "vary": Setting("several", says="the variables that may differ from the run that `like` names"),
    "balance": Setting(
        "names",
        says="each combination of the values has equally many; if the inputs are too many to list, the combinations are those of 20,000 draws; W331 names those that are left out, because a `where` allows none of them or none came up",
        shown="balance=[x, y]",
    ),
    "strata": Setting(
        "names",
        says="each combination has as many as its probability says, to the nearest whole number above or below; the numbers vary less than by chance",
        shown="strata=[x, y]",
    ),
    "cover": Setting(
        "names",
        says="few combinations are there, equally often, so chosen that any values of two of these variables that can come together do; with `t=3`, of three",
        shown="cover=[x, y, z]",
    ),
    "t": Setting("int", low=1, says="of how many variables of `cover` all values come together"),
    "weight": Setting(
        "word",
        says="each input is drawn in proportion to a variable, which is a number from 0 on; inputs of weight 0 are never drawn",
        shown="weight=often",
    ),
    "exhaustive": Setting("bool", says="every row once", shown="exhaustive=true"),
    "split": Setting("word", choices=PARTS, says="the part of the inputs from which every run is drawn"),
    "by": Setting("several", says="the variables whose values decide in which part an input is"),
    "controls": Setting("word", "all", choices=("all", "none"), says="`none` runs no controls beside the test"),
}

#: What every feature takes beside its own settings.
FITTING: Mapping[str, Setting] = {
    "n": Setting("int", 1024, low=1, says="pairs to fit on (a declared `fit` says it in its draw)"),
    "epochs": Setting("int", 20, low=1, says="the most passes over them"),
    "batch": Setting("int", 32, low=1, says="pairs a step"),
    "rate": Setting("number", 0.001, low=1e-12, high=1e6, says="of Adam; gates take ten times this"),
    "patience": Setting("int", 5, low=1, says="epochs without a lower validation loss after which it ends"),
    "restarts": Setting("int", 1, low=1, says="the number of starts; the best on the validation inputs is used"),
    "controls": Setting("word", "all", choices=("all", "none"), says="or `none`"),
    "joined": Setting("bool", False, says="several tokens as one vector"),
    "file": Setting("string", "", says="a fitted feature from a file, in place of a fit"),
    "elsewhere": Setting("bool", False, says="the file may be of another place, or of another network"),
}

#: How the weights of a network are held.
HELD: Mapping[str, Setting] = {
    "weights": Setting("word", choices=("stream",), says="weights are read from their files layer by layer"),
    "shard": Setting("word", choices=("auto",), says="the processes that torchrun started share the weights"),
}
#: A change of a checkpoint's weights, as peft writes it; how it is put on, and that another base is meant.
ADAPTER: Mapping[str, Setting] = {
    "adapter": Setting("string", says="a folder that peft saved, or a repository of the hub"),
    "merged": Setting("bool", says="`false` keeps the matrices of the adapter as modules of their own"),
    "elsewhere": Setting("bool", says="the adapter may be of another base of the same sizes"),
}
#: What every network takes.
COMMON: Mapping[str, Setting] = {
    "dtype": Setting(
        "word", choices=("float32", "float16", "bfloat16", "float64"), says="the type of the weights as it is run"
    ),
    "device": Setting("word", says="where it is run, such as cpu or cuda"),
    "padding": Setting("word", "right", choices=("left", "right"), says="the side on which shorter prompts are filled"),
}
_TRAIN: Mapping[str, Setting] = {
    "alignment": Setting("alignment", positional=True, required=True, says="where its variables are put"),
    "n": Setting("int", low=1, says="the number of inputs drawn from the causal model"),
    "balance": Setting("names", says="variables; every combination of their values is drawn equally often"),
    "steps": Setting("int", 2000, low=1, says="the number of steps of Adam"),
    "batch": Setting("int", 256, low=1, says="the number of inputs in each step"),
    "rate": Setting("number", 0.001, low=1e-9, says="the learning rate"),
    "decay": Setting("word", "linear", choices=("linear", "cosine", "none"), says="how the rate decays to zero"),
    "seed": Setting("int", 0, low=0, says="determines the inputs of every step and the initial weights"),
    "task": Setting("number", 1.0, low=0, says="the weight of the loss of the task"),
    "interchange": Setting("number", 1.0, low=0, says="the weight of the loss of interchanges"),
    "strict": Setting("number", 0.0, low=0, says="the weight of the loss that coordinates without a variable matter"),
    "layers": Setting("ints", low=0, says="the layers to which `strict` applies"),
    "init": Setting(
        "word", "fresh", choices=("fresh", "keep"), says="initial weights from the seed, or the network's own"
    ),
}


def _named(says: str) -> Setting:
    """The name in the first place of a network's declaration."""
    return Setting("string", positional=True, required=True, says=says)


_CHECKPOINT = _named("a local folder, or a repository of the Hugging Face hub")
_OF_ZOO = _named("the name of a network of the zoo")
_FACTORY = _named("a Python file and a function in it, `file.py:function`, or a module of Python in place of the file")
_TOKEN: Mapping[str, Setting] = {
    "among": Setting("domain", says="the values that are compared; without it the whole vocabulary"),
    "prefix": Setting("string", says="the text that stands before each value"),
}
_BY = Setting(
    "word",
    choices=("signed", "absolute"),
    says="`signed` keeps what adds most to the metric, `absolute` what moves it most, up or down. `acdc` keeps what its threshold says, so it has neither `keep` nor `by`; `masks` keeps what its threshold says, or the highest, if `keep` is given",
)


@dataclass(frozen=True)
class CalledWord:
    """``kind`` is what it makes (``network``, ``read-out``, ``encoding``, ``circuit`` or ``prompt``), ``says`` in a sentence what that is."""

    name: str
    kind: str
    says: str
    settings: Mapping[str, Setting] = field(default_factory=dict)


#: Every word that is called in a declaration, but for those of records of their own: features, values, readings, measures, and methods.
CALLED: Mapping[str, CalledWord] = table(
    "words that are called",
    (
        CalledWord(
            "hf",
            "network",
            "a checkpoint of transformers: a folder, or a repository of the hub",
            {
                "name": _CHECKPOINT,
                "revision": Setting("string", says="a branch, a tag or a commit of the repository"),
                **ADAPTER,
                **HELD,
                **COMMON,
            },
        ),
        CalledWord("zoo", "network", "a network that ships with the package", {"name": _OF_ZOO, **COMMON}),
        CalledWord(
            "torch",
            "network",
            'the module that a function of a Python file returns: torch("file.py:build")',
            {
                "factory": _FACTORY,
                "weights": Setting("string", says="a file of weights"),
                "tokenizer": Setting("string", says="a tokenizer.json, or a folder that has one"),
                **SEQUENCE,
                **COMMON,
            },
        ),
        CalledWord("train", "network", "the network of an alignment after training towards its causal model", _TRAIN),
        CalledWord(
            "next_token",
            "read-out",
            "the answer is what the network says next, after the prompt or after a token of it",
            {**_TOKEN, "end": Setting("ending", says="what must follow the answer")},
        ),
        CalledWord(
            "mask",
            "read-out",
            "the answer is what the network puts in the place of the mask token of the prompt",
            _TOKEN,
        ),
        CalledWord("logits", "read-out", "the answer is the class with the highest logit"),
        CalledWord("onehot", "encoding", "a number for each value of the variable, 1 for the one that it has"),
        CalledWord("scalar", "encoding", "the value as one number"),
        CalledWord(
            "embedding",
            "encoding",
            "a vector for each value, drawn at random",
            {
                "dim": Setting("int", required=True, low=1, says="how many numbers each vector has"),
                "seed": Setting("int", 0, says="another seed draws other vectors"),
            },
        ),
        CalledWord(
            "discover",
            "circuit",
            "the nodes or edges with the highest scores, found on inputs of their own",
            {
                "what": Setting(
                    "word",
                    positional=True,
                    required=True,
                    choices=("nodes", "edges"),
                    says="what is scored. Of edges, those that lie on no path from the embedding to the logits are dropped from what is kept",
                    shown="nodes`, `edges",
                ),
                "method": Setting("value", required=True, says="how it is scored", shown="method"),
                "keep": Setting("number", low=0, says="a share, `10%`, or a number of nodes or edges", shown="keep"),
                "by": Setting("word", choices=_BY.choices, says=_BY.says, shown="by"),
                "among": Setting(
                    "value",
                    says="the kinds of senders: `embed`, `head` and `mlp`, and of nodes `neuron` instead of `mlp`; `input` and `unit` in a vector network. Of nodes also a circuit, `among=every`: its nodes, such as latents of [dictionaries](#circuits), are scored (not by `masks`)",
                    shown="among=[head, mlp]",
                ),
                "at": Setting(
                    "value",
                    says="the tokens at which each node or edge is scored by itself, as `layer[3].head[2][subject]`. The token of the base is compared with that of the same role in the counterfactual. No two of them may be one token of a prompt (E461). `outside(found, at=[subject, last])` then leaves all other tokens as they are",
                    shown="at=[subject, last]",
                ),
                "n": Setting(
                    "int", low=1, says="how many pairs are drawn for it; as many as the test draws", shown="n"
                ),
            },
        ),
        CalledWord(
            "json",
            "circuit",
            "the circuit of a file",
            {
                "path": Setting(
                    "string",
                    positional=True,
                    required=True,
                    says="a JSON file of nodes or of edges, relative to the spec",
                ),
                "keep": Setting("number", says="of a file of scores: a share, or a number of nodes or edges"),
                "by": Setting(
                    "word", choices=("signed", "absolute"), says="of a file of scores: which are the highest"
                ),
            },
        ),
        CalledWord(
            "chat",
            "prompt",
            "turns of a chat, written as the network's own template has them",
            {role: Setting("string", says=f"what the {role} says") for role in ("system", "user", "assistant")},
        ),
    ),
)


def called(kind: str) -> Mapping[str, Mapping[str, Setting]]:
    """The words that make something of a ``kind``, each with its settings."""
    return {name: word.settings for name, word in CALLED.items() if word.kind == kind}


__all__ = ["ADAPTER", "CALLED", "COMMON", "DRAW", "FITTING", "HELD", "PARTS", "CalledWord", "called"]
