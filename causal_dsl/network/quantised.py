"""Checkpoints whose weights are stored in few bits: which library runs them, and whether it is here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from causal_dsl.diagnostics import Span, SpecError, fail
from causal_dsl.store.keys import version_of

#: The packages that a `quant_method` of transformers needs, by the names under which they are installed and imported.
LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "aqlm": {"aqlm": "aqlm"},
    "auto-round": {"auto-round": "auto_round"},
    "awq": {"gptqmodel": "gptqmodel"},
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "compressed-tensors": {"compressed-tensors": "compressed_tensors"},
    "eetq": {"kernels": "kernels"},
    "fp_quant": {"fp_quant": "fp_quant"},
    "gptq": {"optimum": "optimum", "gptqmodel": "gptqmodel"},
    "higgs": {"flute-kernel": "flute", "fast_hadamard_transform": "fast_hadamard_transform"},
    "hqq": {"hqq": "hqq"},
    "quanto": {"optimum-quanto": "optimum.quanto"},
    "sinq": {"sinq": "sinq"},
    "spqr": {"spqr_quant": "spqr_quant"},
    "torchao": {"torchao": "torchao"},
    "vptq": {"vptq": "vptq"},
}


def method_of(config: Mapping[str, Any]) -> str | None:
    """How the weights of a checkpoint are quantised, as its config says; None where they are not."""
    found = config.get("quantization_config")
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    if method is None and isinstance(found, Mapping) and (found.get("load_in_4bit") or found.get("load_in_8bit")):
        return "bitsandbytes"
    return str(method)[:60]


def check_library(config: Mapping[str, Any], span: Span) -> str | None:
    """How a checkpoint is quantised. Raises E782 where a library that it needs is not installed, E784 where transformers knows no
    such way: it would run the weights as if they were not quantised."""
    method = method_of(config)
    if method is None:
        return None
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    if method != "bitsandbytes" and method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise unusable(method, "transformers knows no such `quant_method`", span)
    missing = [package for package, module in LIBRARIES.get(method, {}).items() if not _there(module)]
    if missing:
        raise fail(
            "E782",
            f"weights that are quantised by {method} need {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed",
            span,
            notes=("`quantization_config` in config.json names how they are quantised",),
            help=f"pip install {' '.join(missing)}, or run a checkpoint whose weights are not quantised",
        )
    return method


def unusable(method: str, why: str, span: Span) -> SpecError:
    """E784: the weights cannot be run here as they are stored."""
    return fail(
        "E784",
        f"weights that are quantised by {method} cannot be loaded here",
        span,
        notes=(why,),
        help="run it on a device that its library supports, or run a checkpoint whose weights are not quantised",
    )


def versions_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The versions of the libraries that run the weights."""
    return {package: version_of(package) for package in LIBRARIES.get(method_of(config) or "", {})}


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


__all__ = ["LIBRARIES", "check_library", "method_of", "unusable", "versions_of"]
