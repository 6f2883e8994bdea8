"""``dnsvigil domains`` and ``/api/domains``: the features that plain Python finds, and never numbers for nothing."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli.main import main
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.sources.words import common_words
from exporters.features import domain_truth as truth
from exporters.features.test_domain_features import SAMPLES, compare, domain_of, logged
from exporters.running import collecting, eventually, write_config
from exporters.zeeklogs import HEADER, tsv

LOG = SAMPLES / "dns.json.gz"


def rows_of(text: str) -> dict[str, dict[str, Any]]:
    return {row.pop("domain"): row for row in json.loads(text)}


def some_log(folder: Path) -> Path:
    """Two domains of which one leads to the other's addresses, and one without answers."""
    chain = {"answers": "edge.cdn.com,192.0.2.1,198.51.100.1", "TTLs": "60.000000,30.000000,30.000000"}
    lines = [tsv(query="www.shop.com", qtype="1", qtype_name="A", **chain) for _ in range(3)]
    lines.append(tsv(query="edge.cdn.com", qtype="1", qtype_name="A", answers="192.0.2.1", TTLs="20.000000"))
    lines.append(tsv(query="nowhere.org", rcode="3", rcode_name="NXDOMAIN", answers="-", TTLs="-", rtt="-"))
    (folder / "dns.log").write_bytes(HEADER + b"".join(lines))
    return folder / "dns.log"


def test_features_of_a_log_are_what_plain_python_makes_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(truth, "FAILURES", {None, 1, 2, 4, 5})
    assert main(["-c", str(write_config(tmp_path)), "domains", "features", "--json", str(LOG)]) == 0
    found = rows_of(capsys.readouterr().out)
    asked, tuples = logged(LOG)
    expected = truth.features(asked, tuples, domain_of, common_words())
    for row in found.values():
        row |= {name: int(datetime.fromisoformat(row[name]).timestamp()) for name in ("first_seen", "last_seen")}
    compare(found, expected)


def test_cnames_are_followed_and_networks_looked_up(tmp_path, capsys):
    table = tmp_path / "asn.csv"
    table.write_text("192.0.2.0,192.0.2.255,64500,One\n198.51.100.0,198.51.100.255,64501,Two\n")
    config = write_config(tmp_path, domains={"networks": [str(table)]})
    assert main(["-c", str(config), "domains", "features", "--json", str(some_log(tmp_path))]) == 0
    found = rows_of(capsys.readouterr().out)
    assert {name: (row["ips"], row["asns"], row["countries"]) for name, row in found.items()} == {
        "cdn.com": (2, 2, None),
        "shop.com": (2, 2, None),
        "nowhere.org": (0, None, None),
    }
    assert (found["shop.com"]["queries"], found["shop.com"]["sharing_domains"]) == (3, 1)
    assert found["nowhere.org"]["nxdomain_share"] == 1


def test_a_table_of_ten_features_for_people(tmp_path, capsys):
    assert main(["-c", str(write_config(tmp_path)), "domains", "features", str(some_log(tmp_path))]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["domain", *list(DOMAIN_FEATURES)[:10]]
    assert [row.split()[0] for row in rows] == ["cdn.com", "nowhere.org", "shop.com"]


def test_groups_of_the_lab(tmp_path, capsys):
    call = ["-c", str(write_config(tmp_path)), "domains", "cluster"]
    assert main([*call, "--json", str(LOG)]) == 0
    found = json.loads(capsys.readouterr().out)
    groups = {each["domain"]: each["group"] for each in found["domains"]}
    assert len({groups[name] for name in ("shop.example", "news.example", "mail.example")}) == 1
    assert groups["dark.example"] == groups["lame.example"] != groups["shop.example"]  # their servers fail
    assert groups["wpad"] == groups["router"] != groups["shop.example"]  # which do not exist
    assert sum(each["domains"] for each in found["groups"]) == len(groups)
    assert main([*call, str(some_log(tmp_path))]) == 0
    assert "shop.com" in capsys.readouterr().out


def test_what_cannot_be_read_is_reported(tmp_path, capsys, caplog):
    config = write_config(tmp_path)
    assert main(["-c", str(config), "domains", "features", "--json", str(tmp_path / "none.log")]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "none.log cannot be read" in caplog.text
    table = tmp_path / "asn.csv"
    table.write_text("no table\n")
    config = write_config(tmp_path, domains={"networks": [str(table)]})
    assert main(["-c", str(config), "domains", "features", str(some_log(tmp_path))]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "asn.csv: no table of networks" in err


def test_show_asks_the_collector_or_reads_the_store(tmp_path, capsys):
    config, state = write_config(tmp_path), tmp_path / "state"
    call = ["-c", str(config), "--state", str(state), "domains", "show"]
    assert main([*call, "shop.com"]) == 1
    assert not state.exists()
    assert main([*call[:4], "ingest", str(some_log(tmp_path))]) == 0
    capsys.readouterr()
    assert main([*call, "--json", "SHOP.com."]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["domain"], found["domains"], found["features"]["ips"]) == ("shop.com", 3, 2)
    assert found["statistics"]["ips"] == {"mean": 4 / 3, "median": 2, "p5": 0.2, "p95": 2, "min": 0, "max": 2}
    assert {each["domain"] for each in found["nearest"]} == {"cdn.com", "nowhere.org"}
    assert found["nearest"][0]["domain"] == "cdn.com"
    assert main([*call, "shop.com"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in DOMAIN_FEATURES)
    with collecting(config, state) as collector:
        call += ["--url", collector.url]
        eventually(lambda: main([*call, "--json", "shop.com"]) == 0 or capsys.readouterr() is None)
        assert json.loads(capsys.readouterr().out) == found
        assert main([*call, "example.net"]) == 1
        assert "no query for example.net" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["'; DROP TABLE domain_hours; --", "<script>", "x" * 1024, "\x1b[31m"])
def test_a_hostile_name_is_only_unknown(tmp_path, capsys, name):
    config, state = write_config(tmp_path), tmp_path / "state"
    call = ["-c", str(config), "--state", str(state)]
    assert main([*call, "ingest", str(some_log(tmp_path))]) == 0
    assert main([*call, "domains", "show", name]) == 1
    assert "\x1b" not in capsys.readouterr().err
