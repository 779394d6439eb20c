"""The Python builder: operators and functions that make the same tree as the parser.

>>> import causal_dsl as cd
>>> equality = cd.Causal("equality")
>>> a, b = equality.draw("a", "b", domain=cd.between(0, 3))
>>> same = equality.output("same", a == b)

Here are the words of the language as Python names (scores, sites, features, positions) and what makes declarations.
They are named as in a spec, with an underscore where Python has the word for itself (`if_`, `bool_`, `import_`). Some
shadow builtins on purpose (`max`, `input`, `all`): use them as ``cd.max``, never ``from causal_dsl import *``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from causal_dsl.building.declarations import (
    AlignmentWord,
    Causal,
    Circuit,
    Fit,
    Imported,
    Named,
    NetworkWord,
    TestWord,
    collect,
)
from causal_dsl.building.operators import (
    Action,
    Declared,
    Expression,
    checked,
    combine,
    domain_node,
    name,
    node_of,
    value_node,
)
from causal_dsl.measures.names import FUNCTIONS
from causal_dsl.syntax import tree
from causal_dsl.vocabulary.layout_settings import PATHS
from causal_dsl.vocabulary.measures import MEASURES
from causal_dsl.vocabulary.words import words

if TYPE_CHECKING:
    from causal_dsl.checking.specs import Options, Spec
    from causal_dsl.training.train import TrainedNetwork

__all__ = [
    "Causal",
    "Expression",
    "add_to",
    "align",
    "all",
    "between",
    "bits",
    "bool_",
    "chat",
    "chosen",
    "circuit",
    "csv",
    "dataset",
    "discover",
    "domain",
    "embed",
    "embedding",
    "final_norm",
    "first",
    "fit",
    "hf",
    "if_",
    "import_",
    "input",
    "json",
    "jsonl",
    "label",
    "last",
    "layer",
    "lines",
    "logits",
    "metric",
    "module",
    "name",
    "nats",
    "next_token",
    "node_of",
    "noise",
    "onehot",
    "outside",
    "param",
    "parquet",
    "patch",
    "path",
    "percent",
    "real",
    "scalar",
    "set_to",
    "solved",
    "swap",
    "table",
    "test",
    "torch",
    "train",
    "values",
    "vector",
    "via",
    "zoo",
]
__all__ += [*MEASURES.own, *FUNCTIONS]

# ── what scores are made of, beside the measures and their functions (`__getattr__`) ──
label = name("label")
noise, vector = map(name, ("noise", "vector"))
solved, outside, chat = map(name, ("solved", "outside", "chat"))
discover, json = map(name, ("discover", "json"))

# ── sites and positions ──
layer, embed, final_norm, logits, input = map(name, ("layer", "embed", "final_norm", "logits", "input"))
module, next_token = map(name, ("module", "next_token"))
first, last, all = map(name, ("first", "last", "all"))

# ── features ──
onehot, scalar, embedding = map(name, ("onehot", "scalar", "embedding"))


# ── domains and values ──
#: ``true`` and ``false``
bool_ = name("bool")
#: ``real(low, high)``, an interval
real = name("real")
#: ``lines("names.txt")``, one value a line
lines = name("lines")


def __getattr__(word: str) -> Expression:
    """The words of measures (``logit(answer)``), functions of them (``max(iia)``), written values (``clamp(0, 8)``) and features
    (``rotation(dim=1)``)."""
    if word.startswith("_") or (word not in FUNCTIONS and word not in words()):
        raise AttributeError(f"module {__name__!r} has no attribute {word!r}")
    return globals().setdefault(word, name(word))


def between(low: int, high: int) -> Expression:
    """``low..high``, both ends included."""
    return combine(tree.Range, low, high)


def values(*items: Any) -> Expression:
    """``{a, b, …}``, for a setting that takes a domain: ``next_token(among=values("is", "are"))``."""
    node, needs = domain_node(list(items))
    return Expression(node, needs)


def parquet(path: str, key: str) -> Expression:
    """The rows of a parquet file by the column ``key``; ``row`` is the number of a row."""
    return name("parquet")(path, key=name(key))


def dataset(path: str, key: str, split: str | None = None) -> Expression:
    """The rows of a folder that `datasets` of Hugging Face has saved to disk, or of one ``split`` of it."""
    if split is None:
        return name("dataset")(path, key=name(key))
    return name("dataset")(path, split=split, key=name(key))


def chosen(element: str, domain: Any, where: Any) -> Expression:
    """``{element in domain where …}``: a set of values, as a mechanism. ``where`` may be a function of the element."""
    of, needs = domain_node(domain)
    variable = name(element)
    condition, more = value_node(where(variable) if callable(where) and not isinstance(where, Expression) else where)
    return Expression(tree.ChosenSet(tree.Member(tree.Name(checked(element)), of), condition), (*needs, *more))


def csv(path: str, key: str) -> Expression:
    """The rows of a csv file by the column ``key``."""
    return name("csv")(path, key=name(key))


def jsonl(path: str, key: str) -> Expression:
    """The objects of a file with one JSON object a line, by their ``key``."""
    return name("jsonl")(path, key=name(key))


def param(text: str) -> Expression:
    """A parameter of an alignment, in its placements: ``layer[param("l")]``."""
    return name(text)


def _unit(value: float, unit: str) -> Expression:
    node: Any = node_of(value)
    if isinstance(node, tree.Unary) and isinstance(node.operand, tree.Number):
        return -_unit(node.operand.value, unit)
    if not isinstance(node, tree.Number):
        raise TypeError(f"{value!r} is not a number")
    return Expression(tree.Number(node.value, unit))


def percent(value: float) -> Expression:
    """``95%`` of ``percent(95)``."""
    return _unit(value, "%")


def nats(value: float) -> Expression:
    """``0.05 nats`` of ``nats(0.05)``."""
    return _unit(value, "nats")


def bits(value: float) -> Expression:
    """``0.05 bits`` of ``bits(0.05)``."""
    return _unit(value, "bits")


def if_(condition: Any, then: Any, otherwise: Any) -> Expression:
    """``if condition then then else otherwise``."""
    return combine(tree.IfElse, condition, then, otherwise)


# ── declarations ──


def domain(name: str, values: Any, doc: str = "") -> Named:
    """``domain NAME = values``: a list, a range, ``between(0, 9)``, ``bool_``, ``real(-1, 1)``, ``lines(path)``."""
    node, needs = domain_node(values)
    return Named(name, node, needs, tree.DomainDecl, doc)


class Table(Named):
    """A table: a domain of its keys, ``table[key].column``, and the domain ``table.column`` of a column's values."""

    def __getattr__(self, column: str) -> Expression:
        if column.startswith("_"):
            raise AttributeError(column)
        return getattr(self.reference, column)

    def __getitem__(self, key: Any) -> Expression:
        return self.reference[key]


