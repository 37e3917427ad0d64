"""The training spec: a union discriminated by ``algorithm``. Fields are the paper's symbols spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from fpo_pilot.specs.base import Fraction, Name, NonNegative, Positive, Spec

Count = Annotated[int, Field(ge=1)]


class Network(Spec):
    """A multilayer perceptron."""

    width: Count = 64
    depth: Count = 3
    """Hidden layers."""


class Constraint(Spec):
    """A limit on how often soft limits may be violated, held by a PID-Lagrangian (arXiv 2007.03964).

    The multiplier is max(0, ``proportional``·e + ``integral``·Σe + ``derivative``·rise), with e the share of steps in
    which a soft or hard limit is violated, less ``limit``.
    """

    limit: Fraction = 0.0
    proportional: NonNegative = 5.0
    integral: NonNegative = 0.5
    derivative: NonNegative = 1.0
    most: Positive = 20.0
    """Bound of the multiplier."""


class Cloning(Spec):
    """Training begins as a copy of the incumbent: a policy fitted to its actions, and a critic to its returns."""

    episodes: Count = 64
    exploration: NonNegative = 0.1
    """Standard deviation, in half spans, of noise on what the incumbent does in the demonstrations, though not on what is
    copied: so the copy learns how to come back from errors of its own (DART, arXiv 1703.09327)."""
    spread: NonNegative = 0.1
    """Standard deviation, in half spans, that the copy is given around the incumbent: what never varies learns nothing."""
    passes: Count = 40
    minibatch: Count = 256


class WarmStart(Spec):
    """How a training begins from a log (``train --warm-start``): a policy fitted to logged actions, a critic to returns."""

    method: Literal["cloning", "advantage_weighted"] = "cloning"
    """``advantage_weighted``: an action counts min(exp(Â/``temperature``), ``weight_bound``), Â its normalised advantage."""
    temperature: Positive = 1.0
    """β: the smaller, the more the better actions of the log count."""
    weight_bound: Positive = 20.0
    arms: tuple[Name, ...] = ("incumbent",)
    """Who drove in the episodes to learn from, as the log calls them; none named for all but the learner of a training."""
    least_episodes: Count = 3
    """A log with fewer of them is refused."""
    spread: NonNegative = 0.1
    """Standard deviation, in half spans, that the copy is given around the log: what never varies learns nothing."""
    passes: Count = 40
    minibatch: Count = 256
    critic_warm_up: Annotated[int, Field(ge=0)] = 5
    """Updates at the beginning in which the critic learns and the policy stays as it is: it would follow advantages of a
    critic that has not yet seen what the copy itself does."""
    policy_rate_factor: Positive = 0.1
    """The policy of a training that begins from a log learns at this times ``learning_rate``, the critic at the full rate."""


class Common(Spec):
    """What every algorithm needs."""

    added = frozenset({"mirror", "candidates", "warm_start", "logged_environments"})

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
    """Subtracted from the reward as this times ‖(shielded − proposed)/span‖²; not part of the return."""
    shield_in_training: bool = True
    candidates: Annotated[int, Field(ge=1, le=64)] = 1
    """Actions that are sampled in each step, in training and in use; the first that the shield need not alter is proposed."""
    deployment_average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Decay, per update, of the running average of the weights that is evaluated and deployed; 0 for the last weights."""
    evaluation_every: Count = 10
    """Updates between two deterministic evaluations."""
    evaluation_episodes: Count = 8
    collapse_fraction: Positive = 0.3
    """Stop and roll back when the return stays this fraction of the best's rise below the best for a whole window."""
    collapse_window: Count = 20
    recoveries: Annotated[int, Field(ge=0)] = 2
    """How often a collapsed or broken training goes on from the best weights, at half the rate, before it stops."""
    adaptive_rate: Positive | None = None
    """Wanted mean squared change of the action in an update, a proxy for the KL divergence: at twice of it the rate is
    divided by 1.5, at half of it multiplied."""
    critics: Count = 1
    """Members of the value ensemble."""
    uncertainty_weight: NonNegative = 0.0
    """κ: advantages are weighted by exp(−κ·u/mean u), u the spread of the ensemble at the observation; 0 for none."""
    constraint: Constraint | None = None
    cloning: Cloning | None = None
    warm_start: WarmStart = WarmStart()
    """Of a training that is given a log; of no effect on any other."""
    mirror: tuple[Name, ...] = ()
    """The plant is the same in a mirror in which these signals change sign: policy and critic are built so, and a policy that
    knows one way round an obstacle knows the other."""
    checkpoint_every: Count = 10
    logged_environments: Annotated[int, Field(ge=0)] = 1
    """Of the ``num_envs``, whose every step goes to the step log of the run, stage ``training``; 0 for none."""


