"""Asks the API's questions: of the running collector, or of the store where none runs."""

import io
import json
import logging
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar

from dnsvigil.api.api import TOTAL, StoreApi
from dnsvigil.cli import client
from dnsvigil.cli.client import Answer, ClientError, NoCollectorError
from dnsvigil.cli.ownership import require_owner
from dnsvigil.config.collector import Config
from dnsvigil.store.findings import Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import FILE_NAME, Store, StoreError
from dnsvigil.system.files import reason_of

log = logging.getLogger(__name__)

_MEMORY: Final = "2GB"  # a store that is only read has no disk for what is more
_JSON: Final = "application/json"

_T = TypeVar("_T")


class AskError(Exception):
    """There is no answer; ``usage`` tells whether the question is to blame."""

    def __init__(self, message: str, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


class _Here:
    """What the API has behind it where no collector runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read = store.read

    def submit(self, task: Callable[[Store], _T]) -> Future[_T]:
        done: Future[_T] = Future()
        try:
            done.set_result(task(self._store))
        except Exception as error:
            done.set_exception(error)
        return done


def ask(config: Config, state: Path, path: str, /, **query: Any) -> Any:
    """Return the answer to ``GET path``, whatever is None in the query being left out. Raises :class:`AskError`."""
    return ask_counted(config, state, path, **query)[0]


def ask_counted(config: Config, state: Path, path: str, /, **query: Any) -> tuple[Any, int | None]:
    """Return the answer as :func:`ask`, and of how many it is the first, where that is said."""
    target = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    content, headers = _answer(config, state, path, target, None)
    total = headers.get(TOTAL, "")
    return content, int(total) if total.isdecimal() else None


def change(config: Config, state: Path, path: str, content: dict[str, Any]) -> Any:
    """Return the answer to ``POST path`` with a JSON object. Raises :class:`AskError`, and ``OwnerError``."""
    return _answer(config, state, path, "", json.dumps(content).encode())[0]


@contextmanager
def store_instead(nobody: NoCollectorError, state: Path, *, read_only: bool = True) -> Iterator[Store]:
    """Give the store where no collector answers; none is made. Raises :class:`AskError`, and ``OwnerError``."""
    try:
        if not read_only and (state / FILE_NAME).exists():
            require_owner(state)
        with Store(state, _MEMORY, read_only=read_only, must_exist=True) as store:
            # A person should know; a script that reads the store, as it may without a collector, needs no word.
            log.log(
                logging.INFO if sys.stderr.isatty() else logging.DEBUG, "%s; reading %s instead", nobody, store.path
            )
            yield store
    except (StoreError, OSError) as error:
        raise AskError(f"{nobody}, and {reason_of(error)}") from error


def _answer(config: Config, state: Path, path: str, query: str, body: bytes | None) -> tuple[Any, Mapping[str, str]]:
    try:
        answer = client.request(config, state, f"{path}?{query}" if query else path, body)
    except ClientError as error:
        raise AskError(str(error), error.usage) from error
    except NoCollectorError as nobody:
        with store_instead(nobody, state, read_only=body is None) as store:
            Findings(store)
            FlowTables(store, config.store.max_size)
            environ = {
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": _JSON,
                "CONTENT_LENGTH": str(len(body or b"")),
                "wsgi.input": io.BytesIO(body or b""),
            }
            response = StoreApi(_Here(store), config).handlers()[path if body is None else f"POST {path}"](environ)
        answer = Answer(response.status, response.headers, response.body)
    status, content = answer.status, answer.body
    try:
        found = json.loads(content)
        if status < 300:
            return found, answer.headers
        said = str(found["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = f"status {status}: {content[:100]!r}"
    raise AskError(said, usage=status == HTTPStatus.BAD_REQUEST)
