"""``make fuzz``: mutated inputs at every door, each in a process of its own, for some seconds each."""

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import campaign
from fuzz.doors import DOORS

parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
parser.add_argument("--seconds", type=float, default=60, help="for each door (default: %(default)s)")
parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
parser.add_argument("--folder", type=Path, help="where inputs that fail are kept (default: a new one)")
parser.add_argument("--here", action="store_true", help="in this process, and end at the first hang")
parser.add_argument("doors", nargs="*", metavar="DOOR", help=f"of {', '.join(DOORS)} (default: all)")
options = parser.parse_args()
if unknown := set(options.doors) - DOORS.keys():
    parser.error(f"there is no {', '.join(sorted(unknown))}")
folder = options.folder or Path(tempfile.mkdtemp(prefix="dnsvigil-fuzz-"))
failed = False
if options.here:
    logging.basicConfig(level="CRITICAL")
    for name in options.doors:
        result = campaign(name, folder, options.seed, seconds=options.seconds, exit_on_hang=True)
        print(f"{name:18} {result.inputs:9,} inputs, slowest {result.slowest:.1f} s, memory {result.growth:.2f}-fold")
        for failure in result.failures:
            print(f"    {failure}")
        failed = failed or bool(result.failures)
else:
    print(f"seed {options.seed}, inputs that fail are kept in {folder}")
    for name in options.doors or DOORS:
        command = [sys.executable, "-m", "fuzz", "--here", "--seed", str(options.seed), "--folder", str(folder)]
        ended = subprocess.run([*command, "--seconds", str(options.seconds), name], check=False)
        if ended.returncode not in (0, 1):
            print(f"{name}: the process ended with status {ended.returncode} on {folder / name}.now")
        failed = failed or ended.returncode != 0
sys.exit(failed)
