"""Features of names: the likelihood of letters, the words, the structure; computed for many names at once.

They describe the label that the registrant chose, the first one of a registered domain. The suffix plays no part, so
that a generator's move to another suffix changes nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

_SYMBOLS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
_END: Final = 0  # before the first and after the last character
_OTHER: Final = len(_SYMBOLS) + 1
_SIZE: Final = _OTHER + 1
_LONGEST: Final = 63  # octets of a label, RFC 1035
_DENSE: Final = 4  # n-grams up to this length all have a place in an array, longer ones only if they were seen
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
_UNKNOWN: Final = np.float32(-7.5)  # natural logarithm: a character outside words costs about as much as a rare word
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
"""The columns of :meth:`NameFeatures.of`."""


def label_of(domain: str) -> str:
    """Return the label that the features describe, the first one of a registered domain."""
    return domain.partition(".")[0]


def codes(labels: Sequence[str]) -> tuple[Codes, NDArray[np.intp]]:
    """Return one row of codes for each label, padded with zeros, and the lengths.

    All other characters than letters, digits and hyphens share one code; characters after the 63rd are left out.
    """
    if not labels:
        return np.zeros((0, 1), np.uint8), np.zeros(0, np.intp)
    raw = np.array([label.encode("ascii", "replace") for label in labels], f"S{_LONGEST}")
    table = _CODE_OF[raw.view(np.uint8).reshape(len(labels), _LONGEST)]
    lengths = (table != _END).sum(axis=1)
    return table[:, : max(int(lengths.max()), 1)], lengths


@dataclass(frozen=True)
class Language:
    """A language model of benign labels: how likely a character is after others, and which words there are.

    ``likelihood[n - 1]`` has the natural logarithms of the likelihoods of a character after n - 1 others, with n
    axes of 39 codes. ``long_grams`` has the numbers of the 5-grams seen, ascending, with ``long_likelihood``; any other
    has the 4-gram's likelihood plus the ``discount`` of the four characters before. ``rhythm`` has the likelihoods of
    vowels and consonants. ``word_likelihood`` has the logarithms of the frequencies of ``words`` [word, 3]: anywhere,
    as a label's first word, and as its last.
    """

    likelihood: list[Floats]
    long_grams: NDArray[np.int32]
    long_likelihood: Floats
    discount: Floats
    rhythm: Floats
    words: list[str]
    word_likelihood: Floats

    @classmethod
    def learn(cls, labels: Sequence[str], english: Iterable[str] = ()) -> "Language":
        """Count the characters and words of distinct labels; the words of ``english`` are known, too."""
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
        words, frequencies = _words(labels, english)
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
    """Return the n-grams seen, the logarithms of their likelihoods, and those of the discounts for others.

    The smoothing is that of :func:`_smoothed`. ``seen`` has each occurrence, ``below`` the likelihoods of one order
    less.
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
    stochastic language modelling"). With so few characters, Kneser-Ney's own lower orders would be nearly uniform.
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


