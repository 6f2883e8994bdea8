"""The lab's servers: NSD with the authoritative zones; Unbound and BIND as resolvers of that world only."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path

from . import world
from .namespaces import LabError, Namespaces, Process

AUTHORITY = "authority"
"""The host on which all authoritative servers run."""
REFUSED_CLIENT = ("198.51.100.250", "2001:db8:c::250")
"""The one client that the resolvers refuse to serve."""
START_SECONDS = 15
GIVE_UP_SECONDS = 10
"""By then a resolver has answered SERVFAIL or never will: BIND's own time limit, which it lets nobody lower."""


class Servers:
    """All servers of one lab, running."""

    def __init__(self, net: Namespaces, folder: Path) -> None:
        """Write the configurations below ``folder``, start the servers, and wait until all of them answer.

        Raises LabError where one does not.
        """
        self._net = net
        self.folder = folder
        self._authorities: dict[str, Process] = {}
        zones = folder / "zones"
        zones.mkdir(parents=True)
        files = world.write_zones(zones)
        (folder / "root.hints").write_text(world.root_hints())
        self._start_authority("root", [world.ROOT[0]], {".": files["."]})
        self._start_authority("tld", [world.TLD[0]], {tld: files[tld] for tld in world.TLDS})
        self._start_authority("lame", [world.LAME], {})
        for group in sorted({zone.served for zone in world.ZONES if zone.served}):
            served = [zone for zone in world.ZONES if zone.served == group]
            numbers = [zone.number for zone in served]
            self._start_authority(group, numbers, {zone.name: files[zone.name] for zone in served})
        self._resolvers = [self._start_unbound(), self._start_bind()]
        self.check()

    @property
    def unbound_log(self) -> Path:
        """Unbound's log, with a line for each query and each reply."""
        return self.folder / "unbound" / "unbound.log"

    @property
    def bind_query_log(self) -> Path:
        """BIND's query log."""
        return self.folder / "bind" / "queries.log"

    def check(self) -> None:
        """Ask every server for what it is to know, over IPv4 and IPv6. Raises LabError where one does not answer.

        The resolvers are asked from their own addresses, so that this shows neither in the clients' capture nor
        among the clients' queries.
        """
        for served in [world.ROOT[0], world.TLD[0]]:
            self._ask(AUTHORITY, world.server_addresses(served), "." if served == 1 else "com", "SOA")
        for zone in world.ZONES:
            if zone.served:
                self._ask(AUTHORITY, zone.addresses, zone.name, "SOA")
        for resolver in world.RESOLVERS:
            for zone in world.ZONES:
                if zone.served:
                    self._ask(resolver.name, resolver.clients, zone.name, "SOA")

    def stop_authority(self, group: str) -> None:
        """Stop the authoritative server of a group of zones."""
        self._authorities[group].stop()

    def bind_counters(self) -> dict[str, int]:
        """Return BIND's own counters of how queries ended, by the text that BIND has for them."""
        folder = self.folder / "bind"
        dump = folder / "named.stats"
        dump.unlink(missing_ok=True)
        rndc = ["rndc", "-k", str(folder / "rndc.key"), "-s", "127.0.0.1", "-p", "953", "stats"]
        self._net.call(world.BIND.name, rndc)
        section = dump.read_text().split("++ Name Server Statistics ++")[1].split("++ ")[0]
        pairs = (line.strip().split(" ", 1) for line in section.splitlines() if line.strip())
        return {text: int(number) for number, text in pairs}

    def _ask(self, host: str, addresses: tuple[str, str], name: str, kind: str) -> None:
        for address in addresses:
            dig = ["dig", "+short", "+tries=1", "+time=1", f"@{address}", name, kind]
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    if self._net.call(host, dig).strip():
                        break
                except LabError as error:
                    problem = str(error)
                else:
                    problem = f"{' '.join(dig)}: an empty answer"
                if time.monotonic() > deadline:
                    raise LabError(f"{host}: {problem}; logs are in {self.folder}")
                time.sleep(0.1)

    def _start_authority(self, group: str, numbers: list[int], zones: dict[str, Path]) -> None:
        folder = self.folder / f"nsd-{group}"
        folder.mkdir()
        addresses = [address for number in numbers for address in world.server_addresses(number)]
        lines = [
            "server:",
            *(f"  ip-address: {address}" for address in addresses),
            "  server-count: 1",
            '  username: ""',
            '  chroot: ""',
            '  database: ""',
            '  pidfile: ""',
            f'  zonesdir: "{folder}"',
            f'  zonelistfile: "{folder / "zone.list"}"',
            f'  xfrdfile: "{folder / "xfrd.state"}"',
            f'  xfrdir: "{folder}"',
            "  rrl-ratelimit: 0",
            "remote-control:",
            "  control-enable: no",
        ]
        for name, file in zones.items():
            lines += ["zone:", f'  name: "{name}"', f'  zonefile: "{file}"']
        config = _write(folder / "nsd.conf", lines)
        command = ["nsd", "-d", "-c", str(config)]
        self._authorities[group] = self._net.start(AUTHORITY, command, folder / "nsd.log")

    def _start_unbound(self) -> Process:
        folder = self.folder / "unbound"
        folder.mkdir()
        listen, upstream = world.UNBOUND.clients, world.UNBOUND.upstream
        lines = [
            "server:",
            *(f"  interface: {address}" for address in listen),
            *(f"  outgoing-interface: {address}" for address in upstream),
            "  num-threads: 1",
            '  username: ""',
            '  chroot: ""',
            '  pidfile: ""',
            f'  directory: "{folder}"',
            f'  logfile: "{self.unbound_log}"',
            "  use-syslog: no",
            "  log-queries: yes",
            "  log-replies: yes",
            "  log-tag-queryreply: yes",
            f'  root-hints: "{self.folder / "root.hints"}"',
            '  module-config: "iterator"',
            "  access-control: 198.51.100.0/24 allow",
            "  access-control: 2001:db8:c::/64 allow",
            *(f"  access-control: {address} refuse" for address in REFUSED_CLIENT),
            "  local-zone: 100.51.198.in-addr.arpa. nodefault",
            f"  local-zone: {world.SILENT}. deny",
            # Without these Unbound would go on asking dead servers past the time at which BIND gives up.
            "  infra-cache-max-rtt: 1000",
            "  outbound-msg-retry: 2",
            "remote-control:",
            "  control-enable: no",
        ]
        config = _write(folder / "unbound.conf", lines)
        command = ["unbound", "-d", "-c", str(config)]
        return self._net.start(world.UNBOUND.name, command, folder / "start.log")

    def _start_bind(self) -> Process:
        folder = self.folder / "bind"
        folder.mkdir()
        listen, upstream = world.BIND.clients, world.BIND.upstream
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        key = _write(folder / "rndc.key", [f'key "lab" {{ algorithm hmac-sha256; secret "{secret}"; }};'])
        policy = _write(
            folder / "policy.zone",
            [
                "$TTL 60",
                "@ SOA localhost. hostmaster.localhost. 1 3600 600 86400 60",
                "@ NS localhost.",
                f"*.{world.SILENT} CNAME rpz-drop.",
            ],
        )
        lines = [
            f'include "{key}";',
            'controls { inet 127.0.0.1 port 953 allow { 127.0.0.1; } keys { "lab"; }; };',
            "options {",
            f'  directory "{folder}";',
            "  pid-file none;",
            "  session-keyfile none;",
            "  lock-file none;",
            f'  statistics-file "{folder / "named.stats"}";',
            f"  listen-on {{ {listen[0]}; }};",
            f"  listen-on-v6 {{ {listen[1]}; }};",
            f"  query-source address {upstream[0]};",
            f"  query-source-v6 address {upstream[1]};",
            "  recursion yes;",
            f"  allow-query {{ !{REFUSED_CLIENT[0]}; !{REFUSED_CLIENT[1]}; any; }};",
            "  dnssec-validation no;",
            "  empty-zones-enable no;",
            "  querylog yes;",
            '  response-policy { zone "policy"; };',
            "};",
            "logging {",
            f'  channel queries {{ file "{self.bind_query_log}"; print-time yes; }};',
            f'  channel rest {{ file "{folder / "named.log"}"; print-time yes; print-category yes; }};',
            "  category default { rest; };",
            "  category queries { queries; };",
            "};",
            f'zone "." {{ type hint; file "{self.folder / "root.hints"}"; }};',
            f'zone "policy" {{ type primary; file "{policy}"; allow-query {{ none; }}; }};',
        ]
        config = _write(folder / "named.conf", lines)
        command = ["named", "-f", "-n", "1", "-c", str(config)]
        return self._net.start(world.BIND.name, command, folder / "start.log")


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
