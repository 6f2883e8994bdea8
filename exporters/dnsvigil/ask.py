"""Asks the API's questions: of the store, or of the collector that has it open."""

import http.client
import json
import urllib.parse
from pathlib import Path
from typing import Any, Final

from dnsvigil.config import Config
from dnsvigil.httpd.server import Response
from dnsvigil.store.findings import Findings
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store, StoreError
from dnsvigil.web.api import Questions

_TIMEOUT: Final = 30.0  # seconds


class AskError(Exception):
    """There is no answer; ``usage`` tells whether the question is to blame."""

    def __init__(self, message: str, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


def ask(config: Config, state: Path, path: str, **query: Any) -> Any:
    """Return the answer to ``GET path``, whatever is None in the query being left out. Raises :class:`AskError`."""
    target = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    try:
        with Store(state) as store:
            Findings(store)
            FlowTables(store, config.store.max_size)
            answer = Questions(store).handlers()[path]({"PATH_INFO": path, "QUERY_STRING": target})
    except StoreError as error:  # it is in use, or for the collector's user alone
        answer = _ask_collector(config, error, f"{path}?{target}")
    try:
        content = json.loads(answer.body)
        if answer.status == 200:
            return content
        said = str(content["error"])
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status}: {answer.body[:100]!r}"
    raise AskError(said, usage=answer.status == 400)


def _ask_collector(config: Config, closed: StoreError, target: str) -> Response:
    host, _, port = config.listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    if config.web_config_file:
        # No certificate has the name of this address, and of a password only the hash is known.
        raise AskError(f"{closed}; with TLS or a password, ask the collector: https://{host}:{port}{target}")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return Response(response.status, {}, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise AskError(f"{closed}, and no collector answers at http://{host}:{port}{target}: {error}") from error
    finally:
        connection.close()
