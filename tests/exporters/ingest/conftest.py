from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters.small_disk import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    with mounted(tmp_path / "disk", 24) as disk:
        yield disk
