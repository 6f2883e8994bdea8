"""What the table of domains is made from, over HTTP: all of it or an error, and for nobody without credentials."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dnsvigil.api.app import api
from dnsvigil.api.routes import open_paths
from dnsvigil.cli.ask import ask_tables
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.main import main
from dnsvigil.collector.application import application
from dnsvigil.config.collector import Api, Client, Config
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.httpd.access import TOKEN_FILE, Access, Token, keep_token
from dnsvigil.httpd.api_keys import ApiKeys
from dnsvigil.httpd.server import Server
from dnsvigil.ingest.intake import Intake
from dnsvigil.store import domains
from dnsvigil.store.store import Store, StoreError
from exporters.ingest.taking import Taking
from exporters.running import write_config
from exporters.zeeklogs import START, tsv

NAMES = [f"www.{label}.example" for label in "abcdefghij"]


class Behind:
    """The part of a collector behind these paths."""

    def __init__(self, store: Store) -> None:
        self.read = store.read
        self.read_tables: Callable[..., Any] = store.read_tables
        self.tuples = TupleReader(lambda: store)
        self.folder = store.path.parent


@contextmanager
def serving(store: Store, behind: Behind) -> Iterator[Config]:
    """Serve, also to those who may see all addresses; give the configuration to ask with."""
    folder = store.path.parent
    keep_token(folder / TOKEN_FILE)
    config = Config(api=Api(client_addresses="everyone"))
    access = Access(folder / TOKEN_FILE, [*open_paths(config)], loopback=True)
    token = Token(folder / TOKEN_FILE, ApiKeys({}, ()))
    with Server(application([api(behind, config)], access), "127.0.0.1:0", token=token) as server:
        host, port = server.address
        yield Config(client=Client(url=f"http://{host}:{port}"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        with closing(Taking(store, Config())) as taking:
            for hour in range(3):
                ts = f"{START + hour * 3600:.6f}"
                taking.take("dns", *(tsv(ts=ts, query=name, answers="192.0.2.1", TTLs="60.0") for name in NAMES))
        yield store


def rows(tables: Iterator[pa.Table], *columns: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[name] for name in columns) for table in tables for row in table.to_pylist())


@pytest.mark.parametrize("at_once", [2, 50_000])
def test_all_rows_come_in_tables_of_bounded_size(store, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(domains, "_READ_AT_ONCE", at_once)
    with serving(store, Behind(store)) as config:
        hours = list(ask_tables(config, tmp_path, "/api/domains/hours"))
        assert rows(iter(hours), "domain", "hour", "queries") == store.rows(
            "SELECT domain, hour, sum(queries) FROM domain_hours GROUP BY ALL ORDER BY ALL"
        )
        assert len(hours) >= 3
        assert at_once > 10 or len(hours) > 9
        tuples = ask_tables(config, tmp_path, "/api/domains/tuples")
        assert rows(tuples, "nkey", "rkey") == [(f"example.{each}.www", "a192000002001") for each in "abcdefghij"]


def test_of_no_rows_there_are_no_tables(tmp_path):
    with Store(tmp_path) as store, closing(Intake(store, Config())), serving(store, Behind(store)) as config:
        for name in ("hours", "tuples"):
            assert list(ask_tables(config, tmp_path, f"/api/domains/{name}")) == []


@pytest.mark.parametrize(("path", "status"), [("hours", 401), ("tuples", 401), ("known", 200)])
def test_hashes_of_clients_and_all_of_passive_dns_need_credentials(store, tmp_path, path, status):
    with serving(store, Behind(store)) as config:
        host, port = config.client.url.removeprefix("http://").split(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
            connection.request("GET", f"/api/domains/{path}")
            assert connection.getresponse().status == status


def test_what_breaks_off_is_never_taken_for_all(store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(domains, "_READ_AT_ONCE", 2)
    behind = Behind(store)
    asked = 0

    def read_tables(*queries: Any) -> list[pa.Table]:
        nonlocal asked
        asked += 1
        if asked > 4:
            raise StoreError("the disk is on fire")
        return store.read_tables(*queries)

    behind.read_tables = read_tables
    with serving(store, behind) as config:
        with pytest.raises(CommandError, match="breaks off"):
            list(ask_tables(config, tmp_path, "/api/domains/hours"))
        asked = 0
        call = ["-c", str(write_config(tmp_path)), "--state", str(tmp_path), "domains", "cluster"]
        assert main([*call, "--url", config.client.url]) == 1
        assert "breaks off" in capsys.readouterr().err
        assert not (tmp_path / "domains.parquet").exists()


def test_an_answer_that_is_no_stream_of_tables_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr("dnsvigil.api.passive_dns.streams._messages", lambda tables: iter([b"no stream of tables"]))
    with serving(store, Behind(store)) as config, pytest.raises(CommandError, match="is not what this dnsvigil"):
        list(ask_tables(config, tmp_path, "/api/domains/hours"))
