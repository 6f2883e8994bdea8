"""Whether anybody looks, so that *nothing found* and *could not look* never look alike."""

from typing import Any

from dnsvigil.api import coverage, now
from dnsvigil.web.page import Asked


def picture(asked: Asked) -> dict[str, Any]:
    """Return what ``/api/now`` has, made for all viewers at once."""
    found: dict[str, Any] = asked.recent.of("now", lambda: now.now(asked.backend, asked.config, {}).content)
    return found


def doubt(asked: Asked) -> str:
    """Return why it proves nothing that there is no finding; nothing where all detectors look at current records."""
    return coverage.of_findings(picture(asked)).doubt
