"""The command ``dnsvigil``. Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dnsvigil import __version__
from dnsvigil.cli.ownership import OwnerError, require_owner
from dnsvigil.config.collector import DEFAULT_PATH, Client, Config, load_config
from dnsvigil.config.types import Duration, Url
from dnsvigil.config.yaml_file import ConfigError, Invalid
from dnsvigil.records import (
    FINDING_STATES,
    FLOW_MEASURES,
    RESOLVER_MEASURES,
    SEVERITIES,
    SUBJECT_TYPES,
    TALKER_ELEMENTS,
)
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import log_to_stderr, printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction

STATE: Final = Path("/var/lib/dnsvigil")

log = logging.getLogger("dnsvigil")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: the process's own) say; return the exit status."""
    # A stream that the caller has closed goes nowhere; Python has none for it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a locale has no characters for
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()  # here, where an error of it is caught
    except BrokenPipeError:  # whoever reads, such as head, has had enough
        _discard_output()
        return 0
    except OSError as error:  # mostly standard output, on a disk that is full
        _complain(error)
        _discard_output()
        return 1
    except ConfigError as error:
        for mistake in error.mistakes:
            _complain(mistake)
        return 2
    except OwnerError as error:
        _complain(error)
        return 1
    except ModuleNotFoundError as error:
        print(f"dnsvigil: {error.name} is not installed; this command needs dnsvigil[collector]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _main(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    log_to_stderr(options.log_level)
    for name, value in vars(options).items():
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):  # as a path it might exist
            _complain(f"{name.replace('_', '-')}: {value!r} is not UTF-8")
            return 2
    if options.run is _check_config:
        from dnsvigil.cli.check_config import check_config

        return check_config(options.config)
    config = _with_client(load_config(options.config), options)
    return int(options.run(options, config))


def _complain(error: object) -> None:
    text = reason_of(error) if isinstance(error, Exception) else str(error)
    print(f"dnsvigil: {printable(text)}", file=sys.stderr)