def table(name: str, rows: Expression | Mapping[Any, Any], doc: str = "") -> Table:
    """``table NAME = csv(…)`` of :func:`csv`, :func:`jsonl`, :func:`parquet` or :func:`dataset`, or a dict: ``{"a": "b"}``."""
    if isinstance(rows, Mapping):
        pairs = tuple(tree.MapEntry(value_node(key)[0], value_node(value)[0]) for key, value in rows.items())
        return Table(name, tree.Mapping(pairs), (), tree.TableDecl, doc)
    node, needs = value_node(rows)
    return Table(name, node, needs, tree.TableDecl, doc)


def metric(name: str, value: Any, doc: str = "") -> Expression:
    """``metric NAME = value``; gives its name as an expression."""
    node, needs = value_node(value)
    # The variables a metric speaks of are those of the test that it is asked for in: it needs no model before it.
    return Named(name, node, [n for n in needs if not isinstance(n, Causal)], tree.MetricDecl, doc).reference


def import_(path: str, *names: str, doc: str = "") -> Any:
    """``from "path" import names``; gives one expression, or a tuple of several."""
    imported = Imported(path, names, doc)
    found = tuple(Expression(tree.Name(each), (imported,)) for each in imported.names)
    return found[0] if len(found) == 1 else found


def _network(
    kind: str,
    reference: str,
    name_: str,
    doc: str,
    words: dict[str, Any],
    texts: dict[str, Any],
    sweep: Mapping[str, Any] | None,
) -> NetworkWord:
    arguments = [tree.Argument(None, tree.String(reference))]
    arguments += [tree.Argument(tree.Ident(k), tree.String(v)) for k, v in texts.items() if v is not None]
    needs: list[Declared] = []
    for key, value in words.items():
        if value is not None:
            node, of = (tree.Name(checked(value)), ()) if isinstance(value, str) else value_node(value)
            needs += of
            arguments.append(tree.Argument(tree.Ident(key), node))
    return NetworkWord(name_, tree.Call(tree.Name(kind), tuple(arguments)), doc, needs, sweep)


