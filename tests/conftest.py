"""pytest's own fixture for testing plugins."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a worker, for torch and for what tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from causal_dsl import faults

faults.fall_back = False  # a mistake of the package is no reason for another way here: it fails the test

pytest_plugins = ["pytester"]

#: Specs under tests/ are material, many of them broken on purpose: the package's own pytest plugin leaves them alone.
collect_ignore_glob = ["*.causal"]
