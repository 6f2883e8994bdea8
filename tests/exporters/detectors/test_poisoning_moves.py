"""Zones that change, as real servers and a real resolver change them: found if an attacker has registered the domain of
the name server, and not found if the owner does it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.poisoning import SCRIPTS, of_folder, watch
from lab import moves, sensor, takeover
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


@pytest.mark.parametrize("way", takeover.WAYS)
def test_a_name_server_of_which_the_domain_lapsed_is_a_takeover_and_one_that_moves_is_none(
    tmp_path: Path, way: str
) -> None:
    if reason := why_not(takeover.TOOLS):
        pytest.skip(reason)
    done = takeover.make(tmp_path, way)
    logs = sensor.run(done.pcap, tmp_path / "zeek", takeover.OPTIONS, *SCRIPTS, as_json=False)
    seen = watch(of_folder(logs.folder), since=takeover.START - 3600)
    assert done.per_minute > 20  # answers of the new server, to both
    found = {finding.subject: finding for finding in seen.findings}
    if way == "moved":
        assert not found
        return
    assert found.keys() == {takeover.ZONE, takeover.LAPSING}
    assert "a name server of bank.com has A 198.51.100.66 since" in found[takeover.ZONE].evidence["what"]
    assert "did not exist for a while before" in found[takeover.ZONE].evidence["what"]
    assert seen.first and seen.first <= takeover.START + 300
