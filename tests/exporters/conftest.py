from collections.abc import Iterator

import pytest

from exporters.zeeklogs import Taker


@pytest.fixture(scope="session")
def taker() -> Iterator[Taker]:
    """The parser, on a database of its own."""
    taker = Taker()
    yield taker
    taker.close()
