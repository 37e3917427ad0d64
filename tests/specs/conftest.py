"""A small pilot project, sound in every field, that tests break in one place at a time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from fpo_pilot.specs import PlantSpec, load_plant_spec

PLANT = """\
schema_version: 1
plant: {id: boiler, title: {en: Boiler, ja: ボイラー}}
dynamics: {file: boiler.py, class: Boiler, substeps: 2}
timing: {period: 30 s, horizon: 60}
parameters:
  area: {value: 2, unit: m**2}
  loss: {value: 90 W/K, uncertainty: {half_width: 5 %}}
signals:
  T: {tag: B1.TI01.PV, unit: degC, range: [0, 120], role: state, sensor: {noise: {std: 0.3 K}}}
  level: {tag: B1.LI01.PV, unit: m, range: [0 m, 200 cm], role: state}
  heat: {tag: B1.JIC01.SP, unit: kW, range: [0, 50], role: action, start: 10 kW, rate: 6 kW/min}
  T_sp: {unit: degC, range: [0, 120], role: reference, schedule: [{step: 0, value: 60}, {step: 20, value: 343.15 K}],
         steady_actions: [{heat: 12}, {heat: 15}]}
  draw: {unit: L/min, range: [0, 40], role: disturbance, start: 5}
observations:
  - {signal: T, scale: [20, 100]}
  - {signal: level}
  - {term: setpoint_error, of: T, reference: T_sp, scale: [-10 K, 10 K]}
  - {term: previous_action}
reward:
  - {name: quality, expression: "((T - T_sp) / 10 K)**2", weight: -1}
  - {name: smooth, expression: "(delta(heat) / 5 kW)**2", weight: -0.1}
disturbances:
  - {channel: draw, kind: step, at_step: 10, size: 0.3 m3/h}
episode:
  start: {T: 50, level: {kind: uniform, low: 0.9, high: 110 cm}}
  ends_when: "level < 1 cm"
kpi: {power: heat}
"""

SAFETY = """\
schema_version: 1
plant: boiler
owner: safety team
hazards:
  H1:
    title: {en: Boiling, ja: 沸騰}
    deviation: {en: Too hot, ja: 高温}
    cause: {en: Heater stuck, ja: ヒーター固着}
    consequence: {en: Steam, ja: 蒸気}
    safeguard: {en: Interlock, ja: インターロック}
    severity: 4
    likelihood: 2
    owner: process
limits:
  - {id: T-trip, signal: T, high: 100, kind: hard, hazard: H1}
  - {id: T-alarm, signal: T, high: 363.15 K, kind: soft, hazard: H1}
  - {id: level-dry, signal: level, low: 20 cm, kind: hard, hazard: H1}
actions:
  heat: {low: 0, high: 40, rate: 2 kW/step, fallback: 0}
interlocks:
  - {id: hot, trip_when: "T > 95 degC", reset_when: "T < 85 degC", set: {heat: 0}, hazard: H1}
sensors:
  T: {range: [0, 110], stale_after: 2 min, frozen_after: 10}
incumbent:
  kind: pi
  loops: [{action: heat, measurement: T, reference: T_sp, gain: 500 W/K, integral_time: 5 min, bias: 10}]
stages:
  - {name: shadow, min_blocks: 2, gates: [{kind: rate, id: band, event: outside_band, limit_rate: 20 %}]}
  - {name: bounded, authority: [0.1, 30 %], gates: [{kind: rate, id: trips, event: hard_violation, limit_rate: 0.1}]}
  - {name: full, gates: [{kind: difference, id: better, margin: 0.5, range: [-5, 5]}]}
"""

TRAINING = """\
schema_version: 1
algorithms:
  - {algorithm: fpo, total_steps: 20000, actor: {width: 32}}
  - {algorithm: gaussian_ppo, clip: 0.1}
"""

EVALUATION = """\
schema_version: 1
episodes: 8
scenarios:
  - {name: nominal}
  - {name: cold, start: {T: 293.15 K}, parameters: {area: 1.5}}
  - {name: blind, faults: [{signal: T, kind: bias, value: 2 K, from_step: 10 step, to_step: 10 min}]}
noise_scales: [0, 50 %, 1]
"""

FILES = {"plant": "envs/boiler/plant.yaml", "safety": "safety/boiler.yaml"}
FILES |= {"training": "envs/boiler/train.yaml", "evaluation": "envs/boiler/evaluate.yaml"}
TEXTS = {"plant": PLANT, "safety": SAFETY, "training": TRAINING, "evaluation": EVALUATION}


class Project:
    """The files of a project on disk; ``texts`` are the sound ones."""

    texts = TEXTS

    def __init__(self, root: Path) -> None:
        self.root = root
        for kind, file in FILES.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            self.write(kind, TEXTS[kind])
        (root / "envs/boiler/boiler.py").write_text("raise RuntimeError('a spec never runs the dynamics')\n")

    def path(self, kind: str) -> Path:
        return self.root / FILES[kind]

    def write(self, kind: str, text: str) -> Path:
        self.path(kind).write_text(text, encoding="utf-8")
        return self.path(kind)

    def edit(self, kind: str, old: str, new: str) -> Path:
        """Replace what stands exactly once in the file."""
        text = self.path(kind).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        return self.write(kind, text.replace(old, new))

    @lru_cache(maxsize=1)  # noqa: B019  # one project a test
    def sound_plant(self) -> PlantSpec:
        """Load the plant once, before anything is damaged."""
        damaged = self.path("plant").read_text(encoding="utf-8", errors="replace")
        self.write("plant", PLANT)
        plant = load_plant_spec(self.path("plant"))
        self.write("plant", damaged)
        return plant


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A sound project that one stands in."""
    made = Project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made
