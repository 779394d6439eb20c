"""What :mod:`causal_dsl.build` is made of: expressions with operators, and declarations."""
