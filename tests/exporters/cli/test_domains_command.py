"""``dnsvigil domains`` and ``/api/domains``: the features that plain Python finds, and never numbers for nothing."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli.ask import change
from dnsvigil.cli.main import main
from dnsvigil.config.collector import load_config
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
    log = tmp_path / "dns.json.gz"
    # Of answers to ANY, the log does not have the types.
    lines = gzip.decompress(LOG.read_bytes()).splitlines(keepends=True)
    log.write_bytes(gzip.compress(b"".join(line for line in lines if json.loads(line).get("qtype_name") != "*")))
    assert main(["-c", str(write_config(tmp_path)), "domains", "features", "--json", str(log)]) == 0
    found = rows_of(capsys.readouterr().out)
    asked, tuples = logged(log)
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


def ingested(folder: Path, *logs: Path) -> list[str]:
    """The begin of commands on a store with some logs."""
    call = ["-c", str(write_config(folder)), "--state", str(folder / "state")]
    assert main([*call, "ingest", *map(str, logs)]) == 0
    return call


def test_a_domain_is_shown_as_the_table_has_it_without_a_collector_and_with_one(tmp_path, capsys):
    call = ingested(tmp_path, some_log(tmp_path))
    show = [*call, "domains", "show"]
    capsys.readouterr()
    assert main([*show, "shop.com"]) == 1
    assert "no table of domains was made yet; run dnsvigil domains cluster" in capsys.readouterr().err
    assert main([*call, "domains", "cluster"]) == 0
    assert "shop.com" in capsys.readouterr().out
    assert main([*show, "--json", "SHOP.com."]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["domain"], found["domains"], found["features"]["ips"]) == ("shop.com", 3, 2)
    assert found["statistics"]["ips"] == {"mean": 4 / 3, "median": 2, "p5": 0.2, "p95": 2, "min": 0, "max": 2}
    assert {each["domain"] for each in found["nearest"]} == {"cdn.com", "nowhere.org"}
    assert found["nearest"][0]["domain"] == "cdn.com"
    assert abs(datetime.fromisoformat(found["made"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert (found["group"]["name"], found["group"]["domains"]) == ("ordinary", 3)
    assert found["distance"] > 0
    assert main([*show, "shop.com"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*DOMAIN_FEATURES, found["made"], "ordinary"))
    with collecting(Path(call[1]), Path(call[3])) as collector:
        show += ["--url", collector.url]
        eventually(lambda: main([*show, "--json", "shop.com"]) == 0 or capsys.readouterr() is None)
        assert json.loads(capsys.readouterr().out) == found
        assert main([*show, "example.net"]) == 1
        assert f"example.net is not in the table of {found['made']}" in capsys.readouterr().err


def test_a_running_collector_has_the_same_domains_and_takes_the_table(tmp_path, capsys):
    call = ingested(tmp_path, LOG)
    capsys.readouterr()
    assert main([*call, "domains", "cluster", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert {each["domain"] for each in alone["domains"]} > {"shop.example", "wpad"}
    path = Path(call[3]) / "domains.parquet"
    path.unlink()
    with collecting(Path(call[1]), Path(call[3])) as collector:
        cluster = [*call, "domains", "cluster", "--json", "--url", collector.url]
        eventually(lambda: main(cluster) == 0 or capsys.readouterr() is None)
        assert json.loads(capsys.readouterr().out) == alone
        assert path.exists()
        assert main([*call, "domains", "show", "--url", collector.url, "wpad"]) == 0


def test_groups_keep_their_ids_from_table_to_table(tmp_path, capsys):
    lines = gzip.decompress(LOG.read_bytes()).splitlines(keepends=True)
    most, rest = tmp_path / "dns.most.log", tmp_path / "dns.rest.log"
    most.write_bytes(b"".join(line for number, line in enumerate(lines) if number % 5))
    rest.write_bytes(b"".join(lines[::5]))
    call = ingested(tmp_path, most)
    found = []
    for more in ([], [], [rest]):
        for log in more:
            assert main([*call, "ingest", str(log)]) == 0
        capsys.readouterr()
        assert main([*call, "domains", "cluster", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    groups = [{each["domain"]: each["group"] for each in table["domains"]} for table in found]
    names = [{each["id"]: each["name"] for each in table["groups"]} for table in found]
    assert len(names[2]) > 3
    assert names[2].items() <= names[0].items()  # two of them may have become one
    assert sum(groups[2][domain] == group for domain, group in groups[0].items()) >= 0.9 * len(groups[0])


def test_a_table_that_cannot_be_read_is_never_a_domain_that_is_not_known(tmp_path, capsys, caplog):
    call = ingested(tmp_path, some_log(tmp_path))
    assert main([*call, "domains", "cluster"]) == 0
    path = Path(call[3]) / "domains.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    for name in ("shop.com", "example.net"):
        capsys.readouterr()
        assert main([*call, "domains", "show", name]) == 1
        assert "domains.parquet: it is no table of domains" in capsys.readouterr().err
    with collecting(Path(call[1]), Path(call[3])) as collector:
        eventually(lambda: 'set_aside_items{kind="domains"} 1' in collector.get("/metrics"))
        assert main([*call, "domains", "show", "--url", collector.url, "example.net"]) == 1
        assert "domains.parquet: it is no table of domains" in capsys.readouterr().err
    assert main([*call, "domains", "cluster"]) == 0
    assert "all groups are new" in caplog.text
    assert main([*call, "domains", "show", "shop.com"]) == 0


def test_known_domains_name_their_group(tmp_path, capsys):
    call = ingested(tmp_path, LOG)
    finding = {"detector": "test", "subject_type": "domain", "score": 1, "severity": "critical", "evidence": {}}
    for domain in ("dark.example", "lame.example"):
        change(load_config(Path(call[1])), Path(call[3]), "/api/findings", finding | {"subject": domain})
    capsys.readouterr()
    assert main([*call, "domains", "cluster", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {each["id"]: each["name"] for each in found["groups"]}
    groups = {each["domain"]: names[each["group"]] for each in found["domains"]}
    assert groups["dark.example"] == groups["lame.example"] == "suspicious"
    assert groups["198.in-addr.arpa"] == "reverse"


def test_without_a_store_nothing_is_made(tmp_path, capsys):
    call = ["-c", str(write_config(tmp_path)), "--state", str(tmp_path / "state"), "domains"]
    assert main([*call, "cluster"]) == 1
    assert main([*call, "show", "shop.com"]) == 1
    assert not (tmp_path / "state").exists()


def test_groups_are_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    call = ["-c", str(write_config(tmp_path)), "domains", "cluster"]
    assert main([*call, "--plot", str(tmp_path / "groups.png"), str(LOG)]) == 0
    assert (tmp_path / "groups.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main([*call, "--plot", str(tmp_path / "groups.pdf"), str(LOG)]) == 2
    assert main([*call, "--plot", str(tmp_path / "no" / "groups.png"), str(LOG)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a name that ends in .png" in err
    assert "there is no folder" in err


def test_without_matplotlib_what_to_install_is_reported_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dnsvigil.cli.domain_plot.find_spec", lambda name: None)
    call = ["-c", str(write_config(tmp_path)), "domains", "cluster", "--plot", str(tmp_path / "groups.png"), str(LOG)]
    assert main(call) == 1
    assert "pip install 'dnsvigil[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["'; DROP TABLE domain_hours; --", "<script>", "x" * 1024, "\x1b[31m"])
def test_a_hostile_name_is_only_unknown(tmp_path, capsys, name):
    call = ingested(tmp_path, some_log(tmp_path))
    assert main([*call, "domains", "cluster"]) == 0
    assert main([*call, "domains", "show", name]) == 1
    err = capsys.readouterr().err
    assert "is not in the table of" in err
    assert "\x1b" not in err


def test_an_archive_has_the_features_of_its_logs(tmp_path, capsys, caplog):
    config = write_config(tmp_path)
    archive = tmp_path / "archive"
    assert main(["-c", str(config), "archive", "--output", str(archive), str(LOG), str(some_log(tmp_path))]) == 0
    capsys.readouterr()
    features = ["-c", str(config), "domains", "features", "--json"]
    assert main([*features, str(LOG), str(tmp_path / "dns.log")]) == 0
    expected = rows_of(capsys.readouterr().out)
    assert main([*features, str(archive)]) == 0
    found = rows_of(capsys.readouterr().out)
    assert found.keys() == expected.keys()
    for domain, row in found.items():
        for name, value in row.items():
            same = (
                pytest.approx(expected[domain][name], rel=1e-9) if isinstance(value, float) else expected[domain][name]
            )
            assert value == same, (domain, name)
    assert len(found) > 10
    assert main([*features, str(archive), str(LOG)]) == 2
    assert capsys.readouterr().err == "dnsvigil: give logs or archives, not both\n"
    damaged = next(archive.glob("tuples/*/*/*.parquet"))
    damaged.write_bytes(b"PAR1")
    assert main([*features, str(archive)]) == 1
    assert f"{damaged} cannot be read" in caplog.text
    assert rows_of(capsys.readouterr().out).keys() == expected.keys()
