"""A domain with its features, beside all other domains."""

import threading
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from dnsvigil.api.interface import Answer, Parameters, RequestError, TupleSource
from dnsvigil.api.parameters import only, refuse
from dnsvigil.config.collector import Config

_NEAREST: Final = 10
_MAX_NAME: Final = 1024  # characters: 255 octets, each of which may be written with four

_making = threading.Lock()


def domain(source: TupleSource, config: Config, asked: Parameters) -> Answer:
    """Return the features of a registered domain, what they are over all domains, and the domains most like it."""
    from dnsvigil.learning.domains import domain_table
    from dnsvigil.sources.networks import NetworkTableError

    name = only(asked, "domain").get("domain", "").lower().rstrip(".") or "."
    if "domain" not in asked or len(name) > _MAX_NAME:
        refuse("domain: expected a registered domain")
    if not _making.acquire(blocking=False):
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "features are being made for another request; try again")
    try:
        with domain_table(source, source.tuples, config.domains.networks) as table:
            found = table.profile(name, _NEAREST)
    except (NetworkTableError, OSError) as error:
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"domains.networks: {error}") from error
    finally:
        _making.release()
    if found is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"no query for {name}, and no answer about it, is in the store")
    return Answer(
        {
            "domain": name,
            "domains": found.domains,
            "features": {
                key: _time(value) if key.endswith("_seen") else value for key, value in found.features.items()
            },
            "statistics": found.statistics,
            "nearest": [{"domain": each, "distance": distance} for each, distance in found.nearest],
        }
    )


def _time(seconds: Any) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
