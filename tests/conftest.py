"""pytest's own fixture for testing plugins."""

from __future__ import annotations

pytest_plugins = ["pytester"]

#: Specs under tests/ are material, many of them broken on purpose: the package's own pytest plugin leaves them alone.
collect_ignore_glob = ["*.causal"]
