"""The table of the API: each path with its function, and who may use it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dnsvigil.api import domains, findings, flows, hunt, now, set_aside, training, zones
from dnsvigil.api.interface import Answer, Stream, Tables
from dnsvigil.api.passive_dns import circl, cof, dnsdb
from dnsvigil.config.collector import Config

Access = Literal["everyone", "configured", "authenticated", "triage"]
"""Who may use a path: everyone; everyone only if ``api.client_addresses`` allows it; who proves an identity; of these,
those whom ``web.triage`` names."""


@dataclass(frozen=True)
class Route:
    """A path of the API, which has one method."""

    method: Literal["GET", "POST"]
    path: str
    answer: Callable[..., Answer | Stream | Tables]  # of the Backend what it needs, Config and Parameters
    access: Access = "authenticated"
    signed: bool = False  # the function takes the name of who asks, too


ROUTES: Final[Sequence[Route]] = (
    Route("GET", "/api/now", now.now, "configured"),
    Route("GET", "/api/flows/series", flows.series, "everyone"),
    Route("GET", "/api/flows/verdicts", flows.verdicts, "everyone"),
    Route("GET", "/api/flows/talkers", flows.talkers, "configured"),
    Route("GET", "/api/zones", zones.zones, "everyone"),
    Route("GET", "/api/domains", domains.domain, "configured"),
    Route("GET", "/api/domains/hours", domains.hours),
    Route("GET", "/api/domains/tuples", domains.tuples),
    Route("GET", "/api/domains/known", domains.known, "configured"),
    Route("GET", "/api/findings", findings.findings, "configured"),
    Route("GET", "/api/training", training.lessons, "configured"),
    Route("GET", "/api/set-aside", set_aside.set_aside, "configured"),
    Route("GET", "/api/pdns/lookup", cof.lookup, "configured"),
    Route("POST", "/api/pdns/lookup", cof.lookup_many),
    Route("POST", "/api/hunt", hunt.hunt),
    Route("POST", "/api/findings", findings.submit, "triage"),
    Route("POST", "/api/findings/dismiss", findings.dismiss, "triage", signed=True),
    Route("POST", "/api/findings/reopen", findings.reopen, "triage", signed=True),
    Route("POST", "/api/findings/note", findings.note, "triage", signed=True),
    Route("POST", "/api/flows/files", flows.submit_files, "triage"),
)
"""``configured`` are those with addresses of clients, or names that clients asked for.

Hashes of clients, by which an address can be found out, and all of passive DNS at once need a proof of identity anyway.
"""


KEY_PATHS: Final = ("/api/pdns/", circl.PREFIX, dnsdb.PREFIX)
"""How the paths begin that an API key opens."""


def open_paths(config: Config) -> Iterable[str]:
    """Return the paths that everyone may read."""
    everyone = ("everyone", "configured") if config.api.client_addresses == "everyone" else ("everyone",)
    paths = [route.path for route in ROUTES if route.method == "GET" and route.access in everyone]
    if "configured" in everyone:
        paths.append(f"{circl.PREFIX}*")
    return [*paths, f"{dnsdb.PREFIX}*"]  # which refuses as DNSDB does


def triage_paths(config: Config) -> Iterable[str]:
    """Return the paths, those of POST as ``POST path``, for whom ``web.triage`` names.

    They are all that change something, and what has addresses of clients where only they may see these.
    """
    hidden = config.api.client_addresses == "triage"
    for route in ROUTES:
        holds_clients = route.access != "everyone" and not route.path.startswith(KEY_PATHS)
        if route.access == "triage" or (hidden and holds_clients):
            yield route.path if route.method == "GET" else f"{route.method} {route.path}"