def hf(
    reference: str,
    *,
    name: str,
    revision: str | None = None,
    adapter: str | None = None,
    doc: str = "",
    sweep: Mapping[str, Any] | None = None,
    **words: Any,
) -> NetworkWord:
    """``network NAME = hf("repo or folder", revision=…, adapter="folder", dtype=float32, device=…, padding=…)``.

    ``weights="stream"`` leaves the weights in their files, and reads each layer as it runs; ``shard="auto"`` shares them out over
    the processes that ``torchrun`` started.
    ``sweep`` are its parameters: ``hf("run", revision="step{step}", name="run", sweep={"step": [0, 512]})``.
    """
    return _network("hf", reference, name, doc, words, {"revision": revision, "adapter": adapter}, sweep)


def zoo(
    reference: str, *, name: str, doc: str = "", sweep: Mapping[str, Any] | None = None, **words: Any
) -> NetworkWord:
    """``network NAME = zoo("name")``, a network that comes with the package."""
    return _network("zoo", reference, name, doc, words, {}, sweep)


def torch(
    reference: str,
    *,
    name: str,
    weights: str | None = None,
    tokenizer: str | None = None,
    vocabulary: Sequence[str] | Any = None,
    doc: str = "",
    sweep: Mapping[str, Any] | None = None,
    **words: Any,
) -> NetworkWord:
    """``network NAME = torch("file.py:factory", weights="file.safetensors", tokenizer="folder or tokenizer.json")``.

    ``vocabulary`` are the words of its tokens in the order of their ids, or a domain. The paths of a layout are texts:
    ``torch("f.py:build", name="net", vocabulary=["BOS", "a", "b"], layers="blocks", attention="attn")``.

    ``sweep`` are its parameters; other keywords go to the factory: ``torch("f.py:build", name="net", seed=param("seed"),
    sweep={"seed": range(10)})``.
    """
    texts = {"weights": weights, "tokenizer": tokenizer}
    texts.update({path: words.pop(path) for path in PATHS if isinstance(words.get(path), str)})
    if vocabulary is not None:
        words["vocabulary"] = list(vocabulary) if isinstance(vocabulary, list | tuple) else vocabulary
    return _network("torch", reference, name, doc, words, texts, sweep)


@overload
def train(of: Spec, options: Options = ..., /) -> dict[str, TrainedNetwork]: ...


@overload
def train(of: AlignmentWord, /, *, name: str, doc: str = "", **settings: Any) -> NetworkWord: ...


def train(of: Any, /, *options: Any, name: str = "", doc: str = "", **settings: Any) -> Any:
    """``network NAME = train(ALIGNMENT, steps=…, …)`` of an alignment; of a spec, its trained networks by name.

    >>> net = train(right, name="net", steps=2000, balance=[left, right], decay="cosine")  # declares
    >>> train(spec)["net"].module  # trains, or finds what was trained before
    """
    if not isinstance(of, AlignmentWord):
        from causal_dsl.api import train as train_all

        if name or doc or settings:
            raise TypeError(f"{of!r} is not an alignment: give the one that the network is trained towards")
        return train_all(of, *options)
    if not name or options:
        raise TypeError("say how the network is called: train(alignment, name='net', …)")
    words = {key: Expression(tree.Name(checked(value))) for key, value in settings.items() if isinstance(value, str)}
    made = Expression(tree.Name("train"))(of, **{**settings, **words})
    return NetworkWord(name, made._node, doc, made._needs)


