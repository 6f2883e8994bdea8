"""What the functions of the API take and return. HTTP and the command line call the same functions.

Each takes what it reads or changes, the configuration, and the parameters of the request, and returns an
:class:`Answer`. It raises :class:`RequestError` for a request that cannot be answered, and ``StoreError``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

    from dnsvigil.engines.tuples import TupleReader
    from dnsvigil.ingest.intake import Snapshot
    from dnsvigil.sources.availability import Place
    from dnsvigil.store.store import Store  # which a command that asks a collector does without

T = TypeVar("T")

TOTAL: Final = "X-Total-Count"
"""The header with the number of all findings that match, of which the response may have the first only."""

Parameters = Mapping[str, Any]
"""The parameters of a query, which are text, or the keys of a body."""


class Reader(Protocol):
    """Reads the store, from any thread."""

    def read(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query. Raises ``StoreError``."""


class TupleSource(Reader, Protocol):
    """Reads the store, and the tuples of passive DNS."""

    def read_tables(self, *queries: tuple[str, Sequence[Any]]) -> list["pa.Table"]:
        """Return the Arrow tables of queries. Raises ``StoreError``."""

    @property
    def tuples(self) -> "TupleReader":
        """What looks tuples up, from any thread."""

    @property
    def folder(self) -> Path:
        """The state folder, that of the store."""


class Writer(Protocol):
    """Changes the store; may be called from any thread."""

    def submit(self, task: Callable[["Store"], T]) -> Future[T]:
        """Run ``task`` with the open store, outside of a transaction, when nothing else uses it."""


class FlowReader(Protocol):
    """Reads flow files; may be called from any thread."""

    def submit_files(self, files: list[tuple[Path, str | None]]) -> Future[None]:
        """Have flow files read, each with the exporter's name if that is known.

        Raises ``OSError`` for a file that may not be read.
        """


@dataclass(frozen=True)
class Condition:
    """How a running collector is, of which the store knows nothing."""

    lag: Mapping[str, tuple[int, float]]  # by sensor of logs: bytes not read yet, seconds behind
    folders: Mapping["Place", str]  # why nothing can be read in each; empty where all is well
    config_mistakes: int  # of the newest configuration, which is not in force if there are any
    failure: str  # of the last round; empty if there was none
    displaced: bool = False  # another file, or none, is now where the open store was


class Backend(TupleSource, Writer, FlowReader, Protocol):
    """All that the API needs: the running collector."""

    @property
    def snapshot(self) -> "Snapshot":
        """What the newest round left. Raises ``StoreError`` while there is nothing."""

    @property
    def condition(self) -> Condition:
        """How the process is."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    content: Any  # for JSON
    status: int = 200
    total: int | None = None  # how many there are, where the content may be the first of them only


Objects = Iterator[Mapping[str, Any] | None]
"""What is found one by one, for JSON; None wherever it takes time to find more."""


@dataclass(frozen=True)
class Stream:
    """The answer to a request, which may be too large for memory."""

    objects: Objects
    problems: Sequence[str] = ()  # what was wrong with a part of the request, which was left out


@dataclass(frozen=True)
class Tables:
    """The answer to a request, as tables of Arrow that come one by one; all have the columns of the first."""

    tables: Iterator["pa.Table"]


class RequestError(Exception):
    """Why a request is refused, with the status of the response."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
