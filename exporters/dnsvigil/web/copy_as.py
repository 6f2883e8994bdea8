r"""Commands of other programs that look at the same value, safe to paste: names are hostile.

The shell's words are quoted by :func:`shlex.quote`. dnsdbq reads names as zone files have them. awk gets the name in
its environment, because it would read backslashes in a program or an assignment. PromQL's strings have Go's escapes.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from dnsvigil.api.passive_dns.names import zone_file_name
from dnsvigil.config.collector import Config
from dnsvigil.sources.public_suffixes import domain_of

_LOG: Final = "ts id.orig_h id.resp_h query qtype_name rcode_name answers"
_ZEEK: Final = f"zeek-cut {_LOG} < dns.log"
_MAX_ADDRESSES: Final = 20
_SLASH: Final = r"\047"  # after a plain one come types


@dataclass(frozen=True)
class Command:
    """What to paste, and into which program."""

    program: str
    text: str


def commands(kind: str, value: str, config: Config, addresses: Sequence[str] = ()) -> list[Command]:
    """Return the commands for a value; ``kind`` is one of ``KINDS``, and ``addresses`` are those of a name.

    nfdump, which knows no names, looks for the first of the addresses.
    """
    made = {"domain": _domain, "name": _name, "zone": _zone, "server": _server}.get(kind, _address)
    found = [*made(value, config)]
    if addresses:
        found.insert(1, _nfdump(" or ".join(f"host {each}" for each in addresses[:_MAX_ADDRESSES]), config))
    return found


def _domain(name: str, _: Config) -> Iterator[Command]:
    yield _dnsdbq("-r", f"*.{zone_file_name(name)}")
    below = '$4 == ENVIRON["NAME"] || substr($4, length($4) - length(ENVIRON["NAME"])) == "." ENVIRON["NAME"]'
    yield _zeek(name, below)
    yield Command("PromQL", f"dnsvigil_zone_queries_total{{dns_zone={_string(name)}}}")
    yield _score(name)


def _name(name: str, _: Config) -> Iterator[Command]:
    yield _dnsdbq("-r", zone_file_name(name))
    yield _zeek(name, '$4 == ENVIRON["NAME"]')
    yield Command("PromQL", f"dnsvigil_finding_score{{domain={_string(domain_of(name))}}}")


def _zone(name: str, config: Config) -> Iterator[Command]:
    dnsdbq, zeek, *_ = _domain(name, config)
    yield from (dnsdbq, zeek)
    zone = f"{{dns_zone={_string(name)}}}[5m]"
    failures, queries = (
        f"sum by (server) (rate(dnsvigil_zone_{what}_total{zone}))" for what in ("failures", "queries")
    )
    yield Command("PromQL", f"{failures} / {queries}")


def _server(server: str, config: Config) -> Iterator[Command]:
    for address in config.servers.addresses.get(server, [server]):
        yield from (each for each in _address(address, config) if each.program != "PromQL")
    yield Command("PromQL", f"sum by (rcode) (rate(dnsvigil_responses_total{{server={_string(server)}}}[5m]))")


def _address(text: str, config: Config) -> Iterator[Command]:
    """Yield commands for an address or a network; none for another text."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return
    one = network.num_addresses == 1
    address = str(network.network_address if one else network)
    yield _dnsdbq("-i", address)
    yield _nfdump(f"{'host' if one else 'net'} {address}", config)
    if one:
        yield _zeek(address, '$2 == ENVIRON["NAME"] || $3 == ENVIRON["NAME"]')
        yield _score(address)


def _nfdump(condition: str, config: Config) -> Command:
    source = next((str(each.path) for each in config.sources.netflow), ".")
    return Command("nfdump", f"nfdump -R {shlex.quote(source)} {shlex.quote(condition)}")


def _score(subject: str) -> Command:
    """Return what shows how a score has changed: Prometheus keeps that, the collector the newest."""
    return Command("PromQL", f"dnsvigil_anomaly_score{{subject={_string(subject)}}}")


def _dnsdbq(option: str, value: str) -> Command:
    return Command("dnsdbq", f"dnsdbq {option} {shlex.quote(value.replace('/', _SLASH) if option == '-r' else value)}")


def _zeek(value: str, condition: str) -> Command:
    return Command("zeek-cut", f"{_ZEEK} | NAME={shlex.quote(value)} awk -F '\\t' {shlex.quote(condition)}")


def _string(text: str) -> str:
    """Return a string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in escaped) + '"'