GYM_TASKS: dict[str, Any] = {
    "total_steps": 200_000,
    "num_envs": 16,
    "rollout_steps": 32,
    "evaluation_every": 40,
    "evaluation_episodes": 4,
}
"""What differs on published tasks of Gymnasium from the defaults, for all algorithms alike."""
FPO_PLUS_PLUS: dict[str, Any] = {
    "samples_per_action": 16,
    "ratio": "per_draw",
    "trust_region": "aspo",
    "clip": 0.05,
    "rollout_steps": 30,
    "weighting": "velocity",
    "reduction": "sqrt",
    "loss_bound": 20.0,
    "deployment_average": 0.95,
}
"""What ``algorithm: fpo_plus_plus`` means (arXiv 2602.02481): defaults that differ from those of ``fpo``."""


class FpoSpec(Common):
    """Settings of flow policy optimisation (arXiv 2507.21053), and of FPO++ (arXiv 2602.02481).

    Published effect of the main ones, mean return over ten control tasks (2507.21053): clip 0.05 → 759, 0.1 → 623,
    0.2 → 526; draws 1 → 692, 4 → 731, 8 → 759; weighting noise → 759, velocity → 665. The defaults are those of our own
    ablation (docs/results.md); those of the paper are ``ratio: averaged, trust_region: ppo, clip: 0.05``.
    """

    algorithm: Literal["fpo", "fpo_plus_plus"] = "fpo"
    rollout_steps: Count = 15
    """Half of what the others have: of all settings this one decides most (docs/results.md, "Ratio, trust region, clip and
    rollout length")."""
    flow_steps: Count = 10
    samples_per_action: Count = 8
    ratio: Literal["averaged", "per_draw"] = "per_draw"
    trust_region: Literal["ppo", "spo", "aspo"] = "aspo"
    clip: Positive = 0.1
    path: Literal["straight", "variance_preserving"] = "straight"
    """From noise to action: the line of flow matching, or the quarter circle of a diffusion."""
    weighting: Literal["velocity", "noise"] = "noise"
    reduction: Literal["mean", "sum", "sqrt"] = "mean"
    huber: Positive | None = None
    """Errors of the velocity beyond this count linearly; None for squares throughout."""
    loss_bound: Positive | None = None
    """Both losses are clamped to this, symmetrically."""
    log_ratio_bound: Positive = 3.0
    """The log ratio is clamped to ± this before ``exp``, with a straight-through gradient."""
    regulariser: NonNegative = 0.0
    """β of the on-line flow-matching regulariser of DiPOD (arXiv 2606.13795): β times the loss on the batch is added."""
    squash: bool = False
    """The plant gets the tanh of where the flow ends, as in the published code; otherwise the limits cut it."""
    output_scale: Positive = 0.25
    time_frequencies: Count = 4

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_plus_plus(cls, data: Any) -> Any:
        """Fill in the defaults of FPO++ where it is named."""
        if isinstance(data, dict) and data.get("algorithm") == "fpo_plus_plus":
            return FPO_PLUS_PLUS | data
        return data


class DppoSpec(Common):
    """Settings of diffusion policy optimisation (arXiv 2409.00588): PPO over the steps of the denoising chain."""

    algorithm: Literal["dppo"] = "dppo"
    flow_steps: Count = 10
    """Steps of the chain, K."""
    tuned_steps: Count | None = None
    """K': only the last of them are trained, the rest stay as they began; None for all (from scratch)."""
    clip: Positive = 0.2
    """Of the last step of the chain, which emits the action."""
    clip_base: Positive = 0.02
    """Of the first; between them the clip grows exponentially."""
    denoising_discount: Fraction = 0.99
    chain_std: Annotated[float, Field(ge=0.01)] = 0.15
    """Standard deviation of each step of the chain while acting in training; below 0.1 its likelihood is brittle."""
    output_scale: Positive = 1.0
    time_frequencies: Count = 4


