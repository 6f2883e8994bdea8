"""Cowrie itself, attacked on loopback: who asks for where its attacker fetched a program is a finding."""

import json
import time
from pathlib import Path

import pytest
import yaml

from dnsvigil.cli.main import main
from exporters.zeeklogs import HEADER, tsv
from lab import honeypot

BOT = "198.51.100.7"


@pytest.mark.skipif(not honeypot.program(), reason="needs cowrie: tests/install-cowrie")
def test_a_client_that_asks_for_where_cowries_attacker_fetched_a_program_is_a_finding(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    folder.chmod(0o711)
    folder.parent.chmod(0o711)
    log = honeypot.attacked(folder / "cowrie")
    names = [f"www.{honeypot.NAME}", "google.com"]
    dns = tmp_path / "dns.log"
    dns.write_bytes(
        HEADER + b"".join(tsv(ts=f"{time.time():.6f}", query=name, id_orig_h=BOT, rcode="0") for name in names)
    )
    config = tmp_path / "dnsvigil.yml"
    config.write_text(yaml.safe_dump({"flows": {"networks": ["127.0.0.0/8"]}}))
    options = ["-c", str(config), "--state", str(tmp_path / "state")]
    for path in (log, dns):
        assert main([*options, "ingest", str(path)]) == 0
    capsys.readouterr()
    assert main([*options, "findings", "--json"]) == 0
    found = {(each["detector"], each["subject"]): each["evidence"] for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == {("malware", BOT), ("honeypot", "127.0.0.1")}
    assert found["malware", BOT]["listed"][0]["entry"] == honeypot.NAME
    assert found["honeypot", "127.0.0.1"]["commands"] == len(honeypot.COMMANDS)
