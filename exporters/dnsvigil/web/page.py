"""What a page is made from, and what comes back. :mod:`dnsvigil.web.routes` has the table of pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from flask import Response

from dnsvigil.api.interface import Backend
from dnsvigil.config.collector import Config
from dnsvigil.web.links import Links
from dnsvigil.web.places import Places
from dnsvigil.web.recent import Recent
from dnsvigil.web.viewer import Viewer, Viewers

Access = Literal["everyone", "view", "clients", "triage"]
"""Who may open a page: everyone; who may view pages; of these, who sees addresses of clients; who may triage."""

KINDS: Final = ("domain", "name", "address", "network", "client", "server", "zone")
"""The kinds of values that have pages."""


@dataclass(frozen=True)
class Asked:
    """A request for a page."""

    backend: Backend
    config: Config
    viewers: Viewers
    viewer: Viewer
    links: Links
    recent: Recent
    places: Places
    given: Mapping[str, str]  # parameters of the query, or the fields of a form; none is empty


@dataclass(frozen=True)
class View:
    """A page: a template, and what it shows."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = HTTPStatus.OK


@dataclass(frozen=True)
class Page:
    """A row of the table of pages."""

    path: str  # as Flask has it
    make: Callable[..., View | Response]  # of Asked, and of what the path names
    access: Access = "view"
    method: Literal["GET", "POST"] = "GET"
    label: str = ""  # in the navigation; nothing: it is not there
    shows: str = ""  # one of KINDS: this is the page of such a value, which is the parameter ``q``
