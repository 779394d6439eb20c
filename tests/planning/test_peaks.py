"""The predicted peak against that of a process, on the networks of the benchmark's own table."""

from __future__ import annotations

import statistics
import sys

import pytest

from benchmarks.peaks import SHAPES, row

#: What the process takes beside its tensors, in bytes: indices, buffers of matrix products, tensors below the threshold.
BESIDE = 12_000_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize("name", SHAPES)
def test_tensors_alive_at_the_peak_are_those_predicted(name: str) -> None:
    """Where the heap gives back every large tensor at once, a process holds what is alive and little more."""
    found = row(name, 64, MALLOC_MMAP_THRESHOLD_=str(2**20), MALLOC_TRIM_THRESHOLD_=str(2**20))
    assert found["blocks"] > 1
    assert 0.75 * found["tensors"] <= found["seen"] <= 1.1 * found["tensors"] + BESIDE
    assert found["seen"] <= found["predicted"] <= 64 * 10**6


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only there can a process forget its peak so far")
@pytest.mark.parametrize("name", SHAPES)
def test_a_process_takes_what_is_predicted_to_within_a_quarter(name: str) -> None:
    """In the median of five processes: what the heap keeps differs from one to the next by up to a third."""
    ratios = [found["predicted"] / found["seen"] for found in (row(name, 64) for _ in range(5))]
    assert 0.75 <= statistics.median(ratios) <= 1.25
