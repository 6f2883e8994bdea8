"""An intake on a store, into which tests put lines of logs."""

from dnsvigil.config.collector import Config
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import BY_PATH, DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.store import Store
from exporters.running import Samples, metrics_text, sample, samples
from exporters.zeeklogs import HEADER, package_header


class Taking:
    """An intake on a store of its own, into which lines go."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self._config = config
        self.intake = Intake(store, config)

    def close(self) -> None:
        self.intake.close()

    def restart(self) -> None:
        self.intake.close()
        self.intake = Intake(self.store, self._config)

    def take(self, path: str, *lines: bytes, sensor: str = "zeek") -> None:
        """Take lines of one log as one batch."""
        body = b"".join(lines)
        kind = BY_PATH[path]
        chunks, _, skipped = split((HEADER if kind is DNS else package_header(path)) + body, None, kind)
        cursor = Cursor("1", sensor, 0, "", 0, b"", "")
        self.intake.ingest([Batch(chunks, count_lines(body), skipped, cursor, 0, kind)])

    @property
    def metrics(self) -> Samples:
        return samples(metrics_text(self.intake.snapshot(), self._config))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics[sample(name, **labels)]
