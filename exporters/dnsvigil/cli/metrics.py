"""``dnsvigil metrics``: the content of /metrics, from a running collector or from the store."""

import argparse
import logging
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from prometheus_client import generate_latest

from dnsvigil.cli import client
from dnsvigil.cli.ask import shows_answer, store_instead
from dnsvigil.cli.client import NoCollectorError
from dnsvigil.cli.errors import CommandError
from dnsvigil.config.collector import Config
from dnsvigil.system.terminal import printable

log = logging.getLogger(__name__)


@shows_answer
def metrics(options: argparse.Namespace, config: Config) -> int:
    """Print the metrics. Raises ``CommandError``.

    Where no collector runs, metrics of its process are missing.
    """
    try:
        answer = client.request(config, options.state, "/metrics")
    except NoCollectorError as nobody:
        text = _of_store(nobody, options.state, config)
    else:
        text = answer.body.decode("utf-8", "replace")
        if answer.status != 200 or "\ndnsvigil_build_info{" not in text:
            raise CommandError(f"{client.url_of(config)}/metrics has no metrics of a collector, or not yet")
    sys.stdout.write(_escaped(text))
    return 0


def _of_store(nobody: NoCollectorError, state: Path, config: Config) -> str:
    from dnsvigil.exporter.snapshots import registry
    from dnsvigil.ingest.flows import FlowsPart
    from dnsvigil.ingest.intake import Intake

    with (
        store_instead(nobody, state) as store,
        closing(Intake(store, config)) as intake,
        closing(FlowsPart(store, config)) as flow_collector,
    ):
        snapshot, flows = intake.snapshot(), flow_collector.snapshot()
    return generate_latest(registry(snapshot, flows, config, partial(log.warning, "%s is left out: %s"))).decode()


def _escaped(text: str) -> str:
    """Return metrics in which no label does anything to a terminal; they stay what a parser takes."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else "".join(map(_escaped_character, line)) for line in lines)


def _escaped_character(character: str) -> str:
    # In a label a backslash is written as two.
    return character if character.isprintable() else printable(character).replace("\\", "\\\\")
