"""Changes good inputs at random, by a seed, in the ways in which files are damaged and people attack.

Real inputs that are changed get past the first check of each reader, and what reads them is mostly native code (DuckDB,
numpy, nfdump), which coverage of Python, as atheris measures it, does not see. hypothesis would make inputs from a
grammar and shrink them, at a few a second; here the input that fails is kept as it is.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

_WORDS: Final = (
    *(b"", b"\0", b"\r", b"\n", b"\r\n", b"\t", b"-", b"(empty)", b"\xff\xfe", b"\xed\xa0\x80"),
    *(b'"', b"'", b"\\", b"{", b"}", b"[" * 990, b'{"a":' * 990, b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0"),
    *(b"18446744073709551615", b"9223372036854775807", b"-9223372036854775808", b"9" * 400, b"0x10", b"true"),
    *(b"null", b"%n%s", b"../../etc/passwd", b"\x1b[31m", b"; DROP TABLE counters; --", b"\\x00", b"\\ud800"),
    *(b"&a [*a]", b"!!python/object:os.system", b"#fields\t", b"#separator \\x", b"1970-01-01T00:00:00Z"),
    *(b'"0001-01-01T00:00:00Z"', b"2026-01-01T00:00:00+23:59"),
    *(b"253402300800", b"\xe2\x80\xae", b"a" * 70_000, b"." * 300, b"::", b"0.0.0.0/0"),
)
_NUMBERS: Final = tuple(
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
)


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one of the inputs, changed a little or much."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 30))):
        rng.choice(_WAYS)(data, seeds, rng)
    return bytes(data[:_LARGEST])


_LARGEST: Final = 1 << 20  # bytes


def _place(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _insert(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.choice(_WORDS)


def _overwrite(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(data, rng)
    number = rng.choice(_NUMBERS)
    data[at : at + len(number)] = number


def _cut(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 10, 100, 10_000))]


def _end(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _repeat(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    begin = _place(data, rng)
    part = bytes(data[begin : begin + rng.choice((1, 10, 100, 1000))])
    data[begin:begin] = part * rng.choice((1, 2, 50))


def _splice(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    begin = rng.randrange(len(other) + 1)
    at = _place(data, rng)
    data[at : at + rng.choice((0, 0, 50))] = other[begin : begin + rng.choice((10, 100, 1000))]


def _field(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    """Put something else between two separators."""
    separator = rng.choice((b"\t", b"\n", b",", b'"', b":", b" "))
    places = [at for at, byte in enumerate(data[:20_000]) if byte == separator[0]]
    if len(places) > 1:
        number = rng.randrange(len(places) - 1)
        data[places[number] + 1 : places[number + 1]] = rng.choice(_WORDS)


_WAYS: Final[tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...]] = (
    _flip,
    _insert,
    _overwrite,
    _cut,
    _end,
    _repeat,
    _splice,
    _field,
    _field,
)
