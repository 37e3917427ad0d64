"""A shield around environments of this package and around others."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

import fpo_pilot  # noqa: F401  # registers the environments
from fpo_pilot.errors import ShieldError
from fpo_pilot.shields import BoxRateShield, Envelope, InterlockRule, InterlockShield
from fpo_pilot.shields.conditions import Ballot, Condition
from fpo_pilot.shields.wrapper import ShieldVectorWrapper, ShieldWrapper
from fpo_pilot.specs.expression import bind, parse

PLANT = "fpo_pilot/cstr_safety-v0"


def wild(count: int, seed: int = 0) -> np.ndarray:
    """Return actions that no actuator could follow, NaN and infinity among them."""
    generator = np.random.default_rng(seed)
    actions = generator.normal(0.0, 5.0, (count, 1))
    actions[::7], actions[3::11], actions[5::13] = np.nan, np.inf, 1e38
    return actions


def test_two_lines_put_a_plants_own_shields_before_it() -> None:
    env = ShieldWrapper(gymnasium.make(PLANT))
    env.reset(seed=0)
    plant = env.unwrapped.plant
    limits = plant.safety.actions["Tc"]
    before = plant.action_start[0]
    reasons = set()
    for action in wild(150):
        _, _, terminated, truncated, info = env.step(action)
        applied = float(info["applied"][0])
        assert limits.low <= applied <= limits.high
        assert abs(applied - before) <= limits.rate + 1e-9
        assert applied == pytest.approx(float(info["shield"]["action"][0]), abs=1e-9)
        reasons |= set(info["shield"]["reasons"])
        before = applied
        if terminated or truncated:
            env.reset()
            before = plant.action_start[0]
    assert any(code.startswith("rate:") for code in reasons)
    assert any("proposal" in code or "not_finite" in code or "nan" in code for code in reasons)


def test_an_action_that_is_safe_passes_unchanged() -> None:
    plain, shielded = gymnasium.make(PLANT), ShieldWrapper(gymnasium.make(PLANT))
    plain.reset(seed=1)
    shielded.reset(seed=1)
    for _ in range(5):
        a, b = plain.step(np.array([0.0])), shielded.step(np.array([0.0]))
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)
        assert a[1] == pytest.approx(b[1])
        assert not b[4]["shield"]["altered"]


def test_a_vector_of_plants_is_its_rows() -> None:
    actions = np.stack(
        [wild(10, seed) for seed in range(3)], axis=1
    )  # the plants differ by noise, and later by what they do
    batch = ShieldVectorWrapper(gymnasium.make_vec(PLANT, num_envs=3, vectorization_mode="vector_entry_point"))
    batch.reset(seed=0)
    together = [batch.step(row)[4]["shield"]["action"].copy() for row in actions]
    for index in range(3):
        single = ShieldVectorWrapper(gymnasium.make_vec(PLANT, num_envs=1, vectorization_mode="vector_entry_point"))
        single.reset(seed=0)
        alone = [single.step(row[index : index + 1])[4]["shield"]["action"][0] for row in actions]
        np.testing.assert_allclose([row[index] for row in together], alone, atol=1e-6)


class Walker(gymnasium.Env):
    """Somebody else's environment: a point that goes where it is told."""

    observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float64)

    def __init__(self) -> None:
        self.place = np.zeros(2)
        self.told: list[float] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(2)
        return self.place.copy(), {}

    def step(self, action):
        self.told.append(float(action[0]))
        self.place = self.place + float(action[0])
        return self.place.copy(), 0.0, False, len(self.told) % 10 == 0, {}


def stack() -> BoxRateShield:
    return BoxRateShield(Envelope(("u",), (-1.0,), (1.0,), (0.25,), (0.0,)))


def test_any_other_environment_is_shielded_in_its_own_units() -> None:
    inner = Walker()
    env = ShieldWrapper(inner, stack(), measure=lambda seen: seen[:, :0], start=np.zeros(1))
    env.reset(seed=0)
    for action in (2.0, 2.0, -np.inf, 0.1):
        env.step(np.array([action]))
    assert inner.told == pytest.approx([0.25, 0.5, 0.25, 0.1])
    env.reset()
    env.step(np.array([2.0]))
    assert inner.told[-1] == pytest.approx(0.25)  # counted from the start again


