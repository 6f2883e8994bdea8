"""Zones that change, as real servers and a real resolver change them: nobody forges anything, and nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.poisoning import SCRIPTS, of_folder, watch
from lab import moves, sensor
from lab.namespaces import why_not


@pytest.mark.parametrize("change", moves.CHANGES)
def test_a_change_of_a_zone_is_no_poisoning(tmp_path: Path, change: str) -> None:
    if reason := why_not(moves.TOOLS):
        pytest.skip(reason)
    pcap = moves.make(tmp_path, change)
    options = {**moves.OPTIONS, "DNSVigilCapture::log_interval": "1sec"}
    logs = sensor.run(pcap, tmp_path / "zeek", options, *SCRIPTS, as_json=False)
    seen = watch(of_folder(logs.folder))
    assert [(one.detector, one.subject, one.evidence) for one in seen.findings] == []
    queries = (logs.folder / "dns.log").read_text()
    assert queries.count(moves.RESOLVER) > moves.QUESTIONS / 2
    if change == "hosts move":
        assert "192.0.2.1" in queries and "198.51.100.1" in queries
    elif change == "servers move":
        assert b"\x04dns0\x05other" in pcap.read_bytes()  # in authority sections
    else:
        assert "DNSKEY" in queries
