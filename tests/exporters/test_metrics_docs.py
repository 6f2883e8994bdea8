"""docs/metrics.md against the /metrics of a collector in which every metric has a value."""

import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from exporters.running import collecting_here, eventually, get, ingested, line, write_config
from lab.zeeklog import header

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|(.*?)\| (.+) \|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = _ROW.findall(PAGE.read_text())
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}


def served(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.samples, f"{family.name} has no value"
        labels = frozenset(name for sample in family.samples for name in sample.labels if name != "le")
        found[family.name + "_total" * (family.type == "counter")] = (family.type, labels)
    return found


def test_the_page_and_the_metrics_say_the_same(tmp_path: Path) -> None:
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.parent.mkdir(parents=True)
    records = [line(time.time(), "a.example"), line(time.time(), "b.example", rcode="-", rtt="-")]
    log.write_bytes(header(time.time()) + b"".join(records) + b"broken\n")
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == len(records))
        metrics = served(get(url))
    ours = {name: kind for name, kind in metrics.items() if not name.startswith("process_")}
    page = documented()
    assert page.keys() == ours.keys()
    assert page == ours


def test_the_metrics_of_the_process_are_mentioned() -> None:
    assert "`process_" in PAGE.read_text()
