"""Asks other passive DNS services what the command was asked, with the credentials of the configuration."""

import argparse
from collections.abc import Callable, Iterator, Mapping

from dnsvigil.cli.credentials import secret
from dnsvigil.cli.errors import UsageError
from dnsvigil.config.collector import Config
from dnsvigil.sources.passive_dns import circl, dnsdb
from dnsvigil.sources.passive_dns.remote import Asked, Record

Service = Callable[[Asked], Iterator[Record]]


def services(options: argparse.Namespace, config: Config) -> Mapping[str, Service]:
    """Return the services that are to be asked, by name. Raises ``UsageError`` where credentials are missing."""
    found: dict[str, Service] = {}
    if options.dnsdb:
        if config.dnsdb.key_file is None:
            raise UsageError("--dnsdb: set dnsdb.key_file in the configuration")
        key = secret(config.dnsdb.key_file).decode("ascii", "replace")
        found["dnsdb"] = lambda asked: dnsdb.records(config.dnsdb.url, key, asked)
    if options.circl:
        if config.circl.username is None or config.circl.password_file is None:
            raise UsageError("--circl: set circl.username and circl.password_file in the configuration")
        user, password = config.circl.username, secret(config.circl.password_file).decode("utf-8", "replace")
        found["circl"] = lambda asked: circl.records(config.circl.url, user, password, asked)
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
