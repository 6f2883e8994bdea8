"""The part of groups: the queries for domains of each group, by the table that ``dnsvigil domains cluster`` made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dnsvigil.engines.duckdb import Steps, lookup
from dnsvigil.ingest.part import Part
from dnsvigil.records import NO_GROUP, SUMMARY_COLUMNS
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.domain_file import DomainFile, DomainFileError, Group, domain_file, stamp_of
from dnsvigil.store.store import Store

GROUPS: Final = CounterTable("domain_groups", ("domain_group",), ("queries", "failures"))

MAX_MEMBERS: Final = 2_000_000
"""How many domains have their group in memory, in some 12 bytes each: those with the most queries. All others count as
being in none."""

_MEMBERS: Final = "hash UBIGINT, id INTEGER"
_READ: Final = """
    CREATE OR REPLACE TEMP TABLE group_members AS SELECT hash(domain) AS hash, id FROM read_members
    ORDER BY queries DESC NULLS LAST, hash LIMIT ?
"""


@dataclass(frozen=True)
class DomainGroupsSnapshot:
    """The groups of the table in use, at one moment; ``made`` is UTC without a zone, None where there is no table."""

    groups: Sequence[Group] = ()
    silhouette: float | None = None
    made: datetime | None = None


class DomainGroupsPart(Part):
    """The groups in one store. The part of domains, whose summaries it needs, comes before it."""

    logs = (DNS,)
    counters = (GROUPS,)
    columns = SUMMARY_COLUMNS

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = domain_file(store.path.parent)
        self._stamp: tuple[int, int] | None = None
        self._shown = DomainGroupsSnapshot()
        self._new = False  # since the last transaction
        store.create(GROUPS.schema)
        with store.errors():
            store.connection.execute(f"CREATE OR REPLACE TEMP TABLE group_members ({_MEMBERS})")
            self._steps = Steps(store.connection, "domain_groups")
            self._look()

    def gather(self, size: int) -> None:
        """Count the queries by group."""
        self._look()
        if self._shown.made:
            self._steps.run("sum_domain_groups")

    def add(self) -> None:
        """Add what was counted; the counters of groups that are no more end."""
        if not self._shown.made:
            return
        if self._new:
            GROUPS.forget(self._store, GROUPS.labels[0], [*(group.name for group in self._shown.groups), NO_GROUP])
            self._new = False
        GROUPS.add(self._store, "FROM sum_domain_groups")

    def snapshot(self) -> DomainGroupsSnapshot:
        """Return the groups."""
        return self._shown

    def _look(self) -> None:
        """Take another table, if there is one. One that cannot be read is set aside, and the one before stays."""
        stamp = stamp_of(self._file)
        if stamp == self._stamp or stamp is None:
            return
        self._stamp = stamp
        try:
            self._take(DomainFile(self._file))
        except FileNotFoundError:  # it has just been removed
            return
        except DomainFileError as error:
            self._store.set_aside.put("domains", self._file, error.reason, stamp)
            return
        self._store.set_aside.release("domains", self._file)

    def _take(self, file: DomainFile) -> None:
        facts = file.facts
        run = self._store.connection.execute
        run("CREATE OR REPLACE TEMP TABLE read_members (domain VARCHAR, id INTEGER, queries BIGINT)")
        for table in file.tables("domain", "group", "queries"):
            self._store.connection.register("members_read", table)
            run('INSERT INTO read_members SELECT domain, "group", queries FROM members_read')
            self._store.connection.unregister("members_read")
        run(_READ, [MAX_MEMBERS])
        run("DROP TABLE read_members")
        ids, names = [group.id for group in facts.groups], [group.name for group in facts.groups]
        lookup(self._store.connection, "domain_groups", {"id": "INTEGER", "name": "VARCHAR"}, ids, names)
        self._shown = DomainGroupsSnapshot(facts.groups, facts.silhouette, facts.made.replace(tzinfo=None))
        self._new = True
