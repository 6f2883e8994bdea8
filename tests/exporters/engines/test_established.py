"""The hashes of established domains: of the whole list, kept in a file, never of another list."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from dnsvigil.engines import established as engine
from dnsvigil.engines import kept
from dnsvigil.engines.duckdb import queries
from dnsvigil.engines.established import are_established, is_established
from dnsvigil.sources.warninglists import warning_list

FRESH = "a.domain-that-nobody-asks-for.example"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Keeps the file, of a few domains, in a folder of its own, and lists each time that it is made."""
    calls: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout=engine.make_established())

    monkeypatch.setattr(engine, "FILE", tmp_path / "established.hashes")
    monkeypatch.setattr(engine, "warning_list", lambda name: ["a.example", "b.example"])
    monkeypatch.setattr(kept.subprocess, "run", run)
    engine.established.cache_clear()
    yield calls
    engine.established.cache_clear()


def in_new_process() -> list[bool]:
    engine.established.cache_clear()
    return are_established(["a.example", FRESH, ".", "b.example"]).tolist()


def test_the_whole_list_is_established() -> None:
    domains = warning_list("tranco")
    assert are_established(domains).all()
    assert len(engine.established()) == len({*domains, "in-addr.arpa", "ip6.arpa", "."})
    assert are_established([FRESH, "in-addr.arpa", "ip6.arpa", ".", "dom\\xe4in.example"]).tolist() == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert not len(are_established([]))
    assert is_established("google.com")
    assert not is_established(FRESH)


def test_the_hash_is_that_of_the_queries() -> None:
    domains = np.array(["google.com", FRESH, "xn--bcher-kva.example"], object)
    with duckdb.connect() as connection:
        connection.register("domains", {"domain": domains})
        connection.execute("CREATE VIEW hashes AS SELECT md5_number_lower('d' || domain)::UBIGINT AS hash FROM domains")
        of_engine = connection.execute("SELECT hash FROM hashes").fetchnumpy()["hash"]
    assert "MD5_NUMBER_LOWER('d' ||" in queries("novelty")["established"]
    assert engine.within(of_engine, engine.established()).tolist() == [True, False, False]
    assert hashlib.md5(b"dgoogle.com").digest()[8:] == int(of_engine[0]).to_bytes(8, "little")


def test_it_is_made_once(made: list[str]) -> None:
    assert in_new_process() == in_new_process() == [True, False, True, True]
    assert made == ["dnsvigil.engines.established"]


@pytest.mark.parametrize("kept_bytes", [0, 10, 64, 72, 80, 87])
def test_a_damaged_file_is_made_anew(made: list[str], kept_bytes: int) -> None:
    in_new_process()
    engine.FILE.write_bytes(engine.FILE.read_bytes()[:kept_bytes])
    assert in_new_process() == [True, False, True, True]
    assert len(made) == 2


def test_another_list_or_another_source_is_made_anew(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    in_new_process()
    monkeypatch.setattr(kept, "version", lambda name: "99")
    in_new_process()
    in_new_process()
    assert len(made) == 2
    monkeypatch.setattr(engine, "_SOURCES", engine._SOURCES[:1])
    in_new_process()
    assert len(made) == 3


def test_where_nothing_can_be_kept_it_is_made_each_time(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FILE", engine.FILE.parent / "none" / "established.hashes")
    assert in_new_process() == in_new_process() == [True, False, True, True]
    assert len(made) == 2


def test_asking_loads_neither_the_list_nor_the_engine() -> None:
    code = f"""
import sys
from dnsvigil.engines import kept
from dnsvigil.engines.established import is_established
kept.subprocess = None
assert is_established("google.com") and not is_established({FRESH!r})
assert "duckdb" not in sys.modules and "pymispwarninglists" not in sys.modules
"""
    is_established(FRESH)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
