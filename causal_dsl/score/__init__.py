"""Scores: estimates with intervals, findings, judged expectations, results."""
