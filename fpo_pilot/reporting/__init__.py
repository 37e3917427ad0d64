"""Reports for management: a run folder in, self-contained pages out, in English and Japanese. No torch needed.

The way of a number: run folder (:mod:`run_folder`, :mod:`views`) → page model without language (:mod:`build`, one
module a section) → words (:mod:`texts`) and drawings (:mod:`figures`) → HTML (:mod:`render`) or PDF (:mod:`pdf`).
"""

from __future__ import annotations

from fpo_pilot.reporting.write import write_report

__all__ = ["write_report"]
