# `make demo` and `make test` set everything up by themselves in .venv; nothing else is needed but Python 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test check lint types floors wheel bench study clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,pdf]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/fpo-pilot demo

test: $(STAMP)
	$(BIN)/python -m pytest

check: lint types floors wheel

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

floors: $(STAMP)
	$(BIN)/lint-imports

# The wheel is built, installed into an empty environment, and used from another folder.
wheel: $(STAMP)
	$(BIN)/python tests/wheel_check.py

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -o addopts= --import-mode=importlib --benchmark-only --benchmark-columns=min,median,stddev,rounds

study: $(STAMP)
	$(BIN)/python docs/studies/coverage.py
	$(BIN)/python docs/studies/offpolicy.py
	$(BIN)/python docs/studies/cstr.py
	$(BIN)/python docs/studies/family.py
	$(BIN)/python docs/studies/saddle.py
	$(BIN)/python docs/studies/flow_q.py
	$(BIN)/python docs/studies/ablation.py
	$(BIN)/python docs/studies/noise.py
	$(BIN)/python docs/studies/constraint.py
	$(BIN)/python docs/studies/routes.py
	$(BIN)/python docs/studies/faults.py
	$(BIN)/python docs/studies/plants.py
	$(BIN)/python docs/studies/identify.py
	$(BIN)/python docs/studies/shields.py
	$(BIN)/python docs/studies/behind.py
	$(BIN)/python docs/studies/certificates.py
	$(BIN)/python docs/studies/mutations.py
	$(BIN)/python docs/studies/guarded.py
	$(BIN)/python docs/studies/export_latency.py
	$(BIN)/python docs/studies/crash.py --run runs/demo/cstr_safety-fpo-0
	$(BIN)/python docs/studies/logspeed.py --run runs/demo/cstr_safety-fpo-0
	$(BIN)/python docs/studies/tamper.py runs/demo/cstr_safety-fpo-0

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
