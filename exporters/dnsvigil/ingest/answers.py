"""The part of answers: the passive DNS tuples that dns.log holds, with what can be inferred of them."""

from typing import Final

import dns.rdatatype

from dnsvigil.engines.duckdb import Steps, lookup
from dnsvigil.ingest.part import Part
from dnsvigil.ingest.passive_dns import gather
from dnsvigil.records import ANSWER_COLUMNS
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Store

_TYPES: Final = {int(each): dns.rdatatype.to_text(each) for each in dns.rdatatype.RdataType}


class AnswersPart(Part):
    """Answers in one store. It needs the view of transactions that the part of DNS makes."""

    logs = (DNS,)
    columns = ANSWER_COLUMNS

    def __init__(self, store: Store, tuples: PassiveDns) -> None:
        self._store = store
        self._tuples = tuples
        self._steps = Steps(store.connection, "passive_dns")
        codes = {"code": "USMALLINT", "label": "VARCHAR"}
        lookup(store.connection, "record_types", codes, [*_TYPES], [*_TYPES.values()])

    def gather(self, size: int) -> None:
        """Put the answers that are the same together."""
        self._steps.view("answers")
        gather(self._store, self._tuples, self._steps, "transactions", "answered")

    def add(self) -> None:
        """Append what was gathered."""
        self._tuples.add("answered")
