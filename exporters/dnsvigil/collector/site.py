"""What a collector serves with one configuration: its metrics, its API and its pages."""

from pathlib import Path

from dnsvigil.api.app import api
from dnsvigil.api.interface import Backend
from dnsvigil.api.routes import KEY_PATHS, open_paths, triage_paths
from dnsvigil.collector.application import application
from dnsvigil.collector.process_metrics import ProcessMetrics
from dnsvigil.config.collector import Config
from dnsvigil.exporter.pages import METRICS, OPEN_PATHS, Pages
from dnsvigil.exporter.sound import Report
from dnsvigil.httpd.access import TOKEN_FILE, Access, Token, is_loopback
from dnsvigil.httpd.api_keys import ApiKeys
from dnsvigil.web import app as pages
from dnsvigil.web.viewer import Viewers


class Site:
    """Pages, API and the token that opens them."""

    def __init__(self, config: Config, state: Path, backend: Backend, metrics: ProcessMetrics, report: Report) -> None:
        """Raises ``OSError`` where there can be no token. ``report`` is called for metrics that are left out."""
        self.pages = Pages(config, metrics.registry, report)
        keys = ApiKeys({key.name: key.sha256 for key in config.api.keys}, KEY_PATHS)
        self.token = Token(config.api.token_file or state / TOKEN_FILE, keys)
        hidden, open_to_all = ([METRICS], []) if config.api.client_addresses == "triage" else ([], [METRICS])
        access = Access(
            self.token.path,
            [*OPEN_PATHS, *open_to_all, *open_paths(config), *pages.open_paths()],
            loopback=is_loopback(config.listen),
            triage=config.web.triage,
            triage_paths=[*hidden, *triage_paths(config)],
        )
        viewers = Viewers(self.token, access, config)
        blueprints = (
            self.pages.blueprint(),
            api(backend, config, lambda: self.pages.ready),
            pages.web(backend, config, viewers, lambda: self.pages.ready),
        )
        self.application = application(blueprints, access, pages.not_found)
