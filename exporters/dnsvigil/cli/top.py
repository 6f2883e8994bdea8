"""``dnsvigil top``: what fails, what was found and what does not run, live on a terminal, or once into a pipe."""

import argparse
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dnsvigil.api.coverage import Picture
from dnsvigil.cli import client
from dnsvigil.cli.ask import shows_answer
from dnsvigil.cli.client import NoCollectorError
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.output import show_json, width
from dnsvigil.cli.top_lines import View, heading, lines
from dnsvigil.config.collector import Config

_PATH: Final = "/api/now"
_EVERY: Final = 5.0  # seconds


def top(options: argparse.Namespace, config: Config) -> int:
    """Show the collector's picture until a key ends it; without a terminal, print one. Raises ``CommandError``."""
    if options.json:
        show_json(_picture(config, options.state))
    elif sys.stdin.isatty() and sys.stdout.isatty():
        from dnsvigil.cli.top_screen import Screen

        screen = Screen(client.url_of(config))
        with Asking(lambda: _picture(config, options.state), screen.deliver):
            screen.run()
    else:
        picture = _picture(config, options.state)
        print("\n".join([heading(picture), *(text for _, text in lines(picture, View(width=width())))]))
    return 0


@shows_answer
def _picture(config: Config, state: Path) -> Picture:
    """Return the collector's picture. Raises ``CommandError``, also for one that cannot be shown."""
    try:
        answer = client.request(config, state, _PATH)
        found: Picture = json.loads(answer.body)
    except (NoCollectorError, ValueError) as error:
        raise CommandError(str(error)) from error
    if answer.status != 200:
        raise CommandError(str(found["error"]))
    lines(found, View())  # of another version, it may lack something
    return found


class Asking:
    """Asks again and again, in a thread of its own."""

    def __init__(self, ask: Callable[[], Picture], deliver: Callable[[Picture | CommandError], None]) -> None:
        """``deliver`` takes each picture, or why there is none."""
        self._ask = ask
        self._deliver = deliver
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)  # which may wait for an answer

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._deliver(self._ask())
            except CommandError as error:
                self._deliver(error)
            self._stop.wait(_EVERY)
