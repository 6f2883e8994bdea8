"""Ordinary traffic of the four resolvers of Debian: they resolve from the root on, for dnsperf, as fast as it asks.

One network: a client, an authoritative server (NSD, the root and ``example.com``, on three addresses), and one host for
each resolver. Names exist, do not exist, are aliases, and are asked again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from .capture import Capture
from .namespaces import Namespaces, Process
from .openresolver import wait_for_answer

TOOLS = ("ip", "nsd", "dig", "dnsperf", "tcpdump", "zeek")
RESOLVERS = {
    "unbound": "203.0.113.10",
    "named": "203.0.113.11",
    "kresd": "203.0.113.12",
    "pdns_recursor": "203.0.113.13",
}
"""The programs, with the addresses at which they serve and from which they ask."""
CLIENT = "203.0.113.100"
SERVERS = ("203.0.113.51", "203.0.113.52", "203.0.113.53")
OPTIONS = {
    "Site::local_nets": "{203.0.113.0/24}",
    "DNSVigilPoisoning::resolvers": "{" + ", ".join(f"{address}/32" for address in RESOLVERS.values()) + "}",
}


def make(folder: Path, *, names: int = 1500, per_second: int = 500) -> Path:
    """Ask every resolver for so many names, a fifth of them twice; return the capture of all traffic.

    Raises LabError where something does not work.
    """
    with Namespaces() as net:
        net.bridge("net")
        net.host("authority", {"net": [f"{address}/24" for address in SERVERS]})
        net.host("client", {"net": [f"{CLIENT}/24"]})
        for program, address in RESOLVERS.items():
            net.host(program, {"net": [f"{address}/24"]})
        start_authority(net, folder)
        wait_for_answer(net, "client", SERVERS[0], "example.com")
        for program, address in RESOLVERS.items():
            start(net, program, folder, address)
            wait_for_answer(net, "client", address, "example.com")
        capture = Capture(net, "net", folder)
        asking = [_ask(net, program, folder, names, per_second) for program in RESOLVERS]
        for dnsperf in asking:
            dnsperf.wait(60)
        capture.stop()
        return capture.file


def _ask(net: Namespaces, program: str, folder: Path, names: int, per_second: int) -> Process:
    dice = random.Random(program)
    lines = []
    for index in range(names):
        name, kind = f"h{index}.d{index % 40}.example.com", dice.choice(("A", "A", "A", "AAAA", "TXT"))
        if index % 7 == 0:
            name = f"gone{index}.nx.example.com"
        elif index % 11 == 0:
            name = f"alias{index}.c.example.com"
        lines += [f"{name} {kind}"] * (2 if index % 5 == 0 else 1)
    questions = folder / f"{program}.questions"
    questions.write_text("\n".join(lines) + "\n")
    words = ["dnsperf", "-s", RESOLVERS[program], "-d", str(questions), "-Q", str(per_second), "-c", "4"]
    return net.start("client", words, folder / f"{program}.dnsperf")


def start_authority(
    net: Namespaces, folder: Path, *more: str, zones: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Process:
    """Start the authoritative server on the host ``authority``, with ``more`` records of example.com, and more zones.

    Its zone files are ``nsd/root`` and ``nsd/zone`` below ``folder``; a SIGHUP lets it read them again.
    """
    own = folder / "nsd"
    own.mkdir()
    servers = [f"ns{index}" for index in range(len(SERVERS))]
    soa = "@ 3600 SOA ns0.example.com. hostmaster.example.com. 1 3600 600 86400 60"
    told = [f"@ 86400 NS {server}.example.com." for server in servers]
    glue = [f"{server}.example.com. 86400 A {address}" for server, address in zip(servers, SERVERS, strict=True)]
    delegation = [line.replace("@", "example.com.", 1) for line in told]
    delegation += [line.replace("@", f"{zone}.", 1) for zone in zones for line in told]
    (own / "root").write_text("\n".join(["$ORIGIN .", soa, *told, *delegation, *glue]) + "\n")
    for zone, records in zones.items():
        (own / zone).write_text("\n".join([f"$ORIGIN {zone}.", soa, *told, *records]) + "\n")
    contents = [f"*.d{index} 300 A 192.0.2.{index}" for index in range(40)]
    contents += [f"*.d{index} 60 AAAA 2001:db8::{index}" for index in range(0, 40, 2)]
    contents += ["@ 300 A 192.0.2.80", "nx 300 TXT here", "*.c 600 CNAME h1.d1", *more]
    (own / "zone").write_text("\n".join(["$ORIGIN example.com.", soa, *told, *glue, *contents]) + "\n")
    return start_nsd(
        net, "authority", own, SERVERS, {".": "root", "example.com": "zone", **{zone: zone for zone in zones}}
    )


def start_nsd(net: Namespaces, host: str, own: Path, addresses: Sequence[str], zones: Mapping[str, str]) -> Process:
    """Start an authoritative server for zones, whose files are in its folder; a SIGHUP lets it read them again."""
    lines = ["server:", *(f"  ip-address: {address}" for address in addresses), "  server-count: 1", '  username: ""']
    lines += ['  chroot: ""', '  database: ""', '  pidfile: ""', f'  zonesdir: "{own}"', "  rrl-ratelimit: 0"]
    lines += [f'  zonelistfile: "{own}/zone.list"', f'  xfrdfile: "{own}/xfrd.state"', f'  xfrdir: "{own}"']
    lines += ["remote-control:", "  control-enable: no"]
    for zone, file in zones.items():
        lines += ["zone:", f'  name: "{zone}"', f'  zonefile: "{file}"']
    (own / "nsd.conf").write_text("\n".join(lines) + "\n")
    return net.start(host, ["nsd", "-d", "-c", str(own / "nsd.conf")], own / "nsd.log")


def start(net: Namespaces, program: str, folder: Path, address: str) -> Process:
    """Start a resolver that is open to all, on the host of its name."""
    own = folder / program
    own.mkdir()
    hints = own / "hints"
    pairs = [(f"ns{index}.example.com.", address) for index, address in enumerate(SERVERS)]
    hints.write_text("".join(f". 86400 NS {name}\n{name} 86400 A {address}\n" for name, address in pairs))
    config = own / "config"
    if program == "unbound":
        config.write_text(
            f"server:\n  interface: {address}\n  access-control: 0.0.0.0/0 allow\n  num-threads: 1\n"
            f'  username: ""\n  chroot: ""\n  pidfile: ""\n  directory: "{own}"\n  use-syslog: no\n  do-ip6: no\n'
            f'  module-config: "iterator"\n  root-hints: "{hints}"\nremote-control:\n  control-enable: no\n'
        )
        command = ["unbound", "-d", "-c", str(config)]
    elif program == "named":
        config.write_text(
            f'options {{ directory "{own}"; pid-file none; session-keyfile none; lock-file none; recursion yes;\n'
            f"listen-on {{ {address}; }}; listen-on-v6 {{ none; }};\n"
            "allow-query { any; }; allow-recursion { any; };\n"
            "dnssec-validation no; empty-zones-enable no; notify no; };\ncontrols { };\n"
            f'zone "." {{ type hint; file "{hints}"; }};\n'
        )
        command = ["named", "-f", "-n", "1", "-c", str(config)]
    elif program == "kresd":
        roots = ", ".join(f"['{name}'] = {{'{server}'}}" for name, server in pairs)
        config.write_text(
            f"net.listen('{address}', 53, {{ kind = 'dns' }})\nnet.ipv6 = false\ncache.size = 10 * MB\n"
            "trust_anchors.remove('.')\nmodules.unload('ta_update')\nmodules.unload('detect_time_skew')\n"
            f"modules.load('hints')\nhints.root({{ {roots} }})\n"
        )
        command = ["kresd", "-n", "-c", str(config), str(own)]
    else:
        (own / "recursor.conf").write_text(
            f"local-address={address}\nallow-from=0.0.0.0/0\nhint-file={hints}\ndnssec=off\nsocket-dir=.\n"
            "dont-query=\ndaemon=no\nwrite-pid=no\nthreads=1\nsecurity-poll-suffix=\n"
        )
        command = ["pdns_recursor", f"--config-dir={own}"]
    return net.start(program, command, own / "start.log")
