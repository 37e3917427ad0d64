"""The Industrial Benchmark: a made-up machine with the difficulties of real ones: memory, noise, hidden state.

Equations: D. Hein, S. Depeweg, M. Tokic, S. Udluft, A. Hentschel, T. A. Runkler, V. Sterzing, "A benchmark environment
motivated by industrial control problems", arXiv 1709.09480. See README.md beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

STEP = math.sin(math.pi / 12)  # the largest shift that the best policy ever needs
SAFE = STEP / 2  # half width of the zone in which the machine forgets
_QUARTER = 6  # steps of the direction in a quarter turn
_STROKE = (1.0, 10.0, STEP / 0.9 * 100.0 / 5.0)  # of velocity, gain and shift by a full action
_LAG = (0.11111, 0.22222, 0.33333, 0.22222, 0.11111)  # how costs of five to nine steps ago weigh now
_ALPHA, _BETA, _KAPPA = 0.5849066, 0.2924533, -0.6367657  # the biased Goldstone potential


def goldstone(shift: Tensor, direction: Tensor) -> Tensor:
    """Return the penalty ``[B]`` of an effective shift, −1 at its best, for a direction counted in 1/24 turns.

    The potential has its minimum at one radius in every direction; here the radius is stretched so that the minimum
    lies at the sine of the direction, and never nearer than ``STEP``.
    """
    sine = torch.sin(direction * (2.0 * math.pi / (4 * _QUARTER)))
    best = sine.abs().clamp(min=STEP)  # where the minimum is to be
    bottom = _bottom(sine.abs())  # where the potential has it
    far = (shift.abs() - best).clamp(min=0.0)
    exponent = (2.0 - best) / (2.0 - bottom)
    outside = bottom + (2.0 - bottom) / (2.0 - best) ** exponent * far**exponent
    radius = torch.sign(shift) * torch.where(shift.abs() <= best, shift.abs() * bottom / best, outside)
    square = radius.square()
    return -_ALPHA * square + _BETA * square.square() + _KAPPA * sine * radius


def _bottom(sine: Tensor) -> Tensor:
    """Return the radius ``[B]`` at which the potential is least: a root of a cubic, in one of two forms."""
    q = _KAPPA * sine / (8.0 * _BETA)  # not above 0
    root = (-q + (q.square() - 1.0 / 27.0).clamp(min=0.0).sqrt()) ** (1.0 / 3.0)
    angle = torch.arccos((-q * math.sqrt(27.0)).clamp(max=1.0)) / 3.0
    real = root + 1.0 / (3.0 * root.clamp(min=1e-3))
    return torch.where(q <= -math.sqrt(1.0 / 27.0), real, math.sqrt(4.0 / 3.0) * torch.cos(angle))


@dataclass(frozen=True)
class IndustrialBenchmark:
    """Velocity, gain and shift trade fatigue against consumption, each with a memory of its own.

    States: the load ``p``; ``v``, ``g``, ``h`` (velocity, gain, shift); ``fatigue`` and ``consumption``; hidden are
    ``latent_v`` and ``latent_g`` (wear), ten past operating costs, oldest first, and ``domain``, ``response`` and
    ``direction`` of the shift. All disturbances are standard normal numbers drawn anew at each step.
    """

    states: ClassVar[tuple[str, ...]] = (
        *("p", "v", "g", "h", "fatigue", "consumption", "latent_v", "latent_g"),
        *(f"cost_{i}" for i in range(1, 11)),
        *("domain", "response", "direction"),
    )
    actions: ClassVar[tuple[str, ...]] = ("dv", "dg", "dh")
    disturbances: ClassVar[tuple[str, ...]] = (
        *("excite_v", "excite_g", "share_v", "share_g", "chance_v", "chance_g"),
        *("burst", "metering"),
    )
    output_names: ClassVar[tuple[str, ...]] = ("effective_shift", "misalignment")
    parameters: ClassVar[Mapping[str, str]] = {
        "cost_of_load": "1",
        "cost_of_velocity": "1",
        "cost_of_gain": "1",
        "cost_of_misalignment": "1",
        "excitation": "1",
    }
    signal_units: ClassVar[Mapping[str, str]] = dict.fromkeys((*states, *actions, *disturbances), "1")

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 21]`` after one step.

        Args:
            state: ``[B, 21]``. Past costs that are 0 have not been filled yet: they are taken to be the present one.
            action: ``[B, 3]``, changes of velocity, gain and shift as shares of the largest ones.
            disturbance: ``[B, 8]``.
            parameters: ``[B, 5]`` or ``[1, 5]``.
            period: seconds; the benchmark counts steps.
        """
        load, past = state[:, 0], state[:, 8:18]
        stroke = torch.stack([torch.full_like(load, length) for length in _STROKE], dim=-1)
        setting = (state[:, 1:4] + stroke * action.clamp(-1.0, 1.0)).clamp(0.0, 100.0)
        velocity, gain, shift = setting.unbind(-1)
        fatigue, latents = _fatigue(load, velocity, gain, state[:, 6:8], disturbance, parameters)
        of_load, of_velocity, of_gain, of_misalignment, _ = parameters.unbind(-1)
        cost = torch.exp((of_load * load + of_velocity * velocity + of_gain * gain) / 100.0).unsqueeze(-1)
        past = torch.where(past[:, :1] > 0.0, torch.cat((past[:, 1:], cost), dim=-1), cost.expand_as(past))
        delayed = sum((weight * past[:, i] for i, weight in enumerate(_LAG)), start=torch.zeros_like(load))
        effective = _effective_shift(shift, load)
        domain, response, direction = _turn(effective, *state[:, 18:21].unbind(-1))
        expected = delayed + of_misalignment * (1.0 + goldstone(effective, direction))
        consumption = expected - disturbance[:, 7] * (1.0 + 0.005 * expected)
        columns = (load, velocity, gain, shift, fatigue, consumption, *latents)
        memory = torch.stack((domain, response, direction), dim=-1)
        return torch.cat((torch.stack(columns, dim=-1), past, memory), dim=-1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 2]`` the effective shift, and what its misalignment adds to the consumption."""
        effective = _effective_shift(state[:, 3], state[:, 0])
        added = parameters[:, 3] * (1.0 + goldstone(effective, state[:, 20]))
        return torch.stack((effective, added), dim=-1)


def _effective_shift(shift: Tensor, load: Tensor) -> Tensor:
    return (5.0 * shift / 100.0 - 0.02 * load - 1.5).clamp(-1.5, 1.5)


def _effective_actions(load: Tensor, velocity: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return what velocity and gain amount to ``[B]``, each from 0 (harmless) to 1 (wears most)."""
    speed = (gain + load + 2.0) / (velocity + 101.0 - load)
    slowest, fastest = (load + 2.0) / (201.0 - load), (load + 102.0) / (101.0 - load)
    slack, least, most = 1.0 / (gain + 1.0 + load), 1.0 / (101.0 + load), 1.0 / (1.0 + load)
    return (speed - slowest) / (fastest - slowest), (slack - least) / (most - least)


