"""The table of the API: each path with its function, and who may use it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dnsvigil.api import domains, findings, flows, set_aside, training, zones
from dnsvigil.api.interface import Answer, Parameters
from dnsvigil.config.collector import Config

Access = Literal["everyone", "configured", "authenticated"]
"""Who may use a path: everyone; everyone only if ``api.client_addresses`` allows it; who proves an identity."""


@dataclass(frozen=True)
class Route:
    """A path of the API, which has one method."""

    method: Literal["GET", "POST"]
    path: str
    answer: Callable[[Any, Config, Parameters], Answer]  # the first parameter: of the Backend what it needs
    access: Access = "authenticated"


ROUTES: Final[Sequence[Route]] = (
    Route("GET", "/api/flows/series", flows.series, "everyone"),
    Route("GET", "/api/flows/verdicts", flows.verdicts, "everyone"),
    Route("GET", "/api/flows/talkers", flows.talkers, "configured"),
    Route("GET", "/api/zones", zones.zones, "everyone"),
    Route("GET", "/api/domains", domains.domain, "configured"),
    Route("GET", "/api/findings", findings.findings, "configured"),
    Route("GET", "/api/training", training.names, "configured"),
    Route("GET", "/api/set-aside", set_aside.set_aside, "configured"),
    Route("POST", "/api/findings", findings.submit),
    Route("POST", "/api/findings/dismiss", findings.dismiss),
    Route("POST", "/api/findings/reopen", findings.reopen),
    Route("POST", "/api/flows/files", flows.submit_files),
)
"""``configured`` are those with addresses of clients, or names that clients asked for."""


def open_paths(config: Config) -> Iterable[str]:
    """Return the paths that everyone may read."""
    everyone = ("everyone", "configured") if config.api.client_addresses == "everyone" else ("everyone",)
    return [route.path for route in ROUTES if route.access in everyone]