def _discard_output() -> None:
    """Have what is left to write go nowhere, as Python would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def _with_client(config: Config, options: argparse.Namespace) -> Config:
    """Return the configuration with what the command line says of the collector. Raises ``Invalid``."""
    names = [each.name for each in fields(Client)]
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if "token_file" in given and "username" not in given:
        given |= {"username": None, "password_file": None}
    try:
        return replace(config, client=replace(config.client, **given)) if given else config
    except Invalid as error:
        raise ConfigError(options.config or DEFAULT_PATH, None, f"client.{error.key}", str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dnsvigil", description="Monitoring for recursive DNS.")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH})")
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="DIR", help="the state folder (default: %(default)s)"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--version", action="version", version=f"dnsvigil {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="follow the sources and serve /metrics until SIGTERM")
    run.set_defaults(run=_run)

    ingest = commands.add_parser("ingest", help="read log and flow files into the store, then exit")
    ingest.add_argument(
        "--start",
        type=_time,
        metavar="TIME",
        help="when captures with relative times began: local time, or ISO 8601 with a zone",
    )
    ingest.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="log or flow file, or folder")
    ingest.set_defaults(run=_ingest)

    metrics = commands.add_parser("metrics", help="print the metrics of the running collector, or of the store")
    _add_client_options(metrics)
    metrics.set_defaults(run=_metrics)

    zones = commands.add_parser("zones", help="print the failure ratios of zones, the worst first")
    zones.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: %(default)s")
    zones.add_argument("--json", action="store_true", help="print the JSON of /api/zones")
    _add_client_options(zones)
    zones.set_defaults(run=_zones)

    _add_findings(commands)
    _add_flows(commands)
    _add_learning(commands)

    aside = commands.add_parser("set-aside", help="print the inputs that were set aside, with the reasons")
    aside.add_argument("--json", action="store_true", help="print a list of records")
    _add_client_options(aside)
    aside.set_defaults(run=_set_aside)

    check = commands.add_parser("check-config", help="report mistakes in the configuration")
    check.set_defaults(run=_check_config)
    return parser


def _add_findings(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    findings = commands.add_parser("findings", help="print findings, the worst first")
    findings.add_argument("--status", choices=(*FINDING_STATES, "all"), default="open", help="default: %(default)s")
    findings.add_argument("--detector", metavar="NAME", help="only findings of this detector")
    findings.add_argument("--severity", choices=SEVERITIES, help="only findings of this severity")
    findings.add_argument("--subject", metavar="NAME", help="only findings about this client, domain or other subject")
    findings.add_argument("--subject-type", choices=SUBJECT_TYPES, help="only findings about subjects of this type")
    since = findings.add_mutually_exclusive_group()
    since.add_argument("--since", type=_time, metavar="TIME", help="only findings last seen since this time")
    since.add_argument(
        "--last", type=_duration, metavar="DURATION", help="only findings last seen in this span of time, such as 24h"
    )
    findings.add_argument(
        "--limit", type=_positive, default=1000, metavar="N", help="default: %(default)s; at most 10000"
    )
    findings.add_argument("--json", action="store_true", help="print a list of finding records")
    _add_client_options(findings)
    findings.set_defaults(run=_findings)
    more = findings.add_subparsers(title="commands", metavar="COMMAND")
    show = more.add_parser("show", help="print one finding with all its evidence")
    show.add_argument("id", type=_positive, metavar="ID")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print a list of one record")
    _add_client_options(show)
    show.set_defaults(run=_show_finding)
    dismiss = more.add_parser("dismiss", help="dismiss a harmless finding, and suppress similar ones for 30 days")
    dismiss.add_argument("id", type=_positive, metavar="ID")
    dismiss.add_argument("--why", required=True, metavar="TEXT", help="the reason, which is stored with the dismissal")
    _add_client_options(dismiss)
    dismiss.set_defaults(run=_dismiss_finding)
    reopen = more.add_parser("reopen", help="undo a dismissal, so that similar findings are made again")
    reopen.add_argument("id", type=_positive, metavar="ID")
    _add_client_options(reopen)
    reopen.set_defaults(run=_reopen_finding)


def _add_flows(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    flows = commands.add_parser("flows", help="print top talkers or series of flows")
    more = flows.add_subparsers(title="commands", required=True, metavar="COMMAND")

    top = more.add_parser("top", help="print the top talkers in flow files")
    top.add_argument(
        "--by", choices=TALKER_ELEMENTS, default="srcip", metavar="ELEMENT", help=_default(TALKER_ELEMENTS)
    )
    order = "sort by " + _default(FLOW_MEASURES, "bytes")
    top.add_argument("--order", choices=FLOW_MEASURES, default="bytes", help=order)
    top.add_argument("--from", dest="begin", type=_time, metavar="TIME", help="local time, or ISO 8601 with a zone")
    top.add_argument("--to", dest="end", type=_time, metavar="TIME", help="default: now")
    top.add_argument(
        "--last", type=_duration, metavar="DURATION", help="up to now (default: 1h, or all if paths are given)"
    )
    top.add_argument("--filter", default="", metavar="FILTER", help="only flows that match this nfdump filter")
    top.add_argument("--exporter", metavar="NAME", help="only flow files of this exporter")
    top.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: %(default)s")
    top.add_argument("--json", action="store_true", help="print a list of records")
    top.add_argument(
        "paths", type=Path, nargs="*", metavar="PATH", help="default: sources.netflow in the configuration"
    )
    top.set_defaults(run=_flows_top)

    series = more.add_parser("series", help="print series of flows with their baselines")
    series.add_argument("--exporter", metavar="NAME", help="only series of this exporter")
    series.add_argument("--protocol", metavar="NAME", help="only series of tcp, udp, icmp or other")
    series.add_argument("--service", metavar="NAME", help="only series of this service, such as dns")
    series.add_argument("--resolver", metavar="NAME", help="series of this resolver, by name or address; * for all")
    measures = ", ".join(FLOW_MEASURES), ", ".join(RESOLVER_MEASURES)
    series.add_argument("--measure", metavar="MEASURE", help=f"only {measures[0]}; for resolvers {measures[1]}")
    series.add_argument(
        "--last", type=_duration, default="1h", metavar="DURATION", help="up to the newest slot (default: %(default)s)"
    )
    series.add_argument("--json", action="store_true", help="print a list of series")
    _add_client_options(series)
    series.set_defaults(run=_flows_series)


def _add_learning(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train the name score, also on your own names and lists")
    train.add_argument("--output", type=Path, metavar="DIR", help="default: models/name-score in the state folder")
    train.add_argument("--lists", type=Path, metavar="DIR", help="malware's domains: FAMILY.txt, one name a line")
    train.add_argument("--names", type=Path, metavar="FILE", help="answer of /api/training, instead of asking")
    train.add_argument("--seed", type=_number, default=0, metavar="N", help="default: %(default)s")
    _add_client_options(train)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="evaluate the name score, or run the detectors over logs")
    evaluate.add_argument("--model", type=Path, metavar="DIR", help="default: the model of train, else of the package")
    evaluate.add_argument("--lists", type=Path, metavar="DIR", help="malware's domains: FAMILY.txt, one name a line")
    evaluate.add_argument("--json", action="store_true", help="print records")
    evaluate.add_argument("logs", type=Path, nargs="*", metavar="LOG", help="run the detectors over this log or folder")
    evaluate.set_defaults(run=_evaluate)


def _add_client_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that asks the running collector."""
    group = command.add_argument_group(
        "the running collector", "options in place of the section client of the configuration"
    )
    for name, kind, metavar, text in (
        ("url", _url, "URL", "URL of the collector (default: from listen in the configuration)"),
        ("ca-file", Path, "FILE", "the collector's certificate, or its authority's"),
        ("cert-file", Path, "FILE", "client certificate"),
        ("key-file", Path, "FILE", "key of the client certificate, if it is in another file"),
        ("username", str, "NAME", "user name, for the password in --password-file"),
        ("password-file", Path, "FILE", "file with the password, not readable for all users"),
        ("token-file", Path, "FILE", "file with the token (default: api-token in the state folder)"),
    ):
        # The same option may stand before and after a command of findings.
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=argparse.SUPPRESS, help=text)


