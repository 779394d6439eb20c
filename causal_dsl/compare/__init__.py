"""Two runs side by side, and many runs of one spec in the order of time, from what ``--out`` and ``run --json`` keep."""
