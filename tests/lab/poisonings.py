"""What a sensor reports of attacks on caches, and of what looks like them: rows of dnsvigil_poisoning.log.

``Sensor`` counts messages as zeek-scripts/poisoning does, and writes rows when it would. It stands for the sensor where
an attack is to be drawn a hundred times; the real one is in ``poisoning_attacks``. Run as a program, it prints the
windows of known kinds that the detector ships, each kind from its own seeds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SIGNS = (
    *("wrong_id", "wrong_port", "conflicting_answers", "unsolicited", "out_of_bailiwick", "nxdomain_storm"),
    *("forged_ns", "first_fragments", "odd_fragments", "icmp_unreachable", "ttl_jumps", "ip_ttl_jumps"),
)
STRONG = {"wrong_id", "wrong_port", "conflicting_answers", "out_of_bailiwick", "first_fragments"}
INTERVAL = 300.0
RESOLVER = "192.0.2.53"
TRAINING = range(1, 25)
"""The seeds of the windows that the detector ships; evaluations take others."""


@dataclass
class State:
    """What has been counted since the last row about one zone, or about the resolver."""

    began: float
    counts: Counter[str] = field(default_factory=Counter)
    first: float = 0.0
    last: float = 0.0
    weight: int = 0
    due: int = 100
    records: list[str] = field(default_factory=list)


@dataclass
class Sensor:
    """Counts messages, and yields the rows: column to Zeek's text."""

    resolver: str = RESOLVER
    ports: float = 15.0  # bits, as the next
    ids: float = 15.0
    rows: list[dict[str, str]] = field(default_factory=list)
    sent: list[tuple[float, int]] = field(default_factory=list)  # of each forged packet: when, and rows before it
    _states: dict[str, State] = field(default_factory=dict)
    _events: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def query(self, when: float, zone: str = "") -> None:
        """See a query."""
        self._events.append((when, lambda: self._query(when, zone)))

    def answer(self, when: float, zone: str, *signs: str, records: Sequence[str] = (), forged: bool = False) -> None:
        """See an answer with some signs; without any, it opens no zone."""
        self._events.append((when, lambda: self._answer(when, zone, signs, records, forged)))

    def other(self, when: float, sign: str) -> None:
        """See what is no answer: a message of ICMP, an odd fragment."""
        more = ("first_fragments",) if sign == "odd_fragments" else ()
        self._events.append((when, lambda: self._count(when, "", sign, *more)))

    def finish(self) -> list[dict[str, str]]:
        """Count all in the order of time, write what is left, and return all rows."""
        for _, count in sorted(self._events, key=lambda event: event[0]):
            count()
        for zone in list(self._states):
            self._close(zone)
        return sorted(self.rows, key=lambda row: float(row["ts"]))

    def _query(self, when: float, zone: str) -> None:
        self._count(when, "", "queries")
        if zone in self._states:
            self._count(when, zone, "queries")

    def _answer(self, when: float, zone: str, signs: Sequence[str], records: Sequence[str], forged: bool) -> None:
        self._count(when, "", "responses")
        if forged:
            self.sent.append((when, len(self.rows)))
        lone = "unsolicited" in signs and zone not in self._states
        if not signs and zone not in self._states:
            return
        self._count(when, "" if lone else zone, *(() if lone else ("responses",)), *signs, records=records)

    def _count(self, when: float, zone: str, *what: str, records: Sequence[str] = ()) -> None:
        state = self._states.get(zone)
        if state and when >= state.began + INTERVAL:
            self._close(zone)
            state = None
        if state is None:
            state = self._states[zone] = State(when)
        if not state.counts:
            state.first = when
        state.last = when
        state.counts.update(what)
        state.records = [*dict.fromkeys([*state.records, *records])][:5]
        state.weight += sum(100 if each in STRONG else each in SIGNS for each in what)
        if state.weight >= state.due:
            while state.weight >= state.due:
                state.due *= 10
            self._write(when, zone, state)

    def _close(self, zone: str) -> None:
        state = self._states.pop(zone)
        if state.counts:
            self._write(state.began + INTERVAL, zone, state, entropies=not zone)

    def _write(self, when: float, zone: str, state: State, *, entropies: bool = False) -> None:
        row = {name: str(state.counts[name]) for name in ("queries", "responses", *SIGNS)}
        row |= {"ts": f"{when:.6f}", "time_first": f"{state.first:.6f}", "time_last": f"{state.last:.6f}"}
        row |= {"resolver": self.resolver, "zone": zone or "-", "node": "worker-1", "sources": "1"}
        bits = (self.ports, self.ids) if entropies else ()
        row |= {name: f"{value:.3f}" for name, value in zip(("port_entropy", "id_entropy"), bits, strict=False)}
        row |= {"sample_names": zone or "(empty)", "sample_servers": "198.51.100.53"}
        row |= {"sample_records": ",".join(state.records) or "(empty)"}
        self.rows.append({"port_entropy": "-", "id_entropy": "-"} | row)
        state.counts, state.records = Counter(), []


Kind = Callable[[Sensor, random.Random, float], None]
"""Has a sensor see a few minutes of something, from a time on."""


