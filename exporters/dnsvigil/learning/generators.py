"""Names like those of malware, made by algorithms of our own with the parameters of published families.

Each maker below is one published kind of domain generation algorithm. A family is a maker with the facts that analyses
have published of it: alphabet, lengths, suffixes, and whether the date is part of the seed. Sources: Plohmann et al.,
"A comprehensive measurement study of domain generating malware" (USENIX Security 2016), and the public analyses of the
families since; for charbot, which is of research only, Peck et al., "CharBot" (IEEE Access 2019). One family is
named after what it does, for a kind that these leave thin. No family's code is repeated here: what comes out looks
like its names and is not any of them.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, Protocol

AZ: Final = "abcdefghijklmnopqrstuvwxyz"
AY: Final = AZ[:-1]  # many take the remainder of 25 and never reach z
DIGITS: Final = "0123456789"
HEX: Final = DIGITS + "abcdef"
ALNUM: Final = AZ + DIGITS
_CONSONANTS: Final = "bcdfghjklmnpqrstvwxz"
_VOWELS: Final = "aeiouy"
_LONGEST: Final = 63  # octets of a label, RFC 1035


@dataclass(frozen=True)
class Lexicon:
    """What makers build on: ``lists`` of words, commonest first, and ``brands``, labels of known domains."""

    lists: Sequence[Sequence[str]]
    brands: Sequence[str]


class Maker(Protocol):
    """One kind of algorithm."""

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield second-level labels without end; the same seed gives the same ones."""


@dataclass(frozen=True)
class Arithmetic:
    """Letters and length from a linear congruential generator, that of Park and Miller by default."""

    alphabet: str
    low: int
    high: int
    multiplier: int = 16807
    increment: int = 0
    modulus: int = 2**31 - 1

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        state = _mixed(seed, self.alphabet) % (self.modulus - 1) + 1
        while True:
            state = (state * self.multiplier + self.increment) % self.modulus
            letters = []
            for _ in range(self.low + state % (self.high - self.low + 1)):
                state = (state * self.multiplier + self.increment) % self.modulus
                letters.append(self.alphabet[state % len(self.alphabet)])
            yield "".join(letters)


@dataclass(frozen=True)
class Digest:
    """The digest of seed and counter, its bytes written in an alphabet."""

    algorithm: str
    low: int
    high: int
    alphabet: str = HEX

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        for index in count():
            data = b"".join(
                hashlib.new(self.algorithm, f"{seed}:{index}:{part}".encode(), usedforsecurity=False).digest()
                for part in range(4)
            )
            length = self.low + data[-1] % (self.high - self.low + 1)
            yield "".join(self.alphabet[byte % len(self.alphabet)] for byte in data[:length])


@dataclass(frozen=True)
class Syllables:
    """Shapes of ``c``, consonants, and ``v``, vowels, one after the other until the length is reached."""

    shapes: tuple[str, ...]
    low: int
    high: int
    consonants: str = _CONSONANTS
    vowels: str = _VOWELS

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        draw = _draw(seed, self.consonants)
        while True:
            length = draw.randint(self.low, self.high)
            label = ""
            while len(label) < length:
                for kind in draw.choice(self.shapes):
                    label += draw.choice(self.consonants if kind == "c" else self.vowels)
            yield label[:length]


@dataclass(frozen=True)
class Words:
    """Words of a list that belongs to the seed, ``size`` of the ``commonest``, put together."""

    low: int = 2
    high: int = 2
    size: int = 400
    commonest: int = 8000
    shortest: int = 4
    separators: tuple[str, ...] = ("",)
    fill_to: int = 0  # words are added until the label has this length
    tails: tuple[str, ...] = ("",)

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        draw = _draw(seed, "words")
        pool = [word for word in draw.choice(lexicon.lists)[: self.commonest] if len(word) >= self.shortest]
        words = draw.sample(pool, min(self.size, len(pool)))
        while True:
            separator = draw.choice(self.separators)
            label = separator.join(draw.choices(words, k=draw.randint(self.low, self.high)))
            while len(label) < self.fill_to:
                label += separator + draw.choice(words)
            yield label + draw.choice(self.tails)


@dataclass(frozen=True)
class Permutation:
    """The letters of one name that belongs to the seed, two words, in ever another order."""

    swaps: int  # how many pairs change places

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        draw = _draw(seed, "permutation")
        letters = list("".join(draw.sample(draw.choice(lexicon.lists)[:4000], 2)))
        while True:
            order = letters.copy()
            for _ in range(self.swaps):
                one, other = draw.randrange(len(order)), draw.randrange(len(order))
                order[one], order[other] = order[other], order[one]
            yield "".join(order)


