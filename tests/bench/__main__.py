"""``make bench``: figures for README.md and docs/, printed as they are measured; ``python -m bench NAME`` chooses."""

import argparse
import importlib

PARTS = (
    "collector",
    "detection",
    "detectors",
    "engines",
    "features",
    "flows",
    "passive_dns",
    "resolver",
    "spark",
    "startup",
    "web",
    "zeek",
)

parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("parts", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)} (default: all)")
chosen = parser.parse_args().parts
if unknown := set(chosen) - set(PARTS):
    parser.error(f"there is no {', '.join(sorted(unknown))}")
for part in chosen or PARTS:
    importlib.import_module(f"bench.{part}").main()
