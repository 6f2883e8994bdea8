"""What the clients of other passive DNS services have in common: what is asked, a cache on disk, a rate, errors."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_FRESH: Final = 86400  # seconds for which an answer is not asked for again
_SECRETS: Final = ("Authorization", "X-Api-Key")  # headers, as the clients write them, that are not kept
_SECONDS: Final = 30.0  # to wait for a service

Record = Mapping[str, Any]
"""A record in the Common Output Format."""


class RemoteError(Exception):
    """A service does not answer, or not in full; the message names it and says why."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a service."""

    what: str  # a name, which may have a wildcard, an address or a network
    is_address: bool
    in_data: bool = False  # the name is looked for in data
    rrtype: str | None = None
    bailiwick: str | None = None
    fences: Mapping[str, int] = field(default_factory=dict)  # time_first_after and so on, seconds since 1970
    limit: int = 10_000


@contextmanager
def asking(service: str, keep: Callable[[bytes], bool]) -> Iterator[None]:
    """Give ``requests`` a cache on disk, and one request a second; ``keep`` says whether a body is worth keeping.

    Raises :class:`RemoteError` for what ``requests`` raises, and where the packages are missing.
    """
    try:
        import requests
        from requests_cache import CacheMixin, enabled
        from requests_ratelimiter import LimiterMixin
    except ModuleNotFoundError as error:
        raise missing(service, error) from error

    class Session(CacheMixin, LimiterMixin, requests.Session):  # type: ignore[misc]
        def request(self, *arguments: Any, **keywords: Any) -> Any:
            return super().request(*arguments, **{"timeout": _SECONDS, **keywords})

    try:
        with enabled(
            _cache_file(),
            session_factory=Session,
            expire_after=_FRESH,
            match_headers=("dribble-filter-rrtype",),
            ignored_parameters=_SECRETS,
            filter_fn=lambda response: keep(response.content),
            per_second=1,
        ):
            yield
    except requests.RequestException as error:
        raise RemoteError(f"{service}: {_reason(error)}") from error


def missing(service: str, error: ModuleNotFoundError) -> RemoteError:
    """Return the error for a package that is not installed."""
    return RemoteError(f"{service} cannot be asked: {error.name} is not installed; install dnsvigil[remote]")


def _cache_file() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dnsvigil"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "passive-dns"


def _reason(error: Exception) -> str:
    names = [each.__name__ for each in type(error).__mro__]
    if (response := getattr(error, "response", None)) is not None:
        return f"it answers {response.status_code} {response.reason}"
    if "SSLError" in names:
        return f"its certificate is not trusted: {error}"
    if "Timeout" in names:
        return f"it does not answer within {_SECONDS:.0f} s"
    return "it cannot be reached" if "ConnectionError" in names else f"the answer breaks off: {error}"
