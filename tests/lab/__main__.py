"""The lab's command line: ``python -m lab``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from . import make, replay
from .namespaces import LabError


def main() -> int:
    """Run one of the lab's commands; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    live = commands.add_parser("replay", help="write a dns.log as a live Zeek would")
    live.add_argument("log", type=Path, metavar="LOG", help="TSV or JSON, plain or .gz")
    live.add_argument("--into", type=Path, metavar="DIR", required=True, help="writes DIR/current/dns.log")
    live.add_argument("--speed", type=float, metavar="X", default=1, help="times as fast (default: 1)")
    live.add_argument("--loop", action="store_true", help="start again at the end")
    live.add_argument("--rotate", type=float, metavar="SECONDS", default=0, help="rotate (default: never)")
    live.add_argument("--json", action="store_true", help="write Zeek's JSON form")
    lab = commands.add_parser("make", help="make DNS traffic, Zeek's logs of it, and the truth (needs root)")
    lab.add_argument("into", type=Path, metavar="OUTDIR", help="must not have been used before")
    lab.add_argument("--seconds", type=int, default=150, help="of traffic (default: 150)")
    lab.add_argument("--seed", type=int, default=1, help="of what is asked (default: 1)")
    options = parser.parse_args()
    try:
        if options.command == "make":
            # So that SIGTERM, too, leaves nothing behind.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            make.make(options.into, seconds=options.seconds, seed=options.seed)
            return 0
        replay.run(
            options.log,
            options.into,
            speed=options.speed,
            loop=options.loop,
            rotate=options.rotate,
            json=options.json,
        )
    except (LabError, OSError, ValueError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
