"""Scores: metrics compiled, intervals, findings, results."""
