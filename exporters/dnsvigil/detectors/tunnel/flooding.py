"""Separates floods of random names from what may be a tunnel, in what clients query below domains."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from dnsvigil.detectors import floods
from dnsvigil.detectors.floods import Flood, Row
from dnsvigil.detectors.tunnel.shape import data_share, names_below
from dnsvigil.detectors.tunnel.standing import POPULAR, standing
from dnsvigil.records import NOVEL_COUNTS

_PROBES_PER_CLIENT: Final = 5  # a minute at most, though many browsers may have the same address
_PROBES_PER_DOMAIN: Final = 200
_REVERSE: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}|([0-9a-f]\.){15,}[0-9a-f]")


def separate(pairs: Sequence[Row], domains: Mapping[str, Row]) -> tuple[list[Row], list[Flood], dict[str, Row]]:
    """Return the rows that may carry data, the floods, and the sums of domains with floods, without those floods.

    ``pairs`` has rows by client and domain. Of a domain with very many clients it has only some; if these flood, so do
    the others.
    """
    carrying, flooding = [], []
    flooded = set()
    # A client with a tunnel does not make a tunnel of what the others do.
    besides = {name: {**row, "leading": 0} for name, row in domains.items()}
    for row in pairs:
        domain = besides[row["domain"]]
        if floods.way_back(row):
            domain.update({name: domain[name] - row[name] for name in NOVEL_COUNTS})
        else:
            domain["leading"] = max(domain["leading"], row["names"])
    for row in pairs:
        domain = domains[row["domain"]]
        names = names_below(row)
        if count := floods.flooding(row, besides[row["domain"]], names):
            flooded.add(row["domain"])
            flooding.append(Flood(row, count, _weight(row, domain, count, names), row["samples"] or ()))
        if rest := floods.without_flood(row, count):
            carrying.append(rest)
    carried: defaultdict[str, list[Row]] = defaultdict(list)
    for row in carrying:
        carried[row["domain"]].append(row)
    left: dict[str, Row] = {}
    for name in flooded:
        rests = carried[name]
        left[name] = {"domain": name} | {each: sum(int(row[each]) for row in rests) for each in NOVEL_COUNTS}
        for row in rests:
            row["clients"] = len(rests)
    return carrying, flooding, left


def _weight(row: Row, domain: Row, count: int, names: Sequence[str]) -> float:
    """Return the number of names of a flood, less those that may be something else."""
    # Labels that repeat, such as the octets of reversed addresses, are not random.
    random = min(count, row["labels"])
    share, _ = standing(domain)
    if share >= POPULAR:  # a popular victim
        share **= 0.25
    minutes = max((row["last_seen"] - row["first_seen"]).total_seconds() / 60, 5)
    probes = count < _PROBES_PER_CLIENT * minutes and domain["names"] < _PROBES_PER_DOMAIN * minutes
    data, _ = data_share(names, domain, probes=probes)
    reverse = sum(bool(_REVERSE.fullmatch(name)) for name in names) / max(len(names), 1)
    return float(random * share * data * (1 - reverse))
