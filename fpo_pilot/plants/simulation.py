"""B copies of a plant with sensors, references, reward and resets: torch in, torch out, no Python loop over copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fpo_pilot.errors import PlantError
from fpo_pilot.plants.actuators import Actuators
from fpo_pilot.plants.disturbances import DisturbanceModel, StartModel
from fpo_pilot.plants.observations import build_observation, observation_layout
from fpo_pilot.plants.plant import Plant
from fpo_pilot.plants.references import reference_table
from fpo_pilot.plants.reward import limit_margins, reward_model, reward_terms
from fpo_pilot.plants.sensors import SensorBank, SensorMemory
from fpo_pilot.plants.transition import Memory, Transition
from fpo_pilot.specs.evaluation import Scenario

_NOMINAL = Scenario()
_GENERATOR = "generator"


class Simulation:
    """A batch of copies of one plant, stepped together.

    All randomness comes from **one generator for the whole simulation**: a run is reproduced by plant, scenario,
    number of copies, seed and actions. Draws are made for all copies at once, also where only some are reset, so that
    a step never asks the device for a value; a copy therefore does not keep its own random stream if the number of
    copies changes.

    Args:
        plant: what to simulate.
        num_envs: number of copies, B.
        seed: of the generator.
        device: where all tensors live.
        dtype: of states and signals in engineering units; observations and rewards are float32.
        scenario: start, parameters, faults and disturbances that differ from plant.yaml.
        autoreset: begin a new episode in the same step in which one ends.
    """

    def __init__(
        self,
        plant: Plant,
        num_envs: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        scenario: Scenario | None = None,
        autoreset: bool = True,
    ) -> None:
        if num_envs < 1:
            raise PlantError(f"Simulation: num_envs is {num_envs}, expected at least 1. Ask for one copy or more.")
        self.plant = plant
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.dtype = dtype
        self.scenario = _NOMINAL if scenario is None else scenario
        self.autoreset = autoreset
        is_meta = self.device.type == "meta"  # shapes only: nothing is drawn there, and there is no generator
        self.generator = None if is_meta else torch.Generator(device=self.device)
        self._layout = observation_layout(plant, device=self.device, dtype=dtype)
        self._reward = reward_model(plant)
        self._table = reference_table(
            plant, plant.horizon + 1, self.scenario.references, device=self.device, dtype=dtype
        )
        self._sensors = SensorBank(
            plant,
            faults=self.scenario.faults,
            noise_factor=self.scenario.noise_factor,
            device=self.device,
            dtype=dtype,
        )
        self._start = StartModel(plant, self.scenario, device=self.device, dtype=dtype)
        declared = self.scenario.disturbances
        specs = plant.spec.disturbances if declared is None else declared
        self._disturbances = DisturbanceModel(plant, specs, device=self.device, dtype=dtype)
        names = (*plant.state_names, *plant.output_names)
        columns = [names.index(name) for name in plant.measured_names]
        self._measured_columns = tuple(columns)
        self._actuators = Actuators(
            plant,
            limits=self.scenario.action_limits,
            faults=self.scenario.actuator_faults,
            device=self.device,
            dtype=dtype,
        )
        self._is_random_start = (
            self._start.is_random
            or self._start.random_parameters
            or self._disturbances.is_random
            or self._sensors.is_random
        )
        self._fixed_start: Memory | None = None
        self._fixed_observation: Tensor | None = None
        self.seed(seed)
        self._memory = self._fresh()

    @property
    def observation_size(self) -> int:
        """Entries of an observation, O."""
        return self._layout.size

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Labels of the entries of an observation."""
        return self._layout.names

    @property
    def observation_bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Least and greatest possible value of each entry, while no sensor reads NaN."""
        return self._layout.low, self._layout.high

    @property
    def action_size(self) -> int:
        """Number of actions, A."""
        return len(self.plant.action_names)

    @property
    def state(self) -> Tensor:
        """True states ``[B, S]``."""
        return self._memory.state

    @property
    def measurement(self) -> Tensor:
        """What the sensors read now, ``[B, M]``."""
        return self._memory.measured[:, 0]

    @property
    def quality(self) -> Tensor:
        """``[B, M]`` uint8: 0 good, 1 bad, 2 stale or held, 3 out of range."""
        return self._memory.quality

    @property
    def age(self) -> Tensor:
        """Age of the measurement ``[B, M]`` in seconds."""
        return self._memory.age

    @property
    def applied(self) -> Tensor:
        """Read-back of the last applied action ``[B, A]``."""
        return self._memory.applied[:, 0]

    @property
    def reference(self) -> Tensor:
        """Set points in force now, ``[B, R]``."""
        return self._table.index_select(0, self._memory.step.clamp(max=self.plant.horizon))

    @property
    def step_index(self) -> Tensor:
        """Step of the episode ``[B]``."""
        return self._memory.step

    @property
    def observation(self) -> Tensor:
        """The observation now, ``[B, O]`` float32."""
        return self._observe(self._memory)

    def seed(self, seed: int) -> None:
        """Seed the generator; takes effect on what is drawn from now on."""
        if self.generator is not None:
            self.generator.manual_seed(seed)

    def signals(self) -> dict[str, Tensor]:
        """Return every signal that can be read now, ``[B]`` each: measurements, set points and applied actions."""
        names = (*self.plant.measured_names, *self.plant.reference_names, *self.plant.action_names)
        values = (self.measurement, self.reference, self.applied)
        return dict(zip(names, torch.cat(values, dim=1).unbind(-1), strict=True))

    @torch.no_grad()
    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Begin a new episode everywhere, or where ``mask`` ``[B]`` is true; return the observation ``[B, O]``."""
        fresh = self._fresh()
        self._memory = fresh if mask is None else self._memory.where(mask, fresh)
        return self._observe(self._memory)

    @torch.no_grad()
    def step(self, action: Tensor, altered: Tensor | None = None) -> Transition:
        """Apply ``action`` ``[B, A]``, in engineering units, for one period.

        ``altered`` ``[B]`` bool tells where it is not what was asked for; it can be observed (``shield_active``), and does nothing else.

        The actuators take it as they can: within the range (and rate) of the signal; one that is sent a value that is
        not finite stays where it is. Limits of the safety spec are not applied here: that is the shields' work.
        """
        before = self._memory
        applied, sent = self._actuators.apply(action, before.applied[:, 0], before.sent, before.step)
        delivered = self._actuators.delivered(applied, before.step)
        state, outputs, tripped, level = self._advance(before, delivered)
        reference = self.reference
        values = self._values(state, outputs, reference, delivered)
        previous = self._previous(before, delivered)
        like = before.episode_return
        worth = reward_terms(self._reward, values, previous, like, before.step, before.reached)
        reward = sum(worth.terms.values(), start=torch.zeros_like(like))
        margins = limit_margins(self._reward.limits, values)
        end = self._reward.ends_when
        terminated = tripped if end is None else tripped | end.holds(values, previous, like)
        truncated = (before.step + 1 >= self.plant.horizon) & ~terminated
        after = self._remembered(before, state, outputs, (applied, sent), level, worth.reached, reward)
        if altered is not None:
            after = replace(after, altered=altered)
        final_observation = self._observe(after)
        observation = self._restart(after, terminated | truncated, final_observation)
        return Transition(
            observation=observation,
            final_observation=final_observation,
            reward=reward.to(torch.float32),
            terms=worth.terms,
            kpi=worth.kpi,
            robustness=worth.robustness,
            cost=self._cost(tripped, margins),
            margins=margins,
            terminated=terminated,
            truncated=truncated,
            tripped=tripped,
            state=state,
            measurement=after.measured[:, 0],
            quality=after.quality,
            age=after.age,
            applied=applied,
            reference=reference,
            episode_return=after.episode_return,
            episode_length=after.step,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that the next steps depend on, the generator included: a run resumes to the bit."""
        tensors = self._memory.state_dict()
        if self.generator is not None:
            tensors[_GENERATOR] = self.generator.get_state()
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue where :meth:`state_dict` was taken.

        Raises:
            PlantError: the tensors are of another plant, scenario or number of copies.
        """
        self._memory = self._memory.loaded(tensors)
        if self.generator is not None:
            if _GENERATOR not in tensors:
                raise PlantError(
                    "simulation state: found no generator, expected its state. Take the state from state_dict()."
                )
            self.generator.set_state(tensors[_GENERATOR].cpu().to(torch.uint8))

    def _restart(self, after: Memory, done: Tensor, final_observation: Tensor) -> Tensor:
        """Begin new episodes where ``done`` ``[B]``, with autoreset; return the observation ``[B, O]`` to act on."""
        if not self.autoreset:
            self._memory = after
            return final_observation
        fresh = self._fresh()
        self._memory = after.where(done, fresh)
        if self._fixed_start is None:
            first = self._observe(fresh)
        else:
            if self._fixed_observation is None:
                self._fixed_observation = self._observe(fresh)
            first = self._fixed_observation
        return torch.where(done.unsqueeze(-1), first, final_observation)

    def _fresh(self) -> Memory:
        """Return the memory of copies that all begin an episode now."""
        if self._fixed_start is not None:
            return self._fixed_start
        size, history = self.num_envs, self._layout.history
        state = self._start.draw_state(size, self.generator)
        parameters = self._start.draw_parameters(size, self.generator)
        applied = self._actuators.start.expand(size, -1)
        outputs = self.plant.outputs(state, applied, None, parameters if self._start.has_parameters else None)
        true = self._true(state, outputs)
        step = torch.zeros(size, dtype=torch.int64, device=self.device)
        reading, sensors = self._sensors.read(true, self._sensors.start(true, self.generator), step, self.generator)
        level = self._disturbances.first_level(size, self.generator)
        memory = Memory(
            state=state,
            measured=reading.measurement.unsqueeze(1).expand(-1, history, -1),
            applied=applied.unsqueeze(1).expand(-1, history, -1),
            sent=self._actuators.first_sent(size),
            quality=reading.quality,
            age=reading.age,
            line=sensors.line,
            held=sensors.held,
            lagged=sensors.lagged,
            bias=sensors.bias,
            last=sensors.last,
            step=step,
            altered=torch.zeros(size, dtype=torch.bool, device=self.device),
            active=self._disturbances.draw_active(size, self.generator),
            level=level,
            parameters=parameters,
            reached=torch.zeros((size, len(self._reward.reach_goals)), dtype=torch.bool, device=self.device),
            episode_return=torch.zeros(size, dtype=self.dtype, device=self.device),
        )
        if not self._is_random_start:
            self._fixed_start = memory
        return memory

    def _advance(self, before: Memory, applied: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the true state and outputs after the step, whether a plant tripped, and the drifting disturbances."""
        level = self._disturbances.drift(before.level, self.generator)
        drawn = before.parameters if self._start.has_parameters else None
        outside = self._disturbances.at(before.step, before.active, level, drawn)
        state = before.state if outside.impulse is None else before.state + outside.impulse
        state, tripped = self.plant.step(state, applied, outside.disturbance, outside.parameters)
        outputs = self.plant.outputs(state, applied, outside.disturbance, outside.parameters)
        return state, outputs, tripped, level

    def _remembered(
        self,
        before: Memory,
        state: Tensor,
        outputs: Tensor,
        moved: tuple[Tensor, Tensor],
        level: Tensor,
        reached: Tensor,
        reward: Tensor,
    ) -> Memory:
        """Read the sensors, and return what the next step starts from."""
        step = before.step + 1
        sensors = SensorMemory(before.line, before.held, before.age, before.lagged, before.bias, before.last)
        reading, sensors = self._sensors.read(self._true(state, outputs), sensors, step, self.generator)
        return Memory(
            state=state,
            measured=_pushed(before.measured, reading.measurement),
            applied=_pushed(before.applied, moved[0]),
            sent=moved[1],
            quality=reading.quality,
            age=reading.age,
            line=sensors.line,
            held=sensors.held,
            lagged=sensors.lagged,
            bias=sensors.bias,
            last=sensors.last,
            step=step,
            altered=torch.zeros_like(before.altered),
            active=before.active,
            level=level,
            parameters=before.parameters,
            reached=reached,
            episode_return=before.episode_return + reward,
        )

    def _values(self, state: Tensor, outputs: Tensor, reference: Tensor, applied: Tensor) -> dict[str, Tensor]:
        plant = self.plant
        names = (*plant.state_names, *plant.output_names, *plant.reference_names, *plant.action_names)
        columns = (*state.unbind(-1), *outputs.unbind(-1), *reference.unbind(-1), *applied.unbind(-1))
        return dict(zip(names, columns, strict=True))

    def _previous(self, before: Memory, delivered: Tensor) -> dict[str, Tensor]:
        """Return what is asked for of the step before; in the first step of an episode no action has changed."""
        plant, names = self.plant, self._reward.delta_names
        previous: dict[str, Tensor] = {}
        earlier = self._actuators.delivered(before.applied[:, 0], before.step - 1)
        if not names.isdisjoint(plant.action_names):
            last = torch.where((before.step == 0).unsqueeze(-1), delivered, earlier)
            previous |= zip(plant.action_names, last.unbind(-1), strict=True)
        if not names.isdisjoint((*plant.state_names, *plant.output_names)):
            drawn = before.parameters if self._start.has_parameters else None
            outputs = plant.outputs(before.state, earlier, None, drawn)
            columns = (*before.state.unbind(-1), *outputs.unbind(-1))
            previous |= zip((*plant.state_names, *plant.output_names), columns, strict=True)
        if not names.isdisjoint(plant.reference_names):
            reference = self._table.index_select(0, (before.step - 1).clamp(0, plant.horizon))
            previous |= zip(plant.reference_names, reference.unbind(-1), strict=True)
        return previous

    def _true(self, state: Tensor, outputs: Tensor) -> Tensor:
        both = torch.cat((state, outputs), dim=1) if self.plant.output_names else state
        if self._measured_columns == tuple(range(both.shape[1])):
            return both
        return torch.stack([both[:, column] for column in self._measured_columns], dim=1)

    def _observe(self, memory: Memory) -> Tensor:
        return build_observation(self._layout, memory.measured, memory.applied, memory.step, memory.altered)

    def _cost(self, tripped: Tensor, margins: Mapping[str, Tensor]) -> Tensor:
        violated = tripped
        for limit in self._reward.limits:
            if limit.kind == "hard":
                violated = violated | (margins[limit.id] < 0.0)
        return violated.to(torch.float32)


def _pushed(history: Tensor, newest: Tensor) -> Tensor:
    """Put ``newest`` ``[B, K]`` in front of ``history`` ``[B, H, K]`` and drop the oldest."""
    if history.shape[1] == 1:
        return newest.unsqueeze(1)
    return torch.cat((newest.unsqueeze(1), history[:, :-1]), dim=1)
