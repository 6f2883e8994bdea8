"""``make evaluate``: how well dnsvigil finds what it looks for, on data of which the truth is known."""

import argparse
import importlib

PARTS = (
    "abuse",
    "flows",
    "flux",
    "lab",
    "names",
    "infected",
    "contacts",
    "tunnels",
    "implants",
    "groups",
    "evasions",
    "poisoning",
    "open_resolvers",
)

parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
parser.add_argument("parts", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)} (default: all)")
chosen = parser.parse_args().parts
if unknown := set(chosen) - set(PARTS):
    parser.error(f"there is no {', '.join(sorted(unknown))}")
for part in chosen or PARTS:
    importlib.import_module(f"evaluation.{part}").main()