def _fatigue(
    load: Tensor, velocity: Tensor, gain: Tensor, latent: Tensor, disturbance: Tensor, parameters: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the fatigue ``[B]`` of this step and the two wears that are carried on."""
    noises, latents = [], []
    for i, effective in enumerate(_effective_actions(load, velocity, gain)):
        # −ln(1 − Φ(z)) of a standard normal number is exponential, Φ(z) is uniform
        excited = torch.tanh(parameters[:, 4] * -torch.special.log_ndtr(-disturbance[:, i]) / 2.0)  # 2(σ(e) − ½)
        struck = torch.special.ndtr(disturbance[:, 4 + i]) < effective.clamp(0.001, 0.999)
        noise = excited + (1.0 - excited) * torch.special.ndtr(disturbance[:, 2 + i]) * struck * effective
        grown, drifted = (1.1 * latent[:, i]).clamp(max=5.0), 0.9 * latent[:, i] + noise / 3.0
        carried = torch.where(latent[:, i] >= 1.2, grown, drifted)
        latents.append(torch.where(effective <= 0.05, effective, carried))
        noises.append(noise)
    bursts = torch.maximum(latents[0], latents[1]) >= 5.0
    share = torch.where(bursts, torch.sigmoid(2.4 + 0.4 * disturbance[:, 6]), torch.maximum(noises[0], noises[1]))
    basic = (30000.0 / (5.0 * velocity + 100.0) - 0.01 * gain.square()).clamp(min=0.0)
    return basic * (1.0 + 2.0 * share) / 3.0, (latents[0], latents[1])


def _turn(shift: Tensor, domain: Tensor, response: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Advance the direction by at most 1/24 turn: it turns with the shift until it turns against it.

    Args:
        shift: ``[B]``, effective.
        domain: ``[B]``, side on which the shift was last, ±1.
        response: ``[B]``, +1 while the machine goes along, −1 once it has turned.
        direction: ``[B]``, whole steps.
    """
    safe = shift.abs() <= SAFE
    side = torch.where(safe, domain, torch.sign(shift))
    one = torch.ones_like(response)
    response = torch.where(side == domain, response, one)
    stuck = direction == -side * _QUARTER
    turned = torch.where(stuck, torch.zeros_like(direction), response * torch.sign(shift))
    direction = direction + torch.where(safe, -torch.sign(direction), turned)
    far = direction.abs() >= _QUARTER
    response = torch.where(far, -one, response)
    mirrored = 2 * _QUARTER - torch.remainder(direction + 4 * _QUARTER, 4 * _QUARTER)
    direction = torch.where(far, mirrored, direction)
    reset = safe & (direction == 0.0)
    return torch.where(reset, one, side), torch.where(reset, one, response), direction