def background(sensor: Sensor, dice: random.Random, start: float, minutes: float = 4, rate: float = 20.0) -> None:
    """Let a resolver ask and be answered, about so many times a second."""
    for _ in range(int(minutes * 60 * rate)):
        when = start + dice.uniform(0, minutes * 60)
        zone = f"site{dice.randrange(400)}.example"
        sensor.query(when, zone)
        sensor.answer(when + 0.02, zone)


def guessing(
    sensor: Sensor,
    dice: random.Random,
    start: float,
    *,
    forged: int = 5000,
    fixed: bool = True,
    zone: str = "bank.example",
) -> None:
    """Guess ids, and ports where these are random, a thousand for each name."""
    when = start
    signs = (
        ["forged_ns"] * (dice.random() < 0.8)
        + ["ttl_jumps"] * (dice.random() < 0.6)
        + ["ip_ttl_jumps"] * (dice.random() < 0.7)
    )
    rate = dice.choice([2_000, 20_000, 100_000])
    too_late = dice.choice([0.0, 0.1, 0.5, 0.8])  # of guesses, those after the resolver has given up
    for number in range(forged):
        if number % 1000 == 0:
            when += 0.02
            sensor.query(when, zone)
            if dice.random() < 0.3:
                sensor.answer(when + 0.01, zone, "nxdomain_storm")
        when += 1 / rate
        late = number >= 20 and dice.random() < too_late
        wrong = "unsolicited" if late else "wrong_id" if fixed or dice.random() < 1 / 30_000 else "wrong_port"
        sensor.answer(when, zone, wrong, *signs, records=[f"ns.{zone} A 203.0.113.66"], forged=True)


def injection(sensor: Sensor, dice: random.Random, start: float, *, zones: int = 40, share: float = 0.8) -> None:
    """Forge answers of many zones on the path; the true ones come after them."""
    for _ in range(zones * 12):
        when = start + dice.uniform(0, 240)
        zone = f"blocked{dice.randrange(zones)}.example"
        sensor.query(when, zone)
        if dice.random() < share:
            sensor.answer(when + 0.005, zone, *["ip_ttl_jumps"] * (dice.random() < 0.5), forged=True)
            sensor.answer(
                when + 0.02, zone, "conflicting_answers", records=[f"www.{zone} A 198.51.100.{dice.randrange(9)}"]
            )
        else:
            sensor.answer(when + 0.02, zone)


def bailiwick(sensor: Sensor, dice: random.Random, start: float) -> None:
    """Answer for the attacker's own zone, with addresses of another zone's servers."""
    share = dice.uniform(0.3, 1)
    for number in range(dice.randrange(5, 60)):
        sensor.query(start + number, "attacker.example")
        signs = ["out_of_bailiwick"] * (not number or dice.random() < share)
        records = ["ns1.bank.example A 203.0.113.66"] * len(signs)
        sensor.answer(start + number + 0.02, "attacker.example", *signs, records=records, forged=bool(signs))


def fragments(sensor: Sensor, dice: random.Random, start: float, *, forged: int = 64) -> None:
    """Send forged second fragments, of which some meet the first."""
    background(sensor, dice, start, rate=dice.choice([0.1, 1, 20]))
    for number in range(forged):
        sensor.other(start + number * dice.uniform(0.01, 0.3), "odd_fragments")
        if dice.random() < 0.1:
            sensor.answer(start + number * 0.3, "bank.example", "first_fragments", "ip_ttl_jumps")


def scan(sensor: Sensor, dice: random.Random, start: float, *, seconds: int = 60) -> None:
    """Look for the port of a query by the limit on ICMP: up to a thousand messages a second."""
    background(sensor, dice, start, rate=dice.choice([0.1, 1, 20]))
    rate = dice.choice([50, 200, 1000])
    for number in range(seconds * rate):
        sensor.other(start + number / rate, "icmp_unreachable")
        if dice.random() < 0.002:
            sensor.answer(start + number / rate, "bank.example", "wrong_port")


def loss(sensor: Sensor, dice: random.Random, start: float, *, lost: float = 0.2, minutes: float = 4) -> None:
    """Lose queries and answers at the tap; one in ten queries is asked again from another port."""
    for _ in range(int(minutes * 60 * 20)):
        when = start + dice.uniform(0, minutes * 60)
        zone = f"site{dice.randrange(400)}.example"
        again = dice.random() < 0.1
        seen = [dice.random() >= lost for _ in range(1 + again)]
        for _ in filter(None, seen):
            sensor.query(when, zone)
        for place, was_seen in enumerate(seen):
            if dice.random() < lost:
                continue
            signs = [] if was_seen else ["wrong_port" if seen[place - 1] and again else "unsolicited"]
            sensor.answer(when + 0.02, zone, *signs)


def one_direction(sensor: Sensor, dice: random.Random, start: float) -> None:
    """See the answers alone."""
    for _ in range(4000):
        sensor.answer(start + dice.uniform(0, 240), f"site{dice.randrange(400)}.example", "unsolicited")


