"""Makes the dashboards of Grafana, a JSON file from each file of code beside it: ``make dashboards``."""

from pathlib import Path
from typing import Final

import collector
import findings
import flows
import resolver
import zones
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER: Final = Path(__file__).parent


def contents() -> dict[str, str]:
    """Return what belongs into each file, by its name."""
    made = {each.__name__: each.dashboard() for each in (zones, findings, flows, collector, resolver)}
    return {f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(each) + "\n" for name, each in made.items()}


if __name__ == "__main__":
    for name, content in contents().items():
        (FOLDER / name).write_text(content)