@dataclass(frozen=True)
class Mutation:
    """A name of which some letters are others: a fixed one of the seed, or ever another brand."""

    places: int
    at_start: bool  # the first letters, or any
    brand: bool

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        draw = _draw(seed, "mutation")
        fixed = "".join(draw.sample(draw.choice(lexicon.lists)[:8000], 3))
        while True:
            name = list(draw.choice(lexicon.brands) if self.brand else fixed)
            spots = range(len(name))[: self.places] if self.at_start else draw.sample(range(len(name)), self.places)
            for spot in spots:
                name[spot] = draw.choice(AZ)
            yield "".join(name)


@dataclass(frozen=True)
class Doubled:
    """A few letters twice, and a tail: so tofsee."""

    low: int
    high: int
    tail: str

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        draw = _draw(seed, "doubled")
        while True:
            part = "".join(draw.choices(AZ, k=draw.randint(self.low, self.high)))
            yield part + part + draw.choice(self.tail)


@dataclass(frozen=True)
class Joined:
    """Texts and other makers, one after the other."""

    parts: tuple["str | Maker", ...]

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield labels."""
        sources = [
            part.labels(_mixed(seed, str(place)), lexicon) if not isinstance(part, str) else None
            for place, part in enumerate(self.parts)
        ]
        while True:
            yield "".join(
                next(source) if source else str(part) for part, source in zip(self.parts, sources, strict=True)
            )


@dataclass(frozen=True)
class OneOf:
    """One of several texts."""

    texts: tuple[str, ...]

    def labels(self, seed: int, lexicon: Lexicon) -> Iterator[str]:
        """Yield them in no order."""
        draw = _draw(seed, "texts")
        while True:
            yield draw.choice(self.texts)


@dataclass(frozen=True)
class Family:
    """A published family's way to make names."""

    name: str
    maker: Maker
    suffixes: str  # public suffixes, with blanks between
    dated: bool = True  # whether the seed changes from day to day

    @property
    def kind(self) -> str:
        """Return the name of the algorithm's kind, ``date-seeded`` where that and a plain alphabet is all."""
        kind = type(self.maker).__name__.lower()
        return "date-seeded" if self.dated and kind == "arithmetic" else kind

    def names(self, seeds: Iterable[int], per_seed: int, lexicon: Lexicon) -> list[str]:
        """Return up to ``per_seed`` domains of each seed, none twice; an algorithm may have fewer."""
        found: dict[str, None] = {}
        suffixes = self.suffixes.split()
        for seed in seeds:
            draw = _draw(seed, self.name)
            wanted = len(found) + per_seed
            for label in islice(self.maker.labels(_mixed(seed, self.name), lexicon), 2 * per_seed):
                if len(found) >= wanted:
                    break
                found[f"{label[:_LONGEST].strip('-')}.{draw.choice(suffixes)}"] = None
        return list(found)


def _mixed(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=7).digest(), "big")


_COMMON: Final = "com net org info biz"
_KRAKEN_TAILS: Final = OneOf(("able", "dom", "hood", "ment", "ship", "ness", "ly", "ency", "ing", "ous", "ight", "er"))