def _words(labels: Sequence[str], english: Iterable[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the words of labels, commonest first, and how often each was found: anywhere, first and last.

    A word is a part between hyphens, or a label of which two make up a third. Words of ``english`` that no label has
    follow as rare ones.
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
    found += [word for word in sorted(english) if word not in known and _WORD.fullmatch(word)]
    counts = np.array([[count[word] if word in known else 0 for count in (anywhere, first, last)] for word in found])
    return found, np.maximum(counts.reshape(-1, 3), 0.5)


def _inside(lengths: NDArray[np.intp], width: int) -> NDArray[np.bool_]:
    return np.arange(width) < lengths[:, None]


def _grams(table: Codes, order: int, size: int) -> NDArray[np.int64]:
    """Return for each place, and the end, the number of the n-gram that ends there."""
    rows, width = table.shape
    padded = np.zeros((rows, width + order), np.int64)
    padded[:, order - 1 : -1] = table
    grams = np.zeros((rows, width + 1), np.int64)
    for back in range(order):
        grams *= size
        grams += padded[:, back : back + width + 1]
    return grams


class _Measures(NamedTuple):
    """What is measured along a division into words; an array with a value for each label."""

    words: NDArray[Any]
    covered: NDArray[Any]  # characters in words of three and more
    covered_4: NDArray[Any]  # in words of four and more
    longest: NDArray[Any]
    rarest: NDArray[Any]  # likelihood
    unknown: NDArray[Any]  # characters outside words
    opening: NDArray[Any]  # likelihood of the first word to be a first one
    closing: NDArray[Any]  # likelihood of the last word to be a last one


class NameFeatures:
    """Computes the features of labels, given a language."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._keys = np.zeros(2**_SLOTS_BITS, np.uint64)
        self._places = np.zeros(2**_SLOTS_BITS, np.int32)
        behind = np.full((1, 3), _NO_WORD, np.float32)
        self._words = np.ascontiguousarray(np.vstack([language.word_likelihood, behind]).T)
        if language.words:
            table, lengths = codes(language.words)
            hashes = _prefix_hashes(table)[np.arange(len(lengths)), lengths]
            slots = _slots(hashes)[::-1]  # of two words in a slot, the commoner stays
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
        """Find the most likely division of each label into words, and measure it."""
        rows, width = table.shape
        hashes = _prefix_hashes(table)
        everyone = np.arange(rows)
        best = np.zeros((rows, width + 1), np.float32)  # the likelihood of the best division up to each place
        measures = np.zeros((len(_Measures._fields), rows, width + 1), np.float32)  # of that division
        for end in range(1, width + 1):
            options, places = self._last_words(hashes, best, end)
            choice = options.argmax(axis=1)
            best[:, end] = options[everyone, choice]
            taken = np.where(choice > 0, choice + 1, 1)
            before = _Measures(*measures[:, everyone, end - taken])
            measures[:, :, end] = self._longer(before, choice > 0, taken, places[everyone, choice], taken < end)
        sizes = np.maximum(lengths, 1).astype(np.float32)
        total: Floats = best[everyone, lengths]
        found = _Measures(*measures[:, everyone, lengths])
        yield total / sizes
        yield total
        yield found.covered / sizes
        yield found.covered_4 / sizes
        yield found.words
        yield found.longest
        yield found.rarest
        yield found.unknown
        yield total / np.maximum(found.words + found.unknown, 1)
        yield found.opening
        yield found.closing

    def _last_words(self, hashes: NDArray[np.uint64], best: Floats, end: int) -> tuple[Floats, NDArray[np.int32]]:
        """Return the likelihoods of all divisions up to ``end`` by what comes last, and the words' places.

        The columns are: an unknown character, then words of two characters, of three, and so on.
        """
        longest = min(end, _LONGEST_WORD)
        options = np.full((len(best), max(longest - _SHORTEST_WORD + 2, 1)), -np.inf, np.float32)
        places = np.zeros(options.shape, np.int32)
        options[:, 0] = best[:, end - 1] + _UNKNOWN
        for length in range(_SHORTEST_WORD, longest + 1):
            start = end - length
            wanted = hashes[:, end] - hashes[:, start] * self._powers[length]
            slots = _slots(wanted)
            places[:, length - 1] = self._places[slots]
            likelihood = best[:, start] + self._words[0][places[:, length - 1]]
            options[:, length - 1] = np.where(self._keys[slots] == wanted, likelihood, -np.inf)
        return options, places

    def _longer(
        self,
        before: "_Measures",
        is_word: NDArray[np.bool_],
        taken: NDArray[np.intp],
        place: NDArray[np.int32],
        continues: NDArray[np.bool_],
    ) -> Floats:
        """Return the measures of divisions with one more word, or unknown character, of ``taken`` characters."""
        anywhere, first, last = self._words
        longer = _Measures(
            words=before.words + is_word,
            covered=before.covered + np.where(taken >= 3, taken, 0),
            covered_4=before.covered_4 + np.where(taken >= 4, taken, 0),
            longest=np.maximum(before.longest, np.where(is_word, taken, 0)),
            rarest=np.minimum(before.rarest, np.where(is_word, anywhere[place], 0)),
            unknown=before.unknown + ~is_word,
            opening=np.where(continues, before.opening, np.where(is_word, first[place], _NO_WORD)),
            closing=np.where(is_word, last[place], _NO_WORD),
        )
        return np.array(longer, np.float32)


def _chunks(order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(order), _CHUNK):
        yield order[start : start + _CHUNK]


def _prefix_hashes(table: Codes) -> NDArray[np.uint64]:
    """Return the polynomial hash of each prefix, of which two give the hash of any part."""
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
    """Return how many pairs of characters occur again in the label."""
    pairs = np.sort(np.where(table[:, 1:] != _END, table[:, :-1].astype(np.int32) * _SIZE + table[:, 1:], -1), axis=1)
    twice: Floats = ((pairs[:, 1:] == pairs[:, :-1]) & (pairs[:, 1:] >= 0)).sum(axis=1).astype(np.float32)
    return twice
