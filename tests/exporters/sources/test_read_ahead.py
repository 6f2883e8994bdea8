"""Reading ahead in a thread."""

import pytest

from dnsvigil.sources.read_ahead import read_ahead


def test_gives_all() -> None:
    assert list(read_ahead(iter(range(1000)))) == list(range(1000))


def test_passes_errors_on() -> None:
    def broken() -> object:
        yield 1
        raise OSError("gone")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
