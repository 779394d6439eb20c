"""The parts of which :mod:`causal_dsl.build` is made: expressions with operators, and declarations."""
