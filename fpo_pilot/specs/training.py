"""The training spec: a union discriminated by ``algorithm``. Fields are the paper's symbols spelled out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fpo_pilot.specs.base import Fraction, NonNegative, Positive, Spec

Count = Annotated[int, Field(ge=1)]


class Network(Spec):
    """A multilayer perceptron."""

    width: Count = 64
    depth: Count = 3
    """Hidden layers."""


class Common(Spec):
    """What every on-policy algorithm needs."""

    schema_version: Literal[1] = 1
    total_steps: Count = 300_000
    num_envs: Count = 64
    rollout_steps: Count = 30
    passes: Count = 8
    minibatches: Count = 4
    learning_rate: Positive = 1e-3
    learning_rate_end: NonNegative = 0.0
    """Linear decay ends here; equal to ``learning_rate`` for none."""
    discount: Fraction = 0.99
    lam: Fraction = 0.95
    reward_scale: Positive = 1.0
    gradient_clip: Positive | None = 1.0
    value_coefficient: Positive = 0.5
    critic: Network = Network()
    actor: Network = Network()
    correction_penalty: NonNegative = 0.05
    """Subtracted from the training reward as this times ‖(shielded − proposed)/span‖²; not part of the return."""
    shield_in_training: bool = True
    deployment_average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Decay, per update, of the running average of the weights that is evaluated and deployed; 0 for the last weights."""
    evaluation_every: Count = 10
    """Updates between two deterministic evaluations."""
    evaluation_episodes: Count = 8
    collapse_fraction: Positive = 0.3
    """Stop and roll back when the return stays this fraction of the best's rise below the best for a whole window."""
    collapse_window: Count = 20
    checkpoint_every: Count = 10


class FpoSpec(Common):
    """Settings of flow policy optimisation (arXiv 2507.21053, 2602.02481)."""

    algorithm: Literal["fpo"] = "fpo"
    flow_steps: Count = 10
    samples_per_action: Count = 8
    ratio: Literal["averaged", "per_draw"] = "averaged"
    trust_region: Literal["ppo", "spo", "aspo"] = "ppo"
    clip: Positive = 0.05
    weighting: Literal["velocity", "noise"] = "noise"
    reduction: Literal["mean", "sum", "sqrt"] = "mean"
    loss_bound: Positive | None = None
    """Both losses are clamped to this, symmetrically."""
    log_ratio_bound: Positive = 3.0
    """The log ratio is clamped to ± this before ``exp``, with a straight-through gradient."""
    output_scale: Positive = 0.25
    time_frequencies: Count = 4


class GaussianPpoSpec(Common):
    """Settings of PPO with a tanh-squashed or plain Gaussian."""

    algorithm: Literal["gaussian_ppo"] = "gaussian_ppo"
    clip: Positive = 0.2
    entropy_coefficient: NonNegative = 0.01
    initial_std: Positive = 0.5
    squash: bool = True
    std_floor: Positive = 1e-3


TrainingSpec = Annotated[FpoSpec | GaussianPpoSpec, Field(discriminator="algorithm")]


class TrainingFile(Spec):
    """envs/NAME/train.yaml: one entry an algorithm, each with only what differs from the defaults."""

    schema_version: Literal[1]
    algorithms: tuple[TrainingSpec, ...]
