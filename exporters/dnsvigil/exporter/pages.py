"""What everyone may read: /metrics, the runbooks, and the checks of health."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from dnsvigil.config.collector import Config
from dnsvigil.exporter.snapshots import registry
from dnsvigil.exporter.sound import Report
from dnsvigil.httpd import runbooks
from dnsvigil.httpd.routes import RETRY_AFTER
from dnsvigil.ingest.flows import FlowSnapshot
from dnsvigil.ingest.intake import Snapshot

OPEN_PATHS: Final = ("/-/healthy", "/-/ready", "/runbooks*")
"""What everyone may read."""

METRICS: Final = "/metrics"
"""What everyone may read where clients' addresses, which labels have, are not for who triages alone."""

_TEXT: Final = "text/plain; charset=utf-8"


class Pages:
    """Pages of the newest snapshot; a request never waits for ingestion."""

    def __init__(self, config: Config, process: CollectorRegistry, report: Report = lambda *_: None) -> None:
        """Serve ``process``'s metrics beside those of the snapshots; ``report`` is called for what is left out."""
        self._report = report
        self._config = config
        self._process = process
        self._shown: tuple[Snapshot | None, FlowSnapshot] = (None, FlowSnapshot())
        self._rendered: dict[str, tuple[Snapshot, FlowSnapshot, bytes]] = {}
        self._rendering = threading.Lock()

    def publish(self, snapshot: Snapshot, flows: FlowSnapshot | None = None) -> None:
        """Show ``snapshot`` from now on, and from the same instant ``flows``, where they are new."""
        self._shown = (snapshot, flows or self._shown[1])

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        blueprint = Blueprint("pages", __name__)
        views: dict[str, Callable[[], str | Response]] = {
            METRICS: self._metrics,
            "/-/healthy": lambda: _text("dnsvigil is healthy.\n"),
            "/-/ready": self._ready,
            "/runbooks": lambda: Response("", 308, {"Location": "runbooks/"}, content_type=_TEXT),
            "/runbooks/": runbooks.index,
            # A path for each file that is there now, so that no request can name another.
            **{f"/runbooks/{name}": partial(runbooks.page, name) for name in runbooks.names()},
        }
        for path, view in views.items():
            blueprint.add_url_rule(path, path, view, methods=["GET"], provide_automatic_options=False)
        return blueprint

    @property
    def snapshot(self) -> Snapshot | None:
        """What is shown now."""
        return self._shown[0]

    @property
    def ready(self) -> bool:
        """Whether there is something to show."""
        return self._shown[0] is not None

    def _ready(self) -> Response:
        return _text("dnsvigil is ready.\n") if self.ready else _not_ready()

    def _metrics(self) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        body = encoder(self._process)
        snapshot, flows = self._shown
        if snapshot is None:
            return _not_ready()
        # OpenMetrics ends with one "# EOF", so the two parts are joined before it.
        body = body.removesuffix(b"# EOF\n") + self._render(snapshot, flows, encoder, content_type)
        return Response(body, content_type=content_type)

    def _render(
        self,
        snapshot: Snapshot,
        flows: FlowSnapshot,
        encoder: Callable[[CollectorRegistry], bytes],
        content_type: str,
    ) -> bytes:
        """Return the snapshots' metrics, rendered once for all scrapes."""
        with self._rendering:
            known = self._rendered.get(content_type)
            if known and known[0] is snapshot and known[1] is flows:
                return known[2]
            body = encoder(registry(snapshot, flows, self._config, self._report))
            self._rendered[content_type] = (snapshot, flows, body)
            return body


def _text(text: str) -> Response:
    return Response(text, content_type=_TEXT)


def _not_ready() -> Response:
    text = "dnsvigil has not opened its store yet; ask again in a few seconds.\n"
    return Response(text, 503, {"Retry-After": RETRY_AFTER}, content_type=_TEXT)
