"""The Streaming API Framing of DNSDB (SAF): the last object says whether that was all, or why not.

See https://docs.dnsdb.info/dnsdb-saf-protocol/.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from dnsvigil.api.interface import Objects
from dnsvigil.api.passive_dns.lookup import SECONDS, LimitedError
from dnsvigil.engines.tuples import LookupTimeoutError
from dnsvigil.store.store import StoreError

log = logging.getLogger(__name__)

_SILENCE: Final = 5.0  # seconds; a client that has hung up is noticed when something is sent


def framed(objects: Objects, problems: Iterable[str] = ()) -> Iterator[Mapping[str, Any] | None]:
    """Yield the frames of problems and objects; None wherever it takes time to find more."""
    yield {"cond": "begin"}
    for problem in problems:
        yield {"cond": "ongoing", "msg": problem}
    yield None
    found, sent = False, time.monotonic()
    last = {"cond": "succeeded"}
    try:
        for each in objects:
            if each is not None:
                found = True
                yield {"obj": each}
                continue
            now = time.monotonic()
            if not found and now - sent > _SILENCE:
                found = True
                yield {"cond": "ongoing"}
            if found:
                found, sent = False, now
            yield None
    except LimitedError as error:
        last = {"cond": "limited", "msg": str(error)}
    except (LookupTimeoutError, StoreError) as error:
        last = {"cond": "failed", "msg": failure(error)}
    except Exception:
        log.exception("a look-up in passive DNS failed")
        last = {"cond": "failed", "msg": "a fault of the server; its log has more"}
    yield last


def failure(error: Exception) -> str:
    """Return why a look-up has failed, for whoever asked; the log has more."""
    if isinstance(error, StoreError):
        log.error("a look-up in passive DNS failed: %s", error)
        return "the store cannot be read now"
    return f"the look-up took more than {SECONDS:.0f} s, so there may be more"
