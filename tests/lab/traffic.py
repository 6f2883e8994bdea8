"""Clients: dnsperf processes that ask the resolvers what a plan says, at a steady rate, and report each outcome."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import faults, world
from .namespaces import Namespaces, Process
from .questions import Question, RawQuestion, awkward, mixed_case, ordinary
from .servers import GIVE_UP_SECONDS, REFUSED_CLIENT

WAIT_SECONDS = GIVE_UP_SECONDS + 5
"""How long a client waits for each answer, so that nothing which counts as unanswered is answered later."""
HOSTS = ("home", "office", "campus")
OUTSTANDING = 40
"""The most open questions of one client: Zeek gives up on a socket's open questions when there are over 50."""


@dataclass(frozen=True)
class Client:
    """One client address, whom it asks, and how."""

    host: str
    address: str
    server: str
    rate: int
    tcp: bool = False
    edns: bool = False


class Asker:
    """A dnsperf process at work: one client with its questions, asked once and in order."""

    def __init__(
        self, net: Namespaces, client: Client, questions: Sequence[Question | RawQuestion], base: Path
    ) -> None:
        """Start it; ``base`` is the path of its files, without suffix.

        Questions are all plain or all raw. Of raw ones dnsperf does not report the name.
        """
        self.client = client
        self.questions = questions
        raw = isinstance(questions[0], RawQuestion)
        self.file = base.with_suffix(".bin" if raw else ".txt")
        if raw:
            self.file.write_bytes(b"".join(q.message() for q in questions if isinstance(q, RawQuestion)))
        else:
            lines = (f"{q.name} {q.kind}\n" for q in questions if isinstance(q, Question))
            self.file.write_text("".join(lines))
        self.seconds = len(questions) / client.rate
        command = ["dnsperf", "-v", "-W", "-n", "1", "-c", "1", "-T", "1"]
        command += ["-f", "inet6" if ":" in client.server else "inet"]
        command += ["-s", client.server, "-a", client.address, "-m", "tcp" if client.tcp else "udp"]
        command += ["-Q", str(client.rate), "-q", str(OUTSTANDING), "-t", str(WAIT_SECONDS)]
        # The end of the questions ends it; the limit in time is there in case that never comes.
        command += ["-l", str(int(self.seconds) + 30), "-d", str(self.file)]
        command += ["-e"] * client.edns + ["-B"] * raw
        self.process: Process = net.start(client.host, command, base.with_suffix(".log"))

    def finish(self, seconds: float) -> None:
        """Wait for its end. Raises LabError where it fails or does not end in time."""
        self.process.wait(seconds)


def _ordinary() -> list[Client]:
    """Eight clients over IPv4 and three over IPv6 for each resolver; the last of each kind speaks TCP."""
    clients = []
    for index in range(16):
        resolver = world.RESOLVERS[index % 2]
        clients.append((f"198.51.100.{index + 1}", resolver.clients[0], 3, index >= 14))
    for index in range(6):
        resolver = world.RESOLVERS[index % 2]
        clients.append((f"2001:db8:c::{index + 101}", resolver.clients[1], 2, index >= 4))
    return [
        Client(HOSTS[index % 3], address, server, rate, tcp=tcp, edns=index % 4 < 2)
        for index, (address, server, rate, tcp) in enumerate(clients)
    ]


ORDINARY = _ordinary()
"""Clients that ask what the mixes say."""
_SERVERS = [address for resolver in world.RESOLVERS for address in resolver.clients]
_ODD_CLIENT = ("198.51.100.200", "2001:db8:c::200")
ODD = [Client("campus", _ODD_CLIENT[":" in server], server, 4) for server in _SERVERS]
"""Clients that ask awkward names."""
REFUSED = [Client("campus", REFUSED_CLIENT[":" in server], server, 1) for server in _SERVERS]
"""Clients that the resolvers refuse to serve."""
FLOODER = Client("home", "198.51.100.201", world.BIND.clients[0], 60)
"""The client that asks for random names."""
EVERYONE = [*ORDINARY, *ODD, *REFUSED, FLOODER]


@dataclass(frozen=True)
class Share:
    """A zone's share of a resolver's queries, and what goes wrong with it on purpose."""

    zone: str | None
    weight: float
    failing: float = 0
    silent: float = 0


_EVERYWHERE = (
    Share("example.com", 25),
    Share("example.net", 14),
    Share("example.org", 8),
    Share("mail.example", 6),
    Share("cdn.example", 8),
    Share("flood.example", 2),
    Share("drop.example", 3, silent=0.2),
    Share("xn--bcher-kva.example", 2),
    Share("100.51.198.in-addr.arpa", 4),
    Share("bank.example", 5),
    Share("lame.example", 1),
    Share("dark.example", 0.5),
    Share(None, 2.5),
)
MIXES: dict[str, tuple[Share, ...]] = {
    "unbound": (
        *_EVERYWHERE,
        Share("shop.example", 12, failing=0.12),
        Share("news.example", 10, failing=0.02),
    ),
    "bind": (
        *_EVERYWHERE,
        Share("shop.example", 12, failing=0.01),
        Share("news.example", 10, failing=0.08),
    ),
}
"""What each resolver is asked."""


def plan(mix: Iterable[Share], count: int, dice: random.Random) -> list[Question]:
    """Return so many questions in random order, in which each share of the mix holds to within one question.

    What is answered late, or never, comes in the first half, so that the answers are in before the clients stop.
    """
    shares = list(mix)
    total = sum(share.weight for share in shares)
    prompt: list[Question] = []
    late: list[Question] = []
    for share in shares:
        number = round(count * share.weight / total)
        failing, silent = round(number * share.failing), round(number * share.silent)
        prompt += [faults.failing(share.zone, dice) for _ in range(failing) if share.zone]
        late += [faults.silent(dice) for _ in range(silent)]
        rest = [ordinary(share.zone, dice) for _ in range(number - failing - silent)]
        (late if share.zone == "dark.example" else prompt).extend(rest)
    dice.shuffle(prompt)
    for slow in late:
        prompt.insert(dice.randrange(len(prompt) // 2 + 1), slow)
    return prompt


def deal(questions: Sequence[Question], clients: Sequence[Client]) -> list[list[Question]]:
    """Deal questions out to clients, of which the first speaks UDP; those that get no answer go to UDP clients only.

    A resolver that drops a query over TCP drops the connection, and dnsperf 2.10 may fail when it connects again.
    """
    hands = [list(questions[index :: len(clients)]) for index in range(len(clients))]
    for client, hand in zip(clients, hands, strict=True):
        for position, asked in enumerate(hand):
            if client.tcp and faults.is_silent(asked):
                other = next(each for each in hands if not faults.is_silent(each[position]))
                hand[position], other[position] = other[position], asked
    return hands


def plans(seconds: int, dice: random.Random) -> list[tuple[Client, Sequence[Question | RawQuestion]]]:
    """Return what each client asks from the start on, at its rate for so many seconds; the flood comes later."""
    result: list[tuple[Client, Sequence[Question | RawQuestion]]] = []
    for resolver in world.RESOLVERS:
        for server in resolver.clients:
            clients = [client for client in ORDINARY if client.server == server]
            questions = plan(MIXES[resolver.name], sum(client.rate for client in clients) * seconds, dice)
            first, *others = deal(questions, clients)
            result.append((clients[0], [mixed_case(asked, dice) for asked in first]))
            result += zip(clients[1:], others, strict=True)
    result += [(client, awkward()) for client in ODD]
    result += [(client, [ordinary("example.com", dice) for _ in range(seconds // 5)]) for client in REFUSED]
    return result
