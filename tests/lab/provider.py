"""The DNS traffic of a provider as a dns.log of any length, for load: a million records in two seconds of CPU.

Many clients ask two resolvers for names of popular domains, both as Zipf's law has it. A few names are disposable:
nobody asks for them again. Nobody is infected, and nothing tunnels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from .population import popular_names
from .zeeklog import header

START = 1_750_000_000  # seconds since the epoch
DAY = 86_400
RATE = 9_500  # records per second of event time, those of five caches with 820 million queries a day
DOMAINS, DOMAIN_EXPONENT = 200_000, 0.95
CLIENTS, CLIENT_EXPONENT = 20_000, 1.3
HOSTS = ("", "www.", "api.", "cdn.", "m.", "img.", "static.", "mail.", "login.", "assets.")
SERVERS = ("192.0.2.1", "192.0.2.2")
DISPOSABLE = 0.02
TYPES = {"1\tA": 0.6, "28\tAAAA": 0.25, "65\tHTTPS": 0.12, "16\tTXT": 0.03}
RCODES = {"0\tNOERROR": 0.93, "3\tNXDOMAIN": 0.05, "2\tSERVFAIL": 0.01, "-\t-": 0.01}

_PIECE = 200_000  # records that are made at once
_LINES = """
    SELECT concat_ws('\t', printf('%.6f', ts), format('C{:016x}', token), client, port, server, '53\tudp', trans_id,
        if(answers = '-', '-', printf('%.6f', rtt)), name, '1\tC_INTERNET', qtype, rcode, 'F\tF\tT',
        if(answers = '-', 'F', 'T'), '0', answers,
        CASE WHEN answers = '-' THEN '-' WHEN qtype = '1\tA' THEN concat(ttl, '.000000,', ttl, '.000000')
            ELSE concat(ttl, '.000000') END,
        if(rcode = '2\tSERVFAIL', 'T\n', 'F\n'))
    FROM (SELECT *, CASE WHEN rcode <> '0\tNOERROR' THEN '-'
            WHEN qtype = '1\tA' THEN format('198.18.{0}.{1},198.19.{0}.{1}', place & 255, place >> 8)
            WHEN qtype = '28\tAAAA' THEN format('2001:db8::{:x}', place)
            WHEN qtype = '16\tTXT' THEN 'TXT 11 v=spf1 ~all' ELSE '-' END AS answers
        FROM (SELECT *, if(disposable, format('{:x}.', token >> 24), host) || domain AS name,
            hash(domain) & 65535 AS place FROM piece))
"""  # Zeek logs rtt and RA only with answers


class _Choice:
    """Texts that are drawn in proportion to their weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._texts = pa.array(list(weights))
        self._steps = np.cumsum(list(weights.values()))

    def draw(self, dice: np.random.Generator, count: int) -> Any:
        """Return so many of them, as a dictionary array of Arrow."""
        drawn = np.searchsorted(self._steps, dice.random(count) * self._steps[-1], "right")
        return pa.DictionaryArray.from_arrays(drawn.astype(np.int32), self._texts)


def write(path: Path, records: int, seed: int) -> None:
    """Write a log of so many records, the same for the same seed, piece by piece.

    Another seed stands for another day: the domains and clients are the same, the disposable names are not.
    """
    domains = [name for name in popular_names() if name.count(".") == 1][:DOMAINS]
    clients = [f"10.{number >> 8}.{number & 255}.7" for number in range(CLIENTS)]
    choices = {
        "client": _zipf(clients, CLIENT_EXPONENT),
        "domain": _zipf(domains, DOMAIN_EXPONENT),
        "host": _Choice(dict.fromkeys(HOSTS, 1)),
        "server": _Choice(dict.fromkeys(SERVERS, 1)),
        "qtype": _Choice(TYPES),
        "rcode": _Choice(RCODES),
    }
    begin = START + DAY * seed
    with path.open("wb") as log, duckdb.connect() as connection:
        log.write(header(begin))
        for done in range(0, records, _PIECE):
            dice = np.random.default_rng([seed, done])
            number = np.arange(done, min(done + _PIECE, records))
            count = len(number)
            columns = {name: choice.draw(dice, count) for name, choice in choices.items()} | {
                "ts": begin + number / RATE,
                "token": dice.integers(0, 1 << 64, count, np.uint64),
                "port": dice.integers(1024, 65_536, count),
                "trans_id": dice.integers(0, 65_536, count),
                "rtt": dice.exponential(0.01, count),
                "ttl": dice.integers(1, 3600, count),
                "disposable": dice.random(count) < DISPOSABLE,
            }
            connection.register("piece", pa.table(columns))
            log.write("".join(line for (line,) in connection.execute(_LINES).fetchall()).encode())


def _zipf(texts: list[str], exponent: float) -> _Choice:
    return _Choice({text: 1 / rank**exponent for rank, text in enumerate(texts, 1)})
