"""A run folder as the other parts write it (manifest, metrics, evaluation, step logs, roll-out), made in a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fpo_pilot.reporting import write_report

HORIZON = 60
SCHEDULE = ((0, 0.85, 301.438), (20, 0.9, 298.209), (40, 0.87, 300.446))
ARMS: tuple[tuple[str, str, bool, float], ...] = (
    ("hold", "", True, 95.8),
    ("incumbent", "", True, 67.9),
    ("incumbent", "", False, 67.9),
    ("oracle", "", True, 17.4),
    ("gaussian_ppo", "noise 0", True, 20.9),
    ("gaussian_ppo", "noise 1", True, 22.4),
    ("flow", "noise 0", True, 19.6),
    ("flow", "noise 0", False, 19.1),
    ("flow", "noise 0.5", True, 21.3),
    ("flow", "noise 1", True, 25.2),
)
LOGGED = (("incumbent", ""), ("flow", "noise 0"))
MARGINS = {"T_trip": 18.4, "T_high": 8.4}


def text(en: str, ja: str) -> dict[str, str]:
    return {"en": en, "ja": ja}


def plant_spec() -> dict[str, Any]:
    def signal(unit: str, low: float, high: float, role: str, **more: Any) -> dict[str, Any]:
        return {"unit": unit, "range": [low, high], "role": role, "measured": True, **more}

    return {
        "schema_version": 1,
        "plant": {
            "id": "cstr_safety",
            "title": text("Exothermic jacketed reactor", "発熱ジャケット付き反応器"),
            "owner": "",
        },
        "dynamics": {"file": "cstr.py", "class": "Cstr", "substeps": 4},
        "timing": {"period": 26.0, "horizon": HORIZON},
        "parameters": {
            "flow": {"value": 100.0, "unit": "L/min", "uncertainty": None},
            "k0": {"value": 7.2e10, "unit": "1/min", "uncertainty": {"kind": "relative", "half_width": 0.05}},
        },
        "signals": {
            "Ca": signal("mol/L", 0, 1, "state", tag="R101.AI01.PV", label=text("Concentration", "濃度")),
            "T": signal("K", 280, 420, "state", tag="R101.TI01.PV", label=text("Reactor temperature", "反応器温度")),
            "Tc": signal("K", 290, 310, "action", label=text("Coolant temperature", "冷却水温度")),
            "Ca_sp": signal("mol/L", 0, 1, "reference", schedule=[{"step": s, "value": v} for s, v, _ in SCHEDULE]),
        },
        "observations": [
            {"signal": "Ca"},
            {"signal": "T"},
            {"term": "setpoint_error", "of": "Ca", "reference": "Ca_sp"},
        ],
        "reward": [
            {"name": "quality", "expression": "…", "weight": -1000},
            {"name": "smoothness", "expression": "…", "weight": -0.1},
        ],
        "episode": {"start": {}, "randomize_parameters": False},
    }


def safety_spec() -> dict[str, Any]:
    hazard = {
        "title": text("Thermal runaway", "熱暴走"),
        "deviation": text("High reactor temperature", "反応器温度が高い"),
        "cause": text("Loss of cooling", "冷却の喪失"),
        "consequence": text("Release of the batch", "内容物の放出"),
        "safeguard": text("Relief valve, independent trip", "安全弁、独立トリップ"),
        "severity": 5,
        "likelihood": 2,
        "owner": "process safety",
    }
    agitator = {
        **hazard,
        "title": text("Agitator stops", "撹拌停止"),
        "deviation": text("No mixing", "混合なし"),
        "cause": text("Motor trip", "電動機の停止"),
    }
    rate = {"kind": "rate", "id": "no_violation", "event": "hard_violation", "limit_rate": 0.05, "confidence": 0.95}
    difference = {"kind": "difference", "id": "cost", "margin": 5.0, "superior": False, "range": [-100, 100]}
    return {
        "schema_version": 1,
        "plant": "cstr_safety",
        "owner": "process safety",
        "hazards": {"H-001": hazard, "H-002": agitator},
        "limits": [
            {"id": "T_trip", "signal": "T", "low": None, "high": 350.0, "kind": "hard", "hazard": "H-001"},
            {"id": "T_high", "signal": "T", "low": None, "high": 340.0, "kind": "soft", "hazard": "H-001"},
        ],
        "actions": {"Tc": {"low": 290.0, "high": 310.0, "rate": 3.0, "fallback": 290.0}},
        "interlocks": [
            {
                "id": "I-101",
                "trip_when": "T >= 345.0",
                "reset_when": "T < 330.0",
                "samples": 1,
                "set": {"Tc": 290.0},
                "hazard": "H-001",
            }
        ],
        "incumbent": {"kind": "proportional", "loops": [{"action": "Tc", "measurement": "Ca", "reference": "Ca_sp"}]},
        "stages": [
            {"name": "shadow", "authority": [], "gates": [{**rate, "id": "agrees", "event": "outside_band"}]},
            {"name": "bounded", "authority": [0.1, 0.3, 1.0], "gates": [rate, difference]},
            {"name": "full", "authority": [], "gates": []},
        ],
    }


def manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "run_id": "cstr_safety-fpo-0",
        "plant": "cstr_safety",
        "algorithm": "fpo",
        "command": "fpo-pilot demo --seed 0",
        "created": "2026-07-01T02:03:04Z",
        "seed": 0,
        "device": "cpu",
        "fpo_pilot_version": "0.1.0",
        "python": "3.11.7",
        "versions": {"torch": "2.13.0", "numpy": "2.4.0"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "plant_spec": plant_spec(),
        "safety_spec": safety_spec(),
        "training_spec": {"algorithm": "fpo"},
        "hashes": {name: f"{n}" * 64 for n, name in enumerate(("plant", "safety", "training", "code", "model"), 1)},
        "training": {
            "steps": 299_520, "updates": 156, "seconds": 71.25, "steps_per_second": 4203.8, "best_update": 150,
            "best_return": -19.6, "stopped_early": None, "peak_memory_mib": 512.0,
        },
    }  # fmt: skip


def metrics(final: float) -> pa.Table:
    update = np.arange(1, 157)
    decay = np.exp(-update / 25.0)
    exploring = -(final * 1.15 + 420.0 * decay)
    evaluation = np.where(update % 10 == 0, -(final + 300.0 * decay), np.nan)
    return pa.table(
        {
            "update": update, "steps": update * 1920, "seconds": update * 0.45, "return_mean": exploring,
            "evaluation_return": evaluation, "intervention_rate": 0.3 * decay,
        }
    )  # fmt: skip


def trajectory(arm: str) -> dict[str, np.ndarray]:
    """An episode of the reactor under hold-like inputs that lag (incumbent) or lead (flow) the set point."""
    ca, t, steps = 0.8, 330.0, np.arange(HORIZON)
    rows: dict[str, list[float]] = {"Ca": [], "T": [], "Tc": [], "Ca_sp": []}
    tc = 300.0
    for step in steps:
        _, target, steady = max((point for point in SCHEDULE if point[0] <= step), key=lambda point: point[0])
        gain = 60.0 if arm == "incumbent" else 140.0
        tc = float(np.clip(steady + gain * (ca - target), max(290.0, tc - 3.0), min(310.0, tc + 3.0)))
        for name, value in (("Ca", ca), ("T", t), ("Tc", tc), ("Ca_sp", target)):
            rows[name].append(value)
        for _ in range(20):
            rate = 7.2e10 * np.exp(-8750.0 / t) * ca
            ca += 26 / 60 / 20 * (1.0 - ca - rate)
            t += 26 / 60 / 20 * (350.0 - t + 209.2 * rate + 2.092 * (tc - t))
    return {name: np.array(values) for name, values in rows.items()}


def step_table(arm: str, mode: str, stage: str, episode_id: int) -> pa.Table:
    rows = trajectory(arm)
    policy = arm != "incumbent"
    reasons = [
        ["rate"] if policy and step < 2 else ["interlock.I-101"] if policy and step == 2 else []
        for step in range(HORIZON)
    ]
    return pa.table(
        {
            "stage": [stage] * HORIZON, "arm": pa.array([arm] * HORIZON).dictionary_encode(), "mode": [mode] * HORIZON,
            "shield": [True] * HORIZON, "scenario": ["nominal"] * HORIZON, "episode_id": [episode_id] * HORIZON,
            "step": np.arange(HORIZON, dtype=np.int32), "obs.Ca": rows["Ca"], "obs.T": rows["T"],
            "ref.Ca_sp": rows["Ca_sp"], "act.applied.Tc": rows["Tc"], "shield.active": [bool(r) for r in reasons],
            "shield.reasons": pa.array(reasons, pa.list_(pa.string())),
        }
    )  # fmt: skip


def episodes_table(seeds: int) -> pa.Table:
    generator = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for arm, mode, shield, cost in ARMS:
        spread = generator.normal(0.0, 0.6, seeds)
        for seed in range(seeds):
            value = -(cost + spread[seed])
            rows.append(
                {
                    "stage": "offline", "arm": arm, "mode": mode, "shield": shield, "scenario": "nominal",
                    "episode_id": len(rows), "seed": 100 + seed, "steps": HORIZON, "return": value, "terminated": False,
                    "truncated": True, "end_reason": "horizon", "violations_hard": 0, "violations_soft": 0,
                    "interventions": 3 if arm == "flow" and shield else 0, "reward.quality": 0.97 * value,
                    "reward.smoothness": 0.03 * value, "margin_min.T_trip": 18.4, "margin_min.T_high": 8.4,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows)


def evaluation(table: pa.Table, seeds: int) -> dict[str, Any]:
    rows = []
    costs: dict[tuple[str, str, bool], np.ndarray] = {}
    for arm, mode, shield, _ in ARMS:
        values = np.array(
            [r["return"] for r in table.to_pylist() if (r["arm"], r["mode"], r["shield"]) == (arm, mode, shield)]
        )
        costs[arm, mode, shield] = values
        rows.append(
            {
                "arm": arm, "mode": mode, "shield": shield, "scenario": "nominal", "n": seeds,
                "return": interval(values),
                "violations": {
                    "episodes_with": 0, "n": seeds, "independent": seeds, "upper95": 1 - 0.05 ** (1 / seeds),
                },
                "interventions_per_100_steps": 5.0 if arm == "flow" and shield else 0.0, "margins_min": MARGINS,
            }
        )  # fmt: skip
    difference = interval(costs["flow", "noise 0", True] - costs["incumbent", "", True])
    modes = [(mode, interval(costs["flow", mode, True])) for mode in ("noise 0", "noise 0.5", "noise 1")]
    return {
        "schema_version": 1, "plant": "cstr_safety", "command": "fpo-pilot evaluate runs/demo", "seed": 100,
        "episodes": seeds,
        "scenarios": ["nominal"], "confidence": 0.95, "deterministic": False, "rows": rows, "comparison": [],
        "verdict": {
            "candidate": {"arm": "flow", "mode": "noise 0", "shield": True}, "incumbent": {"arm": "incumbent"},
            "scenario": "nominal",
            "by_scenario": [{"scenario": "nominal", "difference": difference, "result": "pass", "reason": "x"}],
            "difference": difference, "result": "pass", "reason": "The difference is above.", "margin": 0.0,
        },
        "deployment": {
            "noise_scale": 0.0, "method": "euler", "steps": 10,
            "chosen_from": [{"label": label, **{k: i[k] for k in ("mean", "low", "high", "n")}} for label, i in modes],
        },
        "trajectories": "steps/stage=offline",
    }  # fmt: skip


def interval(values: np.ndarray) -> dict[str, Any]:
    half = 1.96 * float(values.std()) / np.sqrt(len(values))
    return {
        "mean": float(values.mean()),
        "low": float(values.mean() - half),
        "high": float(values.mean() + half),
        "n": len(values),
    }


TRANSITIONS = (
    (4440, 74, "shadow", "bounded", 0.0, 0.1, "gates passed after 74 blocks: agrees"),
    (9240, 154, "bounded", "bounded", 0.1, 0.3, "gates passed after 80 blocks: no_violation, cost"),
    (14400, 240, "bounded", "full", 0.3, 1.0, "gates passed after 86 blocks: no_violation, cost"),
)


def rollout() -> dict[str, Any]:
    def gate(stage: str, name: str, kind: str, value: float, low: float, high: float, n: int) -> dict[str, Any]:
        return {
            "stage": stage, "name": name, "kind": kind, "value": value, "low": low, "high": high, "n": n,
            "criterion": "", "verdict": "pass", "detail": "",
        }  # fmt: skip

    names = ("seq", "episode", "from_stage", "to_stage", "authority_from", "authority", "reason")
    kpi = {"mean": -67.9, "low": -68.4, "high": -67.3, "n": 60}
    saving = {"mean": 36.9, "low": 35.0, "high": 38.8, "n": 60}
    own = {"mean": -31.0, "low": -33.0, "high": -29.4, "n": 60}
    return {
        "schema_version": 1, "plant": "cstr_safety", "command": "fpo-pilot rollout runs/demo", "seed": 200,
        "final_stage": "full", "final_authority": 1.0, "episodes": 300,
        "gates": [
            gate("shadow", "agrees", "rate", 0.0, 0.0, 0.0499, 74),
            gate("bounded", "no_violation", "rate", 0.0, 0.0, 0.0499, 80),
            gate("bounded", "cost", "difference", 36.9, 12.2, 51.0, 80),
        ],
        "transitions": [{**dict(zip(names, row, strict=True)), "step": 0} for row in TRANSITIONS],
        "guards": [], "blocks": {"shadow": 74, "bounded": 166, "full": 60},
        "kpi": {
            "shadow": {"incumbent": kpi, "policy": None, "difference": None},
            "bounded": {"incumbent": kpi, "policy": own, "difference": saving},
        },
    }  # fmt: skip


def events_table() -> pa.Table:
    rows = [
        {
            "seq": seq, "step": 0, "episode": episode, "kind": "transition", "from_stage": old, "to_stage": new,
            "authority_from": a, "authority_to": b, "reason": reason, "detail": "{}",
        }
        for seq, episode, old, new, a, b, reason in TRANSITIONS
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def blocks_table() -> pa.Table:
    stages = ["shadow"] * 74 + ["bounded"] * 166 + ["full"] * 60
    arms = ["incumbent" if stage == "shadow" or place % 2 else "policy" for place, stage in enumerate(stages)]
    return pa.table(
        {
            "seq": np.arange(300), "stage": stages, "arm": arms, "episode_id": np.arange(300),
            "return": np.full(300, -30.0), "violations_hard": np.zeros(300, dtype=np.int32),
            "interventions": np.full(300, 2, dtype=np.int32),
            "latency_us_p99": np.full(300, 850.0),
        }
    )  # fmt: skip


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], None]], None]:
    """Change a JSON file of a run folder in place."""

    def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        write_json(path, document)

    return edit


def build_run(folder: Path, *, evaluated: bool, rolled_out: bool, seeds: int) -> Path:
    folder.mkdir()
    write_json(folder / "manifest.json", manifest())
    pq.write_table(metrics(19.6), folder / "metrics.parquet")
    if evaluated:
        table = episodes_table(seeds)
        pq.write_table(table, folder / "episodes.parquet")
        write_json(folder / "evaluation.json", evaluation(table, seeds))
        ids = {(r["arm"], r["mode"], r["shield"]): r["episode_id"] for r in reversed(table.to_pylist())}
        log = folder / "steps" / "stage=offline"
        log.mkdir(parents=True)
        tables = [step_table(arm, mode, "offline", ids[arm, mode, True]) for arm, mode in LOGGED]
        pq.write_table(pa.concat_tables(tables).unify_dictionaries(), log / "seg-00000.parquet")
    if evaluated and rolled_out:
        write_json(folder / "rollout.json", rollout())
        pq.write_table(events_table(), folder / "events.parquet")
        pq.write_table(blocks_table(), folder / "blocks.parquet")
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool, bool, int], Path]:
    """Run folders to copy from, each made once."""
    root = tmp_path_factory.mktemp("library")

    @cache
    def get(evaluated: bool, rolled_out: bool, seeds: int) -> Path:
        folder = root / f"{evaluated}-{rolled_out}-{seeds}"
        return build_run(folder, evaluated=evaluated, rolled_out=rolled_out, seeds=seeds)

    return get


@pytest.fixture
def make_run(tmp_path: Path, library: Callable[[bool, bool, int], Path]) -> Callable[..., Path]:
    """Make a run folder; parts can be left out, as in a run that has not come that far."""

    def make(name: str = "run", *, evaluated: bool = True, rolled_out: bool = True, seeds: int = 32) -> Path:
        return Path(shutil.copytree(library(evaluated, rolled_out, seeds), tmp_path / name))

    return make


@pytest.fixture(scope="session")
def pages(library: Callable[[bool, bool, int], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both pages of a whole run, made once for all tests that only read them."""
    folder = Path(shutil.copytree(library(True, True, 32), tmp_path_factory.mktemp("pages") / "run"))
    return {path.name: path.read_text(encoding="utf-8") for path in write_report(folder)}
