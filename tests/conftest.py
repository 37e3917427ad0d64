"""One thread a process: on two cores a second one only waits at these sizes (docs/decisions.md 8). Benchmarks choose for themselves."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
