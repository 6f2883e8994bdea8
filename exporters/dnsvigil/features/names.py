"""Features of names: the likelihood of letters, the words, the structure; computed for many names at once.

What is looked at is the label that the registrant chose, the first one of a registered domain. The suffix has no part
in it, so that a generator's move to another suffix changes nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

_SYMBOLS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
_END: Final = 0  # before the first and behind the last character
_OTHER: Final = len(_SYMBOLS) + 1
_SIZE: Final = _OTHER + 1
_LONGEST: Final = 63  # octets of a label, RFC 1035
_DENSE: Final = 4  # up to here every n-gram has its place in an array, longer ones only if they were seen
_ORDER: Final = 5
_CODE_OF: Final = np.full(256, _OTHER, np.uint8)
_CODE_OF[0] = _END
for _place, _symbol in enumerate(_SYMBOLS, 1):
    _CODE_OF[ord(_symbol)] = _place

_KINDS: Final = 6  # none, vowel, consonant, y, digit, hyphen or other
_KIND_OF: Final = np.array(
    [0, *(1 if s in "aeiou" else 3 if s == "y" else 4 if s.isdigit() else 5 if s == "-" else 2 for s in _SYMBOLS), 5],
    np.uint8,
)
_RHYTHM: Final = 5  # kinds in a row

_SHORTEST_WORD: Final = 2
_LONGEST_WORD: Final = 14
_MAX_WORDS: Final = 30_000
_UNKNOWN: Final = np.float32(-7.5)  # natural logarithm: a character that is in no word costs about a rare word's share
_NO_WORD: Final = np.float32(-16)  # less than the rarest word's
_WORD: Final = re.compile(rf"[a-z]{{{_SHORTEST_WORD},{_LONGEST_WORD}}}")
_BASE: Final = np.uint64(0x100000001B3)  # odd, of the polynomial hash of words
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: its products fill the upper bits evenly
_SLOTS_BITS: Final = 20
_CHUNK: Final = 4096

_QUANTILES: Final = (0.0, 0.25, 0.5)

COLUMNS: Final = (
    "length", "digits", "digit_runs", "hyphens", "others", "alternations", "distinct", "entropy", "vowels",
    "longest_consonants", "longest_vowels", "longest_digits", "hex_only", "a_to_y", "highest", "repeats", "pairs_twice",
    "punycode", "starts_with_digit", "ends_with_digit",
    *(f"likelihood_{n}" for n in range(1, _ORDER + 1)), "total", "total_unigram", "gain", "spread", "lowest_3",
    *(f"quantile_{round(100 * q)}" for q in _QUANTILES), "unlikely", "very_unlikely",
    "rhythm", "rhythm_lowest",
    "words_likelihood", "words_total", "covered", "covered_4", "words", "longest_word", "rarest_word", "unknown",
    "words_gain", "first_word", "last_word",
    *(f"share_{s}" for s in _SYMBOLS[:26]),
)  # fmt: skip
"""What :meth:`NameFeatures.of` gives, in its order."""


def label_of(domain: str) -> str:
    """Return the label of a registered domain that is looked at, its first."""
    return domain.partition(".")[0]


def codes(labels: Sequence[str]) -> tuple[Codes, NDArray[np.intp]]:
    """Return the labels as one row of codes each, zeros behind them, and their lengths.

    What is not a letter, digit or hyphen has a code in common; what is beyond 63 characters is left out.
    """
    if not labels:
        return np.zeros((0, 1), np.uint8), np.zeros(0, np.intp)
    raw = np.array([label.encode("ascii", "replace") for label in labels], f"S{_LONGEST}")
    table = _CODE_OF[raw.view(np.uint8).reshape(len(labels), _LONGEST)]
    lengths = (table != _END).sum(axis=1)
    return table[:, : max(int(lengths.max()), 1)], lengths


@dataclass(frozen=True)
class Language:
    """What benign labels are made of: how likely a character is behind others, and which words there are.

    ``likelihood[n - 1]`` has the natural logarithms of the likelihoods of a character after n - 1 others, with n
    axes of 39 codes. ``long_grams`` are the numbers of 5-grams, ascending, with ``long_likelihood``; to one that is
    not there the 4-gram's likelihood applies, and the ``discount`` of the four characters before. ``rhythm`` has the
    likelihoods of vowels and consonants. ``words`` go with the logarithms of their frequencies anywhere, as a label's
    first word and as its last.
    """

    likelihood: list[Floats]
    long_grams: NDArray[np.int32]
    long_likelihood: Floats
    discount: Floats
    rhythm: Floats
    words: list[str]
    word_likelihood: Floats

    @classmethod
    def learn(cls, labels: Sequence[str], prose: Iterable[str] = ()) -> "Language":
        """Count characters and words of labels, each to be there once; words of ``prose`` are known, too."""
        counts = np.zeros(_SIZE**_DENSE, np.int64)
        rhythm = np.zeros(_KINDS**_RHYTHM, np.int64)
        long: list[NDArray[np.int32]] = []
        for start in range(0, len(labels), 16 * _CHUNK):
            table, lengths = codes(labels[start : start + 16 * _CHUNK])
            mask = _inside(lengths + 1, table.shape[1] + 1)
            counts += np.bincount(_grams(table, _DENSE, _SIZE)[mask], minlength=counts.size)
            rhythm += np.bincount(_grams(_KIND_OF[table], _RHYTHM, _KINDS)[mask], minlength=rhythm.size)
            long.append(_grams(table, _ORDER, _SIZE)[mask].astype(np.int32))
        dense = _smoothed(counts.reshape((_SIZE,) * _DENSE))
        words, frequencies = _words(labels, prose)
        return cls(
            [np.log(p).astype(np.float32).ravel() for p in dense],
            *_long_grams(np.concatenate([np.zeros(0, np.int32), *long]), dense[-1].ravel()),
            np.log(_smoothed(rhythm.reshape((_KINDS,) * _RHYTHM))[-1]).astype(np.float32).ravel(),
            words,
            np.log(frequencies / frequencies.sum(axis=0)).astype(np.float32),
        )


def _long_grams(
    seen: NDArray[np.int32], below: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the n-grams seen, the logarithms of their likelihoods, and those of what is left for others.

    The same smoothing as below. ``seen`` has each occurrence, ``below`` the likelihoods one order down.
    """
    grams, level = np.unique(seen, return_counts=True)
    before = grams // _SIZE
    total = np.bincount(before, level, minlength=below.size)
    once, twice = (level == 1).sum(), (level == 2).sum()
    discount = once / (once + 2 * twice) if once else 0.5
    kinds = np.bincount(before, minlength=below.size)
    left = np.where(total > 0, discount * kinds / np.maximum(total, 1), 1)
    found = (level - discount) / total[before] + left[before] * below[grams % below.size]
    kept = level > 1
    return grams[kept], np.log(found[kept]).astype(np.float32), np.log(left).astype(np.float32)


