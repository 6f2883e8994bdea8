"""The collector's configuration, ``/etc/dnsvigil/dnsvigil.yml``; without a file, the defaults apply."""

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from dnsvigil.config.types import (
    Duration,
    Listen,
    NamePattern,
    Network,
    Program,
    ServerAddress,
    Size,
    SparkMaster,
    Url,
    ZoneName,
)
from dnsvigil.config.yaml_file import Invalid, load_given
from dnsvigil.records import FLOW_MEASURES, OTHER, RCODES, UNANSWERED

DEFAULT_PATH = Path("/etc/dnsvigil/dnsvigil.yml")

_NAME = r"[0-9A-Za-z]([0-9A-Za-z._-]{0,61}[0-9A-Za-z])?"

CLIENT_PREFIX = 64
"""The bits of an IPv6 address that stand for a client, as each host chooses the others."""


@dataclass(frozen=True)
class ZeekSource:
    """A directory, or a glob of directories, in which Zeek writes its current logs."""

    path: Path
    sensor: str | None = None  # default: the part of the path that the glob matched, else see sensor_of
    archive: Path | None = None  # where rotated logs end up, itself or YYYY-MM-DD folders in it; default: above path
    files: list[NamePattern] = field(default_factory=list)  # names of the logs to read; default: those that Zeek gives

    def __post_init__(self) -> None:
        if any(not pattern for pattern in self.files):
            raise Invalid("files", "expected patterns of file names")


@dataclass(frozen=True)
class HoneypotSource(ZeekSource):
    """A directory, or a glob of directories, in which Cowrie or Dionaea write their logs of JSON."""


@dataclass(frozen=True)
class NetflowSource:
    """A directory, or a glob of directories, in which or below which nfcapd leaves its files."""

    path: Path
    exporter: str | None = (
        None  # default: the name in the file, else the part that the glob matched, else the directory
    )


@dataclass(frozen=True)
class Sources:
    """Where logs and flows come from."""

    zeek: list[ZeekSource] = field(default_factory=list)
    netflow: list[NetflowSource] = field(default_factory=list)
    honeypots: list[HoneypotSource] = field(default_factory=list)
    shadowserver: Path | None = None  # the folder with reports of open DNS resolvers
    field_names: dict[str, str] = field(default_factory=dict)  # of Zeek's logs: Zeek's own name to the log's

    @property
    def logs(self) -> list[ZeekSource]:
        """The folders of all logs."""
        return [*self.zeek, *self.honeypots]


@dataclass(frozen=True)
class Zone:
    """A zone that always has a label of its own."""

    name: ZoneName
    failure_ratio_threshold: float | None = None
    min_queries: int | None = None

    def __post_init__(self) -> None:
        _check_ratio(self.failure_ratio_threshold)


