"""Asks other passive DNS services what the command was asked, with the credentials of the configuration."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from dnsvigil.cli.credentials import secret
from dnsvigil.cli.errors import UsageError
from dnsvigil.config.collector import Config
from dnsvigil.sources.passive_dns import circl, dnsdb
from dnsvigil.sources.passive_dns.remote import Asked, Record


@dataclass(frozen=True)
class Service:
    """A service, to be asked with the operator's credentials. Both raise ``RemoteError``."""

    title: str
    records: Callable[[Asked], Iterator[Record]]
    first_seen: Callable[[str], int | None]  # of a name, in seconds since 1970; None: never


def services(options: argparse.Namespace, config: Config) -> Mapping[str, Service]:
    """Return the services that are to be asked, by name. Raises ``UsageError`` where credentials are missing."""
    found: dict[str, Service] = {}
    if options.dnsdb:
        if config.dnsdb.key_file is None:
            raise UsageError("--dnsdb: set dnsdb.key_file in the configuration")
        access = (config.dnsdb.url, secret(config.dnsdb.key_file).decode("ascii", "replace"))
        found["dnsdb"] = Service(dnsdb.SERVICE, partial(dnsdb.records, *access), partial(dnsdb.first_seen, *access))
    if options.circl:
        if config.circl.username is None or config.circl.password_file is None:
            raise UsageError("--circl: set circl.username and circl.password_file in the configuration")
        password = secret(config.circl.password_file).decode("utf-8", "replace")
        user = (config.circl.url, config.circl.username, password)
        found["circl"] = Service(circl.SERVICE, partial(circl.records, *user), partial(circl.first_seen, *user))
    return found


def asked_of(options: argparse.Namespace, what: str, fences: Mapping[str, int]) -> Asked:
    """Return what services are asked about a name or an address."""
    from dnsvigil.api.passive_dns.question import data_address

    try:
        data_address(what)
        is_address = True
    except ValueError:
        is_address = False
    return Asked(what, is_address, options.rdata, options.type, options.bailiwick, fences, options.limit)
