"""Abuse through a real resolver: a spam bot, a worm and a flood ask an unbound, which resolves from the root on.

The network is that of :mod:`lab.fourresolvers`: its authoritative server has the root and ``example.com`` alone, so
mail domains and reverse zones do not exist.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from . import abuse, fourresolvers
from .capture import Capture
from .namespaces import Namespaces
from .openresolver import wait_for_answer
from .transactions import Asked

TOOLS = ("ip", "nsd", "unbound", "dig", "dnsperf", "tcpdump", "zeek")
RESOLVER = fourresolvers.RESOLVERS["unbound"]
BOT, WORM, FLOODER = "203.0.113.101", "203.0.113.102", "203.0.113.103"
VICTIM = "example.com"
PER_SECOND = 200

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class _Questions:
    """What one client asks."""

    client: str
    lines: list[str]  # as dnsperf reads them


def make(folder: Path, names: list[str]) -> Path:
    """Let all three ask at once, and return the capture before the resolver; ``names`` are domains that get mail.

    Raises LabError where something does not work.
    """
    dice = random.Random(1)
    bot = abuse.spam(dice, BOT, names, 0.0, 300)
    worm = abuse.sweep(dice, WORM, names, 0.0, 400)
    flood = ["".join(dice.choices(_LETTERS, k=10)) + f".{VICTIM} A" for _ in range(3000)]
    asking = [_Questions(BOT, _lines(list(bot))), _Questions(WORM, _lines(list(worm))), _Questions(FLOODER, flood)]
    with Namespaces() as net:
        net.bridge("net")
        net.host("authority", {"net": [f"{address}/24" for address in fourresolvers.SERVERS]})
        net.host("client", {"net": [f"{each.client}/24" for each in asking]})
        net.host("unbound", {"net": [f"{RESOLVER}/24"]})
        fourresolvers.start_authority(net, folder)
        wait_for_answer(net, "client", fourresolvers.SERVERS[0], VICTIM)
        fourresolvers.start(net, "unbound", folder, RESOLVER)
        wait_for_answer(net, "client", RESOLVER, VICTIM)
        capture = Capture(net, "net", folder, " or ".join(f"host {each.client}" for each in asking))
        running = []
        for each in asking:
            file = folder / f"{each.client}.questions"
            file.write_text("\n".join(each.lines) + "\n")
            words = ["dnsperf", "-s", RESOLVER, "-a", each.client, "-d", str(file), "-Q", str(PER_SECOND)]
            running.append(net.start("client", words, folder / f"{each.client}.dnsperf"))
        for dnsperf in running:
            dnsperf.wait(120)
        capture.stop()
        return capture.file


def _lines(asked: list[Asked]) -> list[str]:
    return [f"{one.qname} {one.qtype}" for one in asked]