def ordinary(sensor: Sensor, dice: random.Random, start: float) -> None:
    """See what servers do: late and second answers, large ones in fragments, other TTLs, hosts of other zones."""
    background(sensor, dice, start)
    odd(sensor, dice, start, dice.randrange(3, 40))


def odd(sensor: Sensor, dice: random.Random, start: float, count: int) -> None:
    """See so many odd answers within four minutes, each among ordinary ones for the same zone."""
    for _ in range(count):
        when, zone = start + dice.uniform(0, 240), f"odd{dice.randrange(6)}.example"
        signs = [
            "out_of_bailiwick",
            "first_fragments",
            "ttl_jumps",
            "ip_ttl_jumps",
            "conflicting_answers",
            "wrong_port",
        ]
        sign = dice.choices(signs, [3, 5, 5, 5, 1, 1])[0]
        sensor.query(when, zone)
        sensor.answer(when + 0.02, zone, sign)
        for again in range(dice.randrange(2, 12)):
            sensor.query(when + again, zone)
            sensor.answer(when + again + 0.02, zone, *([sign] if sign == "first_fragments" else []))
    for _ in range(dice.randrange(20)):
        sensor.other(start + dice.uniform(0, 240), "icmp_unreachable")


def day(dice: random.Random, start: float, lost: float) -> list[dict[str, str]]:
    """Return the rows of a day of one resolver that is not attacked, through a tap that loses this share.

    Of the traffic only what may have signs is drawn: zones with odd answers, and queries that are asked again.
    """
    sensor = Sensor()
    for slot in range(288):
        odd(sensor, dice, start + 300 * slot, dice.randrange(3, 40))
        if lost:
            loss(sensor, dice, start + 300 * slot, lost=lost, minutes=0.25)
    return sensor.finish()


KINDS: dict[str, Kind] = {
    "guessing": lambda sensor, dice, start: guessing(sensor, dice, start, fixed=dice.random() < 0.5),
    "injection": injection,
    "bailiwick": bailiwick,
    "fragments": fragments,
    "scan": scan,
    "loss": lambda sensor, dice, start: loss(sensor, dice, start, lost=dice.choice([0.05, 0.2, 0.3])),
    "one direction": one_direction,
    "ordinary": ordinary,
}


def rows(kind: str, seed: int, start: float) -> Iterator[dict[str, str]]:
    """Yield the rows of one kind."""
    sensor, dice = Sensor(), random.Random(f"{kind} {seed}")
    KINDS[kind](sensor, dice, start)
    yield from sensor.finish()


def main() -> None:
    """Print the windows of known kinds."""
    from dnsvigil.detectors.poisoning.neighbours import FEATURES, ORIGIN

    print(",".join(("origin", "kind", "variant", *FEATURES)))
    for name in KINDS:
        known = set()
        for seed in TRAINING:
            for window in windows(name, seed):
                values = ",".join(f"{value:.4g}" for value in window.values())
                if values not in known:
                    print(f"{ORIGIN},{name},seed {seed},{values}")
                known.add(values)


def windows(name: str, seed: int) -> list[dict[str, float]]:
    """Return the windows of one kind: of the zone with most signs, and of the resolver if that shows there."""
    from dnsvigil.detectors.poisoning import neighbours
    from dnsvigil.detectors.poisoning.windows import COUNTS

    made = [as_row(row) for row in rows(name, seed, 1_700_000_000.0)]
    by_zone: dict[str | None, list[Any]] = {}
    for row in made:
        by_zone.setdefault(row.zone, []).append(row)
    total = {zone: sum(row.signs[sign] for row in each for sign in COUNTS) for zone, each in by_zone.items()}
    chosen = [max((zone for zone in total if zone), key=lambda zone: total[zone], default=None)]
    chosen += [None] * (name not in ("guessing", "injection", "bailiwick"))
    lost = 0.2 if name == "loss" else 0.0
    (*_, last) = by_zone[None]
    return [
        neighbours.vector(by_zone[zone], lost, last.port_entropy, last.id_entropy)
        for zone in dict.fromkeys(chosen)
        if total.get(zone)
    ]


def as_row(row: dict[str, str]) -> Any:
    """Return a row as the detector reads it from the store."""
    from dnsvigil.detectors.poisoning.windows import COUNTS, Row

    def when(name: str) -> datetime:
        return datetime.fromtimestamp(float(row[name]), UTC).replace(tzinfo=None)

    zone = None if row["zone"] == "-" else row["zone"]
    bits = [None if row[name] == "-" else float(row[name]) for name in ("port_entropy", "id_entropy")]
    samples = ("sample_names", "sample_servers", "sample_records")
    lists = [[] if row[name] == "(empty)" else row[name].split(",") for name in samples]
    times = (when(name) for name in ("ts", "time_first", "time_last"))
    numbers = (int(row["queries"]), int(row["responses"]))
    signs = {name: int(row[name]) for name in COUNTS}
    return Row._make(["zeek", row["resolver"], zone, *times, *numbers, *bits, int(row["sources"]), *lists, signs])


if __name__ == "__main__":
    main()
