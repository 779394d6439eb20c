from causal_dsl.engine.columns import NO_ANSWER, Columns, Quantity, ValueRef

__all__ = ["NO_ANSWER", "Columns", "Quantity", "ValueRef"]