def align(name: str, model: Any, network: Any = None, *, doc: str = "", **parameters: Any) -> AlignmentWord:
    """``align NAME(parameters) : model -> network``; parameters are ranges or lists, and make a sweep.

    Given an alignment in place of a model, and no network, it takes over what it does not restate.
    """
    return AlignmentWord(name, model, network, parameters, doc)


def circuit(name: str, network: Any = None, doc: str = "", *, value: Any = None, **parameters: Any) -> Circuit:
    """``circuit NAME(parameters) : network``; with a ``value``, one that is read from a file or made of others:
    ``circuit("core", value=wang - wang.duplicate)``."""
    return Circuit(name, network, doc, value, parameters)


def test(name: str, on: Any, doc: str = "", **parameters: Any) -> TestWord:  # noqa: PT028  (a word of the language, no pytest test)
    """``test NAME(parameters) on alignment``; parameters are ranges or lists, and make a sweep."""
    return TestWord(name, on, doc, parameters)


def fit(name: str, on: Any, doc: str = "") -> Fit:
    """``fit NAME on alignment``: what the learned features of an alignment are fitted on."""
    return Fit(name, on, doc)


test.__test__ = False  # type: ignore[attr-defined]  # not a pytest function


# ── actions ──


def _action(make: Any, *parts: Any) -> Action:
    made = combine(make, *parts)
    return Action(made._node, made._needs)


def _through(make: Any, target: Any, value: Any, via: Any) -> Action:
    """A write of a target, or of what a feature reads of it."""
    if via is None:
        return _action(make, target, value)
    if not isinstance(value_node(via)[0], tree.Call):
        raise TypeError(f'`{via!r}` is not a feature: write via=sae("path", latents=[3])')
    return _action(make, target, value, via)


def swap(target: Any, source: Any) -> Action:
    """``target <- source``: a variable (or a site) takes its value from another run."""
    return _action(tree.Interchange, target, source)


def patch(site: Any, source: Any, via: Any = None) -> Action:
    """``site via feature <- source``: a site takes its value from another run, or from another site of it."""
    return _through(tree.Interchange, site, source, via)


def set_to(target: Any, value: Any, via: Any = None) -> Action:
    """``target via feature = value``: 0, ``mean``, ``noise(std=3)``, ``clamp(0, 8)``, or a value of a variable."""
    return _through(tree.SetTo, target, value, via)


def add_to(target: Any, value: Any, via: Any = None) -> Action:
    """``target via feature += value``: steer a site."""
    return _through(tree.AddTo, target, value, via)


def via(site: Any, feature: Any) -> Expression:
    """``site via feature``, in a group of a circuit: the numbers of a dictionary at a site, each as a node; ``.error()`` behind the feature is
    what it leaves out."""
    place, needs = value_node(site)
    through, more = value_node(feature)
    if not isinstance(through, tree.Call):
        raise TypeError(f'`{feature!r}` is not a feature: write sae("path", latents=[3])')
    return Expression(tree.Through(place, through), (*needs, *more))


def path(sender: Any, receiver: Any, source: Any = None, through: Sequence[Any] = (), value: Any = None) -> Action:
    """``sender -> receiver <- source``: only what flows along one path comes from another run. ``through``: the components between
    the two, in order. With a ``value`` in the place of a source, ``sender -> receiver = value``: 0, ``mean`` or another written value."""
    if (source is None) == (value is None):
        raise TypeError(
            "say what flows along the path: path(sender, receiver, source), or path(sender, receiver, value=0)"
        )
    return _action(
        _set_path if source is None else _patch_path, sender, receiver, value if source is None else source, *through
    )


def _set_path(sender: tree.Expr, receiver: tree.Expr, value: tree.Expr, *through: tree.Expr) -> tree.PatchPath:
    return tree.PatchPath(sender, receiver, value, through=through, sets=True)


def _patch_path(sender: tree.Expr, receiver: tree.Expr, source: tree.Expr, *through: tree.Expr) -> tree.PatchPath:
    return tree.PatchPath(sender, receiver, source, through=through)


def spec(*objects: Any) -> tree.Tree:
    """The tree of a spec that declares the given objects, and before each whatever it refers to."""
    return collect(objects)
