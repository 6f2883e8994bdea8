"""``dnsvigil pdns lookup``: which names had which data, and when."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.cli.ask import ask_stream, shows_answer
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.output import show
from dnsvigil.cli.pdns_remotes import asked_of, services
from dnsvigil.cli.spark import cluster_if_asked
from dnsvigil.config.collector import Config
from dnsvigil.sources.passive_dns.remote import RemoteError
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import printable

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster

_PATH: Final = "/api/pdns/lookup"
_HEAD: Final = ("first seen", "last seen", "count", "name", "type", "data", "bailiwick")
_TEXTS: Final = ("rrname", "rrtype", "rdata", "bailiwick")
_OWN: Final = "dnsvigil"
_LIMITED: Final = "the limit is reached, so there may be more: see --limit and --offset"
_BODY: Final = 512 << 10  # bytes of names in one request

Record = Mapping[str, Any]


@shows_answer
def lookup(options: argparse.Namespace, config: Config) -> int:
    """Print what is found. Return 1 where a part of the question is wrong. Raises ``CommandError``."""
    _check(options)
    with cluster_if_asked(options, config) as cluster:
        return _print(options, _Answer(options, config, cluster))


def _print(options: argparse.Namespace, answer: "_Answer") -> int:
    if options.json:
        for _, record in answer.records():
            # Of all control characters, JSON in ASCII leaves this one as it is.
            print(json.dumps(record).replace("\x7f", "\\u007f"))
        return answer.finish()
    rows = [(source, *_row(record)) for source, record in answer.records()]
    if answer.services:
        show(("source", *_HEAD), sorted(rows, key=lambda row: (row[4:7], row[0])))
    elif rows:
        show(_HEAD, [row[1:] for row in rows])
    if not rows and answer.sound:
        print("passive DNS has nothing of that", file=sys.stderr)
    return answer.finish()


class _Answer:
    """The records of an answer, which may be several answers, and what is to say of them at the end."""

    def __init__(self, options: argparse.Namespace, config: Config, cluster: "Cluster | None") -> None:
        self._options = options
        self._cluster = cluster
        self._config = config
        self.services = services(options, config)
        self._left = options.limit
        self._problems = 0
        self._note = ""
        self._failure = ""

    @property
    def whole(self) -> bool:
        """Whether there is no more."""
        return not (self._note or self._failure)

    @property
    def sound(self) -> bool:
        """Whether there is no more, and nothing was wrong."""
        return self.whole and not self._problems

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield the records, each with the name of its source. Raises ``CommandError`` where nobody can be asked."""
        given = _given(self._options)
        bulk = self._options.bulk
        queries = [self._options.what] if bulk is None else list(lines_of("--bulk", bulk))
        if bulk is None:
            yield from self._records({"query": self._options.what, **given}, None)
        else:
            for portion in portions(queries):
                if self._left == 0:
                    self._note = _LIMITED
                if not self.whole:
                    break
                yield from self._records({}, {"queries": portion, **given, "limit": self._left})
        for name, service in self.services.items():
            for query in queries:
                try:
                    for record in service.records(asked_of(self._options, query, _fences(self._options))):
                        yield name, record
                except RemoteError as error:
                    self._problem(str(error))

    def finish(self) -> int:
        """Print what is left to say, and return the exit status. Raises ``CommandError`` where a look-up has failed."""
        if self._failure:
            raise CommandError(self._failure)
        if self._note:
            print(f"dnsvigil: {printable(self._note)}", file=sys.stderr)
        return 1 if self._problems else 0

    def _records(self, given: Mapping[str, str], content: dict[str, Any] | None) -> Iterator[tuple[str, Record]]:
        self._failure = "the answer breaks off, so there may be more"
        for frame in ask_stream(self._config, self._options.state, _PATH, given, content, cluster=self._cluster):
            if "obj" in frame:
                self._left -= 1
                yield _OWN, frame["obj"]
            condition, message = frame.get("cond"), str(frame.get("msg", ""))
            if condition == "ongoing" and message:
                self._problem(message)
            elif condition == "succeeded":
                self._failure = ""
            elif condition == "limited":
                self._failure = ""
                self._note = message if "may be more" in message else _LIMITED
            elif condition == "failed":
                self._failure = message

    def _problem(self, message: str) -> None:
        self._problems += 1
        print(f"dnsvigil: {printable(message)}", file=sys.stderr)


def _check(options: argparse.Namespace) -> None:
    if (options.what is None) == (options.bulk is None):
        raise UsageError("give a name or an address, or --bulk FILE")
    if options.engine == "spark" and options.bulk is None:
        raise UsageError("--engine spark: only together with --bulk")
    if options.bulk is not None and options.offset:
        raise UsageError("--offset: not together with --bulk")
    if options.strict and options.after is None and options.before is None:
        raise UsageError("--strict: give --after, --before or both")


def _given(options: argparse.Namespace) -> dict[str, str]:
    """Return the parameters of the request but for what is asked."""
    given = {
        "rdata": "true" if options.rdata else None,
        "rrtype": options.type,
        "bailiwick": options.bailiwick,
        "limit": options.limit,
        "offset": options.offset or None,
        **_fences(options),
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _fences(options: argparse.Namespace) -> dict[str, int]:
    """Return the bounds of times, as DNSDB calls them, in seconds since 1970."""
    after, before = "time_last_after", "time_first_before"
    if options.strict:
        after, before = "time_first_after", "time_last_before"
    times = ((after, options.after), (before, options.before))
    return {name: int(time.replace(tzinfo=UTC).timestamp()) for name, time in times if time is not None}


def lines_of(option: str, path: Path) -> Iterator[str]:
    """Yield the lines of an option's file, or of standard input for ``-``, but for empty ones and comments.

    Raises ``UsageError``.
    """
    try:
        with sys.stdin if str(path) == "-" else path.open(encoding="utf-8", errors="backslashreplace") as file:
            for line in file:
                text = line.strip()
                if text and not text.startswith("#"):
                    yield text
    except OSError as error:
        raise UsageError(f"{option}: {reason_of(error)}") from error


def portions(queries: Iterable[str]) -> Iterator[list[str]]:
    """Yield queries in lists that a request can hold."""
    portion: list[str] = []
    size = 0
    for query in queries:
        portion.append(query)
        size += len(json.dumps(query)) + 2
        if size >= _BODY:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _row(record: Record) -> list[Any]:
    times = (f"{datetime.fromtimestamp(record[name], UTC):%Y-%m-%d %H:%M:%S}" for name in ("time_first", "time_last"))
    texts = {name: str(record[name]) if name in record else None for name in _TEXTS}
    if record.get("x_private_address"):
        texts["rdata"] = f"{texts['rdata']} (private)"
    return [*times, record.get("count"), *texts.values()]