FAMILIES: Final = (
    # Letters by arithmetic.
    Family("bedep", Arithmetic(AZ + AZ + DIGITS, 12, 18), "com"),
    Family("blackhole", Arithmetic(AZ, 16, 16), "ru"),
    Family("bobax", Arithmetic(AZ, 8, 13), "dyndns.org yi.org dynserv.com mooo.com", dated=False),
    Family("conficker-a", Arithmetic(AZ, 5, 11), f"{_COMMON} ws cn cc"),
    Family("conficker-c", Arithmetic(AZ, 4, 9), "at ch cl cz dk es fr gr hu ie in lu me pl ro sk us vn"),
    Family("corebot", Arithmetic("abcdefghijklmnopqrstuvwxyz012345678", 12, 28), "ddns.net"),
    Family("cryptolocker", Arithmetic(AY, 12, 15), "com net biz ru org co.uk info"),
    Family("dircrypt", Arithmetic(AZ, 8, 20), "com", dated=False),
    Family("dnschanger", Arithmetic(AZ, 10, 10), "com", dated=False),
    Family("ekforward", Arithmetic(AZ, 8, 8), "eu"),
    Family("emotet", Arithmetic(AY, 16, 16), "eu"),
    Family("feodo", Arithmetic(AZ, 16, 16), "ru"),
    Family("flubot", Arithmetic(AY, 15, 15), "ru com cn su"),
    Family("fobber-a", Arithmetic(AZ, 17, 17), "net", dated=False),
    Family("fobber-b", Arithmetic(AZ, 10, 10), "com", dated=False),
    Family("hesperbot", Arithmetic(AZ, 8, 24), "com", dated=False),
    Family("kraken", Arithmetic(AZ, 6, 12), "dyndns.org yi.org mooo.com dynserv.com com net cc tv"),
    Family("locky", Arithmetic(AY, 5, 17), "ru info biz click su work pl org pw xyz"),
    Family("madmax", Arithmetic(ALNUM, 10, 10), "com net org info"),
    Family("metastealer", Arithmetic(AY, 16, 16), "xyz"),
    Family("mirai", Arithmetic("abcdefghijklmnopqrstuvw", 12, 12), "online tech support"),
    Family("murofet-a", Arithmetic(AZ, 8, 16), "biz info org net com"),
    Family("murofet-b", Arithmetic(ALNUM, 32, 47), "com net org info biz ru"),
    Family("mydoom", Arithmetic("qvuahxmnpws", 8, 10, 1664525, 1013904223, 2**32 - 5), "com biz us net org ws info in"),
    Family("mylobot", Arithmetic(AZ, 7, 7), "com ru net", dated=False),
    Family("necurs", Arithmetic(AY, 7, 21), "ac bit bz cc cm co com cx de eu ga im in ir jp ki kz la me mn mu nf"),
    Family("nymaim-a", Arithmetic(AZ, 5, 12), "ru net in com xyz info"),
    Family("padcrypt", Arithmetic("abcdefnolkm", 16, 16), "com co.uk de org net eu info online co cc website"),
    Family("proslikefan", Arithmetic(AZ, 6, 12), "cc co eu biz org"),
    Family("qadars", Arithmetic(ALNUM, 12, 12), "com org net top"),
    Family("qakbot", Arithmetic(AZ, 8, 25), "com net org info biz"),
    Family("ramdo", Arithmetic("acegikmoqsuwy", 16, 16), "org", dated=False),
    Family("ramnit", Arithmetic(AY, 8, 19), "com bid eu click", dated=False),
    Family("ranbyus", Arithmetic(AY, 14, 17), "in me cc su tw net com pw org"),
    Family("rovnix-a", Arithmetic(ALNUM, 16, 18), "cn ru com net biz"),
    Family("shifu", Arithmetic(AY, 7, 7), "info", dated=False),
    Family("shiotob", Arithmetic(AZ + DIGITS[1:], 9, 15), "com net", dated=False),
    Family("sphinx", Arithmetic(AZ, 16, 16), "com"),
    Family("srizbi", Arithmetic("qwertyuiopasdfgh", 8, 8), "com"),
    Family("tempedreve", Arithmetic(AZ, 7, 11), "com net info org", dated=False),
    Family("tinba", Arithmetic("bcdefghijklmnopqrsuvwxy", 12, 12), "com net in ru pw online", dated=False),
    Family("torpig", Joined((Arithmetic(AZ, 4, 6), Arithmetic("abcdefghxvzy", 3, 3))), "com net biz"),
    Family("vawtrak-a", Arithmetic(AZ, 6, 12), "top com ru", dated=False),
    Family("vidro", Arithmetic(AZ, 7, 19), "com net dyndns.org"),
    Family("virut", Arithmetic(AZ, 6, 6), "com"),
    Family("zloader", Arithmetic(AY, 20, 20), "com"),
    # Digests.
    Family("bamital", Digest("md5", 32, 32), "info org co.cc cz.cc"),
    Family("bumblebee", Digest("sha256", 11, 11, ALNUM), "life", dated=False),
    Family("chinad", Digest("sha1", 16, 16, ALNUM), "com org net biz info ru cn"),
    Family("copperstealer", Digest("md5", 16, 16), "xyz com"),
    Family("dyre", Joined((Arithmetic(AZ, 1, 1), Digest("sha256", 33, 33))), "cc ws to in hk cn tk so"),
    Family("ebury", Digest("md5", 12, 14, "abcdefghijklmnopqrstuvwxyz0123456789"), "info net biz"),
    Family("gameover", Digest("md5", 20, 28, AZ + DIGITS), "com net org biz"),
    Family("gameover-p2p", Digest("md5", 11, 32, AZ), "ru com biz info org net"),
    Family("gspy", Digest("md5", 16, 16), "net"),
    Family("infy", Digest("md5", 8, 8), "space net top"),
    Family("monerominer", Digest("md5", 13, 13), "org tickets blackfriday hosting feedback"),
    Family("omexo", Digest("md5", 32, 32), "net", dated=False),
    Family("orchard", Digest("md5", 8, 8), "com net org duckdns.org"),
    Family("pandabanker", Digest("md5", 12, 12), "com net"),
    Family("sharkbot", Digest("md5", 16, 16), "top xyz cc info com ru"),
    Family("tinynuke", Digest("md5", 32, 32), "com net org top xyz"),
    Family("xxhex", Joined(("xx", Digest("md5", 8, 8))), "kr sg cn asia"),
    # Pronounceable.
    Family("syllables", Syllables(("cvc", "cv"), 8, 14, "bcdfghklmnprstvz", "aeiou"), "com ru"),
    Family("kwampirs", Syllables(("cv", "cvc", "vc"), 7, 14, _CONSONANTS, "aeiou"), "com net org"),
    Family(
        "pitou", Syllables(("cv", "cvv", "vc", "cvc"), 8, 10, "bcdfghjklmnprstvwyz", "aeiou"), "com me us net org biz"
    ),
    Family("pushdo", Syllables(("cv", "cvc"), 8, 12, "bcdfghjklmnpqrstvxz", "aeiou"), "kz com"),
    Family("pykspa-a", Syllables(("cv", "cc", "vc", "cvc"), 6, 15), "com net org info cc biz"),
    Family("pykspa-b", Syllables(("cv", "cvc", "ccv", "vv"), 6, 12), "com net biz org info cc"),
    Family("simda", Syllables(("cv",), 5, 11, "qwrtpsdfghjklzxcvbnm", "eyuioa"), "com net info eu"),
    Family("symmi", Syllables(("cv", "vc", "cvc"), 8, 15), "ddns.net"),
    Family("vawtrak-b", Syllables(("cvc", "cv", "vcc"), 7, 12, "bcdfghklmnprstvw", "aeiou"), "com top net"),
    Family("volgmer", Syllables(("ccv", "vc", "cv"), 9, 15), "com net"),
    Family("kraken-b", Joined((Syllables(("cv", "cvc", "vc"), 5, 8), _KRAKEN_TAILS)), "com net tv cc"),
    Family(
        "ngioweb",
        Joined(
            (
                OneOf(("un", "re", "inter", "over", "mis", "de", "pre", "sub", "multi", "non")),
                Syllables(("vc", "cv"), 4, 8),
                OneOf(("ship", "tion", "ance", "able", "ary", "ment", "ism", "ness", "ize", "ist")),
            )
        ),
        "com net name biz info org",
    ),
    # Word lists.
    Family("bigviktor", Words(3, 4, size=1000, shortest=3), "art club fans futbol in info link"),
    Family("gozi", Words(2, 4, size=800, shortest=3, fill_to=12), "com ru"),
    Family("grandoreiro", Joined((Words(2, 2), Arithmetic(AZ + DIGITS, 2, 5))), "ddns.net dyndns.org zapto.org"),
    Family("matsnu", Words(2, 3, size=1000, separators=("", "-"), fill_to=20), "com"),
    Family(
        "nymaim-b", Words(2, 2, size=2000, separators=("", "-"), tails=("", "", "s", "ed")), "com net in info top sh"
    ),
    Family("pizd", Words(2, 2, size=384), "net com"),
    Family("rovnix-b", Words(2, 5, size=300, shortest=2, fill_to=12, commonest=3000), "com net"),
    Family("suppobox", Words(2, 2, size=384, shortest=5), "net ru"),
    # One name changed.
    Family("banjori", Mutation(4, at_start=True, brand=False), "com", dated=False),
    Family("charbot", Mutation(2, at_start=False, brand=True), "com net org info"),
    Family("volatilecedar", Permutation(40), "info com"),
    # Fixed text and what changes.
    Family("beebone", Joined((Words(1, 2, size=2), Arithmetic(DIGITS, 1, 3))), "com net org", dated=False),
    Family("darkshell", Joined((Words(1, 1, size=2, shortest=3), Arithmetic(ALNUM, 4, 7))), "com cn", dated=False),
    Family("tofsee", Doubled(3, 4, "abcdefghij"), "biz"),
    Family("wd", Arithmetic(HEX, 20, 32), "win bid party stream"),
)


def _draw(seed: int, text: str) -> random.Random:
    return random.Random(_mixed(seed, text))  # noqa: S311 (names that anyone may foretell)
