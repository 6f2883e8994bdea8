"""``dnsvigil archive``: old logs become files for other engines, each log once."""

import gzip
import shutil
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from exporters.ingest.test_archive import files, read
from exporters.ingest.test_passive_dns import PDNS, row
from exporters.running import write_config
from exporters.zeeklogs import HEADER, START, package_header, tsv

YEAR = 365 * 86400


def log(path: Path, seconds: float, *names: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(HEADER + b"".join(tsv(ts=f"{START + seconds + i}.0", query=name) for i, name in enumerate(names)))
    return path


@pytest.fixture
def convert(tmp_path, capsys):
    config = write_config(tmp_path, archive={"path": str(tmp_path / "archive"), "retention": "1d", "max_size": "10MB"})

    def convert(*arguments: object, status: int = 0) -> str:
        capsys.readouterr()
        command = ["-c", str(config), "--log-level", "error", "archive", *map(str, arguments)]
        assert main(command) == status
        return capsys.readouterr().err

    return convert


def names(root: Path) -> list[str]:
    return [name for (name,) in read(root, "transactions", "SELECT qname FROM archived ORDER BY ts")]


def test_each_log_is_converted_once_whatever_it_is_called(tmp_path, convert):
    new = log(tmp_path / "logs" / "dns.log", 0, "new.example", "newer.example")
    rows = package_header(PDNS) + row(0, rrname="tuple.example", rdata="192.0.2.9", count=3)
    (tmp_path / "logs" / f"{PDNS}.log").write_bytes(rows)
    root = tmp_path / "archive"
    assert convert("--transactions", tmp_path / "logs") == "3 records read, 0 skipped\n"
    before = files(root)
    assert names(root) == ["new.example", "newer.example"]
    assert read(root, "tuples", "SELECT rdata, count, sensor FROM archived WHERE rrname = 'tuple.example'") == [
        ("192.0.2.9", 3, tmp_path.name)
    ]
    hours = read(root, "domain_hours", "SELECT domain, queries FROM archived ORDER BY ALL")
    assert hours == [("new.example", 1), ("newer.example", 1)]
    # Again, and copies
    shutil.copy(new, tmp_path / "logs" / "copy.log")
    (tmp_path / "logs" / "dns.2023.log.gz").write_bytes(gzip.compress(new.read_bytes()))
    assert convert("--transactions", tmp_path / "logs") == "0 records read, 0 skipped; 3 files were already read\n"
    assert files(root) == before
    # What is older comes later, and is kept whatever the bounds of the collector's own archive are
    old = log(tmp_path / "old" / "dns.log", -3 * YEAR, "old.example")
    convert("--transactions", old)
    assert names(root) == ["old.example", "new.example", "newer.example"]
    # Another folder, and without transactions
    convert("--output", tmp_path / "other", old)
    assert {path.relative_to(tmp_path / "other").parts[0] for path in files(tmp_path / "other")} == {
        ".dnsvigil",
        "domain_hours",
        "tuples",
    }


def test_what_cannot_be_converted_is_reported(tmp_path, convert, capsys):
    good = log(tmp_path / "logs" / "dns.log", 0, "new.example")
    convert(good, tmp_path / "missing", status=1)
    assert len(read(tmp_path / "archive", "domain_hours")) == 1
    (tmp_path / "archive" / "file").write_text("")
    convert("--output", tmp_path / "archive" / "file" / "below", good, status=1)
    capsys.readouterr()
    config = write_config(tmp_path)
    assert main(["-c", str(config), "archive", str(good)]) == 2
    said = capsys.readouterr().err
    assert said == "dnsvigil: give --output DIR, or set archive.path in the configuration\n"
