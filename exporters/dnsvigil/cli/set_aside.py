"""``dnsvigil set-aside``: inputs that failed unexpectedly and were set aside, and why."""

import argparse

from dnsvigil.cli.ask import ask, shows_answer
from dnsvigil.cli.output import show, show_json
from dnsvigil.config.collector import Config


@shows_answer
def set_aside(options: argparse.Namespace, config: Config) -> int:
    """Print what is set aside, the newest first. Raises ``CommandError``."""
    found = ask(config, options.state, "/api/set-aside")
    if options.json:
        show_json(found)
    elif found:
        show(("since", "kind", "what", "why"), [[each[name] for name in _COLUMNS] for each in found])
    else:
        print("nothing is set aside")
    return 0


_COLUMNS = ("since", "kind", "subject", "reason")
