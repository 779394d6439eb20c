"""causal_dsl: write down what a neural network is thought to compute, and test it by intervening on the network.

    import causal_dsl as cd

    spec = cd.load("specs/equality_relu.causal")
    print(cd.check(spec).text())
    results = cd.run(spec)
    results["left_is_localised"].cell().scores["iia"]

Faults raise :class:`SpecError`, whose ``diagnostics`` say where, why and what to write. The builder
(:class:`Causal`, :func:`domain`, :func:`align`, …) makes the same tree as the parser.

Names are imported when they are first used: the pytest plugin loads this package in every pytest run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal_dsl.api import Checked, Options, Spec, check, load, parse, plan, run, run_files, spec
    from causal_dsl.build import (
        Causal,
        Expression,
        accuracy,
        add_to,
        align,
        all,
        argmax,
        argmin,
        best,
        between,
        bits,
        bool_,
        cause,
        change,
        circuit,
        cross_entropy,
        csv,
        disentangle,
        domain,
        embed,
        embedding,
        final_norm,
        first,
        fit,
        hf,
        if_,
        iia,
        iia_informative,
        iia_star,
        import_,
        input,
        isolate,
        js,
        jsonl,
        kl,
        label,
        last,
        layer,
        lines,
        log_prob,
        logit,
        logits,
        max,
        mean,
        median,
        metric,
        min,
        module,
        moved,
        name,
        nats,
        next_token,
        node_of,
        noise,
        onehot,
        outside,
        param,
        patch,
        path,
        percent,
        prob,
        real,
        recovered,
        recovered_per_pair,
        scalar,
        set_to,
        solved,
        swap,
        table,
        test,
        torch,
        train,
        vector,
        zoo,
    )
    from causal_dsl.diagnostics import Diagnostic, SpecError
    from causal_dsl.score.results import Results

__all__ = [
    "Causal",
    "Checked",
    "Diagnostic",
    "Expression",
    "Options",
    "Results",
    "Spec",
    "SpecError",
    "accuracy",
    "add_to",
    "align",
    "all",
    "argmax",
    "argmin",
    "best",
    "between",
    "bits",
    "bool_",
    "cause",
    "change",
    "check",
    "circuit",
    "cross_entropy",
    "csv",
    "disentangle",
    "domain",
    "embed",
    "embedding",
    "final_norm",
    "first",
    "fit",
    "hf",
    "if_",
    "iia",
    "iia_informative",
    "iia_star",
    "import_",
    "input",
    "isolate",
    "js",
    "jsonl",
    "kl",
    "label",
    "last",
    "layer",
    "lines",
    "load",
    "log_prob",
    "logit",
    "logits",
    "max",
    "mean",
    "median",
    "metric",
    "min",
    "module",
    "moved",
    "name",
    "nats",
    "next_token",
    "node_of",
    "noise",
    "onehot",
    "outside",
    "param",
    "parse",
    "patch",
    "path",
    "percent",
    "plan",
    "prob",
    "real",
    "recovered",
    "recovered_per_pair",
    "run",
    "run_files",
    "scalar",
    "set_to",
    "solved",
    "spec",
    "swap",
    "table",
    "test",
    "torch",
    "train",
    "vector",
    "zoo",
]

_ELSEWHERE = {
    "Diagnostic": "diagnostics",
    "SpecError": "diagnostics",
    "Results": "score.results",
    "Checked": "api",
    "Options": "api",
    "Spec": "api",
    "check": "api",
    "load": "api",
    "parse": "api",
    "plan": "api",
    "run": "api",
    "run_files": "api",
    "spec": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__ and (name.startswith("_") or not _is_family(name)):
        raise AttributeError(f"module 'causal_dsl' has no attribute {name!r}")
    value = getattr(import_module(f"causal_dsl.{_ELSEWHERE.get(name, 'build')}"), name)
    globals()[name] = value
    return value


def _is_family(name: str) -> bool:
    """Whether a name is that of a family of features: their words are not listed here."""
    from causal_dsl.vocabulary.features import FEATURES

    return name in FEATURES
