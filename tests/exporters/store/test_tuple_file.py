"""Files of passive DNS tuples: what is looked up is found, and damage is an error that names the file."""

from pathlib import Path

import pyarrow as pa
import pytest

from dnsvigil.store.tuple_file import ROWS, SCHEMA, TupleFile, TupleFileError, TupleWriter

NUMBER = 2 * ROWS + 100


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of three row groups, sorted by name."""
    made = tmp_path_factory.mktemp("tuples") / "one.names.parquet"
    values = {"rrtype": "A", "rkey": "a192000002001", "bailiwick": None, "time_first": 100, "time_last": 200}
    values |= {"count": 3, "ttl_min": 60, "ttl_max": 300, "sensors": 1, "seen_in": 1}
    rows = [{"nkey": f"com.example{number:06d}"} | values for number in range(NUMBER)]
    writer = TupleWriter(made, "names")
    writer.write(pa.Table.from_pylist(rows, SCHEMA))
    written = writer.close()
    assert (written.rows, written.time_first, written.time_last, written.types) == (NUMBER, 100, 200, ("A",))
    return made


def test_of_many_keys_those_that_are_there_are_found(path: Path) -> None:
    """Keys of each row group are found, and none that is not there."""
    there = [f"com.example{number:06d}" for number in (0, 17, ROWS - 1, ROWS, NUMBER - 1)]
    keys = sorted([*there, "com.example", "com.example000017a", "com.example999999", "net.example"])
    found = [key for table in TupleFile(path, "names").with_keys(keys) for key in table["nkey"].to_pylist()]
    assert found == there


def test_a_range_is_found(path: Path) -> None:
    """It goes over the end of a row group."""
    low, high = f"com.example{ROWS - 3:06d}", f"com.example{ROWS + 4:06d}"
    found = [key for table in TupleFile(path, "names").tables(low, high) for key in table["nkey"].to_pylist()]
    assert found == [f"com.example{number:06d}" for number in range(ROWS - 3, ROWS + 4)]


@pytest.mark.parametrize("left", [0, 1000])
def test_a_file_that_is_cut_off_while_it_is_open_is_an_error(path: Path, tmp_path: Path, left: int) -> None:
    """The process lives on, and the error has the path."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    file = TupleFile(copy, "names")
    with copy.open("rb+") as cut:
        cut.truncate(left)
    for read in (file.all(), file.tables("com", "con"), file.with_keys([f"com.example{ROWS:06d}"])):
        with pytest.raises(TupleFileError) as caught:
            list(read)
        assert caught.value.path == copy


def test_a_file_without_a_footer_is_an_error(path: Path, tmp_path: Path) -> None:
    """As one that was not written to its end."""
    (tmp_path / path.name).write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TupleFileError):
        TupleFile(tmp_path / path.name, "names")
