"""A linear probe: the directions in which natural activations of different values of a variable differ."""

from __future__ import annotations

import torch
from torch import Tensor

from causal_dsl.features.natural import signed

#: Weight of the squared norm of the probe's weights, beside the mean cross-entropy, on data of unit scale.
RIDGE = 1e-3
MOST_STEPS = 500


def probe_weights(data: Tensor, classes: Tensor) -> Tensor:
    """Weights [width, c] of multinomial logistic regression of ``classes`` [n] (0 … c-1) on activations [n, width].

    The mean cross-entropy plus :data:`RIDGE` / 2 times the squared weights, on activations that are centred and divided
    by one number (the root of their mean square), so that the directions do not depend on the site's units. Minimised
    by L-BFGS from zero, in float64 on the CPU: the same data give the same probe.
    """
    x = data.detach().double().cpu()
    x = x - x.mean(dim=0)
    scale = x.square().mean().sqrt()
    x = x / torch.where(scale > 0, scale, 1)
    target = classes.cpu()
    return logistic(x, target, int(target.max()) + 1, MOST_STEPS, 1e-9, 1e-12)[0]


def logistic(
    x: Tensor, target: Tensor, count: int, steps: int, least_gradient: float, least_change: float
) -> tuple[Tensor, Tensor]:
    """Weights [width, count] and biases [count] of multinomial logistic regression of ``target`` [n] on ``x`` [n, width], with a ridge
    of :data:`RIDGE` on the weights, by at most ``steps`` of L-BFGS from zero, or until the gradient or the change is as small as is asked."""
    weights = torch.zeros((x.shape[1], count), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=steps,
        tolerance_grad=least_gradient,
        tolerance_change=least_change,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights + bias, target) + RIDGE / 2 * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weights.detach(), bias.detach()


def probe_directions(data: Tensor, classes: Tensor) -> Tensor:
    """Orthonormal directions [width, r], float64, that span the differences of the probe's class weights; r is the
    number of classes less one, at most the width. The direction that tells most comes first."""
    weights = probe_weights(data, classes)  # they add up to 0 over classes, so they span their differences
    rank = min(weights.shape[0], weights.shape[1] - 1)
    return signed(torch.linalg.svd(weights, full_matrices=False).U[:, :rank]).to(data.device)
