"""``make run``: the main job on the sample logs. They are replayed as a live Zeek would write them, the collector
follows them, and a table shows how the zones fare until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from dnsvigil.cli.zones import show_zones

from .replay import replay

SAMPLE = Path(__file__).parent / "samples" / "dns.log.gz"
RULES = Path(__file__).parents[2] / "rules" / "prometheus"
URL = "http://127.0.0.1:9953"
TABLE_SECONDS = 10
TABLE_ROWS = 12
SENSOR = "lab"

_CONFIG = """\
listen: 127.0.0.1:9953
sources:
  zeek:
    - path: {logs}/current
      sensor: {sensor}
zones:
  min_queries: 20
"""

_WELCOME = """
dnsvigil follows {logs}/current/dns.log, into which the sample logs are replayed at {speed:g} times their speed.

  metrics          {url}/metrics
  pages            {url}/
  a failing zone   curl -s {url}/metrics | grep shop.example
                   about 12 % of its queries to 198.51.100.53 fail, and 1 % of those to 198.51.100.54
{prometheus}
Every {seconds} s comes the table of dnsvigil zones. Ctrl-C ends it.
"""

_PROMETHEUS = """\
  its alert        in a second terminal:
                   prometheus --config.file={config} --storage.tsdb.path={data}
                   and after five minutes http://127.0.0.1:9090/alerts
"""

_NO_PROMETHEUS = """\
  its alert        with Debian's package prometheus installed, this says how to start one with dnsvigil's rules
"""


def main() -> int:
    """Run until the log ends or a signal comes; return the exit status."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--speed", type=float, default=1, metavar="X", help="times as fast (make run SPEED=X)")
    speed: float = parser.parse_args().speed
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="dnsvigil-") as folder, _collector(Path(folder)) as collector:
        logs = Path(folder, "logs")
        hint = _NO_PROMETHEUS
        if shutil.which("prometheus"):
            hint = _PROMETHEUS.format(config=RULES / "prometheus-example.yml", data=Path(folder, "prometheus"))
        print(_WELCOME.format(logs=logs, speed=speed, url=URL, prometheus=hint, seconds=TABLE_SECONDS), flush=True)
        steps = replay(SAMPLE, logs, speed=speed, loop=True, rotate=60)
        next_table = time.monotonic() + TABLE_SECONDS
        with contextlib.closing(steps):
            for pause in steps:
                if stop.wait(pause):
                    break
                if collector.poll() is not None:
                    print("make run: the collector ended; what it said stands above", file=sys.stderr)
                    return 1
                if time.monotonic() > next_table:
                    next_table += TABLE_SECONDS
                    _print_table()
    print("\nended")
    return 0


@contextlib.contextmanager
def _collector(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``dnsvigil run`` in a session of its own, so that Ctrl-C reaches it through us alone."""
    config = folder / "dnsvigil.yml"
    config.write_text(_CONFIG.format(logs=folder / "logs", sensor=SENSOR))
    (folder / "logs" / "current").mkdir(parents=True)
    process = subprocess.Popen(
        [
            sys.executable,
            *("-m", "dnsvigil", "-c", config, "--state", folder / "state", "--log-level", "warning", "run"),
        ],
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _print_table() -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{URL}/api/zones", timeout=5) as answer:
        found = json.load(answer)
        if found["zones"]:
            show_zones(found, TABLE_ROWS)
            print(flush=True)


sys.exit(main())
