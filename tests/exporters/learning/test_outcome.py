"""What has changed from one table of domains to the next."""

from __future__ import annotations

from contextlib import closing

import duckdb
import numpy as np

from dnsvigil.learning.domains import DomainTable
from dnsvigil.learning.outcome import _changes
from dnsvigil.store.domain_file import DomainFile
from exporters.domain_tables import MADE, write_table


def test_domains_come_stay_move_and_go(tmp_path):
    before = {"stays.example": 1, "moves.example": 1, "goes.example": 2}
    file = DomainFile(write_table(tmp_path, before, {1: "one", 2: "two"}))
    now = {"comes.example": 2, "moves.example": 3, "stays.example": 1}
    with closing(duckdb.connect()) as connection:
        found = _changes(DomainTable(connection), file, [*now], np.array([*now.values()]))
    assert found.made == MADE.isoformat()
    assert found.groups == {"1": ("one", 2), "2": ("two", 1)}
    assert found.moves == [(0, 2, 1), (1, 1, 1), (1, 3, 1), (2, 0, 1)]


def test_a_table_that_is_damaged_says_nothing_of_changes(tmp_path, caplog):
    path = write_table(tmp_path, {f"d{number}.example": 1 for number in range(50)}, {1: "one"})
    file = DomainFile(path)
    content = bytearray(path.read_bytes())
    content[10:40] = bytes(30)
    path.write_bytes(content)
    with closing(duckdb.connect()) as connection:
        assert _changes(DomainTable(connection), file, ["d1.example"], np.array([1])) is None
    assert "what has changed since is not known" in caplog.text
