"""Commands that read logs and archives take the URIs of objects, and find what they find in folders."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli import archive_on_spark, domain_tables, ingest, tasks
from dnsvigil.cli.main import main
from dnsvigil.cli.tasks import Files
from dnsvigil.sources.remote import stores
from dnsvigil.sources.remote.mirror import fill, mirror, mirrors, whole
from dnsvigil.sources.remote.s3 import _reason
from dnsvigil.sources.remote.stores import files_of
from dnsvigil.sources.remote.uri import MIRROR, Uri, name_of, named
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.store import Store
from exporters.flowfiles import MANY, asking, many, write_flows
from exporters.hadoop import hdfs
from exporters.httpd.support import Authority
from exporters.ingest.test_archive import files, read
from exporters.ingest.test_passive_dns import PDNS, row
from exporters.object_store import ObjectStore, object_store, tls
from exporters.running import write_config
from exporters.standalone_spark import standalone
from exporters.zeeklogs import HEADER, START, package_header, tsv

Run = Callable[..., tuple[int, Any, str]]
BUCKET = "dns-logs"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store(BUCKET) as found:
        yield found


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Logs of a sensor, one of them twice, with what is no log, and what cannot be read."""
    folder = tmp_path / "ns1"
    (folder / "2023-11-14").mkdir(parents=True)

    def log(number: int, records: int = 40) -> bytes:
        times = [START + 3600 * number + second for second in range(records)]
        return HEADER + b"".join(tsv(ts=f"{t}.0", uid=f"C{t}", query=f"www.d{t % 7}.example") for t in times)

    (folder / "2023-11-14" / "dns.0.log").write_bytes(log(0))
    (folder / "2023-11-14" / "dns.1.log").write_bytes(log(1, 9_000))  # more than what a log is recognized by
    (folder / "2023-11-14" / "dns.2.log.gz").write_bytes(gzip.compress(log(2)))
    (folder / "copy.log.gz").write_bytes(gzip.compress(log(1, 9_000)))
    rows = [row(0, rrname="shop.example", rdata=f"192.0.2.{n}", ttl_max=60 + n) for n in range(9)]
    (folder / f"{PDNS}.log").write_bytes(package_header(PDNS) + b"".join(rows))
    (folder / "dns.broken.log").write_bytes(HEADER + 4 * b"no record\n")
    (folder / "notes.txt").write_text("Bring milk.\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: Any, caplog: Any) -> Run:
    """Return the status of a command, what it prints, with nine digits of numbers, and what it says."""
    key = tmp_path / "key"
    key.write_text("k" * 32)
    config = write_config(tmp_path, archive={"pseudonym_key_file": str(key)})

    def run(*arguments: object) -> tuple[int, Any, str]:
        capsys.readouterr()
        caplog.clear()
        status = main(["-c", str(config), *map(str, arguments)])
        out, err = capsys.readouterr()
        said = [each.getMessage() for each in caplog.records if each.name.startswith("dnsvigil")]
        table = json.loads(out, parse_float=lambda text: float(f"{float(text):.9g}")) if out else None
        return status, table, "\n".join([*sorted(said), err])

    return run


def test_features_and_archives_are_those_of_the_folder(
    store: ObjectStore, tmp_path: Path, logs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = store.put(logs)
    of_folder, of_uri = (run("domains", "features", "--json", place) for place in (logs, uri))
    assert of_folder[0] == 1
    assert f"{logs}/dns.broken.log: 4 records skipped" in of_folder[2]
    assert of_uri == (*of_folder[:2], of_folder[2].replace(str(logs), uri))
    archive = ("archive", "--output", tmp_path / "archive")
    assert run(*archive, uri)[2].endswith("\n9,093 records read, 4 skipped; 1 path not read\n")
    made = files(tmp_path / "archive")
    assert {path.parent.name for path in made if path.suffix == ".parquet"} == {"sensor=ns1"}
    with Store(tmp_path / "archive" / ".dnsvigil", read_only=True) as kept:
        assert {cursor.path.rpartition("/")[0] for cursor in read_cursors(kept)} == {uri, f"{uri}/2023-11-14"}
    # Also by another name, and without what is fetched once more
    copied = store.put(logs, "copies/")
    monkeypatch.setattr(ingest, "whole", None)
    status, _, said = run(*archive, uri, copied)
    assert (status, said.splitlines()[-1]) == (0, "0 records read, 0 skipped; 12 files were already read")
    assert files(tmp_path / "archive") == made
    archived = store.put(tmp_path / "archive")
    found = run("domains", "features", "--json", archived)
    assert found == run("domains", "features", "--json", tmp_path / "archive")
    assert found[:2] == (0, of_folder[1])
    assert found[2] == "4 files read\n"


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_flow_files_are_archived_once_wherever_they_are(
    store: ObjectStore, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "edge"
    known, grown = (write_flows(folder, START + 300 * n, many(), ident="none") for n in range(2))
    for path in (known, grown):
        os.utime(path, (START, START))
    archive = ("archive", "--output", tmp_path / "archive")
    assert run(*archive, known)[2].endswith(f"\n{MANY:,} flows read\n")
    uri = store.put(folder)
    assert run(*archive, uri)[2].endswith(f"\n{MANY:,} flows read; {known.name} was already read\n")
    assert len(read(tmp_path / "archive", "dns_flows", "FROM archived WHERE sensor = 'edge'")) == 4
    write_flows(folder, START + 300, [*many(), asking("198.51.100.9")], ident="none")
    store.put(folder)
    status, _, said = run(*archive, uri)
    assert status == 1
    assert f"{uri}/{grown.name} has changed since it was archived; what it has more, 1 flow, is not archived" in said
    grown.unlink()
    copied = store.put(folder, "copies/")
    monkeypatch.setattr("dnsvigil.ingest.flow_files.whole", None)  # nothing is fetched once more
    status, _, said = run(*archive, copied)
    assert (status, said.splitlines()[-1]) == (0, f"0 flows read; {known.name} was already read")


def test_passive_dns_of_an_archive_is_that_of_the_folder(
    store: ObjectStore, tmp_path: Path, logs: Path, run: Run, capsys: Any
) -> None:
    archive = tmp_path / "tuples-alone"
    run("archive", "--output", archive, logs)
    shutil.rmtree(archive / "domain_hours")
    uri = store.put(archive)
    looked = []
    for state, place in ((tmp_path / "ours", archive), (tmp_path / "theirs", uri)):
        compact = ("pdns", "compact", "--output", state, place)
        assert run(*compact)[0] == 0
        assert run(*compact)[2] == "0 months compacted, 0 tuples; 1 month had nothing new\n"
        assert main(["--state", str(state), "pdns", "lookup", "*.example", "--json"]) == 0
        looked.append(capsys.readouterr().out)
    assert looked[0] == looked[1]
    assert looked[0].count("\n") == 16
    # A file that is damaged is named, and is looked at again
    bad = min(archive.glob("tuples/*/*/*.parquet"))
    store.client.put_object(
        Bucket=BUCKET, Key=f"{archive.name}/{bad.relative_to(archive).with_name('bad.parquet')}", Body=b"PAR1" * 9
    )
    for _ in range(2):
        status, _, said = run("pdns", "compact", "--output", tmp_path / "theirs", uri)
        assert status == 1
        assert f"{uri}/{bad.parent.relative_to(archive)}/bad.parquet cannot be read: " in said
        assert "dnsvigil-mirror" not in said
        assert "1 month compacted, 16 tuples" in said


def test_an_object_that_goes_away_or_has_no_path_is_named_and_the_others_are_read(
    store: ObjectStore, logs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = store.put(logs, "going/")
    for key in ("../../../up.log", "dns.0.log", "dns.0.log/below.log"):
        store.client.put_object(Bucket=BUCKET, Key=f"going/ns1/{key}", Body=HEADER + tsv(query="a.odd.example"))
    gone = HEADER + b"".join(tsv(uid=f"G{n}", query="gone.example") for n in range(2_000))  # more than is fetched first
    store.client.put_object(Bucket=BUCKET, Key="going/ns1/dns.gone.log", Body=gone)
    find = domain_tables.find_given

    def found(*arguments: Any, **more: Any) -> Any:
        given = find(*arguments, **more)
        store.client.delete_object(Bucket=BUCKET, Key="going/ns1/dns.gone.log")
        return given

    monkeypatch.setattr(domain_tables, "find_given", found)
    status, table, said = run("domains", "features", "--json", uri, f"{uri}/2023-11-14")  # of which none counts twice
    assert status == 1
    assert {"d1.example", "odd.example", "shop.example"} < {each["domain"] for each in table}
    assert f"{uri}/dns.gone.log cannot be read: there is nothing of this name" in said
    assert f"{uri}/../../../up.log cannot be read: its name cannot be that of a file" in said
    assert f"{uri}/dns.0.log/below.log cannot be read: " in said
    assert "9,094 records read, 4 skipped; 3 files were already read; 4 paths not read\n" in said


def test_what_cannot_be_looked_at_is_said_in_a_sentence(
    store: ObjectStore, tmp_path: Path, run: Run, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(uri: str, *command: object) -> str:
        status, out, err = run(*(command or ("domains", "features")), uri)
        assert (status, out) == (1, None)
        assert err.startswith(f"dnsvigil: {uri}: ")
        return err.removeprefix(f"dnsvigil: {uri}: ")

    archive = ("archive", "--output", tmp_path / "archive")
    compact = ("pdns", "compact", "--output", tmp_path / "state")
    for command in (archive, compact, ()):
        assert said("s3://no-such-bucket/ns1", *command) == "there is no such bucket\n"
        assert said(f"s3a://{BUCKET}/no-such-folder", *command) == "there is nothing of this name\n"
    store.client.create_bucket(Bucket="empty-bucket")
    store.client.put_object(Bucket="empty-bucket", Key="folder/")
    assert said("s3a://empty-bucket") == said("s3a://empty-bucket/folder") == "there is no file in it\n"
    assert said("hdfs://127.0.0.1:1/logs") == "HDFS cannot be reached: Connection refused\n"
    assert run("domains", "features", "hdfs://nobody/logs")[2].startswith(
        "dnsvigil: hdfs://nobody: no name node is known: give HOST:PORT"
    )
    monkeypatch.setitem(__import__("sys").modules, "hdfs_native", None)
    assert "hdfs:// needs dnsvigil[hdfs]" in run("domains", "features", "hdfs://elsewhere:1/logs")[2]
    for given, sentence in (
        ("gs://bucket/ns1", "gs:// is not supported: give a path, or a URI of s3a://, s3://, hdfs://"),
        ("s3a://", "s3a:// needs the name of a bucket"),
        ("s3a://key:secret@bucket/ns1", "a URI has no credentials: they come from the environment"),
        ("s3a://bucket/../ns1", "no name has . or .. or characters that cannot be printed"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run("domains", "features", given)
        err = capsys.readouterr().err
        assert f"argument PATH: {sentence}\n" in err
        assert "secret" not in err
    for command in (("archive", "--output", "s3a://bucket/archive", tmp_path), ("ingest", "s3a://bucket/ns1")):
        with pytest.raises(SystemExit, match="2"):
            run(*command)
        assert ": this cannot be a URI: give a path\n" in capsys.readouterr().err


def test_a_store_that_cannot_be_reached_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    stores._s3.cache_clear()
    status, _, said = run("domains", "features", "s3a://bucket/ns1")
    stores._s3.cache_clear()
    assert status == 1
    assert said.startswith("dnsvigil: s3a://bucket/ns1: the object store cannot be reached: Failed to connect")


def test_the_certificate_of_a_store_may_be_of_an_authority_of_its_own(
    store: ObjectStore, tmp_path: Path, logs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "authority")
    uri = store.put(logs, "tls/")
    expected = run("domains", "features", "--json", uri)
    with tls(*authority.issue("server")) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        stores._s3.cache_clear()
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        assert "cannot be reached: SSL certificate " in run("domains", "features", uri)[2]
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.path))
        stores._s3.cache_clear()
        assert run("domains", "features", "--json", uri) == expected
    stores._s3.cache_clear()


def test_answers_of_a_store_become_words() -> None:
    of = "When listing objects under key 'x/' in bucket 'b': AWS Error {} during ListObjectsV2 operation{}: {}"
    denied = _reason(OSError(of.format("ACCESS_DENIED", "", "Access Denied. (Request ID: X4)")))
    assert denied == "access is refused: ACCESS_DENIED: Access Denied."
    moved = _reason(OSError(of.format("UNKNOWN", " (HTTP status 301)", "The bucket is in another region")))
    assert moved == "the object store answers UNKNOWN (301): The bucket is in another region"
    assert _reason(OSError("something else")) == "something else"


def test_more_objects_than_an_answer_has_are_all_there(store: ObjectStore) -> None:
    keys = [f"ns1/{number}.log" for number in range(1_001)]
    store.fill("many", keys)
    uri = Uri.parse("s3a://many/ns1")
    assert {f"ns1/{each.name}" for each in files_of(uri).list(uri)} == {*keys}


def test_a_mirror_has_sizes_names_and_footers(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2_000
    footer = b"f" * 300_000 + (300_000).to_bytes(4, "little") + b"PAR1"
    for key, body in (("a.log", content), ("b.parquet", content + footer), ("c.parquet", b"PAR1")):
        store.client.put_object(Bucket=BUCKET, Key=f"hollow/{key}", Body=body)
    with mirrors() as root:
        path, lost = mirror(Uri.parse(f"s3a://{BUCKET}/hollow/"), root)
        assert not lost
        assert all(filled for _, filled in fill([*path.iterdir()]))
        assert {each.name: each.stat().st_size for each in path.iterdir()} == {
            "a.log": 512_000,
            "b.parquet": 812_008,
            "c.parquet": 4,
        }
        assert (path / "a.log").read_bytes()[:196_608] == content[:196_608]
        assert (path / "a.log").stat().st_blocks * 512 < 300_000
        assert (path / "b.parquet").read_bytes().endswith(footer)
        with whole(path / "a.log") as copy:
            assert copy.read_bytes() == content
            assert copy.stat().st_mtime_ns == (path / "a.log").stat().st_mtime_ns != 0
            assert name_of(copy) == name_of(path / "a.log")
        assert not copy.exists()
        assert name_of(path / "a.log") == f"s3a://{BUCKET}/hollow/a.log"
        assert named(f"bad: {path}/a.log, {path}") == f"bad: s3a://{BUCKET}/hollow/a.log, s3a://{BUCKET}/hollow"


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the mirrors that the machine of the command has before tasks run, which on others would not see them."""

    def portions(groups: Iterable[Files], slots: int) -> list[Files]:
        found = tasks.portions(groups, slots)
        seen = (above for each in found for path in each for above in path.parents if above.name.startswith(MIRROR))
        for path in {*seen}:
            shutil.rmtree(path)
        return found

    for module in (domain_tables, archive_on_spark):
        monkeypatch.setattr(module, "portions", portions)


@pytest.mark.usefixtures("apart")
@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_tasks_of_a_cluster_fetch_what_they_read(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, logs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
    flows = write_flows(tmp_path / "router", START, many(), ident="none")
    os.utime(flows, (START, START))
    archives = [tmp_path / "ours", tmp_path / "theirs"]
    with standalone(tmp_path_factory.mktemp("spark"), 1) as cluster, object_store(BUCKET) as own:
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
        properties = {f"spark.executorEnv.{name}": os.environ[name] for name in names}
        expected = run("domains", "features", "--json", logs)
        run("archive", "--output", archives[0], logs, flows.parent)
        write_config(tmp_path, spark={"master": cluster.master, "properties": properties})
        uri, uri_of_flows = own.put(logs), own.put(flows.parent)
        found = run("domains", "features", "--json", "--engine", "spark", uri)
        said = run("archive", "--output", archives[1], "--engine", "spark", uri, uri_of_flows)[2]
    assert found == (1, expected[1], expected[2].replace(str(logs), uri))
    assert said.endswith(f"\n9,093 records read, 4 skipped; {MANY:,} flows read; 1 path not read\n")
    for table, total in (("domain_hours", "sum(queries)"), ("tuples", "sum(count)"), ("dns_flows", "count(*)")):
        query = f"SELECT sensor, {total} FROM archived GROUP BY ALL"
        assert read(archives[1], table, query) == read(archives[0], table, query)


def test_hdfs_is_read_as_folders_are(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, logs: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hdfs(tmp_path_factory.mktemp("hdfs")) as own:
        uri = own.put(logs)
        expected = run("domains", "features", "--json", logs)
        found = run("domains", "features", "--json", uri)
        assert found == (*expected[:2], expected[2].replace(str(logs), uri))
        found = run("domains", "features", "--json", "--engine", "spark", "--master", "local[1]", uri)
        assert found[2] == expected[2].replace(str(logs), uri)
        assert [each["queries"] for each in found[1]] == [each["queries"] for each in expected[1]]
        archive = ("archive", "--output", tmp_path / "archive", uri)
        assert run(*archive)[2].endswith("\n9,093 records read, 4 skipped; 1 path not read\n")
        assert run(*archive)[2].endswith("\n0 records read, 0 skipped; 6 files were already read\n")
        compact = ("pdns", "compact", "--output", tmp_path / "state", own.put(tmp_path / "archive"))
        assert run(*compact)[2] == "1 month compacted, 16 tuples\n"
        assert run(*compact)[2] == "0 months compacted, 0 tuples; 1 month had nothing new\n"
        own.client.set_permission(f"/{logs.name}/copy.log.gz", 0o600)
        monkeypatch.setenv("HADOOP_USER_NAME", "bob")
        stores._hdfs.cache_clear()
        status, table, said = run("domains", "features", "--json", uri)
        stores._hdfs.cache_clear()
        assert status == 1
        assert f"{uri}/copy.log.gz cannot be read: access is refused: Permission denied: user=bob, access=READ" in said
        assert [each["domain"] for each in table] == [each["domain"] for each in expected[1]]
        own.data_node.terminate()
        own.data_node.wait()
        status, table, said = run("domains", "features", "--json", uri)
        assert (status, table) == (1, [])
        assert said.count("cannot be read: no data node that has it can be reached\n") == 6  # and one is refused