class GaussianPpoSpec(Common):
    """Settings of PPO with a tanh-squashed or plain Gaussian."""

    algorithm: Literal["gaussian_ppo"] = "gaussian_ppo"
    clip: Positive = 0.2
    entropy_coefficient: NonNegative = 0.01
    initial_std: Positive = 0.5
    squash: bool = True
    std_floor: Positive = 1e-3


class FlowQSpec(Common):
    """Settings of the off-policy training of a flow (after QF3, arXiv 2610.08789): what is deployed is the policy of ``fpo``.

    Collected steps stay in a buffer. Each update learns a value Q(s, a) from them and moves the flow up its gradient.
    """

    algorithm: Literal["flow_q"] = "flow_q"
    rollout_steps: Count = 15
    passes: Count = 32
    """How often a collected step is learned from, on average: an update has ``passes`` · ``minibatches`` gradient steps, and
    a minibatch has num_envs · rollout_steps / ``minibatches`` steps of the buffer."""
    critics: Count = 2
    """Members of the ensemble of Q."""
    constraint: None = None
    """Its price moves, and what lies in the buffer was paid at another one: use ``correction_penalty``, or another algorithm."""
    capacity: Count = 100_000
    """Steps in the buffer, the oldest of which make room. It is part of the latest checkpoint, with 4·(2·O + A + 2) bytes a
    step, O entries of an observation and A of an action."""
    n_step: Count = 1
    """Rewards that are summed before Q is asked for the rest."""
    target: Literal["min", "mean"] = "min"
    """Of the members of the ensemble, in the target of Q."""
    target_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.005
    """τ: how far the target networks follow in each gradient step (Polyak)."""
    matching: NonNegative = 0.01
    """λ: weight of the flow-matching loss against Q, which is divided by its own size."""
    q_scale: Literal["size", "spread"] = "spread"
    """By what Q is divided: the mean of |Q| over the minibatch, or the running standard deviation of its targets."""
    correction_bound: Positive = 1.0
    """By how much the velocity's error may move, per unit of time left, the action that Q is asked for."""
    exploration: NonNegative = 0.1
    """Standard deviation, in half spans, of noise on what is proposed while collecting."""
    candidate_order: Literal["sampled", "value"] = "sampled"
    """In use, of several ``candidates``: as they were sampled, or the best by Q first, so that the best of those that the shield need
    not alter is proposed."""
    critic_warm_up: Annotated[int, Field(ge=0)] = 2
    """Updates at the beginning in which Q learns and the policy stays as it is."""
    flow_steps: Count = 10
    output_scale: Positive = 0.25
    time_frequencies: Count = 4

    def flow(self) -> FpoSpec:
        """Return the settings of the policy: those of ``fpo``, one draw an action, straight and not squashed."""
        shared = {
            name: getattr(self, name)
            for name in (*Common.model_fields, "flow_steps", "output_scale", "time_frequencies")
        }
        return FpoSpec(**shared, weighting="velocity", samples_per_action=1)


TrainingSpec = Annotated[FpoSpec | DppoSpec | GaussianPpoSpec | FlowQSpec, Field(discriminator="algorithm")]


_ADAPTER: TypeAdapter[TrainingSpec] = TypeAdapter(TrainingSpec)


def training_spec_of(data: Mapping[str, Any]) -> TrainingSpec:
    """Read a training spec of any algorithm; its ``algorithm`` says of which.

    Raises:
        ValidationError: of pydantic, a field is missing, unknown or wrong.
    """
    return _ADAPTER.validate_python(dict(data))


class TrainingFile(Spec):
    """envs/NAME/train.yaml: one entry an algorithm, each with only what differs from the defaults."""

    schema_version: Literal[1]
    algorithms: tuple[TrainingSpec, ...]
