"""Fitting a rotation side by side: the same pairs, batches, order and start for all, a class each for a way of doing it."""
