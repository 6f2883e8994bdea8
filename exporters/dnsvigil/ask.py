"""Asks the API's questions: of the store, or of the collector that has it open."""

import http.client
import io
import json
import shlex
import urllib.parse
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from dnsvigil.config import Config
from dnsvigil.httpd.server import Response
from dnsvigil.store.findings import Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store, StoreError
from dnsvigil.web.api import StoreApi

_TIMEOUT: Final = 30.0  # seconds
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


def ask(config: Config, state: Path, path: str, **query: Any) -> Any:
    """Return the answer to ``GET path``, whatever is None in the query being left out. Raises :class:`AskError`."""
    return _answer(config, state, path, None, **query)


def tell(config: Config, state: Path, path: str, content: dict[str, Any]) -> Any:
    """Return the answer to ``POST path`` with a JSON object. Raises :class:`AskError`."""
    return _answer(config, state, path, json.dumps(content))


def _answer(config: Config, state: Path, path: str, body: str | None, **query: Any) -> Any:
    target = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    try:
        with Store(state) as store:
            Findings(store)
            FlowTables(store, config.store.max_size)
            raw = (body or "").encode()
            environ = {
                "PATH_INFO": path,
                "QUERY_STRING": target,
                "CONTENT_TYPE": _JSON,
                "CONTENT_LENGTH": str(len(raw)),
                "wsgi.input": io.BytesIO(raw),
            }
            answer = StoreApi(_Here(store)).handlers()[path if body is None else f"POST {path}"](environ)
    except StoreError as error:  # it is in use, or for the collector's user alone
        answer = _ask_collector(config, error, f"{path}?{target}" if target else path, body)
    try:
        content = json.loads(answer.body)
        if answer.status < 300:
            return content
        said = str(content["error"])
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status}: {answer.body[:100]!r}"
    raise AskError(said, usage=answer.status == 400)


def _ask_collector(config: Config, closed: StoreError, target: str, body: str | None) -> Response:
    host, _, port = config.listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    if config.web_config_file:
        # No certificate has the name of this address, and of a password only the hash is known.
        with_body = f" -H 'Content-Type: {_JSON}' -d {shlex.quote(body)}" if body is not None else ""
        url = f"https://{host}:{port}{target}"
        said = f"ask the collector: {url}" if body is None else f"tell the collector: curl {url}{with_body}"
        raise AskError(f"{closed}; with TLS or a password, {said}")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT)
    try:
        if body is None:
            connection.request("GET", target)
        else:
            connection.request("POST", target, body, {"Content-Type": _JSON})
        response = connection.getresponse()
        return Response(response.status, {}, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise AskError(f"{closed}, and no collector answers at http://{host}:{port}{target}: {error}") from error
    finally:
        connection.close()
