"""Searches passive DNS: for what wrong answers hold, and for names whose answers left their past."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.detectors.passive_dns import Tuples, seconds
from dnsvigil.detectors.places import Places
from dnsvigil.detectors.poisoning.history import Change, change, change_of_servers
from dnsvigil.detectors.poisoning.past import Past, changed, pasts, range_of_name, ranges_of_zone
from dnsvigil.detectors.poisoning.windows import Row
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_keys import Range, key_of_data, key_of_name, name_of_key

_LATELY: Final = timedelta(hours=3)
_SLACK: Final = 5  # seconds that the clocks of sensors may be apart


class Search:
    """The searches of one store."""

    def __init__(self, tuples: Tuples, places: Places) -> None:
        self.tuples = tuples
        self._places = places
        self.unreadable = ""
        """Why files were left out; empty where none was."""

    def attacked(self, read: Read, attacks: Sequence[tuple[Sequence[Row], bool]]) -> list[list[Change]]:
        """Return the changes since the first of each zone's rows, the worst first. All zones are read at once.

        With the rows comes whether guessing is beyond the alarm.
        """
        forged = [forged_data(rows, guessed) for rows, guessed in attacks]
        zones = [key_of_name(rows[0].zone or ".") for rows, _ in attacks]
        ranges = [each for zone in zones for each in ranges_of_zone(zone)]
        ranges += [range_of_name(key) for data in forged for key in data]
        found, servers = self._read(read, ranges)
        names, changes = sorted(found), []
        for (rows, _), zone, data in zip(attacks, zones, forged, strict=True):
            spans = [[bisect_left(names, end) for end in ends] for ends in ranges_of_zone(zone)]
            inside = {key for low, high in spans for key in names[low:high]}
            own = {key: found[key] for key in inside | (data.keys() & found.keys())}
            changes.append(self._changes(own, servers, seconds(rows[0].time_first) - _SLACK, data))
        return changes

    def changed(self, read: Read, now: datetime, shared: Set[str]) -> dict[str, list[Change]]:
        """Return the changes of three hours in names with few data, by registered domain, the worst first.

        Those to a ``shared`` address, the key of one that unrelated names suddenly have, are left out.
        """
        names = changed(self.tuples, read, now)
        zones = {key_of_name(domain) for name in names if (domain := registered_domain(name_of_key(name)))}
        found, servers = self._read(read, [range_of_name(key) for key in {*names, *zones}])
        by_domain: defaultdict[str, list[Change]] = defaultdict(list)
        for each in self._changes(found, servers, seconds(now - _LATELY), {}):
            name = name_of_key(each.key)
            if shared.isdisjoint(had.rkey for had in each.new):
                by_domain[registered_domain(name) or name].append(each)
        return dict(by_domain)

    def _read(self, read: Read, ranges: Sequence[Range]) -> tuple[dict[str, Past], dict[str, Past]]:
        """Return the pasts of the names in ranges, and of their name servers; look up where the addresses lie."""
        found = pasts(self.tuples, read, ranges) if ranges else {}
        servers = self._servers(read, found)
        self.unreadable = self.tuples.unreadable
        self._places.learn(had.rkey for past in (*found.values(), *servers.values()) for had in past.addresses)
        return found, servers

    def _changes(
        self,
        found: Mapping[str, Past],
        servers: Mapping[str, Past],
        since: int,
        forged: Mapping[str, Collection[str]],
    ) -> list[Change]:
        changes = [
            each
            for key, past in found.items()
            for each in (
                change(key, past, since, self._places, forged.get(key, ())),
                change_of_servers(key, past, since, self._places, servers),
            )
            if each
        ]
        return sorted(changes, key=lambda each: (-each.sum, each.key))

    def _servers(self, read: Read, found: Mapping[str, Past]) -> dict[str, Past]:
        """Return the pasts of the name servers, and of their domains."""
        names = {had.rkey[1:] for past in found.values() for had in past.servers}
        names |= {name.rpartition(".")[0] for name in names if name.count(".") > 1}
        return pasts(self.tuples, read, [range_of_name(name) for name in names]) if names else {}


def forged_data(rows: Sequence[Row], guessed: bool) -> dict[str, set[str]]:
    """Return the data that a zone's wrong answers hold, by the key of the owner: keys as passive DNS has them.

    A second answer may be the true one, so rows with some do not count. A wrong one may be true on a tap that loses
    packets, so it counts only if guessing is beyond the alarm; one out of bailiwick always counts.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    alone = [
        row
        for row in rows
        if not row.signs["conflicting_answers"] and (row.signs["out_of_bailiwick"] or (guessed and row.wrong))
    ]
    for row in alone:
        for text in row.records or ():
            owner, _, rest = text.partition(" ")
            rrtype, _, rdata = rest.partition(" ")
            if rrtype in ("A", "AAAA") and rdata:
                found[key_of_name(owner)].add(key_of_data(rrtype, rdata))
    return dict(found)
