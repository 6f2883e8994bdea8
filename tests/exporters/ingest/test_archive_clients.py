"""What the archive gives away of clients: no address of theirs, nor anything that one can be found from."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnsvigil.engines.archive import ArchiveReader, archive_files
from dnsvigil.store.archive_clients import with_counts
from dnsvigil.store.archive_file import read_footer
from dnsvigil.store.pseudonyms import KEY_FILE, PseudonymKeyError
from dnsvigil.store.sketches import estimate_distinct
from dnsvigil.store.store import Store
from exporters.ingest.test_archive import Archiving, at, files, read
from exporters.ingest.test_passive_dns import DAY, HOUR
from exporters.zeeklogs import tsv

CLIENTS = ["198.51.100.77", "2001:db8:77::1234", *(f"203.0.113.{n}" for n in range(1, 100))]


@contextmanager
def archived(folder: Path, asking: Sequence[str] = CLIENTS, **bounds: Any) -> Iterator[Archiving]:
    """Give an archive in which clients have asked for a domain."""
    folder.mkdir(exist_ok=True)
    with (
        Store(folder / "state") as store,
        closing(Archiving(store, folder / "archive", **{"transactions": False} | bounds)) as archiving,
    ):
        lines = [tsv(uid=f"C{n}", id_orig_h=client, query="a.example") for n, client in enumerate(asking)]
        archiving.take("dns", *lines, sensor="ns1")
        archiving.intake.flush()
        yield archiving


def key(folder: Path, text: str) -> Path:
    path = folder / "key"
    path.write_text(text * 32)
    path.chmod(0o600)
    return path


def traces(address: str) -> list[bytes]:
    """Return what an address looks like, and what anybody can make of it by trying."""
    digests = [make(address.encode()).digest() for make in (hashlib.md5, hashlib.sha1, hashlib.sha256)]
    found = [address.encode(), ip_address(address).packed, *(digest.hex().encode() for digest in digests), *digests]
    for digest in digests:
        for half in (digest[:8], digest[8:16]):
            for order in "<", ">":
                (number,) = struct.unpack(f"{order}Q", half)
                for each in number, number >> 1:
                    found += [str(each).encode(), struct.pack("<Q", each), struct.pack(">Q", each)]
    with duckdb.connect() as connection:
        of_engine = connection.execute("SELECT hash(?), md5_number_lower(?)", [address] * 2).fetchall()
    return found + [struct.pack("<Q", each) for pair in of_engine for one in pair for each in (one, one >> 1)]


def content(path: Path) -> bytes:
    """Return all bytes of a file, its path, and what its columns hold, without compression."""
    sink = pa.BufferOutputStream()
    table = pq.ParquetFile(path).read()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return str(path).encode() + path.read_bytes() + sink.getvalue().to_pybytes()


def shown(root: Path, tables: tuple[str, ...] = ("domain_hours", "tuples")) -> bytes:
    return b"".join(content(path) for table in tables for path in files(root / table))


@pytest.mark.parametrize("clients", ["pseudonyms", "counts"])
def test_no_byte_of_what_a_site_sends_gives_a_client_away(tmp_path: Path, clients: str) -> None:
    with archived(tmp_path, site="ams", clients=clients, transactions=True) as archiving:
        sent = shown(archiving.root)
        assert b"a.example" in sent
        for address in CLIENTS[:3]:
            assert [trace for trace in traces(address) if trace in sent] == []
            # They would be found
            assert address.encode() in shown(archiving.root, ("transactions",))
            (hashes,) = archiving.store.rows("SELECT flatten(list(clients)) FROM domain_hours")[0]
            everything = b"".join(struct.pack("<q", each) for each in hashes)
            assert not hashes or any(trace in everything for one in CLIENTS for trace in traces(one)[-4:])


def test_a_pseudonym_is_a_hash_of_key_and_address(tmp_path: Path) -> None:
    few = CLIENTS[:50]
    with archived(tmp_path, few, pseudonym_key_file=key(tmp_path, "k")) as archiving:
        ((found,),) = read(archiving.root, "domain_hours", "SELECT clients FROM archived")
    expected = []
    for client in few:
        digest = hashlib.sha256(("k" * 32 + client).encode()).hexdigest()
        expected.append(int.from_bytes(hashlib.md5(digest.encode()).digest()[8:], "little") >> 1)
    assert found == sorted(expected)


def test_pseudonyms_are_the_same_for_the_same_key_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    query = "SELECT clients, client_count, client_key FROM archived"
    found = {}
    for name, letter in {"one": "k", "same": "k", "other": "x", "own": ""}.items():
        given = {"pseudonym_key_file": key(tmp_path, letter)} if letter else {}
        with archived(tmp_path / name, **given) as archiving:
            ((*found[name],),) = read(archiving.root, "domain_hours", query)
    assert found["one"] == found["same"]
    sets = [set(found[name][0]) for name in ("one", "other", "own")]
    assert len(set.union(*sets)) == 3 * 64
    assert {count for _, count, _ in found.values()} <= set(range(80, 130))
    assert len({name for _, _, name in found.values()}) == 3
    path = tmp_path / "own" / "state" / KEY_FILE
    assert path.stat().st_mode & 0o007 == 0
    assert not (tmp_path / "one" / "state" / KEY_FILE).exists()
    # The store's own stays; another one is reported, by the collector and by who reads the archive
    caplog.clear()
    with archived(tmp_path / "own"):
        assert not caplog.records
    with archived(tmp_path / "own", pseudonym_key_file=key(tmp_path, "k")) as archiving:
        assert "the key of pseudonyms is another" in caplog.text
        hours = pa.concat_tables(ArchiveReader(archive_files(archiving.root)).hours())
    assert len(hours) == 3
    assert "the clients of sensor ns1 stand under more than one key" in caplog.text


def test_counts_are_numbers_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with archived(tmp_path, CLIENTS[:60], clients="counts") as archiving:
        query = "SELECT clients, client_count, client_key, queries FROM archived"
        assert read(archiving.root, "domain_hours", query) == [(None, 60, None, 60)]
        archive_files(archiving.root)
    assert "has the clients of sensor ns1 as numbers" in caplog.text


def test_many_clients_are_estimated_as_elsewhere() -> None:
    hashes = [sorted(range(2**60 // n, 2**63, 2**63 // n))[:64] for n in (1, 5, 63, 64, 1000)]
    table = pa.table({"clients": pa.array([None, [], *hashes], pa.list_(pa.int64()))})
    found = with_counts(table)["client_count"].to_pylist()
    assert found[:5] == [0, 0, *(len(each) for each in hashes[:3])]
    assert found[5:] == [round(63 * 2.0**63 / each[63]) for each in hashes[3:]]
    assert found[6] == pytest.approx(1000, rel=0.02)
    wide = [value * 2 for value in hashes[4]]
    assert estimate_distinct([wide * 4]) == len(set(wide))  # of another size, so exact


@pytest.mark.parametrize("content", ["", "short", "a b" * 20, "ü" * 30, None])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    expected = f"^{path}: .*; make a key with: openssl rand -hex 32 > {path}$"
    with Store(tmp_path / "state") as store, pytest.raises(PseudonymKeyError, match=expected):
        Archiving(store, tmp_path / "archive", pseudonym_key_file=path)


def older(path: Path) -> None:
    """Make a file as an earlier version has written it: with hashes of addresses, without a key."""
    table = pq.read_table(path, partitioning=None)
    plain = [sorted(int.from_bytes(hashlib.md5(c.encode()).digest()[8:], "little") >> 1 for c in CLIENTS)[:64]]
    place = table.schema.get_field_index("clients")
    plain *= len(table)
    table = table.set_column(place, "clients", pa.array(plain, pa.list_(pa.int64())))
    pq.write_table(table.drop_columns(["client_count", "client_key"]), path)


def test_a_site_has_no_hash_without_a_key_from_earlier_versions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with archived(tmp_path) as archiving:
        (before,) = files(archiving.root / "domain_hours")
        older(before)
        ((hashes,),) = read(archiving.root, "domain_hours", "SELECT clients FROM archived")
        assert len(hashes) == 64
        # Such files are read on, and merged with newer ones
        (table,) = ArchiveReader(archive_files(archiving.root)).hours()
        assert table["clients"].to_pylist() == [hashes]
        archiving.take("dns", tsv(ts=at(HOUR / 60), query="b.example", id_orig_h=CLIENTS[0]), sensor="ns1")
        later = [tsv(ts=at(2 * DAY + n), query="later.example", id_orig_h="192.0.2.1") for n in range(200)]
        archiving.take("dns", *later, sensor="ns1")
        archiving.intake.flush()
        query = "SELECT len(clients), client_count > 80, client_key FROM archived WHERE domain = 'a.example'"
        assert read(archiving.root, "domain_hours", query) == [(64, True, "")]
        merged, _ = files(archiving.root / "domain_hours")  # a day each
        assert before.name in read_footer(merged).replaced
        archive_files(archiving.root)
        assert "stand under more than one key" in caplog.text
        # Rows of an earlier version that wait
        with archiving.store.transaction():
            archiving.store.rows(
                "INSERT INTO archive_domain_hours BY NAME SELECT 'c.example' AS domain, hour, queries, clients,"
                " 'ns1' AS sensor, '' AS client_key FROM domain_hours WHERE domain = 'a.example'"
            )
    bounds = {"site": "ams"}
    with archived(tmp_path, [], **bounds) as archiving:
        found = files(archiving.root)
        assert {path.relative_to(archiving.root).parts[1] for path in found} == {"site=ams"}
        assert all(pq.ParquetFile(path).metadata.num_rows for path in found)
        counts = read(
            archiving.root / "domain_hours",
            "site=ams",
            "SELECT domain, clients IS NULL, client_key IS NULL, client_count > 80 FROM archived"
            " WHERE domain IN ('a.example', 'c.example') AND queries = 101",
        )
        assert set(counts) == {("a.example", True, True, True), ("c.example", True, True, True)}
        sent = shown(archiving.root)
        assert not any(trace in sent for address in CLIENTS for trace in traces(address)[-4:])
    # And back again
    with archived(tmp_path, []) as archiving:
        assert {path.relative_to(archiving.root).parts[1][:4] for path in files(archiving.root)} == {"day="}