def test_what_is_missing_is_told() -> None:
    with pytest.raises(ShieldError, match="without a safety spec of its own"):
        ShieldWrapper(Walker())
    with pytest.raises(ShieldError, match=r"without `measure=` or `start=`"):
        ShieldWrapper(Walker(), stack())
    env = ShieldWrapper(Walker(), stack(), measure=lambda seen: seen[:, :0], start=np.zeros(1))
    with pytest.raises(ShieldError, match="Call reset"):
        env.step(np.zeros(1))
    vector = gymnasium.vector.SyncVectorEnv([Walker])
    with pytest.raises(ShieldError, match="expected SAME_STEP"):
        ShieldVectorWrapper(vector, stack(), measure=lambda seen: seen[:, :0], start=np.zeros(1))


def test_rows_that_end_are_forgotten_by_the_shield() -> None:
    kwargs = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    vector = gymnasium.vector.SyncVectorEnv([Walker, Walker], **kwargs)
    env = ShieldVectorWrapper(vector, stack(), measure=lambda seen: seen[:, :0], start=np.zeros(1))
    env.reset(seed=0)
    sent = [env.step(np.full((2, 1), 2.0))[4]["shield"]["action"] for _ in range(12)]
    assert [float(row[0, 0]) for row in sent[:4]] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert float(sent[10][0, 0]) == pytest.approx(0.25)
    for inner in vector.envs:  # what was judged is what was done
        assert inner.unwrapped.told == pytest.approx([float(row[0, 0]) for row in sent])


def test_a_latch_of_one_episode_is_not_carried_into_the_next() -> None:
    trip, calm = (
        Condition.build(bind(parse(text), {"place": "1"}, 1.0), ("place", "u"), (10.0, 2.0))
        for text in ("place >= 0.4", "place < 0.4")
    )
    rule = InterlockRule("far", Ballot((trip,)), calm, 1, (0.0,))
    inner = Walker()
    latching = InterlockShield((rule,), Envelope(("u",), (-1.0,), (1.0,), (2.0,), (0.0,)), 1)
    env = ShieldWrapper(inner, latching, measure=lambda seen: seen[:, :1], start=np.zeros(1))
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([0.5]))
    env.reset()
    env.step(np.array([0.5]))
    assert inner.told == [0.5, 0.0, 0.0, 0.5]


def test_sb3_learns_behind_the_shield() -> None:
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    env = ShieldWrapper(gymnasium.make(PLANT))
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu", seed=0)
    model.learn(64)
    assert torch.isfinite(next(model.policy.parameters())).all()


@pytest.mark.parametrize(
    "between",
    [
        lambda env: gymnasium.wrappers.RescaleAction(env, np.zeros(1, np.float32), np.ones(1, np.float32)),
        lambda env: gymnasium.wrappers.TransformAction(env, lambda action: -action, env.action_space),
        lambda env: gymnasium.wrappers.ClipAction(env),
    ],
)
def test_a_wrapper_that_changes_actions_between_shield_and_plant_is_refused(between) -> None:
    with pytest.raises(ShieldError, match="which changes actions"):
        ShieldWrapper(between(gymnasium.make(PLANT)))
    ShieldWrapper(gymnasium.wrappers.TimeLimit(gymnasium.make(PLANT), 10))  # others may stand there
    between(ShieldWrapper(gymnasium.make(PLANT)))  # and these around the shield


class Foreign(gymnasium.Env):
    """Another library's environment, in single precision, whose limit float32 cannot say."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(np.float32(0.0), np.float32(0.1), (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, action.dtype)
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_another_environment_gets_actions_of_its_own_space() -> None:
    shield = BoxRateShield(Envelope(("a",), (0.0,), (0.1000001,), (0.05,), (0.0,)))
    env = ShieldWrapper(Foreign(), shield, measure=lambda observation: observation, start=np.zeros(1))
    env.reset()
    for action in wild(40):
        env.step(action)
