"""Words that people know, as zxcvbn lists them for passwords."""

from typing import Final

_LISTS: Final = ("english_wikipedia", "us_tv_and_film", "surnames", "female_names", "male_names")


def common_words() -> list[str]:
    """Return common English words and names, in lower case."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # 94,000 texts, which little needs

    # Each list is without what another has: a word may be among the names alone.
    return sorted({word for name in _LISTS for word in FREQUENCY_LISTS[name] if word.isascii() and word.isalpha()})
