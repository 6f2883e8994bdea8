"""Notes in the file of queries that they hold without Ibis, which made them and is not in the package."""

import json
import sys

sys.path.insert(0, sys.argv[1])

from dnsvigil.engines import duckdb, kept

made = json.loads(duckdb.FILE.read_bytes())
made["made_from"] = duckdb.made_from()
kept.save(duckdb.FILE, json.dumps(made, indent=1).encode() + b"\n")