def _smoothed(counts: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Return P(c), P(c | b), P(c | a b), ... from the counts of n-grams, every order smoothed by the one below.

    Interpolated absolute discounting (Ney, Essen and Kneser, 1994, "On structuring probabilistic dependences in
    stochastic language modelling"). With so few characters Kneser and Ney's own lower orders would be all but uniform.
    """
    levels = [counts]
    while levels[0].ndim > 1:
        levels.insert(0, levels[0].sum(axis=0))
    found: list[NDArray[np.float64]] = []
    below = np.full(counts.shape[-1], 1 / counts.shape[-1])
    for level in levels:
        once, twice = (level == 1).sum(), (level == 2).sum()
        discount = once / (once + 2 * twice) if once else 0.5
        total = level.sum(axis=-1, keepdims=True)
        kept = np.maximum(level - discount, 0)
        left = np.where(total > 0, total - kept.sum(axis=-1, keepdims=True), 1)
        below = (kept + left * below) / np.maximum(total, 1)
        found.append(below)
    return found


def _words(labels: Sequence[str], prose: Iterable[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the words of labels, commonest first, and how often each was found: anywhere, first and last.

    They are those that hyphens set apart, and labels that two of fall together into a third. Words of ``prose``
    that no name has are there, too, as rare ones.
    """
    anywhere, first, last = Counter[str](), Counter[str](), Counter[str]()
    for label in labels:
        if "-" in label and not label.startswith("xn--"):
            parts = label.split("-")
            words = [word for word in parts if word.isalpha() and _SHORTEST_WORD <= len(word) <= _LONGEST_WORD]
            anywhere.update(words)
            first[parts[0]] += 1
            last[parts[-1]] += 1
    whole = {word for word, count in anywhere.items() if count > 1 and len(word) > 2}
    whole.update(label for label in labels if label.isalpha() and 4 <= len(label) <= 12)
    for label in labels:
        if label.isalpha():
            for cut in range(3, len(label) - 2):
                head, tail = label[:cut], label[cut:]
                if head in whole and tail in whole:
                    anywhere.update((head, tail))
                    first[head] += 1
                    last[tail] += 1
    ranked = sorted(anywhere.items(), key=lambda item: (-item[1], item[0]))[:_MAX_WORDS]
    found = [word for word, count in ranked if count > 1]
    known = set(found)
    found += [word for word in sorted(prose) if word not in known and _WORD.fullmatch(word)]
    counts = np.array([[count[word] if word in known else 0 for count in (anywhere, first, last)] for word in found])
    return found, np.maximum(counts.reshape(-1, 3), 0.5)


def _inside(lengths: NDArray[np.intp], width: int) -> NDArray[np.bool_]:
    return np.arange(width) < lengths[:, None]


def _grams(table: Codes, order: int, size: int) -> NDArray[np.int64]:
    """Return at each place, the end included, the number of the n-gram that ends there."""
    rows, width = table.shape
    padded = np.zeros((rows, width + order), np.int64)
    padded[:, order - 1 : -1] = table
    grams = np.zeros((rows, width + 1), np.int64)
    for back in range(order):
        grams *= size
        grams += padded[:, back : back + width + 1]
    return grams


class NameFeatures:
    """Measures labels against a language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._keys = np.zeros(2**_SLOTS_BITS, np.uint64)
        self._places = np.zeros(2**_SLOTS_BITS, np.int32)
        behind = np.full((1, 3), _NO_WORD, np.float32)
        self._words = np.ascontiguousarray(np.vstack([language.word_likelihood, behind]).T)
        if language.words:
            table, lengths = codes(language.words)
            hashes = _prefix_hashes(table)[np.arange(len(lengths)), lengths]
            slots = _slots(hashes)[::-1]  # of two words in one slot the commoner stays
            self._keys[slots] = hashes[::-1]
            self._places[slots] = np.arange(len(hashes))[::-1]
        self._powers = np.array([pow(int(_BASE), n, 2**64) for n in range(_LONGEST_WORD + 1)], np.uint64)

    def of(self, labels: Sequence[str]) -> Floats:
        """Return one row per label with :data:`COLUMNS`."""
        result = np.empty((len(labels), len(COLUMNS)), np.float32)
        order = np.argsort([len(label) for label in labels], kind="stable")
        for part in _chunks(order):
            result[part] = self._measure(*codes([labels[place] for place in part]))
        return result

    def _measure(self, table: Codes, lengths: NDArray[np.intp]) -> Floats:
        columns = [*_structure(table, lengths), *self._likelihoods(table, lengths), *self._segment(table, lengths)]
        return np.column_stack([*columns, _shares(table, lengths)]).astype(np.float32)

    def _likelihoods(self, table: Codes, lengths: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
        width = table.shape[1] + 1
        inside = _inside(lengths + 1, width)
        places = (lengths + 1).astype(np.float32)
        grams = _grams(table, _ORDER, _SIZE)
        language = self._language
        totals = []
        for order, likelihood in enumerate(language.likelihood, 1):
            each = likelihood[grams % _SIZE**order]
            each[~inside] = 0
            totals.append(each.sum(axis=1))
            yield totals[-1] / places
        each += language.discount[grams // _SIZE]
        each[~inside] = 0
        if len(language.long_grams):
            at = np.minimum(np.searchsorted(language.long_grams, grams), len(language.long_grams) - 1)
            known = (language.long_grams[at] == grams) & inside
            each[known] = language.long_likelihood[at[known]]
        totals.append(each.sum(axis=1))
        yield totals[-1] / places
        yield totals[-1]
        yield totals[0]
        yield (totals[-1] - totals[0]) / places
        mean = totals[-1] / places
        yield np.sqrt(np.maximum((each**2).sum(axis=1) / places - mean**2, 0))
        behind = np.pad(each, ((0, 0), (0, 2)))
        yield (behind[:, 2:] + behind[:, 1:-1] + behind[:, :-2]).min(axis=1)
        ordered = np.sort(np.where(inside, each, np.inf), axis=1)
        for quantile in _QUANTILES:
            yield ordered[np.arange(len(lengths)), (quantile * lengths).astype(np.intp)]
        yield (each < -4.5).sum(axis=1) / places
        yield (each < -7).sum(axis=1) / places
        rhythm = self._language.rhythm[_grams(_KIND_OF[table], _RHYTHM, _KINDS)]
        rhythm[~inside] = 0
        yield rhythm.sum(axis=1) / places
        yield rhythm.min(axis=1)

    def _segment(self, table: Codes, lengths: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
        """Find the likeliest way to cut each label into words, and measure it."""
        rows, width = table.shape
        hashes = _prefix_hashes(table)
        everyone = np.arange(rows)
        best = np.zeros((rows, width + 1), np.float32)
        # Along the best way to each place: words, characters in words of 3 and of 4 up, longest, rarest, unknown;
        # then the likelihoods of a first word to be first, and of a last to be last.
        way = np.zeros((8, rows, width + 1), np.float32)
        anywhere, first, last = self._words
        for end in range(1, width + 1):
            shortest, longest = _SHORTEST_WORD, min(end, _LONGEST_WORD)
            options = np.full((rows, max(longest - shortest + 2, 1)), -np.inf, np.float32)
            places = np.zeros(options.shape, np.int32)
            options[:, 0] = best[:, end - 1] + _UNKNOWN
            for length in range(shortest, longest + 1):
                start = end - length
                found = hashes[:, end] - hashes[:, start] * self._powers[length]
                slots = _slots(found)
                places[:, length - 1] = self._places[slots]
                value = anywhere[places[:, length - 1]]
                options[:, length - 1] = np.where(self._keys[slots] == found, best[:, start] + value, -np.inf)
            choice = options.argmax(axis=1)
            best[:, end] = options[everyone, choice]
            word = choice > 0
            taken = np.where(word, choice + 1, 1)
            before = way[:, everyone, end - taken]
            way[0, :, end] = before[0] + word
            way[1, :, end] = before[1] + np.where(taken >= 3, taken, 0)
            way[2, :, end] = before[2] + np.where(taken >= 4, taken, 0)
            way[3, :, end] = np.maximum(before[3], np.where(word, taken, 0))
            which = places[everyone, choice]
            way[4, :, end] = np.minimum(before[4], np.where(word, anywhere[which], 0))
            way[5, :, end] = before[5] + ~word
            way[6, :, end] = np.where(taken < end, before[6], np.where(word, first[which], _NO_WORD))
            way[7, :, end] = np.where(word, last[which], _NO_WORD)
        sizes = np.maximum(lengths, 1).astype(np.float32)
        total: Floats = best[everyone, lengths]
        words, covered, covered_4, longest_word, rarest, unknown, opening, closing = way[:, everyone, lengths]
        yield total / sizes
        yield total
        yield covered / sizes
        yield covered_4 / sizes
        yield words
        yield longest_word
        yield rarest
        yield unknown
        yield total / np.maximum(words + unknown, 1)
        yield opening
        yield closing


def _chunks(order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(order), _CHUNK):
        yield order[start : start + _CHUNK]


def _prefix_hashes(table: Codes) -> NDArray[np.uint64]:
    """Return the polynomial hash of each prefix, so that those of all parts follow from two of them."""
    hashes = np.zeros((len(table), table.shape[1] + 1), np.uint64)
    for place in range(table.shape[1]):
        hashes[:, place + 1] = hashes[:, place] * _BASE + table[:, place]
    return hashes


def _slots(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    return ((hashes * _SPREAD) >> np.uint64(64 - _SLOTS_BITS)).astype(np.intp)


def _structure(table: Codes, lengths: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    places = np.maximum(lengths, 1).astype(np.float32)
    kinds = _KIND_OF[table]
    inside = table != _END
    digits = kinds == 4
    letters = (table >= 1) & (table <= 26)
    shares = _counts(table) / places[:, None]
    yield lengths.astype(np.float32)
    yield digits.sum(axis=1) / places
    yield (digits[:, 1:] & ~digits[:, :-1]).sum(axis=1) + digits[:, 0]
    yield (table == 37).sum(axis=1).astype(np.float32)
    yield (table == _OTHER).sum(axis=1) / places
    yield ((kinds[:, 1:] != kinds[:, :-1]) & inside[:, 1:]).sum(axis=1) / places
    yield (shares > 0).sum(axis=1) / places
    yield -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    yield (kinds == 1).sum(axis=1) / np.maximum(letters.sum(axis=1), 1)
    yield _longest_run(kinds == 2)
    yield _longest_run(kinds == 1)
    yield _longest_run(digits)
    yield (((table <= 6) | digits).all(axis=1)).astype(np.float32)
    yield (table != 26).all(axis=1).astype(np.float32)
    yield np.where(letters, table, 0).max(axis=1).astype(np.float32)
    yield ((table[:, 1:] == table[:, :-1]) & inside[:, 1:]).sum(axis=1) / places
    yield _pairs_twice(table) / places
    yield (table[:, :4] == _PUNYCODE).all(axis=1).astype(np.float32) if table.shape[1] >= 4 else np.zeros_like(places)
    yield digits[:, 0].astype(np.float32)
    yield digits[np.arange(len(table)), np.maximum(lengths - 1, 0)].astype(np.float32)


_PUNYCODE: Final = _CODE_OF[np.frombuffer(b"xn--", np.uint8)]


def _counts(table: Codes) -> NDArray[np.int64]:
    rows = np.arange(len(table))[:, None] * _SIZE
    return np.bincount((rows + table).ravel(), minlength=len(table) * _SIZE).reshape(-1, _SIZE)[:, 1:]


def _shares(table: Codes, lengths: NDArray[np.intp]) -> Floats:
    shares: Floats = (_counts(table)[:, :26] / np.maximum(lengths, 1)[:, None]).astype(np.float32)
    return shares


def _longest_run(where: NDArray[np.bool_]) -> Floats:
    run = longest = np.zeros(len(where), np.int64)
    for place in range(where.shape[1]):
        run = (run + 1) * where[:, place]
        longest = np.maximum(longest, run)
    return longest.astype(np.float32)


def _pairs_twice(table: Codes) -> Floats:
    """Return how many pairs of characters have been there before in the label."""
    pairs = np.sort(np.where(table[:, 1:] != _END, table[:, :-1].astype(np.int32) * _SIZE + table[:, 1:], -1), axis=1)
    twice: Floats = ((pairs[:, 1:] == pairs[:, :-1]) & (pairs[:, 1:] >= 0)).sum(axis=1).astype(np.float32)
    return twice
