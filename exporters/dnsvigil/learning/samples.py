"""Training data in the dependencies: names of popular domains, and English words."""

import hashlib
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from dnsvigil.features.names import label_of
from dnsvigil.sources.warninglists import warning_list

_PROSE_PACKAGES: Final = ("ibis", "numpy", "scipy", "sklearn")
_DOCUMENTATION: Final = re.compile(r'"""(.*?)"""|#(.*?)$', re.DOTALL | re.MULTILINE)
_WORD: Final = re.compile(r"(?<![\w.`'/-])[a-z]{3,14}(?![\w(`/-])")


def share(text: str, salt: str) -> float:
    """Return a number in [0, 1) that only depends on the text and the salt, to divide texts by."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{text}".encode(), digest_size=4).digest(), "big") / 2**32


def popular_domains() -> list[str]:
    """Return the Tranco list of pymispwarninglists: a million registered domains, in the order of the alphabet."""
    return warning_list("tranco")


def prose_words() -> list[str]:
    """Return the English words that Python's library and our dependencies are documented with, commonest first.

    Those of one file only, names of their own mostly, are left out.
    """
    found: Counter[str] = Counter()
    for path in _sources():
        text = path.read_text(encoding="utf-8", errors="ignore")
        prose = " ".join(string or comment for string, comment in _DOCUMENTATION.findall(text))
        found.update(set(_WORD.findall(prose)))
    return [word for word, count in sorted(found.items(), key=lambda item: (-item[1], item[0])) if count > 1]


def _sources() -> Iterator[Path]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if not {"site-packages", "dist-packages", "test"} & set(path.relative_to(library).parts):
            yield path
    for package in _PROSE_PACKAGES:
        yield from sorted(Path(str(files(package))).rglob("*.py"))


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


def known_words(prose: Sequence[str]) -> list[str]:
    """Return the words that features know; of a generator's they miss some, as they will of malware's own lists."""
    return [word for word in prose if share(word, "known") < 0.6]
