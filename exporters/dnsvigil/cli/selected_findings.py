"""The findings that a command's options select, for all that list or export them."""

import argparse
import sys
from datetime import timedelta
from typing import Any, Final

from dnsvigil.cli.ask import ask_counted
from dnsvigil.config.collector import Config
from dnsvigil.records import utc_now
from dnsvigil.system.terminal import counted

FILTERS: Final = ("detector", "severity", "subject_type", "subject")


def selected(options: argparse.Namespace, config: Config) -> list[dict[str, Any]]:
    """Return the findings that the options select, the worst first; report if there are more. Raises as :func:`ask`."""
    since = options.since
    if options.last is not None:
        since = utc_now() - timedelta(seconds=options.last)
    asked = {name: getattr(options, name) for name in (*FILTERS, "limit")}
    begin = f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else None
    found, total = ask_counted(config, options.state, "/api/findings", state=options.status, since=begin, **asked)
    if total is not None and total > len(found):
        more = "--limit shows more" if len(found) >= options.limit else "dnsvigil set-aside lists those that fail"
        print(f"{len(found):,} of {counted(total, 'finding')} shown; {more}", file=sys.stderr)
    return list(found)
