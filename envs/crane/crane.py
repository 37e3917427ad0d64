"""A gantry crane that carries a payload on a rope past a pillar: simulated by MuJoCo, and its analytic twin in torch.

Both take the speeds asked of bridge and trolley, ramp towards them, and give the same signals. Equations and source:
README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from fpo_pilot.plants.integrator import rk4
from fpo_pilot.plants.mujoco import Array, MujocoModel

if TYPE_CHECKING:
    import mujoco

GRAVITY = 9.81
SUBSTEPS = 20
"""Runge-Kutta steps of the twin in a period: as many as MuJoCo takes."""
GOAL = (6.0, 0.0)
BERTH = 1.0
"""Distance in m from the middle of the pillar to the way that the reward measures."""
SHARED: Mapping[str, str] = {
    "rope_length": "m",
    "payload_mass": "kg",
    "hinge_friction": "N*m*s/rad",
    "ramp": "m/s**2",
    "pillar_x": "m",
    "pillar_y": "m",
    "blocked_side": "1",
}
"""Parameters of both, by unit: the first columns of each."""
STATES = ("x", "y", "theta", "phi", "vx", "vy", "theta_rate", "phi_rate")
ACTIONS = ("vx_set", "vy_set")
OUTPUTS = ("load_x", "load_y", "aim_x", "aim_y", "clearance", "way", "distance", "sway", "load_speed")
UNITS: Mapping[str, str] = {
    **dict.fromkeys(("x", "y", *OUTPUTS[:7]), "m"),
    **dict.fromkeys(("theta", "phi"), "rad"),
    "sway": "deg",
    **dict.fromkeys(("vx", "vy", "vx_set", "vy_set", "load_speed"), "m/s"),
    **dict.fromkeys(("theta_rate", "phi_rate"), "rad/s"),
}


def vary(source: mujoco.MjSpec, row: Array) -> None:
    """Write the parameters of an episode into the model."""
    value = dict(zip(Crane.parameters, row.tolist(), strict=True))
    hook = [0.0, 0.0, -value["rope_length"]]
    source.geom("rope").fromto = [0.0, 0.0, 0.0, *hook]
    source.geom("payload").pos = hook
    source.geom("payload").mass = value["payload_mass"]
    source.site("payload").pos = hook
    source.geom("pillar").pos = [value["pillar_x"], value["pillar_y"], 1.5]
    source.geom("bridge").mass = value["bridge_mass"]
    source.geom("trolley").mass = value["trolley_mass"]
    joints: tuple[Any, ...] = (source.joint("theta"), source.joint("phi"))
    for joint in joints:
        joint.damping[0] = value["hinge_friction"]
    drives: tuple[Any, ...] = (source.actuator("vx"), source.actuator("vy"))
    for drive in drives:
        drive.gainprm[0], drive.biasprm[2] = value["drive_gain"], -value["drive_gain"]


def ramped(speed: Tensor, asked: Tensor, ramp: Tensor, period: float) -> Tensor:
    """Return the acceleration ``[B, 2]`` [m/s²] that brings ``speed`` to ``asked`` within the period, if the ramp allows it."""
    return torch.clamp((asked - speed) / period, -ramp, ramp)


def readings(state: Tensor, parameters: Tensor) -> Tensor:
    """Return ``OUTPUTS`` ``[B, 9]``: where the load is, and how far from what it must not touch and from its goal.

    ``aim`` is the trolley's place less twice what the load is ahead of it: a proportional loop on it damps the sway.
    ``clearance`` is that to the middle of the pillar. Where one aisle is blocked, by something that stands across it in line
    with the pillar, it is that to this line.
    """
    x, y, theta, phi, vx, vy, theta_rate, phi_rate = state[:, :8].unbind(-1)
    length, _, _, _, pillar_x, pillar_y, side = parameters[:, : len(SHARED)].unbind(-1)
    sine, cosine, sine_y, cosine_y = theta.sin(), theta.cos(), phi.sin(), phi.cos()
    load_x, load_y = x + length * sine * cosine_y, y + length * sine_y
    along, across = load_x - pillar_x, load_y - pillar_y
    clearance = torch.where(side * across > 0.0, along.abs(), torch.hypot(along, across))
    # atan2 of the horizontal and the vertical part: the cosine alone is flat where the rope hangs
    sway = torch.atan2(torch.hypot(sine * cosine_y, sine_y), cosine * cosine_y)
    speed_x = vx + length * (cosine * cosine_y * theta_rate - sine * sine_y * phi_rate)
    speed_y = vy + length * cosine_y * phi_rate
    aim_x, aim_y = 3.0 * x - 2.0 * load_x, 3.0 * y - 2.0 * load_y
    way = way_round((along, across), (GOAL[0] - pillar_x, GOAL[1] - pillar_y), side)
    distance = torch.hypot(GOAL[0] - load_x, GOAL[1] - load_y)
    far = (clearance, way, distance, sway.rad2deg(), torch.hypot(speed_x, speed_y))
    return torch.stack((load_x, load_y, aim_x, aim_y, *far), dim=-1)


def way_round(start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], side: Tensor) -> Tensor:
    """Return the length ``[B]`` [m] of the shortest way that keeps ``BERTH`` from the middle of the pillar.

    It is straight where the straight way is free, else tangent, arc and tangent, on the shorter of the two sides that are
    open. From within the berth it begins with the arc.

    Args:
        start: coordinates ``[B]`` seen from the pillar.
        end: the same, outside the berth.
        side: ``[B]`` the blocked side, 0 for none.
    """
    near, far = torch.hypot(*start), torch.hypot(*end)
    turn = torch.atan2(start[0] * end[1] - start[1] * end[0], start[0] * end[0] + start[1] * end[1])  # [-pi, pi]
    # a positive turn passes on the side of negative y; what is beyond the pillar has nothing left to pass
    shut = (turn * side < 0.0) & (start[0] < 0.0)
    turn = torch.where(shut, 2.0 * torch.pi - turn.abs(), turn.abs())
    outside = near.clamp(min=BERTH)
    arc = turn - torch.acos(BERTH / outside) - torch.acos(BERTH / far)
    tangents = torch.sqrt(outside.square() - BERTH**2) + torch.sqrt(far.square() - BERTH**2)
    straight = torch.hypot(end[0] - start[0], end[1] - start[1])
    return torch.where(arc > 0.0, tangents + BERTH * arc, straight)


@dataclass(frozen=True)
class CraneTwin:
    """The crane as a spherical pendulum below a trolley that follows its ramp exactly; the payload does not pull it.

    States: trolley at x, y [m], angles of the rope θ and φ [rad], and their rates.
    """

    states: ClassVar[tuple[str, ...]] = STATES
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    output_names: ClassVar[tuple[str, ...]] = OUTPUTS
    parameters: ClassVar[Mapping[str, str]] = SHARED
    signal_units: ClassVar[Mapping[str, str]] = UNITS

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 8]`` after ``period`` seconds."""
        place, angle, speed, rate = state.split(2, dim=-1)
        push = ramped(speed, action, parameters[:, 3:4], period)

        def derivative(swing: Tensor) -> Tensor:
            return swing_rates(swing, push, parameters)

        swing = torch.cat((angle, rate), dim=-1)
        for _ in range(SUBSTEPS):
            swing = rk4(derivative, swing, period / SUBSTEPS)
        place = place + period * (speed + 0.5 * period * push)
        return torch.cat((place, swing[:, :2], speed + period * push, swing[:, 2:]), dim=-1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 9]``."""
        return readings(state, parameters)


def swing_rates(swing: Tensor, push: Tensor, parameters: Tensor) -> Tensor:
    """Return the rates of change ``[B, 4]`` of θ, φ, θ', φ' below a trolley with acceleration ``push`` ``[B, 2]``."""
    theta, phi, theta_rate, phi_rate = swing.unbind(-1)
    push_x, push_y = push.unbind(-1)
    length, mass, friction = parameters[:, 0], parameters[:, 1], parameters[:, 2]
    decay = friction / (mass * length.square())
    sine, cosine, sine_y, cosine_y = theta.sin(), theta.cos(), phi.sin(), phi.cos()
    theta_turn = (
        2.0 * sine_y / cosine_y * phi_rate * theta_rate
        - (push_x * cosine + GRAVITY * sine) / (length * cosine_y)
        - decay * theta_rate / cosine_y.square()
    )
    phi_turn = (
        -sine_y * cosine_y * theta_rate.square()
        + (push_x * sine * sine_y - push_y * cosine_y - GRAVITY * cosine * sine_y) / length
        - decay * phi_rate
    )
    return torch.stack((theta_rate, phi_rate, theta_turn, phi_turn), dim=-1)


@dataclass(frozen=True)
class Crane:
    """The crane in MuJoCo: drives with a servo that lags, and a payload that pulls at bridge and trolley.

    States: those of the twin, and the two set points of the servos [m/s], which ramp towards the speeds that are asked.
    """

    model: ClassVar[MujocoModel] = MujocoModel(Path(__file__).with_suffix(".xml"), vary)
    states: ClassVar[tuple[str, ...]] = (*STATES, "ramp_x", "ramp_y")
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    output_names: ClassVar[tuple[str, ...]] = OUTPUTS
    parameters: ClassVar[Mapping[str, str]] = {
        **SHARED,
        "bridge_mass": "kg",
        "trolley_mass": "kg",
        "drive_gain": "N*s/m",
    }
    signal_units: ClassVar[Mapping[str, str]] = {**UNITS, "ramp_x": "m/s", "ramp_y": "m/s"}

    def advance(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor, period: float) -> Tensor:
        """Return the state ``[B, 10]`` after ``period`` seconds."""
        start, step = state[:, 8:], self.model.timestep
        push = ramped(start, action, parameters[:, 3:4], period)
        middle = torch.arange(0.5 * step, period, step, dtype=state.dtype, device=state.device)  # [T] of each time step
        control = start[:, None] + push[:, None] * middle[:, None]
        moved = self.model.advance(state, control, period, parameters)[:, :8]
        return torch.cat((moved, start + period * push), dim=-1)

    def outputs(self, state: Tensor, action: Tensor, disturbance: Tensor, parameters: Tensor) -> Tensor:
        """Return ``[B, 9]``."""
        return readings(state, parameters)
