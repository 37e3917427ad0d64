"""What code decides: a record is about shields as they were written when it was made."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import fpo_pilot
from fpo_pilot.logs import code_hash


@lru_cache(maxsize=1)
def shields_hash() -> str:
    """Return the SHA-256 over the files of ``fpo_pilot/shields``, names included.

    Other code that a decision rests on (the model's integrator, the language of conditions) is bound by the release only.
    """
    return code_hash(Path(fpo_pilot.__file__).parent / "shields")
