"""The lock files of the Debian packages agree with the one that everything is tested with."""

import runpy
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "packaging" / "debian"


def test_lock_files_are_what_make_lock_writes():
    for name, content in runpy.run_path(str(FOLDER / "locks.py"))["locks"]().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content
