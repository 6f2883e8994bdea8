"""The page of what is going on now: what fails, what was found, and what does not run."""

from typing import Final

from dnsvigil.api import coverage
from dnsvigil.api.parameters import only
from dnsvigil.records import SEVERITIES
from dnsvigil.web.page import Asked, View
from dnsvigil.web.records import shown_record
from dnsvigil.web.watch import picture

REFRESH_SECONDS: Final = 10
"""The time between two looks at the page, unless they are paused."""

_FAILING: Final = 20  # zones that are listed, as the next
_WORST: Final = 8


def now(asked: Asked) -> View:
    """Return the page."""
    paused = only(asked.given, "refresh").get("refresh") == "off"
    found = picture(asked)
    values = {
        "found": found,
        "failing": [zone for zone in found["zones"] if zone["state"] == "failing"][:_FAILING],
        "worst": [shown_record(finding, asked) for finding in found["findings"]["worst"][:_WORST]],
        "losses": {row["sensor"]: row["loss_ratio"] for row in found["capture"]},
        "working": coverage.working(found),
        "reporting": sum(each["state"] == "ok" for each in found["sensors"]),
        "severities": [*reversed(SEVERITIES)],
        "looked": not coverage.of_findings(found).doubt,
        "flows_doubt": coverage.of_flows(found).doubt,
        "paused": paused,
        "refresh_seconds": REFRESH_SECONDS,
    }
    return View("now.html", values)
