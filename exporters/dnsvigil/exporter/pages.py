"""The pages for everyone: /metrics, the landing page, the runbooks, and the checks of health."""

import html
import threading
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial
from typing import Final

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from dnsvigil import __version__
from dnsvigil.config.collector import Config
from dnsvigil.exporter.dns import zone_failures
from dnsvigil.exporter.snapshots import registry
from dnsvigil.exporter.sound import Report
from dnsvigil.httpd import runbooks
from dnsvigil.httpd.routes import RETRY_AFTER
from dnsvigil.ingest.dns import SOURCE, ZONES, DnsSnapshot
from dnsvigil.ingest.flows import FlowSnapshot
from dnsvigil.ingest.intake import Snapshot

OPEN_PATHS: Final = ("/", "/metrics", "/-/healthy", "/-/ready", "/runbooks*")
"""What everyone may read: all pages."""

_TEXT: Final = "text/plain; charset=utf-8"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>dnsvigil collector</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .2rem 1rem .2rem 0 }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<h1>dnsvigil collector</h1>
<p>Version {version}. <a href="metrics">Metrics</a>, <a href="runbooks/">runbooks</a>, <a href="-/healthy">healthy</a>,
<a href="-/ready">ready</a>.</p>
<h2>Sensors</h2>
{sensors}
<h2>Zones that failed most</h2>
{zones}
</html>
"""


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
            "/": self._landing,
            "/metrics": self._metrics,
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

    def _landing(self) -> str:
        snapshot = self._shown[0]
        sensors = [
            (sensor, f"{event.replace(tzinfo=UTC):%Y-%m-%d %H:%M:%S %Z}" if event else "none yet")
            for source, sensor, event, _ in (snapshot.sensors if snapshot else [])
            if source == SOURCE
        ]
        return _PAGE.format(
            version=__version__,
            sensors=_table(["Sensor", "Newest record"], sensors),
            zones=_table(["Server", "Zone", "Queries", "Failures", "Ratio"], _worst_zones(snapshot)),
        )


def _text(text: str) -> Response:
    return Response(text, content_type=_TEXT)


def _not_ready() -> Response:
    text = "dnsvigil has not opened its store yet; ask again in a few seconds.\n"
    return Response(text, 503, {"Retry-After": RETRY_AFTER}, content_type=_TEXT)


def _worst_zones(snapshot: Snapshot | None, most: int = 20) -> list[tuple[str, ...]]:
    if snapshot is None:
        return []
    queries = {(server, zone): queries for server, zone, queries, _ in snapshot.rows(ZONES)}
    found = [
        (sum(reasons.values()), *key, queries[key])
        for key, reasons in zone_failures(snapshot).items()
        if snapshot.of(DnsSnapshot).shows(*key)
    ]
    found.sort(key=lambda row: (-row[0], row[1:]))
    return [
        (server, zone, f"{queries:,}", f"{failures:,}", f"{failures / queries:.1%}")
        for failures, server, zone, queries in found[:most]
    ]


def _table(head: list[str], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return "<p>None yet.</p>"

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="n"' if name in ("Queries", "Failures", "Ratio") else "" for name in head]
        return "".join(f"<{tag}{kind}>{html.escape(text)}</{tag}>" for kind, text in zip(kinds, row, strict=True))

    lines = [f"<tr>{cells('th', head)}</tr>", *(f"<tr>{cells('td', row)}</tr>" for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"
