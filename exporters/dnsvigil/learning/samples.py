"""Training data in the dependencies: names of popular domains, and English words."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dnsvigil.features.names import label_of
from dnsvigil.sources.warninglists import warning_list

_MAX_WORDS: Final = 20_000  # behind them are mostly names
_WORD: Final = re.compile(r"[a-z]{3,14}")


def share(text: str, salt: str) -> float:
    """Return a number in [0, 1) that only depends on the text and the salt, to divide texts by."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{text}".encode(), digest_size=4).digest(), "big") / 2**32


def popular_domains() -> list[str]:
    """Return the Tranco list of pymispwarninglists: a million registered domains, in the order of the alphabet."""
    return warning_list("tranco")


def english_words() -> list[str]:
    """Return the commonest words of the English Wikipedia, commonest first, by the counts in zxcvbn."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # 94,000 texts, which only training needs

    return [word for word in FREQUENCY_LISTS["english_wikipedia"][:_MAX_WORDS] if _WORD.fullmatch(word)]


@dataclass(frozen=True)
class Benign:
    """Benign domains, no label in two parts: what one part teaches is held against names of another."""

    language: list[str]  # whose letters and words are counted
    neighbours: list[str]  # for the metric, and to be neighbours
    calibration: list[str]
    test: list[str]  # nothing is ever learned from these

    @classmethod
    def divide(cls, domains: Iterable[str]) -> "Benign":
        """Divide domains by a hash of their label; of those with one label the first stays."""
        parts = cls([], [], [], [])
        seen = set()
        for domain in domains:
            label = label_of(domain)
            if label not in seen:
                seen.add(label)
                part = share(label, "benign")
                # Written out, so that it can be seen that what a test sees stays the same.
                if part < 0.58:
                    parts.language.append(domain)
                elif part < 0.84:
                    parts.neighbours.append(domain)
                elif part < 0.90:
                    parts.calibration.append(domain)
                else:
                    parts.test.append(domain)
        return parts


def known_words(english: Sequence[str]) -> list[str]:
    """Return the words that features know; of a generator's they miss some, as they will of malware's own lists."""
    return [word for word in english if share(word, "known") < 0.6]
