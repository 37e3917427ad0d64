from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fpo_pilot.errors import LogError
from fpo_pilot.logs.atomic import write_json_atomic, write_text_atomic

DIES = """
    import os, sys
    from pathlib import Path
    from fpo_pilot.logs.atomic import write_text_atomic

    def die(*args):
        os.kill(os.getpid(), 9)

    setattr(os, sys.argv[2], die)
    write_text_atomic(Path(sys.argv[1]), "new")
"""


@pytest.mark.parametrize("failpoint", ["fsync", "replace"])
def test_a_process_killed_before_the_move_leaves_the_old_file(tmp_path: Path, failpoint: str) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(DIES), str(path), failpoint], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    write_text_atomic(path, "newer")  # and what is left of the crash is in nobody's way
    assert path.read_text() == "newer"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failpoint", ["fsync", "replace"])
def test_a_failing_disk_raises_and_leaves_nothing_behind(
    tmp_path: Path, failpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failpoint, full)
    with pytest.raises(LogError, match=r"file.json: found .*No space left on device.*expected a whole file"):
        write_json_atomic(tmp_path / "file.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file_raises(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(LogError, match="taken"):
        write_text_atomic(tmp_path / "taken", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "file.json", {"a": float("nan"), "b": [1.5, float("inf")], "c": ("x", None, True)})
    text = (tmp_path / "file.json").read_text()
    assert "".join(text.split()) == '{"a":null,"b":[1.5,null],"c":["x",null,true]}'