def _url(text: str) -> Url:
    try:
        return Url.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None  # without the text, which may have a password


def _default(known: tuple[str, ...], default: str = "") -> str:
    return f"{', '.join(known)} (default: {default or known[0]})"


def _time(text: str) -> datetime:
    """Return a time in UTC, without a zone; one that is given without a zone is local time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as "2026-01-31 12:00"') from None


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0')
    return int(text)


def _number(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _run(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.collector.daemon import Daemon
    from dnsvigil.store.store import StoreError

    try:
        require_owner(options.state)
        daemon = Daemon(config, options.state)
    except (StoreError, OSError) as error:
        log.error("%s", reason_of(error))
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    try:
        daemon.run()
    except StoreError as error:
        log.error("%s", error)
        return 1
    return 0


def _ingest(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli.ingest import ingest
    from dnsvigil.store.store import StoreError

    try:
        require_owner(options.state)
        return 0 if ingest(options.paths, config, options.state, options.start) else 1
    except (StoreError, OSError) as error:
        log.error("%s", reason_of(error))
        return 1


def _metrics(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import metrics as metrics_command

    return _asking(metrics_command.metrics, options, config)


def _zones(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import zones as zones_command

    return _asking(zones_command.zones, options, config)


def _findings(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import findings as findings_command

    return _asking(findings_command.findings, options, config)


def _show_finding(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import findings as findings_command

    return _asking(findings_command.show_finding, options, config)


def _dismiss_finding(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import findings as findings_command

    return _asking(findings_command.dismiss_finding, options, config)


def _reopen_finding(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import findings as findings_command

    return _asking(findings_command.reopen_finding, options, config)


def _set_aside(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import set_aside as set_aside_command

    return _asking(set_aside_command.set_aside, options, config)


def _train(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import learning as learning_command

    return _learning(learning_command.train, options, config)


def _evaluate(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import learning as learning_command

    return _learning(learning_command.evaluate, options, config)


def _learning(command: Callable[[argparse.Namespace, Config], int], options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli.learning import UsageError
    from dnsvigil.learning.models import ModelError
    from dnsvigil.store.store import StoreError

    try:
        return _asking(command, options, config)
    except BrokenPipeError:
        raise
    except UsageError as error:
        _complain(error)
        return 2
    except (ModelError, StoreError, OSError, ValueError) as error:
        _complain(error)
        return 1


def _flows_series(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli import flows as flows_command

    return _asking(flows_command.series, options, config)


def _asking(command: Callable[[argparse.Namespace, Config], int], options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli.ask import AskError

    try:
        return command(options, config)
    except AskError as error:
        _complain(error)
        return 2 if error.usage else 1
    except (LookupError, TypeError, AttributeError) as error:
        log.debug("the answer makes no sense", exc_info=True)
        what = f"{type(error).__name__}: {error}"
        _complain(f"the answer is not what this dnsvigil understands ({what}); is the collector of another version?")
        return 1


def _flows_top(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.cli.flows import UsageError, top
    from dnsvigil.sources.netflow.nfdump import NFDumpError

    try:
        return top(options, config)
    except UsageError as error:
        _complain(error)
        return 2
    except NFDumpError as error:
        log.error("%s", error)
        return 1


def _check_config(options: argparse.Namespace, _: Config) -> int:
    from dnsvigil.cli.check_config import check_config

    return check_config(options.config)
