"""Abuse through a real resolver, as a sensor before it sees it: found, and given its right name."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.ingest.intake import Intake
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.findings import findings_in
from dnsvigil.store.store import Store
from evaluation.detection import all_but, of_logs, of_parts, watch
from lab import abusers, nxns, sensor
from lab.namespaces import why_not
from lab.population import popular_names
from lab.transactions import NOERROR, Asked, Transactions

HOURS = 49


def test_a_spam_bot_a_sweep_and_a_flood_are_named_rightly(tmp_path: Path) -> None:
    if reason := why_not(abusers.TOOLS):
        pytest.skip(reason)
    config = Config(detectors=Detectors(disabled=all_but("abuse", "malware", "tunnel")))
    names = [name for name in popular_names()[:20_000] if name.count(".") == 1]
    pcap = abusers.make(tmp_path, names)
    log = sensor.run(pcap, tmp_path / "zeek", {}, as_json=False).folder / "dns.log"
    begin = time.time() - HOURS * 3600
    past = Transactions.of(
        Asked(begin + n * (HOURS - 1) * 36, f"192.0.2.{n % 97}", f"www.site{n % 501}.com", "A", NOERROR)
        for n in range(100 * HOURS)
    )
    state = tmp_path / "state"
    state.mkdir()
    watch(of_parts([past]), config=Config(detectors=Detectors(disabled=all_but("abuse"))), state=state, seconds=86_400)
    seen = watch(of_logs([log]), config=config, state=state, seconds=60)
    found = {(one.finding.detector, one.finding.subject) for one in seen.found}
    assert found == {("spam", abusers.BOT), ("sweep", abusers.WORM), ("flood", abusers.FLOODER)}


def test_delegations_to_very_many_name_servers_are_a_fan_out(tmp_path: Path) -> None:
    if reason := why_not(nxns.TOOLS):
        pytest.skip(reason)
    logs = sensor.run(nxns.make(tmp_path), tmp_path / "zeek", {}, "__load__.zeek", as_json=False).folder
    config = Config(detectors=Detectors(disabled=all_but("abuse", "malware", "tunnel")))
    with Store(tmp_path / "state") as store, closing(Intake(store, config)) as intake:
        for name in ("dnsvigil_pdns.log", "dns.log"):
            pending = pending_log(logs / name, Cursors([]))
            intake.ingest([*read_batches(logs / name, pending.cursor, True, pending.log_type)])
        intake.flush()
        (found,) = findings_in(store.rows, "open")
    assert (found.detector, found.subject) == ("fan_out", nxns.ATTACK)
    assert found.evidence["name_servers"] == nxns.NAMES * nxns.EACH
    assert found.evidence["victims"] == [nxns.VICTIM]
    assert nxns.CLIENT in found.evidence["clients"]
