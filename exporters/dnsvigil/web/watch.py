"""Whether anybody looks, so that *nothing found* and *could not look* never look alike."""

from typing import Any

from dnsvigil.api import now
from dnsvigil.web.page import Asked


def picture(asked: Asked) -> dict[str, Any]:
    """Return what ``/api/now`` has, made for all viewers at once."""
    found: dict[str, Any] = asked.recent.of("now", lambda: now.now(asked.backend, asked.config, {}).content)
    return found


def doubt(asked: Asked) -> str:
    """Return why it proves nothing that there is no finding; nothing where all detectors look at current records."""
    found = picture(asked)
    states = {each["detector"]: each["state"] for each in found["detectors"]}
    blind = [name for name, state in states.items() if state not in ("running", "learning")]
    learning = [name for name, state in states.items() if state == "learning"]
    if not states:
        return "no detector is enabled"
    if not found["current"]:
        return "there are no new records to find anything in"
    if blind:
        return f"not all detectors run: {', '.join(blind)}"
    return f"some detectors still learn: {', '.join(learning)}" if learning else ""
