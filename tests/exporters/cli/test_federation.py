"""Archives of several sites, brought into one folder, are one archive: what is found in it is what all logs have."""

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnsvigil.cli.main import main
from dnsvigil.ingest.domain_groups import DomainGroupsPart
from dnsvigil.store.domain_file import domain_file
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import EscapingFormatter
from exporters.ingest.test_archive import SAMPLES, at, files
from exporters.running import write_config
from exporters.zeeklogs import HEADER, tsv

SITES = ("ams", "fra", "vie")
TABLES = ("domain_hours", "tuples")
Features = dict[str, dict[str, Any]]


def lines() -> list[bytes]:
    """The lab's log, and 150 clients that ask for domains from several places."""
    found = gzip.decompress((SAMPLES / "dns.log.gz").read_bytes()).splitlines(keepends=True)
    asked = [
        tsv(ts=at(60 * n), uid=f"C{n}", id_orig_h=f"203.0.113.{n % 150}", query=f"h{n % 7}.site{n % 11}.example")
        for n in range(3000)
    ]
    return [line for line in found if not line.startswith(b"#")] + asked


def archive(folder: Path, site: str, records: list[bytes], **keys: object) -> Path:
    """Make the archive of a site whose sensor is called as those of the others."""
    log = folder / site / "ns1" / "logs" / "dns.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(HEADER + b"".join(records))
    given = {"site": site, "pseudonym_key_file": str(folder / "key")} | keys
    config = write_config(folder / site, archive=given)
    root = folder / site / "archive"
    assert main(["-c", str(config), "archive", "--output", str(root), str(log.parent)]) == 0
    return root


