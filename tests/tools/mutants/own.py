"""Networks that specs make."""

import torch


def build() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 6), torch.nn.Tanh(), torch.nn.Linear(6, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2)
    )


def flat() -> torch.nn.Module:
    """Every logit is the same: nothing is said."""
    net = build()
    for parameter in net[-1].parameters():
        torch.nn.init.zeros_(parameter)
    return net


def broken() -> torch.nn.Module:
    net = build()
    torch.nn.init.constant_(net[0].weight, float("nan"))
    return net