@dataclass(frozen=True)
class Zones:
    """Which zones have labels of their own, and which responses are failures."""

    top: int = 50
    failure_ratio_threshold: float = 0.10
    min_queries: int = 100  # in five minutes; below them the ratio is not evaluated
    failures: list[str] = field(default_factory=lambda: ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", UNANSWERED])
    configured: list[Zone] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_ratio(self.failure_ratio_threshold)
        _check_top(self.top, "top")
        known = {*RCODES.values(), UNANSWERED}
        for name in self.failures:
            if name not in known:
                raise Invalid("failures", f"expected response codes such as SERVFAIL or {UNANSWERED}, found {name!r}")
        names = [zone.name for zone in self.configured]
        for name in names:
            if names.count(name) > 1:
                raise Invalid("configured", f"zone {name} is given twice")

    def limits(self, zone: str) -> tuple[float, int]:
        """Return the failure ratio above which a zone is failing, and the least queries for an evaluation."""
        own = self._by_name.get(zone)
        ratio = own.failure_ratio_threshold if own else None
        queries = own.min_queries if own else None
        return (
            self.failure_ratio_threshold if ratio is None else ratio,
            self.min_queries if queries is None else queries,
        )

    @cached_property
    def _by_name(self) -> dict[str, Zone]:
        return {zone.name: zone for zone in self.configured}


@dataclass(frozen=True)
class ConfiguredServer:
    """A server that always has a label of its own: its name, or its address where it has no name."""

    name: str
    addresses: list[ServerAddress]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the server without a name; ``ValueError`` when ``text`` is no address."""
        try:
            address = ServerAddress.parse(text)
        except ValueError as error:
            raise ValueError(f"{error}, or a mapping with name and addresses") from None
        return cls(address, [address])

    def __post_init__(self) -> None:
        if self.addresses == [self.name]:
            return
        if not self.addresses:
            raise Invalid("addresses", "expected one address or more")
        # No colon, so that a name is never taken for an IPv6 address.
        if not re.fullmatch(_NAME, self.name):
            raise Invalid(
                "name", f"expected up to 63 letters, digits, dots, hyphens and underscores, found {self.name!r}"
            )
        if self.name == OTHER:
            raise Invalid("name", f"{OTHER!r} is the label of all servers that are not shown")
        if _is_address(self.name):
            raise Invalid("name", f"expected a name, found the address {self.name}")


@dataclass(frozen=True)
class Servers:
    """Which servers have labels of their own, and which ports are not DNS.

    Those are the configured servers, or the busiest where none is configured.
    """

    top: int = 20
    configured: list[ConfiguredServer] = field(default_factory=list)
    excluded_ports: list[int] = field(default_factory=lambda: [137, 5353, 5355])

    def __post_init__(self) -> None:
        _check_top(self.top, "top")
        addresses = [address for server in self.configured for address in server.addresses]
        twice = [f"server {name}" for name in _doubles(self.names)]
        # A server without a name has its address as one.
        twice += [f"address {address}" for address in _doubles(addresses) if f"server {address}" not in twice]
        if twice:
            raise Invalid("configured", f"{' and '.join(twice)} {'is' if len(twice) == 1 else 'are'} given twice")
        for port in self.excluded_ports:
            if not 0 < port < 65536:
                raise Invalid("excluded_ports", f"expected ports from 1 to 65535, found {port}")

    @property
    def names(self) -> list[str]:
        """The labels of the configured servers."""
        return [server.name for server in self.configured]

    @property
    def addresses(self) -> dict[str, list[str]]:
        """The addresses of the configured servers, by label."""
        return {server.name: [*server.addresses] for server in self.configured}

    @property
    def labels(self) -> dict[str, str]:
        """The label of each address of the configured servers."""
        return {address: server.name for server in self.configured for address in server.addresses}

    def label_of(self, server: str) -> str:
        """Return the label of a server, which may be given by its address."""
        return self.labels.get(server, server)


@dataclass(frozen=True)
class FlowThreshold:
    """A limit in five minutes for the series that match; a label that is not given matches all."""

    measure: Literal[FLOW_MEASURES]  # type: ignore[valid-type]
    exporter: str | None = None
    protocol: str | None = None
    service: str | None = None
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise Invalid("measure", "expected above, below or both beside it")


@dataclass(frozen=True)
class Flows:
    """Summaries, records and limits of flows."""

    nfdump: Program | None = None  # default: the first nfdump in the absolute folders of PATH
    networks: list[Network] = field(default_factory=list)  # the operator's own
    log: Path | None = None  # the folder for dns_flow logs
    retention: Duration = Duration(86400)  # of the DNS flow records; summaries have the store's
    thresholds: list[FlowThreshold] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.retention < 3600:
            raise Invalid("retention", "expected at least 1h")


@dataclass(frozen=True)
class Detectors:
    """The detectors that search DNS logs."""

    disabled: list[str] = field(default_factory=list)  # detectors, by name
    lists: Path | None = None  # the folder with lists of domains
    thresholds: dict[str, float] = field(default_factory=dict)  # the lowest score of a finding, by detector
    top: int = 20  # how many scores have a series of their own
    client_prefixes: dict[str, int] = field(default_factory=dict)  # length by network; all others have CLIENT_PREFIX

    def __post_init__(self) -> None:
        _check_top(self.top, "top")
        for threshold in self.thresholds.values():
            if not 0 < threshold <= 1:
                raise Invalid("thresholds", f"expected scores above 0 and at most 1, found {threshold}")
        for text, length in self.client_prefixes.items():
            try:
                network = ipaddress.IPv6Network(text)
            except ValueError:
                raise Invalid("client_prefixes", f"expected networks such as 2001:db8::/32, found {text!r}") from None
            if not max(network.prefixlen, 16) <= length <= 128:
                least = max(network.prefixlen, 16)
                raise Invalid("client_prefixes", f"expected lengths from {least} to 128 in {text}, found {length}")

    def client_of(self, client: str) -> str:
        """Return what stands for a client: the prefix of an IPv6 address, which its host may change, or the address.

        The prefix of a shorter prefix is itself. Link-local addresses stand for themselves, and so does any other text.
        """
        if ":" not in client:
            return client
        try:
            network = ipaddress.IPv6Network(client, strict=False)
        except ValueError:
            return client
        address = network.network_address
        if address.is_link_local or address.is_loopback or address.is_unspecified or address.ipv4_mapped:
            return client
        length = next((length for within, length in self._prefixes if address in within), CLIENT_PREFIX)
        return str(network.supernet(new_prefix=length)) if length < network.prefixlen else client

    @cached_property
    def _prefixes(self) -> list[tuple[ipaddress.IPv6Network, int]]:
        found = [(ipaddress.IPv6Network(text), length) for text, length in self.client_prefixes.items()]
        return sorted(found, key=lambda each: -each[0].prefixlen)


@dataclass(frozen=True)
class Client:
    """How commands reach a running collector; each key is also an option of these commands."""

    url: Url | None = None  # default: that of listen
    ca_file: Path | None = None  # default: the system's authorities
    cert_file: Path | None = None  # of the client, with its key where there is no key_file
    key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None  # default: api-token in the folder of the state

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise Invalid("key_file", "expected cert_file beside it")
        if (self.username is None) != (self.password_file is None):
            raise Invalid("username" if self.username else "password_file", "expected both, a user and a password_file")
        if self.username is not None and (":" in self.username or not self.username.isprintable()):
            raise Invalid("username", "expected a name without colons and control characters")


@dataclass(frozen=True)
class Dnsdb:
    """The DNSDB that commands ask with ``--dnsdb``."""

    url: Url = Url("https://api.dnsdb.info")
    key_file: Path | None = None


@dataclass(frozen=True)
class Circl:
    """The passive DNS of CIRCL that commands ask with ``--circl``."""

    url: Url = Url("https://www.circl.lu/pdns/query")
    username: str | None = None
    password_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password_file is None):
            raise Invalid("username" if self.username else "password_file", "expected both, a user and a password_file")


@dataclass(frozen=True)
class ApiKey:
    """A key for look-ups in passive DNS."""

    name: str
    sha256: str  # of the key
    daily_limit: int | None = None  # look-ups, from midnight UTC on; default: no limit

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Za-z._-]{1,64}", self.name):
            raise Invalid(
                "name", f"expected up to 64 letters, digits, dots, hyphens and underscores, found {self.name!r}"
            )
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):  # never shown: it may be a key
            raise Invalid("sha256", "expected 64 hexadecimal digits such as sha256sum prints")
        if self.daily_limit is not None and self.daily_limit < 1:
            raise Invalid("daily_limit", f"expected a number above 0, found {self.daily_limit}")


@dataclass(frozen=True)
class Api:
    """Who may use the API. Writing always needs the token, a password or a client certificate."""

    token_file: Path | None = None  # default: api-token in the folder of the state
    client_addresses: Literal["authenticated", "everyone", "triage"] = "authenticated"  # who may read what has them
    keys: list[ApiKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in _doubles([key.name for key in self.keys]):
            raise Invalid("keys", f"key {name} is given twice")


@dataclass(frozen=True)
class Web:
    """Who may do what, of those whom the web configuration file lets in."""

    triage: list[str] | None = None  # users who may change findings; default: all


@dataclass(frozen=True)
class Store:
    """The store's bounds."""

    retention: Duration = Duration(30 * 86400)
    max_size: Size = Size(10 * 10**9)

    def __post_init__(self) -> None:
        if self.retention < 3600:
            raise Invalid("retention", "expected at least 1h")
        if self.max_size < 100 * 10**6:
            raise Invalid("max_size", "expected at least 100MB")


@dataclass(frozen=True)
class PassiveDns:
    """The bounds of passive DNS."""

    retention: Duration = Duration(365 * 86400)
    max_size: Size = Size(10 * 10**9)

    def __post_init__(self) -> None:
        if self.retention < 3600:
            raise Invalid("retention", "expected at least 1h")
        if self.max_size < 10 * 10**6:
            raise Invalid("max_size", "expected at least 10MB")


@dataclass(frozen=True)
class Archive:
    """The files for other engines."""

    path: Path | None = None  # default: no archive
    transactions: bool = False  # every query, which is much
    retention: Duration = Duration(365 * 86400)
    max_size: Size = Size(100 * 10**9)
    site: str | None = None  # in the paths of its files, so that those of several sites go together
    clients: Literal["pseudonyms", "counts"] = "pseudonyms"  # what stands for the clients of a domain
    pseudonym_key_file: Path | None = None  # default: pseudonym-key in the folder of the state

    def __post_init__(self) -> None:
        if self.retention < 86400:
            raise Invalid("retention", "expected at least 1d")
        if self.site is not None and not re.fullmatch(_NAME, self.site):
            raise Invalid(
                "site", f"expected up to 63 letters, digits, dots, hyphens and underscores, found {self.site!r}"
            )
        if self.max_size < 10 * 10**6:
            raise Invalid("max_size", "expected at least 10MB")


@dataclass(frozen=True)
class Domains:
    """What the features of domains are made with, beside the logs."""

    networks: list[Path] = field(default_factory=list)  # tables of AS numbers and countries


@dataclass(frozen=True)
class Spark:
    """The Spark of commands with ``--engine spark``."""

    master: SparkMaster = SparkMaster("local[*]")
    python: Path | None = None  # on the workers; default: where the Python is that runs the command
    properties: dict[str, str] = field(default_factory=dict)  # of Spark, such as spark.executor.memory

    def __post_init__(self) -> None:
        for name in self.properties:
            if not re.fullmatch(r"spark(\.\w+)+", name):
                raise Invalid("properties", f"expected names such as spark.executor.memory, found {name!r}")
            if name == "spark.master":
                raise Invalid("properties", "expected spark.master in the key master")


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    listen: Listen = Listen("127.0.0.1:9953")
    web_config_file: Path | None = None
    api: Api = field(default_factory=Api)
    web: Web = field(default_factory=Web)
    sources: Sources = field(default_factory=Sources)
    servers: Servers = field(default_factory=Servers)
    zones: Zones = field(default_factory=Zones)
    flows: Flows = field(default_factory=Flows)
    detectors: Detectors = field(default_factory=Detectors)
    client: Client = field(default_factory=Client)
    store: Store = field(default_factory=Store)
    dnsdb: Dnsdb = field(default_factory=Dnsdb)
    circl: Circl = field(default_factory=Circl)
    passive_dns: PassiveDns = field(default_factory=PassiveDns)
    archive: Archive = field(default_factory=Archive)
    domains: Domains = field(default_factory=Domains)
    spark: Spark = field(default_factory=Spark)


def load_config(path: Path | None) -> Config:
    """Read ``path``; with None the default file if there is one, else the defaults.

    Raises :class:`dnsvigil.config.yaml_file.ConfigError` for any mistake.
    """
    return load_given(path, DEFAULT_PATH, Config)


def _check_ratio(ratio: float | None) -> None:
    if ratio is not None and not 0 < ratio <= 1:
        raise Invalid("failure_ratio_threshold", f"expected a ratio above 0 and at most 1, found {ratio}")


def _check_top(top: int, key: str) -> None:
    if not 1 <= top <= 1000:
        raise Invalid(key, f"expected 1 to 1000, found {top}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _doubles(values: Sequence[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]
