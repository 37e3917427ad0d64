"""A small neural network for what the linear model leaves over, trained on open-loop predictions of several steps.

Trained on one step, a network learns the noise of the measurement it starts from; over several steps that averages out.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from fpo_pilot.identification.linear import score
from fpo_pilot.identification.windows import Windows, predict
from fpo_pilot.plants.fitted import Weights

WIDTH, DEPTH = 32, 2
ITERATIONS, BATCH = 400, 192
LEARNING_RATE = 5e-3
LOOK_EVERY = 50
HELPS = 0.98
"""The network stays only if it lowers the held-out error to this part or less."""


def fit_residual(linear: Weights, fit: Windows, held_out: Windows, spread: Tensor, *, seed: int) -> Weights:
    """Train the network by Adam with a falling rate, and keep what did best on the held-out windows.

    Args:
        linear: the linear model, which stays as it is.
        fit: windows to train on, all of whose steps are predicted.
        held_out: windows that choose when to stop.
        spread: ``[S]`` what an error is divided by.
        seed: of the first weights and of the batches.

    Returns:
        The model with its network, or ``linear`` where no network helped.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = _first_layers(linear, generator)
    optimiser = torch.optim.Adam([tensor for layer in layers for tensor in layer], lr=LEARNING_RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, ITERATIONS, eta_min=0.02 * LEARNING_RATE)
    best, least = linear, HELPS * score(linear, held_out, spread)
    for iteration in range(1, ITERATIONS + 1):
        batch = fit.rows(torch.randint(fit.count, (BATCH,), generator=generator))
        error = (predict(linear.with_layers(layers), batch) - batch.future()) / spread
        loss = torch.log1p(error.square()).mean()  # a few wild windows do not own the batch
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([tensor for layer in layers for tensor in layer], 1.0)
        optimiser.step()
        falling.step()
        if iteration % LOOK_EVERY == 0:
            kept = linear.with_layers([(w.detach().clone(), b.detach().clone()) for w, b in layers])
            with torch.no_grad():
                found = score(kept, held_out, spread)
            if found < least:
                best, least = kept, found
    return best


def _first_layers(linear: Weights, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Draw the layers; the last is zero, so that training begins at the linear model."""
    sizes = [linear.centre.shape[0], *[WIDTH] * DEPTH, linear.signals]
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = 0.0 if index == DEPTH else math.sqrt(3.0 / inputs)
        weight = torch.empty((outputs, inputs), dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        layers.append((weight.requires_grad_(), torch.zeros(outputs, dtype=torch.float64, requires_grad=True)))
    return layers
