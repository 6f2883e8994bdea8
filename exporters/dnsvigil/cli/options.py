"""The options of the command ``dnsvigil``; nothing that takes long to import is needed to parse them."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dnsvigil import __version__
from dnsvigil.config.collector import DEFAULT_PATH
from dnsvigil.config.types import Duration, SparkMaster, Url
from dnsvigil.records import (
    FINDING_STATES,
    FLOW_MEASURES,
    RESOLVER_MEASURES,
    SEVERITIES,
    SUBJECT_TYPES,
    TALKER_ELEMENTS,
    utc_now,
)
from dnsvigil.sources.remote.uri import Uri, is_uri

if TYPE_CHECKING:
    from argparse import _SubParsersAction

STATE: Final = Path("/var/lib/dnsvigil")


def parser() -> argparse.ArgumentParser:
    """Return the parser.

    In what it parses, ``command`` names the function to call, as ``FILE.FUNCTION`` in this package, which is imported
    only then, and ``needs_config`` is whether the configuration has to be right first.
    """
    parser = argparse.ArgumentParser(prog="dnsvigil", description="Monitoring for recursive DNS.")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH})")
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="DIR", help="the state folder (default: %(default)s)"
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="log messages of this level and above (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"dnsvigil {__version__}")
    parser.set_defaults(needs_config=True)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="follow the sources and serve /metrics until SIGTERM")
    run.set_defaults(command="run.run", needs_config=False)  # which it checks further itself
    _add_ingest(commands)
    _add_archive(commands)
    metrics = commands.add_parser("metrics", help="print the metrics of the running collector, or of the store")
    _add_client_options(metrics)
    metrics.set_defaults(command="metrics.metrics")

    _add_top(commands)
    _add_zones(commands)
    _add_findings(commands)
    _add_flows(commands)
    _add_pdns(commands)
    _add_domains(commands)
    _add_learning(commands)
    _add_set_aside(commands)
    check = commands.add_parser("check-config", help="report mistakes in the configuration")
    check.set_defaults(command="check_config.check_config", needs_config=False)
    return parser


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start",
        type=_time,
        metavar="TIME",
        help="when captures with relative times began: local time, or ISO 8601 with a zone",
    )


def _add_ingest(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    ingest = commands.add_parser("ingest", help="read log and flow files into the store, then exit")
    _add_start(ingest)
    ingest.add_argument(
        "paths", type=_path, nargs="+", metavar="PATH", help="log or flow file, or folder of such files"
    )
    ingest.set_defaults(command="ingest.command")


def _add_archive(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    archive = commands.add_parser("archive", help="convert logs and flow files into Parquet for other engines")
    archive.add_argument(
        "--output", type=_path, metavar="DIR", help="where to write (default: archive.path in the configuration)"
    )
    _add_engine(archive)
    archive.add_argument("--transactions", action="store_true", help="write every query as well, which is much")
    _add_start(archive)
    archive.add_argument(
        "paths", type=_place, nargs="+", metavar="PATH", help="log or flow file, or folder of such files; or a URI"
    )
    archive.set_defaults(command="archive.archive")


def _add_top(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    top = commands.add_parser("top", help="show what fails, what was found and what does not run, live")
    top.add_argument("--json", action="store_true", help="print the JSON of /api/now")
    _add_client_options(top)
    top.set_defaults(command="top.top")


def _add_zones(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    zones = commands.add_parser("zones", help="print the failure ratios of zones, the worst first")
    zones.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="at most so many rows (default: %(default)s)"
    )
    zones.add_argument("--json", action="store_true", help="print the JSON of /api/zones")
    _add_client_options(zones)
    zones.set_defaults(command="zones.zones")


def _add_findings(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    findings = commands.add_parser("findings", help="print findings, the worst first")
    findings.add_argument(
        "--status",
        choices=(*FINDING_STATES, "all"),
        default="open",
        help="only findings in this state (default: %(default)s)",
    )
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
        "--limit",
        type=_positive,
        default=1000,
        metavar="N",
        help="at most so many findings, up to 10000 (default: %(default)s)",
    )
    findings.add_argument("--json", action="store_true", help="print a list of finding records")
    _add_client_options(findings)
    findings.set_defaults(command="findings.findings")
    more = findings.add_subparsers(title="commands", metavar="COMMAND")
    show = more.add_parser("show", help="print one finding with all its evidence")
    show.add_argument("id", type=_positive, metavar="ID", help="number of the finding")
    show.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print a list of one record")
    show.add_argument("--dnsdb", action="store_true", help="ask DNSDB when it saw the domain first")
    show.add_argument("--circl", action="store_true", help="ask CIRCL when it saw the domain first")
    _add_client_options(show)
    show.set_defaults(command="findings.show_finding")
    dismiss = more.add_parser("dismiss", help="dismiss a harmless finding, and suppress similar ones")
    dismiss.add_argument("id", type=_positive, metavar="ID", help="number of the finding")
    dismiss.add_argument("--why", required=True, metavar="TEXT", help="the reason, which is stored with the dismissal")
    dismiss.add_argument(
        "--until",
        type=_time,
        metavar="TIME",
        help="when the dismissal ends: local time, or ISO 8601 with a zone (default: in 30 days)",
    )
    _add_client_options(dismiss)
    dismiss.set_defaults(command="findings.dismiss_finding")
    export = more.add_parser("export", help="write the findings as a feed of MISP, or open resolvers as a report")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--misp", type=Path, metavar="DIR", help="folder of the feed, which is made if it is not there")
    form.add_argument(
        "--shadowserver",
        type=Path,
        metavar="FILE",
        help="CSV file of the open resolvers, in the columns of Shadowserver's reports",
    )
    _add_client_options(export)
    export.set_defaults(command="findings.export_findings")
    note = more.add_parser("note", help="note a text on a finding, with the name of who notes it")
    note.add_argument("id", type=_positive, metavar="ID", help="number of the finding")
    note.add_argument("text", metavar="TEXT", help="the text, of up to 1024 characters")
    _add_client_options(note)
    note.set_defaults(command="findings.note_finding")
    reopen = more.add_parser("reopen", help="undo a dismissal, so that similar findings are made again")
    reopen.add_argument("id", type=_positive, metavar="ID", help="number of the finding")
    _add_client_options(reopen)
    reopen.set_defaults(command="findings.reopen_finding")


def _add_flows(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    flows = commands.add_parser("flows", help="print top talkers or series of flows")
    more = flows.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_talkers(more)
    _add_series(more)


def _add_talkers(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    top = commands.add_parser("top", help="print the top talkers in flow files")
    top.add_argument(
        "--by",
        choices=TALKER_ELEMENTS,
        default="srcip",
        metavar="ELEMENT",
        help="count by " + _default(TALKER_ELEMENTS),
    )
    order = "sort by " + _default(FLOW_MEASURES, "bytes")
    top.add_argument("--order", choices=FLOW_MEASURES, default="bytes", help=order)
    top.add_argument(
        "--from",
        dest="begin",
        type=_time,
        metavar="TIME",
        help="flows from this time on: local time, or ISO 8601 with a zone",
    )
    top.add_argument("--to", dest="end", type=_time, metavar="TIME", help="flows up to this time (default: now)")
    top.add_argument(
        "--last",
        type=_duration,
        metavar="DURATION",
        help="flows of this span of time up to now (default: 1h, or all if paths are given)",
    )
    top.add_argument("--filter", default="", metavar="FILTER", help="only flows that match this nfdump filter")
    top.add_argument("--exporter", metavar="NAME", help="only flow files of this exporter")
    top.add_argument(
        "--limit", type=_positive, default=20, metavar="N", help="at most so many rows (default: %(default)s)"
    )
    top.add_argument("--json", action="store_true", help="print a list of records")
    top.add_argument(
        "paths",
        type=Path,
        nargs="*",
        metavar="PATH",
        help="flow file or folder (default: sources.netflow in the configuration)",
    )
    top.set_defaults(command="flows.top")


def _add_series(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    series = commands.add_parser("series", help="print series of flows with their baselines")
    series.add_argument("--exporter", metavar="NAME", help="only series of this exporter")
    series.add_argument("--protocol", metavar="NAME", help="only series of tcp, udp, icmp or other")
    series.add_argument("--service", metavar="NAME", help="only series of this service, such as dns")
    series.add_argument("--resolver", metavar="NAME", help="series of this resolver, by name or address; * for all")
    measures = ", ".join(FLOW_MEASURES), ", ".join(RESOLVER_MEASURES)
    series.add_argument("--measure", metavar="MEASURE", help=f"only {measures[0]}; for resolvers {measures[1]}")
    series.add_argument(
        "--last",
        type=_duration,
        default="1h",
        metavar="DURATION",
        help="span of time up to the newest slot (default: %(default)s)",
    )
    series.add_argument("--json", action="store_true", help="print a list of series")
    _add_client_options(series)
    series.set_defaults(command="flows.series")


def _add_domains(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    domains = commands.add_parser("domains", help="print the features of domains")
    more = domains.add_subparsers(title="commands", required=True, metavar="COMMAND")
    show = more.add_parser("show", help="print a domain's features beside those of all, and the domains most like it")
    show.add_argument("name", metavar="NAME", help="registered domain, such as example.com")
    show.add_argument("--json", action="store_true", help="print the JSON of /api/domains")
    _add_client_options(show)
    show.set_defaults(command="domains.show_domain")
    features = more.add_parser("features", help="print the features of each domain in logs, or in an archive")
    features.add_argument("--json", action="store_true", help="print a list of records, with all features")
    _add_engine(features)
    features.add_argument(
        "paths", type=_place, nargs="+", metavar="PATH", help="log file, folder of such files, or archive; or a URI"
    )
    features.set_defaults(command="domains.features")
    cluster = more.add_parser("cluster", help="divide domains into groups that are alike, and print the odd ones")
    cluster.add_argument("--json", action="store_true", help="print the groups, and the group of each domain")
    cluster.add_argument(
        "--seed",
        type=_number,
        default=0,
        metavar="N",
        help="the same seed gives the same groups (default: 0)",
    )
    _add_engine(cluster)
    cluster.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="leave the table of domains in this file, for the state of collectors",
    )
    cluster.add_argument("--plot", type=Path, metavar="FILE", help="draw the groups into this PNG file")
    cluster.add_argument(
        "paths",
        type=_place,
        nargs="*",
        metavar="PATH",
        help="log file, folder of such files, or archive; or a URI"
        " (default: all domains of the collector, for its table)",
    )
    _add_client_options(cluster)
    cluster.set_defaults(command="domains.cluster")


def _add_pdns(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    pdns = commands.add_parser("pdns", help="look names and addresses up in passive DNS")
    more = pdns.add_subparsers(title="commands", required=True, metavar="COMMAND")
    lookup = more.add_parser("lookup", help="print which names had which data, and when")
    lookup.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="name, *.name, name.*, +.name, address, network, or range of addresses",
    )
    lookup.add_argument("--bulk", type=Path, metavar="FILE", help="look up each line of this file; - is standard input")
    lookup.add_argument("--rdata", action="store_true", help="look for a name in the data of records")
    lookup.add_argument("--type", metavar="TYPE", help="only records of this type; ANY-DNSSEC for those of DNSSEC")
    lookup.add_argument("--bailiwick", metavar="NAME", help="only records that servers of this zone gave")
    lookup.add_argument(
        "--after", type=_time_or_ago, metavar="TIME", help="only records seen after this time, or since, such as 30d"
    )
    lookup.add_argument(
        "--before", type=_time_or_ago, metavar="TIME", help="only records seen before this time, or longer ago"
    )
    lookup.add_argument("--strict", action="store_true", help="only records that were not seen at other times")
    lookup.add_argument(
        "--limit",
        type=_positive,
        default=10_000,
        metavar="N",
        help="at most so many records, up to 1000000 (default: %(default)s)",
    )
    lookup.add_argument("--offset", type=_number, default=0, metavar="N", help="leave out so many records first")
    lookup.add_argument("--dnsdb", action="store_true", help="ask DNSDB as well, with the key in dnsdb.key_file")
    lookup.add_argument("--circl", action="store_true", help="ask CIRCL as well, as the user in circl.username")
    lookup.add_argument("--json", action="store_true", help="print a record in the Common Output Format on each line")
    _add_engine(lookup)
    _add_client_options(lookup)
    lookup.set_defaults(command="pdns.lookup")
    _add_hunt(more)
    compact = more.add_parser("compact", help="put the tuples of archives into passive DNS, month by month")
    compact.add_argument("paths", nargs="+", type=_place, metavar="ARCHIVE", help="folder of an archive, or its URI")
    compact.add_argument(
        "--output",
        type=_path,
        required=True,
        metavar="DIR",
        help="state folder, which other commands take as --state",
    )
    _add_engine(compact)
    compact.set_defaults(command="compact.compact")


def _add_hunt(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    hunt = commands.add_parser("hunt", help="look indicators up in all of passive DNS, and make findings of the hits")
    hunt.add_argument(
        "indicators", nargs="*", metavar="INDICATOR", help="name, *.name, address, network, or range of addresses"
    )
    hunt.add_argument(
        "--file", type=Path, metavar="FILE", help="hunt for each line of this file as well; - is standard input"
    )
    hunt.add_argument("--json", action="store_true", help="print a list of records, one for each indicator")
    _add_engine(hunt)
    _add_client_options(hunt)
    hunt.set_defaults(command="hunt.hunt")


def _add_learning(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train the models, also on your own names, lists and dismissals")
    train.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write the models (default: models in the state folder)",
    )
    train.add_argument("--lists", type=Path, metavar="DIR", help="malware's domains: FAMILY.txt, one name a line")
    train.add_argument("--names", type=Path, metavar="FILE", help="answer of /api/training, instead of asking")
    train.add_argument(
        "--seed",
        type=_number,
        default=0,
        metavar="N",
        help="the same seed gives the same models (default: %(default)s)",
    )
    _add_engine(train)
    _add_client_options(train)
    train.set_defaults(command="train.train")

    evaluate = commands.add_parser("evaluate", help="evaluate the models, or run the detectors over logs")
    evaluate.add_argument(
        "--models", type=Path, metavar="DIR", help="the models to use (default: those of train, else of the package)"
    )
    evaluate.add_argument("--lists", type=Path, metavar="DIR", help="malware's domains: FAMILY.txt, one name a line")
    evaluate.add_argument("--json", action="store_true", help="print records")
    evaluate.add_argument(
        "logs", type=_path, nargs="*", metavar="LOG", help="run the detectors over this log or folder"
    )
    evaluate.set_defaults(command="evaluate.evaluate")


def _add_set_aside(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    aside = commands.add_parser("set-aside", help="print the inputs that were set aside, with the reasons")
    aside.add_argument("--json", action="store_true", help="print a list of records")
    _add_client_options(aside)
    aside.set_defaults(command="set_aside.set_aside")


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=("duckdb", "spark"),
        default="duckdb",
        help="what reads and counts: this process, or Spark, on several machines (default: %(default)s)",
    )
    command.add_argument(
        "--master",
        type=_master,
        metavar="URL",
        help="with --engine spark, where Spark runs, such as spark://HOST:PORT (default: spark.master, or local[*])",
    )


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


def _place(text: str) -> Path | Uri:
    try:
        return Uri.parse(text) if is_uri(text) else Path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None  # without the text, which may have a key


def _path(text: str) -> Path:
    if is_uri(text):
        raise argparse.ArgumentTypeError("this cannot be a URI: give a path")
    return Path(text)


def _url(text: str) -> Url:
    try:
        return Url.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None  # without the text, which may have a password


def _master(text: str) -> SparkMaster:
    try:
        return SparkMaster.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None


def _default(known: tuple[str, ...], default: str = "") -> str:
    return f"{', '.join(known)} (default: {default or known[0]})"


def _time(text: str) -> datetime:
    """Return a time in UTC, without a zone; one that is given without a zone is local time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as "2026-01-31 12:00"') from None


def _time_or_ago(text: str) -> datetime:
    """Return a time as :func:`_time` does; a duration is until now."""
    try:
        return utc_now() - timedelta(seconds=Duration.parse(text))
    except (ValueError, OverflowError):
        return _time(text)


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
