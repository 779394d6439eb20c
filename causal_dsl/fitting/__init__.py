"""Fitting learned features on counterfactual labels: prompts once, then only what is written, for all fits in one batch."""
