"""The table of domains with their groups, from the features of all domains and the table before."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dnsvigil.learning.clusters import Clusters, centres_of, cluster, cut
from dnsvigil.learning.domain_kinds import kinds_of
from dnsvigil.learning.domains import DomainTable, neighbourhoods
from dnsvigil.learning.groups import describe
from dnsvigil.learning.plane import plane
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import DomainFile, DomainFileError, Facts, Former, write_domains

log = logging.getLogger(__name__)

_SHOWN: Final = 5  # members and odd ones of a group


@dataclass(frozen=True)
class Outcome:
    """All domains with their groups."""

    domains: Sequence[str]
    rows: NDArray[np.float32]  # their features, scaled
    clusters: Clusters
    facts: Facts

    def members(self, place: int) -> tuple[list[str], list[tuple[str, float]]]:
        """Return the most typical domains of a group, and those farthest from its centre, with the distance."""
        own = np.flatnonzero(self.clusters.labels == place)
        near = own[np.argsort(self.clusters.distances[own], kind="stable")].tolist()
        odd = [(self.domains[each], float(self.clusters.distances[each])) for each in near[::-1][:_SHOWN]]
        return [self.domains[each] for each in near[:_SHOWN]], odd


def outcome(
    table: DomainTable,
    known: Mapping[str, Iterable[str]],
    file: DomainFile | None,
    made: datetime,
    seed: int = 0,
) -> Outcome:
    """Divide domains into groups. ``known`` has names by what they are known for, ``made`` is the time in UTC.

    Groups of the table before, in ``file``, that are there again keep their ids and names, if its features are the
    same.
    """
    former = file.facts if file else None
    domains, values = table.values()
    scaling = Scaling.of(values)
    rows = scaling.rows(values)
    if former and list(former.features) != list(DOMAIN_FEATURES):
        former = None
    found = cluster(rows, seed, len(former.groups) if former else 0)
    before = Scaling.of_facts(former) if former else scaling
    moved = centres_of(cut(before.rows(values)), found.labels)
    groups, next_id = describe(found, kinds_of(table.connection, domains, known), former, moved)
    ids = np.array([group.id for group in groups], np.int64)[found.labels] if groups else found.labels
    facts = Facts(
        made=made,
        features=list(DOMAIN_FEATURES),
        means=scaling.means.tolist(),
        spreads=scaling.spreads.tolist(),
        statistics=table.statistics(),
        groups=groups,
        silhouette=found.silhouette,
        next_id=next_id,
        plane=plane(rows, ids, scaling, former, seed),
        former=_changes(table, file, domains, ids) if file and former else None,
    )
    return Outcome(domains, rows, found, facts)


def _changes(table: DomainTable, file: DomainFile, domains: Sequence[str], ids: NDArray[np.int64]) -> Former | None:
    """Return what has changed since the table before; None where that cannot be read."""
    run, connection = table.connection.execute, table.connection
    run("CREATE OR REPLACE TEMP TABLE members_before (domain VARCHAR, id INTEGER)")
    try:
        for piece in file.tables("domain", "group"):
            connection.register("piece", piece)
            run("INSERT INTO members_before FROM piece")
            connection.unregister("piece")
    except DomainFileError as error:
        log.warning("%s; what has changed since is not known", error)
        return None
    connection.register("members_now", pa.table({"domain": pa.array(domains, pa.string()), "id": ids}))
    moves = run(
        "SELECT coalesce(old.id, 0), coalesce(new.id, 0), count(*) FROM members_before AS old"
        " FULL JOIN members_now AS new USING (domain) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    connection.unregister("members_now")
    run("DROP TABLE members_before")
    groups = {str(group.id): (group.name, group.domains) for group in file.facts.groups}
    return Former(file.facts.made.isoformat(), groups, moves)


def save(path: Path, table: DomainTable, found: Outcome) -> None:
    """Write the table of domains, in the place of one that is there. Raises ``OSError``."""
    ids = np.array([group.id for group in found.facts.groups], np.int32)
    places = np.empty(len(found.domains), np.int32)
    places[neighbourhoods(found.rows)] = np.arange(len(places))
    reader = table.placed(
        pa.table(
            {
                "domain": pa.array(found.domains, pa.string()),
                "place": places,
                "group": ids[found.clusters.labels] if len(ids) else ids,
                "distance": found.clusters.distances,
            }
        )
    )
    write_domains(path, (pa.Table.from_batches([batch]) for batch in reader), reader.schema, found.facts)
