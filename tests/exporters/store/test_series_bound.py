"""The number of series is bounded whatever the traffic: with default bounds /metrics stays small."""

import random
import time
from pathlib import Path

from dnsvigil.records import QTYPES, RCODES
from exporters.running import collecting_here, eventually, get, ingested, line, samples, write_config
from lab.zeeklog import header

RECORDS = 300_000


def test_many_zones_and_servers_are_few_series(tmp_path: Path) -> None:
    dice = random.Random(1)
    zones = [f"zone{i}.example" for i in range(10_000)]
    servers = [f"10.0.{i // 250}.{i % 250 + 1}" for i in range(1_000)]
    now = int(time.time()) - 7200
    qtypes = [*map(str, QTYPES), "65400", "-"]
    rcodes = [*map(str, RCODES), "3000", "-"]
    log = tmp_path / "zeek" / "current" / "dns.log"
    log.parent.mkdir(parents=True)
    with log.open("wb") as stream:
        stream.write(header(now))
        for i in range(RECORDS):
            stream.write(
                line(
                    now + i / 100,  # 50 minutes, so that places on the lists change hands
                    f"www.{zones[i % 10_000]}",
                    server=servers[i % 997] if i < 20_000 else dice.choice(servers[i // 10_000 * 30 :]),
                    qtype=dice.choice(qtypes),
                    rcode=dice.choice(rcodes),
                    rtt=f"{dice.lognormvariate(-5, 3):.6f}",
                    client=f"198.51.100.{i % 200}",
                )
            )
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == RECORDS)
        found = samples(get(url))

    values = {
        name: {labels[name] for _, items in found if name in (labels := dict(items))}
        for name in ("server", "dns_zone", "qtype", "rcode")
    }
    assert 2 < len(values["server"]) <= 21
    assert 2 < len(values["dns_zone"]) <= 51
    assert values["qtype"] == {*QTYPES.values(), "other", "unknown"}
    assert values["rcode"] == {*RCODES.values(), "other"}
    assert len(found) < 20_000
