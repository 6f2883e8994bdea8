"""What the tests of a booted machine share. They change it, as root, and install from the repository in /srv/repo."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

COLLECTOR, EXPORTER = "dnsvigil-collector", "dnsvigil-resolver-exporter"
PORTS = {COLLECTOR: 9953, EXPORTER: 9954}
CONFIG = Path("/etc/dnsvigil/dnsvigil.yml")
STATE = Path("/var/lib/dnsvigil")
STORE = STATE / "dnsvigil.duckdb"
LOG = Path("/opt/zeek/spool/zeek/dns.log")
"""Where Zeek's own packages have zeekctl write it; /opt/zeek/logs/current leads there."""
INGESTED = 'dnsvigil_records_ingested_total{source="zeek"}'


def do(*command: str, status: int = 0, **environment: str) -> str:
    """Return what a command prints, its errors as well; leave where it ends with another status."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=os.environ | environment
    )
    expect(done.returncode == status, f"{' '.join(command)}: {done.returncode}\n{done.stdout}")
    return done.stdout


def expect(right: object, what: str) -> None:
    """Leave with the end of the journal where something is not right."""
    if not right:
        journal = subprocess.run(["journalctl", "--no-pager", "-n", "60"], capture_output=True, text=True, check=False)
        sys.exit(f"{journal.stdout}\nFAILED: {what}")


def wait(condition: Callable[[], object], what: str, most: float = 60) -> float:
    """Wait for something; print, and return, after how many seconds it came."""
    start = time.monotonic()
    while not condition():
        expect(time.monotonic() - start < most, what)
        time.sleep(0.05)
    took = time.monotonic() - start
    print(f"{what}: {took:.1f} s", flush=True)
    return took


def install(*packages: str) -> str:
    """Install packages, or files of some, as an unattended upgrade does: no question is answered."""
    command = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", "install"]
    said = do(*command, *packages, DEBIAN_FRONTEND="noninteractive")
    expect_configured()
    return said


def older_package(configuration: str) -> tuple[str, str]:
    """Return a package that is older than the repository's and has more in its configuration file, and its version."""
    (given,) = Path("/srv/older").glob("dnsvigil_*.deb")
    version = do("dpkg-deb", "--field", str(given), "Version").strip()
    (newest,) = re.findall(r"Candidate: (\S+)", do("apt-cache", "policy", "dnsvigil"))
    folder, package = Path("/tmp/older"), "/tmp/older.deb"
    do("dpkg-deb", "--raw-extract", str(given), str(folder))
    with (folder / "etc/dnsvigil/dnsvigil.yml").open("a") as stream:
        stream.write(configuration)
    if subprocess.run(["dpkg", "--compare-versions", version, "lt", newest], check=False).returncode:
        for path in (folder / "DEBIAN/control", folder / "DEBIAN/preinst"):
            path.write_text(path.read_text().replace(version, "0.0.9"))
        version = "0.0.9"
    do("dpkg-deb", "-Znone", "--build", str(folder), package)
    return package, version


def expect_configured() -> None:
    """Leave where a package is neither as it should be nor gone."""
    states = do("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", "dnsvigil*").splitlines()
    half = [state for state in states if state.split()[1] not in ("ii", "un", "rc")]
    expect(not half, f"not installed as they should be: {half}")


def property_of(unit: str, name: str) -> str:
    """Return what systemd knows of a service."""
    return do("systemctl", "show", "--property", name, "--value", unit).strip()


def start(unit: str = COLLECTOR) -> None:
    """Start a service anew, however often it was started of late."""
    do("systemctl", "reset-failed", unit)
    do("systemctl", "restart", unit)


def is_active(unit: str = COLLECTOR) -> bool:
    """Return whether a service has said that it is ready."""
    return property_of(unit, "ActiveState") == "active"


def has_failed(unit: str = COLLECTOR) -> bool:
    """Return whether systemd has given a service up."""
    return property_of(unit, "ActiveState") == "failed"


def metrics(unit: str = COLLECTOR) -> dict[str, float]:
    """Return the value of each series on /metrics of a service; none while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORTS[unit]}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def ingested() -> float:
    """Return how many DNS records the collector has counted."""
    return metrics().get(INGESTED, -1)


def quicken() -> None:
    """Have systemd wait less before it starts a collector that failed again."""
    drop_in = Path(f"/run/systemd/system/{COLLECTOR}.service.d/quick.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nRestartSec=100ms\n")
    do("systemctl", "daemon-reload")


def fill(folder: Path) -> Path:
    """Fill a file system to the last block; return the file that takes the space."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as stream, suppress(OSError):
        while stream.write(b"\0" * 4096):
            pass
    return filler


class Journal:
    """What a unit writes to the journal from now on."""

    def __init__(self, unit: str = COLLECTOR) -> None:
        self._unit = unit
        do("journalctl", "--sync")
        last = do("journalctl", "--no-pager", "-n", "1", "--show-cursor", "-o", "cat").splitlines()[-1]
        self._cursor = last.removeprefix("-- cursor: ")

    def text(self) -> str:
        """Return it, a line for each message."""
        do("journalctl", "--sync")
        return do("journalctl", "--no-pager", "-o", "cat", "--unit", self._unit, "--after-cursor", self._cursor)


def make_zeek_folders() -> None:
    """Make Zeek's folders as its packages do: everybody but root and the group zeek is kept from them."""
    if subprocess.run(["getent", "group", "zeek"], stdout=subprocess.DEVNULL, check=False).returncode:
        do("groupadd", "--system", "zeek")
    LOG.parent.mkdir(parents=True)
    Path("/opt/zeek/logs").mkdir()
    for folder in (LOG.parent, Path("/opt/zeek/logs")):
        do("chgrp", "zeek", str(folder))
        folder.chmod(0o2770)
    Path("/opt/zeek/logs/current").symlink_to(LOG.parent)
    LOG.touch()
    LOG.chmod(0o640)


def write_log(count: int, name: str = "www.example.org", rcodes: Iterable[int] = (0,), later: float = 0) -> None:
    """Write lines as Zeek does, or will do so many seconds later, one with each response code in turn."""
    rcodes = tuple(rcodes)
    with LOG.open("a") as stream:
        for number in range(count):
            rcode = rcodes[number % len(rcodes)]
            record = {"ts": time.time() + later, "uid": f"C{number}", "id.orig_h": "192.0.2.1", "id.orig_p": 1024}
            record |= {"id.resp_h": "192.0.2.53", "id.resp_p": 53, "proto": "udp", "trans_id": 1, "qclass": 1}
            record |= {"query": name, "qtype": 1, "qtype_name": "A"}
            record |= {"rcode": rcode, "rcode_name": ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN")[rcode]}
            stream.write(
                json.dumps(record | {"rejected": False, "AA": False, "TC": False, "RD": True, "RA": True}) + "\n"
            )
