"""The SQL of the expressions: never stale, and without Ibis in the process that runs it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from dnsvigil.engines import duckdb as engine
from dnsvigil.engines import kept

LOADED = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
HEAVY = {"ibis", "pandas", "pyarrow", "sqlglot", "sklearn", "scipy"}


def modules_of(code: str) -> set[str]:
    ran = subprocess.run([sys.executable, "-c", f"{code}; {LOADED}"], check=True, capture_output=True, text=True)
    return set(ran.stdout.split())


@pytest.fixture(scope="module")
def content() -> bytes:
    return engine.make_queries()


@pytest.fixture
def made(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Keeps the file in a folder of its own, and lists each time that the SQL is made."""
    calls: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout=content)

    monkeypatch.setattr(engine, "FILE", tmp_path / "queries.json")
    monkeypatch.setattr(kept.subprocess, "run", run)
    yield calls
    engine._queries.cache_clear()


def ask() -> str:
    engine._queries.cache_clear()
    return engine.queries("summaries")["tally"]


def words_of(query: str) -> list[str]:
    # Ibis makes some names at random, and lists the columns that it leaves out in any order.
    return sorted(re.findall(r"\w+", re.sub(r"(ibis_table_unnest\w*?)_[a-z0-9]{20,}", r"\1", query)))


def test_what_is_kept_is_what_the_expressions_give(content: bytes) -> None:
    fresh = json.loads(content)["queries"]
    for subject in engine.SUBJECTS:
        found = engine.queries(subject)
        assert {name: words_of(query) for name, query in found.items()} == {
            name: words_of(query) for name, query in fresh[subject].items()
        }


def test_it_is_made_once(made: list[str]) -> None:
    assert ask() == ask()
    assert made == ["dnsvigil.engines.duckdb"]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"made_from": 1}', "\x00", "\udcff"])
def test_a_damaged_file_is_made_anew(made: list[str], damage: str) -> None:
    whole = ask()
    engine.FILE.write_bytes(damage.encode("utf-8", "surrogateescape"))
    assert ask() == whole
    assert len(made) == 2
    assert ask() == whole
    assert len(made) == 2


def test_queries_that_are_not_there_are_made_anew(made: list[str]) -> None:
    ask()
    found = json.loads(engine.FILE.read_text())
    engine.FILE.write_text(json.dumps(found | {"queries": {}}))
    ask()
    assert len(made) == 2


def test_other_sources_or_another_ibis_give_other_sql(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine.made_from()
    monkeypatch.setattr(kept, "version", lambda name: "99")
    assert engine.made_from() != before
    monkeypatch.undo()
    sources = {path.relative_to(kept.PACKAGE) for name in engine._SOURCES for path in kept.PACKAGE.glob(name)}
    code = "import dnsvigil.engines.duckdb as e; e.make_queries(); import sys;"
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code} print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('dnsvigil.')))",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    needed = {Path(file).relative_to(kept.PACKAGE) for file in loaded}
    assert {path for path in needed - sources if path.name != "__init__.py"} == {
        Path("engines/kept.py"),
        Path("system/programs.py"),
    }


def test_where_nothing_can_be_kept_it_is_made_each_time(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FILE", engine.FILE.parent / "none" / "queries.json")
    assert ask() == ask()
    assert len(made) == 2


def test_several_at_once_leave_a_whole_file(content: bytes, made: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(kept.save, [engine.FILE] * 50, [content] * 50))
    assert engine.FILE.read_bytes() == content
    assert [path.name for path in engine.FILE.parent.iterdir()] == ["queries.json"]


def test_neither_the_queries_nor_the_collector_load_ibis() -> None:
    assert not modules_of("import dnsvigil.engines.duckdb as e; e.queries('novelty')") & HEAVY
    # Arrow writes and reads the files of passive DNS.
    heavy = HEAVY - {"pyarrow"}
    assert not modules_of("import dnsvigil.collector.daemon, dnsvigil.cli.metrics") & heavy
    assert not modules_of("import dnsvigil.detectors.malware.detector, dnsvigil.detectors.tunnel.detector") & heavy


def test_macros_and_lookups_take_any_text() -> None:
    with duckdb.connect() as connection:
        odd = ["it's", "", "a\\b", "é"]
        engine.lookup(connection, "texts", {"text": "VARCHAR", "place": "USMALLINT"}, odd, range(4))
        engine.macro(connection, "odd(x)", engine.is_in("x", odd))
        engine.macro(connection, "never(x)", engine.is_in("x", []))
        engine.macro(connection, "place(x)", engine.cases("x", {engine.literal("it's"): engine.literal("'")}))
        engine.macro(connection, "nowhere(x)", engine.cases("x", {}))
        query = "SELECT odd(text), never(text), place(text), nowhere(text) FROM texts ORDER BY place"
        assert connection.execute(query).fetchall() == [(True, False, place, None) for place in ("'", None, None, None)]
        engine.lookup(connection, "texts", {"text": "VARCHAR"}, [])
        assert connection.execute("FROM texts").fetchall() == []


def test_a_lookup_table_holds_its_values_as_they_are() -> None:
    texts = ["plain", "", 'it\'s "quoted"', "a\\b\n\t\r", "[1, null]", "größe \U0001f600", "null", "nul\0"]
    with duckdb.connect() as connection:
        for columns in ((texts, range(65528, 65536)), ((), ()), (texts[:1], [None])):
            engine.lookup(connection, "few", {"label": "VARCHAR", "code": "USMALLINT"}, *columns)
            assert connection.execute("FROM few").fetchall() == [*zip(*columns, strict=True)]
