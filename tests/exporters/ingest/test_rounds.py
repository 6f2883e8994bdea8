"""Rounds: what is read of many files goes into the store together, and adds up as if each had come alone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.collector.suspects import Input, Suspects
from dnsvigil.config.collector import Config
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.rounds import Read, rounds
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek import reader
from dnsvigil.sources.zeek.lines import Chunk, count_lines, split
from dnsvigil.sources.zeek.log_types import BY_PATH, DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.store import Store
from exporters.tuples import all_tuples
from exporters.zeeklogs import HEADER, START, package_header, package_line, tsv

LOG = Input("log", Path("/logs/dns.log"), (1,))
OTHER = Input("log", Path("/logs/other.log"), (1,))


def batch(sensor: str, data: bytes, path: str = "dns") -> Batch:
    log_type = BY_PATH[path]
    chunks, header, skipped = split(data, None, log_type)
    cursor = Cursor(f"{sensor} {path}", sensor, 1, "", len(data), header.text if header else b"", path)
    return Batch(chunks, count_lines(data) - data.count(b"#"), skipped, cursor, 0, log_type)


def of_size(size: int) -> Batch:
    return Batch([Chunk(b"x" * size, None)], 1, Counter(), Cursor("1", "a", 0, "", 0, b"", ""), 0, DNS)


def test_a_round_is_bounded_and_who_is_to_be_alone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 100)
    sizes = {"a": 10, "b": 30, "c": 10, "d": 100, "e": 10, "f": 9, "g": 8}
    steps: list[tuple[str, Read]] = [(name, of_size(size)) for name, size in sizes.items()]
    steps += [("a", None), ("h", OSError("gone"))]
    found = ["".join(name for name, _ in each) for each in rounds(iter(steps), lambda name: name == "f")]
    assert found == ["abc", "d", "e", "f", "gah"]


def test_what_the_engine_fails_on_is_found_in_a_round() -> None:
    suspects = Suspects()
    suspects.blame([LOG, OTHER], ValueError("a mistake"))
    assert LOG in suspects and OTHER in suspects, "each is tried alone"
    suspects.clear([OTHER])
    assert OTHER not in suspects
    suspects.blame([Input(LOG.kind, LOG.path, (2,))], ValueError("a mistake"))  # it has grown
    assert LOG not in suspects
    put: list[tuple[object, ...]] = []

    class Aside:
        def put(self, *entry: object) -> None:
            put.append(entry)

        def flush(self) -> None:
            pass

    suspects.set_aside(Aside())  # type: ignore[arg-type]
    assert put == [("log", LOG.path, "a mistake", (2,))]


def logs() -> Iterator[Batch]:
    for number, sensor in enumerate("abc"):
        lines = [tsv(ts=f"{START + 40 * number + i}.5", uid=f"C{sensor}{i}") for i in range(20)]
        yield batch(sensor, HEADER + b"".join(lines) + b"broken\n" * number)
        for path in BY_PATH:
            if path != "dns":
                yield batch(sensor, package_header(path) + package_line(path) * (number + 1), path)


def test_a_round_adds_what_its_logs_add_alone(tmp_path: Path) -> None:
    found = []
    for number, cut in enumerate([[list(logs())], [[each] for each in logs()]]):
        with Store(tmp_path / str(number)) as store, closing(Intake(store, Config())) as intake:
            ingested = [each for batches in cut for each in intake.ingest(batches)]
            intake.flush()
            snapshot = intake.snapshot()
            sensors = [row[:3] for row in snapshot.sensors]
            cursors = sorted(store.rows('SELECT id, "offset" FROM cursors'))
            tuples = all_tuples(store, negative=True)
            found.append((ingested, snapshot.counters, sensors, cursors, tuples))
    together, alone = found
    assert together == alone
    assert [each.records for each in together[0] if each.records == 20] == [20] * 3
    assert len(together[3]) == 3 * len(BY_PATH)
