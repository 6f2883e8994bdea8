"""Changes by the API: a response waits for the change for a short time only."""

import logging
from concurrent.futures import Future
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 3.0
"""How long a response waits until a change is in the store. After that the change is still made, but later."""

T = TypeVar("T")


def result(future: "Future[T]", later: T) -> T:
    """Return the result of a change, or ``later`` where that takes too long. Raises what the change raises."""
    try:
        return future.result(WAIT_SECONDS)
    except TimeoutError:
        future.add_done_callback(_report)
        return later


def _report(future: "Future[Any]") -> None:
    if future.cancelled() or future.exception():
        log.error("a change by the API was lost: %s", "stopped" if future.cancelled() else future.exception())
