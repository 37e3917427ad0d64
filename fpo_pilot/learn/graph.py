"""A deployed policy as one ONNX graph: observation in, action in engineering units out, cut to the box and to nothing else.

Normaliser, sampler and box are inside. Rate, interlocks, sequences and predictive layers are not: an action of the graph
has no authority until a shield stack has judged it. What is not finite goes in as it is and comes out as NaN, so that
whoever reads the answer cannot take a broken reading for a decision.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fpo_pilot.errors import ExportError
from fpo_pilot.learn.build import TrainedPolicy
from fpo_pilot.learn.libraries import library
from fpo_pilot.learn.policy import Deployment
from fpo_pilot.plants.observations import observation_layout
from fpo_pilot.plants.plant import Plant

OPSET = 17
TOLERANCE = 1e-5
"""Greatest difference from torch, as a part of the action's span."""
OBSERVATION, NOISE, ACTION = "observation", "noise", "action"
_ALONE = 8
"""Observations of the parity check that are also asked for one by one, as a plant does."""
_TRACED_ROWS = 2
"""Not one: a size of 1 broadcasts, and the graph would be of that case."""


class DeployedGraph(nn.Module):
    """What is exported: a policy as deployed, in engineering units, within the box.

    Args:
        policy: what samples.
        deployment: how; a fixed number of steps.
        plant: whose limits −1 and +1 mean.

    Raises:
        ExportError: the sampler chooses its steps as it goes.
    """

    low: Tensor
    high: Tensor
    middle: Tensor
    half_span: Tensor

    def __init__(self, policy: TrainedPolicy, deployment: Deployment, plant: Plant) -> None:
        super().__init__()
        if deployment.method == "adaptive":
            raise ExportError(
                "--onnx: found the deployment `adaptive`, whose number of steps depends on the observation, expected "
                "euler, midpoint, heun or rk4. Run `fpo-pilot evaluate RUN --sampler rk4 --steps N` first."
            )
        self.policy, self.deployment = policy, deployment
        low, high = (np.asarray(bound, dtype=np.float64) for bound in (plant.action_low, plant.action_high))
        self.register_buffer("low", torch.from_numpy(_inward(low, high)))
        self.register_buffer("high", torch.from_numpy(_inward(high, low)))
        self.register_buffer("middle", torch.from_numpy(((low + high) / 2).astype(np.float32)))
        self.register_buffer("half_span", torch.from_numpy(((high - low) / 2).astype(np.float32)))

    def forward(self, obs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return actions ``[B, A]`` in engineering units for ``obs`` ``[B, O]`` and standard normal ``noise`` ``[B, A]``.

        Both may be left as they come: a row with anything that is not finite gives NaN.
        """
        chosen = self.deployment
        start = obs.new_zeros((obs.shape[0], self.policy.action_size)) if noise is None else noise
        action = self.policy.sample(obs, start, chosen.noise_scale, method=chosen.method, steps=chosen.steps)
        sound = obs.isfinite().all(dim=-1, keepdim=True) & action.isfinite().all(dim=-1, keepdim=True)
        if noise is not None:
            sound = sound & noise.isfinite().all(dim=-1, keepdim=True)
        cut = torch.minimum(torch.maximum(self.middle + self.half_span * action, self.low), self.high)
        # Runtimes differ in what their minimum makes of NaN: it is put in last, by a condition.
        return torch.where(sound, cut, torch.full_like(cut, torch.nan))


def _inward(bound: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return bounds in float32; where rounding would widen the box, the next number inside."""
    rounded = bound.astype(np.float32)
    widened = (rounded.astype(np.float64) - bound) * (inside - bound) < 0.0
    return np.where(widened, np.nextafter(rounded, inside.astype(np.float32)), rounded).astype(np.float32)


def write_graph(graph: DeployedGraph, facts: Mapping[str, str], *, noise_input: bool) -> bytes:
    """Trace ``graph`` into a checked ONNX model of opset 17; rows of a batch are free.

    Args:
        graph: in evaluation mode.
        facts: its ``metadata_props``.
        noise_input: whether the start of the sampler is an input; without it the start is zero.

    Returns:
        The model's bytes.

    Raises:
        ExportError: a library is missing.
    """
    onnx = library("--onnx", "onnx", "onnx")
    rows = torch.zeros(_TRACED_ROWS, graph.policy.normaliser.centre.numel())
    names, inputs = [OBSERVATION], [rows]
    if noise_input:
        names.append(NOISE)
        inputs.append(torch.zeros(_TRACED_ROWS, graph.policy.action_size))
    with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="fpo-pilot-onnx-") as folder:
        path = Path(folder) / "graph.onnx"
        graph(*inputs)  # embeddings of the times are made once, outside of the trace
        # The exporter that is to replace this one needs onnxscript (docs/decisions.md 32).
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # A comparison of shapes is decided with two rows, and means the same for one or many: parity looks at both.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        torch.onnx.export(
            graph,
            tuple(inputs),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[ACTION],
            dynamic_axes={name: {0: "rows"} for name in (*names, ACTION)},
        )
        model = onnx.load_from_string(path.read_bytes())
    model.producer_name, model.doc_string = "fpo-pilot", facts.get("warning", "")
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def open_session(content: bytes) -> Any:
    """Return a session of onnxruntime on one CPU thread."""
    runtime = library("--onnx", "onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime is from torch."""

    worst: float
    """Greatest absolute difference as a part of the action's span; infinite where one has a number and the other none."""
    rows: int
    seed: int

    @property
    def holds(self) -> bool:
        """Whether the difference is below :data:`TOLERANCE`."""
        return self.worst < TOLERANCE


def check_parity(
    content: bytes, policy: TrainedPolicy, deployment: Deployment, plant: Plant, *, rows: int = 256, seed: int = 0
) -> Parity:
    """Run random observations through onnxruntime, and through the policy as a roll-out runs it.

    Half of the observations are as those of training, half anywhere in the sensors' ranges. The reference does not pass
    the exported module: it is ``deploy().act``, mapped and cut in float64.

    Args:
        content: bytes of the model.
        policy: that was exported.
        deployment: with which.
        plant: of the policy.
        rows: observations.
        seed: of observations and noise.
    """
    session = open_session(content)
    obs, generator = _observations(policy, plant, rows, seed), torch.Generator().manual_seed(seed)
    draws = deployment.candidates if deployment.noise_scale > 0.0 else 1
    state = generator.get_state()
    acting = policy.deploy(deployment)
    wanted = acting.act(obs, generator)[0].reshape(rows * draws, -1)
    generator.set_state(state)
    noise = torch.randn(rows * draws, policy.action_size, generator=generator)
    seen = obs.repeat_interleave(draws, dim=0)
    feed = {OBSERVATION: seen.numpy(), NOISE: noise.numpy()}
    names = [one.name for one in session.get_inputs()]
    got = session.run(None, {name: feed[name] for name in names})[0]
    alone = [session.run(None, {name: feed[name][i : i + 1] for name in names})[0] for i in range(_ALONE)]
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (plant.action_low, plant.action_high))
    reference = torch.minimum(torch.maximum(plant.to_engineering(wanted.to(torch.float64)), low), high)
    found = torch.from_numpy(np.concatenate((got, *alone))).to(torch.float64)
    reference = torch.cat((reference, reference[:_ALONE]))
    worst = float(((found - reference).abs() / (high - low)).max())
    return Parity(worst if np.isfinite(worst) else float("inf"), rows, seed)


def _observations(policy: TrainedPolicy, plant: Plant, rows: int, seed: int) -> Tensor:
    layout = observation_layout(plant, device=torch.device("cpu"), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed + 1)
    normaliser = policy.normaliser
    shape = (rows, layout.size)
    usual = normaliser.mean + normaliser.variance.sqrt() * torch.randn(shape, generator=generator, dtype=torch.float64)
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (layout.low, layout.high))
    anywhere = low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)
    half = torch.arange(rows).unsqueeze(-1) % 2 == 0
    return torch.where(half, usual, anywhere).to(torch.float32)
