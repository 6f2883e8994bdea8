"""What a collector serves over a store that tests have filled, without sockets and loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask.testing import FlaskClient

from dnsvigil.api.interface import Condition
from dnsvigil.cli.main import main
from dnsvigil.collector.process_metrics import ProcessMetrics
from dnsvigil.collector.site import Site
from dnsvigil.config.collector import Config, load_config
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.httpd.access import AUTHENTICATED
from dnsvigil.ingest.flows import FlowSnapshot
from dnsvigil.ingest.intake import Intake
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store
from exporters.running import write_config

SCRIPT = "<script>alert('x')</script>"
"""A label of a name on the wire."""


class Behind:
    """The part of a collector behind the pages."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tuples = TupleReader(lambda: store)
        self.folder = store.path.parent
        self.condition = Condition({}, {}, 0, "")
        self.snapshot: Any = None
        self.read, self.read_tables = store.read, store.read_tables

    def submit(self, task: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(task(self.store))
        return done

    def submit_files(self, files: Any) -> Future[None]:
        raise AssertionError(files)


def fill(folder: Path, logs: Mapping[str, bytes], **keys: Any) -> Config:
    """Ingest logs, by their names, into a store in ``folder/state``; return the configuration."""
    path = write_config(folder, **keys)
    for name, content in logs.items():
        (folder / name).write_bytes(content)
        assert main(["-c", str(path), "--state", str(folder / "state"), "ingest", str(folder / name)]) == 0
    return load_config(path)


@contextmanager
def serving(config: Config, state: Path) -> Iterator[Pages]:
    """Serve a store."""
    with Store(state) as store:
        FlowTables(store, 10**9)
        behind = Behind(store)
        intake = Intake(store, config)
        site = Site(config, state, behind, ProcessMetrics(), lambda *_: None)
        behind.snapshot = intake.snapshot()
        site.pages.publish(behind.snapshot, FlowSnapshot())
        yield Pages(site, intake, behind)
        intake.close()


class Pages:
    """Asks for pages."""

    def __init__(self, site: Site, intake: Intake, behind: Behind) -> None:
        self.intake = intake
        self.behind = behind
        self.client: FlaskClient = site.application.test_client()

    def ask(self, path: str, *, proved: bool = True, **query: str) -> Any:
        """Return the response to somebody who has proved who they are, and sees addresses of clients, or has not."""
        return self.ask_as_written(path, urlencode(query), proved=proved)

    def ask_as_written(self, path: str, query: str, *, proved: bool = True) -> Any:
        """Return the response to a URL that is written by hand."""
        return self.client.get(
            path,
            query_string=query,
            environ_overrides={AUTHENTICATED: proved, "SERVER_ADDR": "127.0.0.1"},
            headers={"Host": "localhost"},
        )

    def text(self, path: str, status: int = 200, *, proved: bool = True, **query: str) -> str:
        """Return a page."""
        response = self.ask(path, proved=proved, **query)
        text: str = response.get_data(as_text=True)
        assert response.status_code == status, text
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert SCRIPT not in text
        return text


def in_order(text: str, parts: Iterable[str]) -> bool:
    """Return whether a text has the parts one after the other."""
    place = 0
    for part in parts:
        place = text.find(part, place) + 1
        if not place:
            return False
    return True