def send(root: Path, to: Path) -> None:
    """Do what the documented rsync does."""
    for table in TABLES:
        shutil.copytree(root / table, to / table, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives by site; of all their logs as one site, ``one``; and of the sites together, ``all``."""
    folder = tmp_path_factory.mktemp("sites")
    (folder / "key").write_text("k" * 32)
    (folder / "key").chmod(0o600)
    records = lines()
    found = {site: archive(folder, site, records[place :: len(SITES)]) for place, site in enumerate(SITES)}
    found["one"] = archive(folder, "one", records)
    found["all"] = folder / "all"
    for site in SITES:
        send(found[site], found["all"])
    return found


@pytest.fixture
def features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    config = write_config(tmp_path)

    def features(*paths: Path, status: int = 0) -> Features:
        capsys.readouterr()
        command = ["-c", str(config), "domains", "features", "--json", *map(str, paths)]
        assert main(command) == status
        return {row.pop("domain"): row for row in json.loads(capsys.readouterr().out)}

    return features


def same(found: Features, expected: Features) -> None:
    assert found.keys() == expected.keys()
    for domain, row in expected.items():
        for name, value in row.items():
            close = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            assert found[domain][name] == close, (domain, name)


def query(root: Path, table: str, text: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        files = f"read_parquet('{root}/{table}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
        return connection.execute(f"WITH archived AS (FROM {files}) {text}").fetchall()


def test_sites_together_have_what_one_archive_of_all_logs_has(roots: dict[str, Path], features: Any) -> None:
    merged = """
        SELECT rrname, rrtype, rdata, bailiwick, sum(count), min(epoch_us(time_first)), max(epoch_us(time_last)),
            min(ttl_min), max(ttl_max), bit_or(seen_in)
        FROM archived GROUP BY ALL ORDER BY ALL
    """
    assert query(roots["all"], "tuples", merged) == query(roots["one"], "tuples", merged)
    sensors = "SELECT DISTINCT site, sensor FROM archived ORDER BY ALL"
    assert query(roots["all"], "tuples", sensors) == [(site, "ns1") for site in SITES]
    several = "SELECT rrname FROM archived GROUP BY rrname, rrtype, rdata HAVING count(DISTINCT site) = 3"
    assert len(query(roots["all"], "tuples", several)) > 20
    found = features(roots["all"])
    expected = features(roots["one"])
    assert len(expected) > 30
    assert 64 < max(row["clients"] or 0 for row in expected.values()) < 200
    same(found, expected)
    # Each in a folder of its own is as good
    same(features(*(roots[site] for site in SITES)), expected)


def test_passive_dns_of_all_sites_says_which_have_seen_a_tuple(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["-c", str(write_config(tmp_path)), "pdns"]
    assert main([*call, "compact", "--output", str(tmp_path / "state"), str(roots["all"])]) == 0
    merged = (
        "SELECT sum(count), count(DISTINCT site) FROM archived WHERE rrname = 'www.example.com' AND rrtype = 'CNAME'"
    )
    ((count, sites),) = query(roots["all"], "tuples", merged)
    capsys.readouterr()
    state = ["--state", str(tmp_path / "state")]
    assert main([*state, *call, "lookup", "--json", "--type", "CNAME", "www.example.com"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(each["count"] for each in found) == count
    sensors = {sensor for each in found for sensor in each["sensor_id"].split(",")}
    assert sensors == {f"{site}/ns1" for site in SITES}
    assert len(sensors) == sites


def test_a_copy_in_which_nothing_was_removed_has_nothing_twice(
    roots: dict[str, Path], features: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(roots["all"], tmp_path / "copy")
    merged = next(path for path in files(copy / "domain_hours" / "site=ams") if pq.read_metadata(path).num_rows > 1)
    table = pq.read_table(merged, partitioning=None)
    old = [f"{merged.name.partition('-')[0]}-{number}.parquet" for number in range(2)]
    for name in old:
        pq.write_table(table, merged.with_name(name))
    # A file says this of those of its own store alone
    others = [path for path in files(copy / "domain_hours") if "site=ams" not in path.parts]
    metadata = {"dnsvigil.replaces": json.dumps([*old, *(path.name for path in others)])}
    pq.write_table(table.replace_schema_metadata(metadata), merged)
    for path, odd in zip(others, ("7", "{", "[[]]"), strict=False):
        kept = pq.read_table(path, partitioning=None).replace_schema_metadata({"dnsvigil.replaces": odd})
        pq.write_table(kept, path, write_statistics=False)
    same(features(roots["all"], copy), features(roots["one"]))  # both are given: each file counts once
    assert "2 files are left out, because others have all of their rows" in caplog.text


def test_what_is_wrong_with_one_site_is_named_and_the_others_are_read(
    roots: dict[str, Path], features: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(roots["all"], tmp_path / "copy")
    torn = files(copy / "domain_hours" / "site=ams")[0]
    torn.write_bytes(torn.read_bytes()[:-30])
    older = files(copy / "domain_hours" / "site=fra")[0]
    kept = pq.read_table(older, partitioning=None)
    pq.write_table(kept.drop_columns(["known"]), older)
    newer = files(copy / "domain_hours" / "site=vie")[0]
    more = pq.read_table(newer, partitioning=None)
    pq.write_table(more.append_column("of_next_version", more["queries"]), newer)
    # Without a site, with a name that no path should have, and with a domain of its own
    odd = copy / "domain_hours" / "day=2026-01-31" / "sensor=%2e%2e%2f=%0a%1b[2J" / "odd.parquet"
    odd.parent.mkdir(parents=True)
    names = pa.array(["odd.test"] * len(more), pa.string())
    keys = pa.array([f"key{n}" for n in range(len(more))], pa.string())
    pq.write_table(more.set_column(0, "domain", names).set_column(11, "client_key", keys), odd)
    coming = files(copy / "tuples" / "site=vie")[0]
    coming.with_name(f".{coming.name}.Xy12").write_bytes(b"half")  # as rsync writes
    coming.with_name(f".{coming.name}.new").write_bytes(b"half")
    (copy / "tuples" / "site=vie" / "day=2026-01-01" / "sensor=empty").mkdir(parents=True)
    found = features(copy, status=1)
    assert f"{torn} cannot be read" in caplog.text
    assert f"{older} cannot be read: it lacks known, as another version of dnsvigil has written it" in caplog.text
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 2
    assert found["odd.test"]["queries"] == sum(more["queries"].to_pylist())
    assert "the clients of sensor ../=\n\x1b[2J stand under more than one key" in caplog.messages[0]
    assert EscapingFormatter().format(caplog.records[0]).isprintable()
    assert len(found) > 30


def test_sites_with_keys_of_their_own_or_counts_alone(
    roots: dict[str, Path], features: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = [tsv(uid=f"C{n}", id_orig_h=f"203.0.113.{n % 20}", query=f"a{n % 2}.example") for n in range(40)]
    (tmp_path / "key").write_text("x" * 32)
    (tmp_path / "key").chmod(0o600)
    one = archive(tmp_path, "one", few)
    two = archive(tmp_path, "two", few, pseudonym_key_file=None)
    counts = archive(tmp_path, "counts", few, clients="counts")
    # Clients of different keys are different clients
    for domain, row in features(one, two).items():
        assert (domain, row["clients"], row["queries"]) == (domain, 20, 40)
        assert row["prevalence"] == 0.5
    assert "more than one key" not in caplog.text
    # Counts do not add up, so the features of clients are those of other sites, or nothing
    for row in features(one, counts).values():
        assert (row["clients"], row["queries"]) == (10, 40)
    assert "has the clients of sensor ns1 of site counts as numbers" in caplog.text
    for row in features(counts).values():
        assert (row["clients"], row["magnitude"], row["prevalence"], row["queries"]) == (None, None, None, 20)
    # The same sensor under two keys
    shutil.copytree(two / "domain_hours" / "site=two", one / "domain_hours" / "site=one", dirs_exist_ok=True)
    features(one)
    assert "the clients of sensor ns1 of site one stand under more than one key" in caplog.text


def test_one_model_names_groups_alike_everywhere(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "domains.parquet"
    call = ["-c", str(write_config(tmp_path)), "domains", "cluster", "--json", "--output"]
    assert main([*call, str(model), str(roots["all"])]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [(group["id"], group["name"]) for group in found["groups"]]
    assert len(names) > 1
    assert len({name for _, name in names}) == len(names)
    for site in SITES:
        state = tmp_path / site
        state.mkdir()
        shutil.copy(model, domain_file(state))
        with Store(state) as store, closing(DomainGroupsPart(store)) as part:
            assert [(group.id, group.name) for group in part.snapshot().groups] == names
    # The next night, groups that are there again keep their names; what is read in part makes no model
    before = model.read_bytes()
    torn = shutil.copytree(roots["all"], tmp_path / "torn")
    path = files(torn / "tuples")[0]
    path.write_bytes(path.read_bytes()[:-30])
    assert main([*call, str(model), str(torn)]) == 1
    assert model.read_bytes() == before
    assert f"{model} is left as it was, because not all could be read" in caplog.text
    capsys.readouterr()
    assert main([*call, str(model)]) == 2
    assert main([*call, str(tmp_path / "no" / "x.parquet"), str(torn)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "dnsvigil: --output needs logs or archives: give a PATH",
        f"dnsvigil: --output: there is no folder {tmp_path / 'no'}",
    ]
