"""Writes collector.lock and build.lock beside this file: what of requirements.lock the package of the collector needs.

Debian has the rest of what the collector imports, but for Ibis, which only writes the SQL, at build.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCKED = HERE.parents[1] / "requirements.lock"

COLLECTOR = """
    cloudpickle duckdb joblib narwhals numpy prometheus-client pyarrow pymispwarninglists scikit-learn scipy
    threadpoolctl tldextract zstandard zxcvbn
"""
BUILD = """
    atpublic ibis-framework jaraco-functools more-itertools packaging parsy python-dateutil setuptools six sqlglot toolz
    typing-extensions
"""


def locks() -> dict[str, str]:
    """Return the contents of the lock files by their names. Raises ``KeyError`` where a distribution is not locked."""
    entries = re.split(r"(?m)^(?=[a-z])", LOCKED.read_text(encoding="utf-8"))
    locked = {entry.partition("==")[0]: re.sub(r"(?m)^ *#.*\n", "", entry) for entry in entries}
    wanted = {"collector.lock": COLLECTOR, "build.lock": BUILD}
    heading = "# Made by make lock from requirements.lock.\n"
    return {name: heading + "".join(locked[each] for each in sorted(listed.split())) for name, listed in wanted.items()}


if __name__ == "__main__":
    for name, content in locks().items():
        (HERE / name).write_text(content, encoding="utf-8")
