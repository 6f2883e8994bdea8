"""The table of domains: whole or refused, and never a domain that is there reported as not there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dnsvigil.store import domain_file
from dnsvigil.store.domain_file import ROWS, DomainFile, DomainFileError, Group, facts_of, stamp_of, write_domains
from exporters.domain_tables import facts_with, write_table

DOMAINS = {f"{number}.example": number % 2 + 1 for number in range(2 * ROWS + 5)}
NAMES = {1: "even", 2: "odd"}


def test_a_domain_is_found_with_those_around_it(tmp_path):
    file = DomainFile(write_table(tmp_path, DOMAINS, NAMES))
    assert file.domains == len(DOMAINS)
    for number in (0, ROWS - 1, ROWS, 2 * ROWS + 4):
        table, place = file.around(f"{number}.example") or (None, None)
        assert table and place == number % ROWS
        assert table["domain"][place].as_py() == f"{number}.example"
        assert table["ips"][place].as_py() == number
        assert table.num_rows == (5 if number >= 2 * ROWS else ROWS)
    assert file.around("example") is None


def test_facts_are_read_as_they_were_written(tmp_path):
    facts = facts_with([Group(3, 'a "name"', 7, {"ips": 1.5}, [0.25, -1e300])])
    assert facts_of(facts.text()) == facts
    assert DomainFile(write_table(tmp_path, {"a.example": 1}, {1: "one"})).facts.groups[0].domains == 1


def test_an_empty_table_has_nothing(tmp_path):
    file = DomainFile(write_table(tmp_path, {}, {}))
    assert (file.domains, file.around("a.example"), [table.num_rows for table in file.tables("domain")]) == (
        0,
        None,
        [],
    )


def test_no_table_is_not_a_broken_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        DomainFile(tmp_path / "domains.parquet")
    assert stamp_of(tmp_path / "domains.parquet") is None


def test_what_is_half_written_or_something_else_is_refused(tmp_path):
    path = write_table(tmp_path, DOMAINS, NAMES)
    content = path.read_bytes()
    for size in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DomainFileError, match=r"domains\.parquet: it is no table of domains"):
            DomainFile(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DomainFileError, match="it is a folder"):
        DomainFile(path)


def test_a_table_of_another_version_is_refused(tmp_path, monkeypatch):
    path = write_table(tmp_path, {"a.example": 1}, {1: "one"})
    monkeypatch.setattr(domain_file, "_VERSION", 2)
    with pytest.raises(DomainFileError, match="another version of dnsvigil made it; run dnsvigil domains cluster"):
        DomainFile(path)


@pytest.mark.parametrize("seed", range(8))
def test_damage_is_never_taken_for_data(tmp_path, seed):
    path = write_table(tmp_path, DOMAINS, NAMES)
    content = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(4, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    content[place] ^= 0xFF
    path.write_bytes(content)
    file = DomainFile(path)
    with pytest.raises(DomainFileError):
        for table in file.tables(*file.around("0.example")[0].column_names):  # type: ignore[index]
            assert table.num_rows


def test_a_failing_write_leaves_the_table_that_is_there(tmp_path):
    path = write_table(tmp_path, {"a.example": 1}, {1: "one"})

    def tables(schema):
        yield schema.empty_table()
        raise OSError(28, "No space left on device")

    schema = next(DomainFile(path).tables("domain")).schema
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_domains(path, tables(schema), schema, facts_with([]))
    assert raised.value.filename == str(path)
    assert DomainFile(path).around("a.example")
    assert [file.name for file in tmp_path.iterdir()] == ["domains.parquet"]


def test_the_stamp_changes_with_the_table(tmp_path):
    path = write_table(tmp_path, {"a.example": 1}, {1: "one"})
    before = stamp_of(path)
    assert stamp_of(path) == before
    write_table(tmp_path, {"a.example": 1}, {1: "one"})
    assert stamp_of(path) != before
    assert isinstance(path, Path)
