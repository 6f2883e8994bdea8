"""Zeek with dnsvigil's scripts over a capture, as an operator would run it over live traffic."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .namespaces import LabError

SCRIPTS = Path(__file__).parents[2] / "zeek-scripts"

Row = dict[str, Any]


class Logs:
    """The logs that Zeek wrote into a folder, as JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a log, none where Zeek wrote no such log."""
        file = self.folder / f"{name}.log"
        if not file.exists():
            return []
        return [json.loads(line) for line in file.read_text().splitlines()]

    def notices(self) -> list[tuple[str, str]]:
        """Return the kinds of dnsvigil's Notices, with the address that each is about."""
        rows = self.rows("notice")
        return [(row["note"], row.get("src", "")) for row in rows if row["note"].startswith("DNSVigil::")]


def run(pcap: Path, into: Path, options: Mapping[str, str], *scripts: str, as_json: bool = True) -> Logs:
    """Run Zeek with some of dnsvigil's scripts over a capture; options are Zeek's identifiers with their values.

    Scripts are files, or folders of them, in zeek-scripts.

    Raises LabError where Zeek is not on the PATH, fails, or reports an error in a script.
    """
    zeek = shutil.which("zeek")
    if not zeek:
        raise LabError("zeek is not on the PATH")
    into.mkdir()
    # Checksums of packets that never left the machine are left for a network card to fill in, hence -C.
    command = [zeek, "-C", "-r", str(pcap.resolve()), *(str(SCRIPTS / script) for script in scripts)]
    command += [f"LogAscii::use_json={'T' if as_json else 'F'}", *(f"{key}={value}" for key, value in options.items())]
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300, check=False)
    reported = into / "reporter.log"
    if done.returncode or reported.exists():
        said = reported.read_text() if reported.exists() else done.stderr
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}: {said[-1000:]}")
    return Logs(into)
