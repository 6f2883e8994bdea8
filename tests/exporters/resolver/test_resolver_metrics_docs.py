"""docs/metrics.md against the /metrics of a resolver exporter in which every metric has a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporters.exporter.test_metrics_docs import documented, served
from exporters.resolver.exporting import Exporter, asking, watching
from exporters.running import eventually
from lab.resolvers import Resolver, installed

HERE_OR_NOT = {
    "filesystem": r"host_filesystem_",
    "softnet": r"host_softnet_",
    "disk": r"host_disk_",
    "conntrack": r"host_conntrack_",
    "clock": r"host_clock_",
    "io": r"(read|write)_bytes_total",
    "netlink": r"accept_queue_limit|socket_receive_buffer_bytes",
}
"""The metrics that not every machine has, by the part of a collector that is then missing."""


@pytest.mark.skipif(not installed("unbound"), reason="unbound is missing; Debian has it in the package unbound")
def test_the_page_and_the_metrics_of_the_resolver_exporter_say_the_same(tmp_path: Path) -> None:
    with Resolver("unbound", tmp_path / "unbound", workers=1) as resolver:
        probe = asking(resolver) | {"identity": True, "port": resolver.port}
        with Exporter(tmp_path / "exporter", watching(resolver, probe=probe)) as exporter:
            wanted = ("dnsvigil_resolver_probe_rcode{", "dnsvigil_resolver_identity_info{")
            text = eventually(lambda: (now := exporter.text()) * all(name in now for name in wanted))
    missing = re.findall(r'^dnsvigil_resolver_part_available{.*part="(\w+)"} 0', text, re.MULTILINE)
    absent = [HERE_OR_NOT[part] for part in missing]
    page = {
        name: said
        for name, said in documented("Resolver exporter").items()
        if not any(re.match(f"dnsvigil_resolver_({pattern})", name) for pattern in absent)
    }
    metrics = served(text)
    assert page.keys() == metrics.keys()
    assert page == metrics
