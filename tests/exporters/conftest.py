from collections.abc import Iterator

import pytest

from dnsvigil.learning.samples import Benign, english_words, popular_domains, share
from exporters.zeeklogs import Taker


@pytest.fixture(scope="session")
def taker() -> Iterator[Taker]:
    """The parser, on a database of its own."""
    taker = Taker()
    yield taker
    taker.close()


@pytest.fixture(scope="session")
def benign() -> Benign:
    """A few of the popular domains."""
    return Benign.divide(domain for domain in popular_domains() if share(domain, "few") < 0.04)


@pytest.fixture(scope="session")
def english() -> list[str]:
    """English words."""
    return english_words()
