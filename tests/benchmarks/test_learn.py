"""Speed of learning and acting, beside the bare matrix multiplications of the same shapes (``make bench``)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fpo_pilot.learn.build import build_policy
from fpo_pilot.learn.critic import Critic
from fpo_pilot.learn.interaction import Rollout
from fpo_pilot.learn.optimiser import FlatNetwork, Optimiser
from fpo_pilot.learn.update import Targets, update
from fpo_pilot.specs.training import FpoSpec, GaussianPpoSpec, Network

OBSERVATION, ACTION, ROWS = 17, 6, 7680
OFFICIAL_ROWS = 1920
"""Rows of a minibatch of the published setting: 2,048 environments x 30 steps in 32 minibatches."""
SMALL_ROWS = 240
"""The other reading of it, 32 minibatches of this smaller rollout."""
SPEC = FpoSpec(
    ratio="averaged",
    trust_region="ppo",
    clip=0.05,
    actor=Network(width=32, depth=4),
    critic=Network(width=256, depth=5),
    samples_per_action=8,
    passes=1,
    minibatches=ROWS // OFFICIAL_ROWS,
    num_envs=256,
    rollout_steps=30,
)
GAUSSIAN = GaussianPpoSpec(
    **{name: getattr(SPEC, name) for name in ("actor", "critic", "passes", "minibatches", "num_envs", "rollout_steps")}
)
UPDATE_RATIO, ACTING_RATIO = 2.5, 4.0
"""What the flow may cost beside the Gaussian, at equal networks."""
UPDATE_FLOOR = 45_000.0
ACTING_FLOOR = 300_000.0
ACTING_SHARE = 0.55


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def made(spec: FpoSpec | GaussianPpoSpec = SPEC):
    generator = torch.Generator().manual_seed(0)
    policy = build_policy(spec, OBSERVATION, ACTION, generator=generator)
    critic = Critic(OBSERVATION, width=256, depth=5, generator=generator)
    obs = torch.randn(30, 256, OBSERVATION, generator=generator)
    flat = obs.flatten(0, 1)
    action, trace = policy.act(flat, generator)
    zeros = torch.zeros(30, 256)

    def shaped(value: Tensor) -> Tensor:
        return value.reshape(30, 256, *value.shape[1:])

    rollout = Rollout(
        obs=obs,
        next_obs=obs,
        action=shaped(action),
        trace={name: shaped(value) for name, value in trace.items()},
        reward=zeros,
        terminated=zeros.bool(),
        truncated=zeros.bool(),
        episode_return=zeros,
        episode_length=zeros.long(),
        altered=zeros.bool(),
        cost=zeros,
    )
    targets = Targets(*(torch.randn(ROWS, generator=generator) for _ in range(3)))
    return policy, critic, rollout, targets, generator


@pytest.mark.parametrize("rows", [OFFICIAL_ROWS, SMALL_ROWS])
def test_one_update_pass(benchmark, rows: int) -> None:
    policy, critic, rollout, targets, generator = made()
    spec = SPEC.model_copy(update={"minibatches": ROWS // rows})
    optimiser = Optimiser((FlatNetwork(policy), FlatNetwork(critic)), spec)
    run = lambda: update(policy, critic, optimiser, rollout, targets, spec, generator)  # noqa: E731
    benchmark.pedantic(run, rounds=12, warmup_rounds=2)
    rate = ROWS / benchmark.stats.stats.min
    share = fastest(matrix_multiplications(rows)) / benchmark.stats.stats.min
    benchmark.extra_info["transitions_per_second"] = rate
    benchmark.extra_info["share_of_matrix_multiplications"] = share
    print(f"\n{rows} rows a minibatch: {rate:,.0f} transitions/s, {share:.0%} of it matrix multiplications")
    assert rate >= UPDATE_FLOOR


def matrix_multiplications(rows: int) -> Callable[[], None]:
    """The limit: forward, and twice that backward, of the layers alone, in minibatches of ``rows``."""
    generator = torch.Generator().manual_seed(0)
    draws = rows * SPEC.samples_per_action
    shapes = [(rows, OBSERVATION, 256), *[(rows, 256, 256)] * 4, (rows, 256, 1)]
    shapes += [(rows, OBSERVATION, 32), (draws, ACTION + 8, 32), *[(draws, 32, 32)] * 3, (draws, 32, ACTION)]
    pairs = [(torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)) for m, k, n in shapes]

    def multiply() -> None:
        for _ in range(ROWS // rows):
            for x, w in pairs:
                y = x @ w
                _ = y @ w.T, x.T @ y

    return multiply


def fastest(run: Callable[[], object], rounds: int = 12) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def test_acting_with_ten_euler_steps(benchmark) -> None:
    policy, _, rollout, _, generator = made()
    obs = rollout.obs.flatten(0, 1)

    def act() -> Tensor:
        with torch.no_grad():
            noise = torch.randn(ROWS, ACTION, generator=generator)
            return policy.sample(obs, noise, 1.0, steps=10)

    benchmark.pedantic(act, rounds=12, warmup_rounds=2)
    rate = ROWS / benchmark.stats.stats.min
    benchmark.extra_info["actions_per_second"] = rate
    assert rate >= ACTING_FLOOR


def updater(spec: FpoSpec | GaussianPpoSpec) -> Callable[[], object]:
    policy, critic, rollout, targets, generator = made(spec)
    optimiser = Optimiser((FlatNetwork(policy), FlatNetwork(critic)), spec)
    return lambda: update(policy, critic, optimiser, rollout, targets, spec, generator)


def sampler(spec: FpoSpec | GaussianPpoSpec, rows: int) -> Callable[[], object]:
    policy, _, rollout, _, generator = made(spec)
    obs = rollout.obs.flatten(0, 1)[:rows]

    def act() -> Tensor:
        with torch.no_grad():
            noise = torch.randn(rows, ACTION, generator=generator)
            return policy.sample(obs, noise, 1.0)

    return act


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int) -> float:
    """Return how much longer ``first`` takes than ``second``, both by their fastest of alternate runs."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, kept in zip((first, second), times, strict=True):
            started = time.perf_counter()
            run()
            kept.append(time.perf_counter() - started)
    return min(times[0]) / min(times[1])


