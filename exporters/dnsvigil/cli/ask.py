"""Asks the API: the running collector over HTTP, or the same functions with the store where none runs."""

import json
import logging
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from dnsvigil.api.interface import TOTAL
from dnsvigil.cli import client
from dnsvigil.cli.client import NoCollectorError
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.ownership import require_owner
from dnsvigil.config.collector import Config
from dnsvigil.system.files import reason_of

if TYPE_CHECKING:
    import pyarrow as pa

    from dnsvigil.engines.spark import Cluster
    from dnsvigil.engines.tuples import TupleReader
    from dnsvigil.store.store import Store  # which few commands need, and takes long to import

log = logging.getLogger(__name__)

_MEMORY: Final = "2GB"  # a store that is only read has no disk for what is more

T = TypeVar("T")
P = ParamSpec("P")

Found = tuple[Any, int | None]
"""The content of an answer, and how many there are where it may be the first of them only."""


def ask(config: Config, state: Path, path: str, /, **query: Any) -> Any:
    """Return the answer to ``GET path``; parameters of None are left out. Raises :class:`CommandError`."""
    return ask_counted(config, state, path, **query)[0]


def ask_counted(config: Config, state: Path, path: str, /, **query: Any) -> Found:
    """Return the answer as :func:`ask` does, and the total number if the answer has one."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    try:
        target = f"{path}?{urllib.parse.urlencode(given)}" if given else path
        return _content_of(client.request(config, state, target))
    except NoCollectorError as nobody:
        with store_instead(nobody, state) as store:
            return _ask_store(store, config, "GET", path, given)


def ask_stream(
    config: Config,
    state: Path,
    path: str,
    given: Mapping[str, str],
    content: dict[str, Any] | None = None,
    *,
    read_only: bool = True,
    cluster: "Cluster | None" = None,
) -> Iterator[Mapping[str, Any]]:
    """Yield the frames of the answer to ``GET path``, or to ``POST path`` where there is ``content``.

    What is not ``read_only`` may change the store where no collector runs. Where there is a ``cluster``, it reads the
    store's files of passive DNS, and no collector is asked. Raises :class:`CommandError`, also ``OwnerError``.
    """
    if cluster:
        with open_store(state, read_only=read_only) as store:
            yield from _stream_from_store(store, config, path, given, content, cluster=cluster)
        return
    try:
        target = f"{path}?{urllib.parse.urlencode(given)}" if given else path
        body = None if content is None else json.dumps(content).encode()
        for line in client.stream(config, state, target, body):
            yield json.loads(line)
    except client.RefusedError as refused:
        _content_of(refused.answer)
    except ValueError as error:
        raise CommandError("the answer breaks off") from error
    except NoCollectorError as nobody:
        with store_instead(nobody, state, read_only=read_only) as store:
            yield from _stream_from_store(store, config, path, given, content)


def ask_tables(config: Config, state: Path, path: str) -> Iterator["pa.Table"]:
    """Yield the tables of the answer to ``GET path``. Raises :class:`CommandError`."""
    import pyarrow as pa

    try:
        with client.opened(config, state, path) as response:
            if response.peek(1):  # without a table there is not even a schema
                for batch in pa.ipc.open_stream(response):
                    yield pa.Table.from_batches([batch])
    except client.RefusedError as refused:
        _content_of(refused.answer)
    except pa.ArrowException as error:
        raise CommandError(f"the answer is not what this dnsvigil understands ({error})") from error
    except NoCollectorError as nobody:
        with store_instead(nobody, state) as store:
            yield from _answer(store, config, "GET", path, {}).tables


def change(config: Config, state: Path, path: str, content: dict[str, Any]) -> Any:
    """Return the answer to ``POST path`` with a JSON object. Raises :class:`CommandError`, also ``OwnerError``."""
    try:
        return _content_of(client.request(config, state, path, json.dumps(content).encode()))[0]
    except NoCollectorError as nobody:
        with store_instead(nobody, state, read_only=False) as store:
            return _ask_store(store, config, "POST", path, content)[0]


def ask_on(cluster: "Cluster", config: Config, state: Path, path: str) -> Any:
    """Return the answer to ``GET path`` from the store, whose files of passive DNS a cluster reads.

    Raises :class:`CommandError`.
    """
    with open_store(state) as store:
        return _ask_store(store, config, "GET", path, {}, cluster=cluster)[0]


@contextmanager
def store_instead(nobody: NoCollectorError, state: Path, *, read_only: bool = True) -> Iterator["Store"]:
    """Give the store where no collector answers; none is made.

    Raises :class:`CommandError`, ``OwnerError`` among them.
    """
    with open_store(state, f"{nobody}, and ", read_only=read_only) as store:
        # A person should know; a script that reads the store, as it may without a collector, needs no word.
        log.log(logging.INFO if sys.stderr.isatty() else logging.DEBUG, "%s; reading %s instead", nobody, store.path)
        yield store


@contextmanager
def open_store(state: Path, before: str = "", *, read_only: bool = True) -> Iterator["Store"]:
    """Give the store; none is made. Raises :class:`CommandError`, ``OwnerError`` among them, with a text ``before``."""
    from dnsvigil.store.store import FILE_NAME, Store, StoreError

    try:
        if not read_only and (state / FILE_NAME).exists():
            require_owner(state)
        with Store(state, _MEMORY, read_only=read_only, must_exist=True) as store:
            yield store
    except (StoreError, OSError) as error:
        raise CommandError(f"{before}{reason_of(error)}") from error


def shows_answer(command: Callable[P, T]) -> Callable[P, T]:
    """Make a command that shows an answer raise :class:`CommandError` where the answer is not what it expects."""

    @wraps(command)
    def shown(*arguments: P.args, **keywords: P.kwargs) -> T:
        try:
            return command(*arguments, **keywords)
        except (LookupError, TypeError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise CommandError(
                f"the answer is not what this dnsvigil understands ({what}); is the collector of another version?"
            ) from error

    return shown


def _content_of(answer: client.Answer) -> Found:
    try:
        content = json.loads(answer.body)
        if answer.status < 300:
            total = answer.headers.get(TOTAL, "")
            return content, int(total) if total.isdecimal() else None
        message = str(content["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"status {answer.status}: {answer.body[:100]!r}"
    raise _error(answer.status, message)


def _ask_store(
    store: "Store",
    config: Config,
    method: str,
    path: str,
    parameters: Mapping[str, Any],
    *,
    cluster: "Cluster | None" = None,
) -> Found:
    answer = _answer(store, config, method, path, parameters, cluster=cluster)
    if answer.status >= 300:
        raise _error(answer.status, str(answer.content["error"]))
    return answer.content, answer.total


def _stream_from_store(
    store: "Store",
    config: Config,
    path: str,
    given: Mapping[str, str],
    content: Mapping[str, Any] | None,
    *,
    cluster: "Cluster | None" = None,
) -> Iterator[Mapping[str, Any]]:
    from dnsvigil.api.passive_dns.saf import framed

    asked = ("GET", path, given) if content is None else ("POST", path, content)
    answer = _answer(store, config, *asked, cluster=cluster)
    yield from (frame for frame in framed(answer.objects, answer.problems) if frame is not None)


def _answer(
    store: "Store",
    config: Config,
    method: str,
    path: str,
    parameters: Mapping[str, Any],
    *,
    cluster: "Cluster | None" = None,
) -> Any:
    """Return an ``Answer``, a ``Stream`` or ``Tables``. Raises :class:`CommandError`."""
    from dnsvigil.api.interface import RequestError
    from dnsvigil.api.routes import ROUTES
    from dnsvigil.store.domains import DomainHours
    from dnsvigil.store.findings import Findings
    from dnsvigil.store.passive_dns import PassiveDns

    Findings(store)
    PassiveDns(store)
    DomainHours(store, config.store.max_size)
    if "/flows/" in path:
        from dnsvigil.store.flows import FlowTables

        FlowTables(store, config.store.max_size)
    (route,) = (each for each in ROUTES if (each.method, each.path) == (method, path))
    try:
        return route.answer(_StoreBackend(store, cluster), config, parameters)
    except RequestError as error:
        raise _error(error.status, str(error)) from error


def _error(status: int, message: str) -> CommandError:
    return UsageError(message) if status == HTTPStatus.BAD_REQUEST else CommandError(message)


class _StoreBackend:
    """The API's backend where no collector runs."""

    def __init__(self, store: "Store", cluster: "Cluster | None" = None) -> None:
        self._store = store
        self._cluster = cluster
        self.read = store.read
        self.read_tables = store.read_tables
        self.folder = store.path.parent

    @property
    def tuples(self) -> "TupleReader":
        if self._cluster:
            from dnsvigil.engines.spark_tuples import ClusterTuples

            return ClusterTuples(self._store, self._cluster)
        from dnsvigil.engines.tuples import TupleReader

        return TupleReader(lambda: self._store)

    def submit(self, task: Callable[["Store"], T]) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(task(self._store))
        except Exception as error:
            done.set_exception(error)
        return done
