"""Names that count, such as host1, host2 and host3: a scanner's, which carry nothing."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

_NUMBER: Final = re.compile(r"\d+")
_MAX_DIGITS: Final = 5  # of a number
_MIN_SAMPLES: Final = 6
_MIN_SHARE: Final = 0.75  # of the samples that are alike but for their numbers
_FULL: Final = 4  # times the names that there are, which names with such numbers could be at most


def pattern_of(samples: Sequence[str], names: int) -> str | None:
    """Return what sampled names are alike in, with ``#`` in place of their numbers, if they count; None if they do not.

    Names count if they fill a quarter of what their numbers can be: the ``names`` that there are, of which the samples
    show the lowest and the highest numbers. Numbers that carry data leave most of it empty.
    """
    if len(samples) < _MIN_SAMPLES:
        return None
    patterns = Counter(_NUMBER.sub("#", name) for name in samples)
    ((pattern, alike),) = patterns.most_common(1)
    if "#" not in pattern or alike < _MIN_SHARE * len(samples):
        return None
    numbers = [_NUMBER.findall(name) for name in samples if _NUMBER.sub("#", name) == pattern]
    if any(len(number) > _MAX_DIGITS for row in numbers for number in row):
        return None
    possible = 1
    for column in zip(*numbers, strict=True):
        values = [int(number) for number in column]
        possible *= max(values) - min(values) + 1
    return pattern if 1 < possible <= _FULL * names else None