def test_an_update_of_the_flow_beside_one_of_the_gaussian(benchmark) -> None:
    ratio = benchmark.pedantic(interleaved, (updater(SPEC), updater(GAUSSIAN), 12), rounds=1)
    benchmark.extra_info["ratio"] = ratio
    print(f"\nupdate: flow {ratio:.2f} times the Gaussian")
    assert ratio <= UPDATE_RATIO


def test_one_action_of_the_flow_beside_one_of_the_gaussian(benchmark) -> None:
    ratio = benchmark.pedantic(interleaved, (sampler(SPEC, 1), sampler(GAUSSIAN, 1), 200), rounds=1)
    benchmark.extra_info["ratio"] = ratio
    print(f"\nacting on 1 row: flow {ratio:.2f} times the Gaussian")
    assert ratio <= ACTING_RATIO


def test_many_actions_of_the_flow_beside_bare_matrix_multiplications(benchmark) -> None:
    """Ten steps cost ten networks where arithmetic is all that counts: the limit there is the arithmetic itself."""
    slowness = benchmark.pedantic(interleaved, (sampler(SPEC, ROWS), sampler_multiplications(), 40), rounds=1)
    ratio = interleaved(sampler(SPEC, ROWS), sampler(GAUSSIAN, ROWS), 40)
    benchmark.extra_info |= {"share_of_matrix_multiplications": 1.0 / slowness, "ratio": ratio}
    print(f"\nacting on {ROWS} rows: {1 / slowness:.0%} matrix multiplications, flow {ratio:.2f} times the Gaussian")
    assert 1.0 / slowness >= ACTING_SHARE


def sampler_multiplications() -> Callable[[], None]:
    """The limit of acting: the layers alone, for ten steps."""
    generator = torch.Generator().manual_seed(0)
    width, depth = SPEC.actor.width, SPEC.actor.depth
    shapes = [(OBSERVATION, width)] + [(ACTION, width), *[(width, width)] * (depth - 1), (width, ACTION)] * 10
    pairs = [(torch.randn(ROWS, k, generator=generator), torch.randn(k, n, generator=generator)) for k, n in shapes]

    def multiply() -> None:
        for x, w in pairs:
            _ = x @ w

    return multiply
