"""Captures on the lab's two networks, and Zeek's logs of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from .namespaces import LabError, Namespaces
from .servers import START_SECONDS

SIDES = ("clients", "upstream")
"""Between clients and resolvers, and between resolvers and authoritative servers: the names of the bridges."""

_JSON_TOO = """
event zeek_init()
    {
    Log::add_filter(DNS::LOG, [$name="json", $path="dns_json", $config=table(["use_json"] = "T")]);
    }
"""


class Capture:
    """tcpdump at work on one of the sides."""

    def __init__(self, net: Namespaces, side: str, folder: Path, what: str = "port 53") -> None:
        """Start it and wait until it captures packets that match ``what``. Raises LabError where it does not."""
        self.file = folder / f"{side}.pcap"
        command = ["tcpdump", "-i", side, "-n", "-Z", "root", "-B", "16384", "-s", "0", "-w", str(self.file)]
        command += [what]
        self._process = net.start("wire", command, folder / f"{side}.tcpdump.log")
        deadline = time.monotonic() + START_SECONDS
        while "listening on" not in self._process.tail():
            if not self._process.running or time.monotonic() > deadline:
                raise LabError(f"{self._process} does not capture: {self._process.tail()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """Stop it and return the number of packets. Raises LabError where the capture is not complete."""
        # What the last clients sent and got is to be read before the capture ends.
        time.sleep(1.5)
        self._process.stop()
        said = self._process.tail()
        captured = re.search(r"^(\d+) packets? captured", said, re.MULTILINE)
        dropped = re.search(r"^(\d+) packets? dropped by kernel", said, re.MULTILINE)
        if not captured or not dropped or int(dropped[1]):
            raise LabError(f"{self._process} lost packets: {said}")
        return int(captured[1])


def zeek_logs(pcap: Path, into: Path) -> tuple[Path, Path]:
    """Run Zeek over a capture and return its dns.log, as TSV and as JSON.

    Raises LabError where Zeek is not on the PATH, fails, or writes no dns.log.
    """
    zeek = shutil.which("zeek")
    if not zeek:
        raise LabError("zeek is not on the PATH")
    into.mkdir()
    (into / "json-too.zeek").write_text(_JSON_TOO)
    # Checksums of packets that never left the machine are left for a network card to fill in, hence -C.
    command = [zeek, "-C", "-r", str(pcap.resolve()), "json-too.zeek"]
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300, check=False)
    tsv, json = into / "dns.log", into / "dns_json.log"
    if done.returncode or not tsv.exists() or not json.exists():
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")
    return tsv, json


def zeek_version() -> str:
    """Return the version that ``zeek --version`` tells."""
    done = subprocess.run(["zeek", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
