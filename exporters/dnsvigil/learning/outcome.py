"""The table of domains with their groups, from the features of all domains and the table before."""

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
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import Facts, write_domains

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
    former: Facts | None,
    made: datetime,
    seed: int = 0,
) -> Outcome:
    """Divide domains into groups. ``known`` has names by what they are known for, ``made`` is the time in UTC.

    Groups of the ``former`` table that are there again keep their ids and names, if its features are the same.
    """
    domains, values = table.values()
    scaling = Scaling.of(values)
    rows = scaling.rows(values)
    if former and list(former.features) != list(DOMAIN_FEATURES):
        former = None
    found = cluster(rows, seed, len(former.groups) if former else 0)
    before = Scaling.of_facts(former) if former else scaling
    moved = centres_of(cut(before.rows(values)), found.labels)
    groups, next_id = describe(found, kinds_of(table.connection, domains, known), former, moved)
    facts = Facts(
        made=made,
        features=list(DOMAIN_FEATURES),
        means=scaling.means.tolist(),
        spreads=scaling.spreads.tolist(),
        statistics=table.statistics(),
        groups=groups,
        silhouette=found.silhouette,
        next_id=next_id,
    )
    return Outcome(domains, rows, found, facts)


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
