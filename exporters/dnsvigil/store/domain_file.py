"""The table of domains: a Parquet file in the state folder with the features, group and oddness of each.

``dnsvigil domains cluster`` writes it whole, and a running collector reads of it what it needs. What was found of all
domains together is JSON in the file's footer. Pages have checksums, so that damage is never taken for data.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dnsvigil.system.files import check_file, naming

ROWS: Final = 16_384
"""The rows of a row group. Domains that are alike lie in one."""

_NAME: Final = "domains.parquet"
_FACTS: Final = b"dnsvigil.domains"
_VERSION: Final = 1


class DomainFileError(Exception):
    """The table cannot be read; the message names the file and what to do."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(f"{path}: {reason}; run dnsvigil domains cluster")
        self.reason = str(reason)


class _VersionError(Exception):
    """The table has another form than this version reads."""


@dataclass(frozen=True)
class Group:
    """A group of domains that are alike."""

    id: int  # the same from table to table
    name: str  # unlike that of all others
    domains: int
    features: Mapping[str, float]  # those that stand out, with how many standard deviations
    centre: Sequence[float]  # of all features, as scaled by ``Facts.means`` and ``spreads``


@dataclass(frozen=True)
class Plane:
    """Some domains along the two directions in which all domains differ most."""

    axes: Sequence[Mapping[str, float]]  # the features with most weight in each direction, and their weights
    points: Sequence[tuple[float, float, int]]  # where a domain is, and the id of its group
    centres: Mapping[str, tuple[float, float]]  # by the id of the group
    former: Mapping[str, tuple[float, float]]  # those of the table before


@dataclass(frozen=True)
class Former:
    """The table before, as far as it says what has changed."""

    made: str  # as JSON has times
    groups: Mapping[str, tuple[str, int]]  # the name and the number of domains, by id
    moves: Sequence[tuple[int, int, int]]  # the id of the group before and now, 0 for none, and how many domains


@dataclass(frozen=True)
class Facts:
    """What was found of all domains together."""

    made: datetime  # UTC
    features: Sequence[str]  # in the order of the next two
    means: Sequence[float]
    spreads: Sequence[float]
    statistics: Mapping[str, Mapping[str, float | None]]  # by feature
    groups: Sequence[Group]  # the largest first
    silhouette: float | None
    next_id: int  # of a group that was never there
    plane: Plane | None = None  # None, as the next, in tables of former versions
    former: Former | None = None

    def text(self) -> str:
        """Return the facts as JSON."""
        return json.dumps({"version": _VERSION, **asdict(self), "made": self.made.isoformat()})


def facts_of(text: str) -> Facts:
    """Return the facts of JSON. Raises ``ValueError``, ``LookupError``, ``TypeError`` and ``_VersionError``."""
    content = json.loads(text)
    if content.pop("version") != _VERSION:
        raise _VersionError
    groups = [Group(**group) for group in content.pop("groups")]
    plane, former = content.pop("plane", None), content.pop("former", None)
    return Facts(
        **content | {"made": datetime.fromisoformat(content["made"])},
        groups=groups,
        plane=Plane(**plane) if plane else None,
        former=Former(**former) if former else None,
    )


def domain_file(state: Path) -> Path:
    """Return the path of the table in a state folder."""
    return state / _NAME


def write_domains(path: Path, tables: Iterable[pa.Table], schema: pa.Schema, facts: Facts) -> None:
    """Put a table in the place of one that is there, which stays until the new one is whole. Raises ``OSError``."""
    new = path.with_suffix(".new")
    with naming(path):
        try:
            with pq.ParquetWriter(new, schema, compression="zstd", write_page_checksum=True) as writer:
                writer.add_key_value_metadata({_FACTS: facts.text().encode()})
                for table in tables:
                    writer.write_table(table, row_group_size=ROWS)
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Return what changes with the table; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


class DomainFile:
    """A table, open for reading."""

    def __init__(self, path: Path) -> None:
        """Read what was found. Raises :class:`DomainFileError`, and ``FileNotFoundError`` where there is no table."""
        self._path = path
        try:
            check_file(path)
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.facts = facts_of((self._file.metadata.metadata or {})[_FACTS].decode())
        except FileNotFoundError:
            raise
        except _VersionError as error:
            raise DomainFileError(path, "another version of dnsvigil made it") from error
        except (OSError, pa.ArrowException, ValueError, LookupError, TypeError) as error:
            raise DomainFileError(path, _words(error)) from error

    @property
    def domains(self) -> int:
        """How many there are."""
        return int(self._file.metadata.num_rows)

    def around(self, domain: str) -> tuple[pa.Table, int] | None:
        """Return the row group that a domain is in, and its place there; None where it is in none.

        Raises :class:`DomainFileError`.
        """
        for number in range(self._file.metadata.num_row_groups):
            place = pc.index(self._read(number, ["domain"])["domain"], pa.scalar(domain)).as_py()
            if place >= 0:
                return self._read(number, None), int(place)
        return None

    def tables(self, *columns: str) -> Iterator[pa.Table]:
        """Yield columns of all domains. Raises :class:`DomainFileError`."""
        for number in range(self._file.metadata.num_row_groups):
            yield self._read(number, list(columns))

    def _read(self, number: int, columns: list[str] | None) -> pa.Table:
        try:
            return self._file.read_row_group(number, columns, use_threads=False)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DomainFileError(self._path, _words(error)) from error


def _words(error: Exception) -> Any:
    return getattr(error, "strerror", None) or f"it is no table of domains ({type(error).__name__}: {error})"
