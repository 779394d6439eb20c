"""``python -m causal_dsl``: the command ``causal-dsl``, where it is not on the path."""

from __future__ import annotations

import sys

from causal_dsl.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
