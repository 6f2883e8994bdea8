"""The sequential test: adds up, row by row, how much more likely an attack makes what a sensor saw.

Each kind of attack has a test of its own, Page's CUSUM over the rows of one resolver, or of one zone of it (E. S. Page,
Continuous inspection schemes, Biometrika 41, 1954). The sum is that of the logarithms of likelihood ratios, cut off at
0, and raises an alarm at ``ALARM``. By Wald's inequality a test that begins at 0 reaches the alarm without an attack
with a probability of at most exp(-ALARM) = FALSE_ALARMS.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.detectors.poisoning.windows import Row

FALSE_ALARMS: Final = 1e-5
"""The probability that one test raises an alarm without an attack."""

ALARM: Final = -math.log(FALSE_ALARMS)

_LEAD: Final = timedelta(minutes=10)  # from a first sign to others that belong to it

HALF_WRONG: Final = 0.5
"""The share of forged answers that the test of guessing is made for; of more, it is sure sooner."""

USUAL_WRONG: Final = 0.05
"""The share of wrong answers in a zone with any, on a tap that loses nothing; what is lost comes on top."""

MAX_USUAL: Final = 0.3
"""The largest share that is ever taken for usual, whatever a tap loses and whatever was learnt."""

_USUAL_SECOND: Final = 0.02  # answers of which a second one differs
_SECOND: Final = 0.3
_HINTS: Final = {
    "out_of_bailiwick": 4.0,
    "forged_ns": 2.0,
    "first_fragments": 1.0,
    "ttl_jumps": 0.5,
    "ip_ttl_jumps": 0.5,
}
"""What the first sign of each kind adds; each tenfold adds as much again."""
_MAX_HINTS: Final = 8.0  # below the alarm: hints alone are none, as ordinary servers give all of them
_TOGETHER: Final = 20  # messages of ICMP that count as one, as they come in bursts
TIMES: Final = 4.0
"""The tests of rates are made for so many times the usual rate."""

_TIMES_ODD: Final = 320.0  # of odd fragments, which are so rare that two within minutes are enough
_USUAL_ODD: Final = 1 / 86_400  # a second, at least
_USUAL_UNREACHABLE: Final = 0.5  # a second, at least, and more with the answers: some are late, for a port closed since
_LATE: Final = 0.005
LEARNING: Final = 0.01
"""The weight of a row in what is usual; a tenth of that if it is suspicious."""


@dataclass
class Cusum:
    """One test. ``sum`` is in nats."""

    sum: float = 0.0
    began: datetime | None = None  # first message of the row with which it began, which may have the first sign only
    signs: int = 0  # since it began

    def add(self, row: Row, change: float, signs: int) -> None:
        """Take the logarithm of a row's likelihood ratio."""
        if not self.sum and self.began and row.time_first - self.began > _LEAD:
            self.began, self.signs = None, 0
        self.sum = max(self.sum + change, 0.0)
        if not self.sum:
            self.began, self.signs = row.time_first if signs else None, 0
        self.began = self.began or row.time_first
        self.signs += signs


@dataclass
class Tests:
    """The tests of one resolver, or of one zone of it, at one sensor."""

    guessing: Cusum = field(default_factory=Cusum)
    second: Cusum = field(default_factory=Cusum)  # answers to one query that differ
    scan: Cusum = field(default_factory=Cusum)  # for the open port, as by SAD DNS
    fragments: Cusum = field(default_factory=Cusum)
    hints: float = 0.0
    alarm: datetime | None = None  # when the row was written with which the sum reached it
    until_alarm: int | None = None  # the signs of the best test in that row, and the rows before

    def look(self, row: Row) -> None:
        """Take note of the alarm."""
        if self.sum < ALARM:
            self.alarm, self.until_alarm = None, None
        elif self.alarm is None:
            self.alarm, self.until_alarm = row.ts, self.best.signs

    @property
    def sum(self) -> float:
        """Return the sum of the test that found most, and of the hints, in nats."""
        return max(self.guessing.sum, self.second.sum, self.scan.sum, self.fragments.sum) + self.hints

    @property
    def best(self) -> Cusum:
        """Return the test that found most."""
        return max((self.guessing, self.second, self.scan, self.fragments), key=lambda test: test.sum)

    @property
    def score(self) -> float:
        """Return the score, which is 0.5 at the alarm."""
        return self.sum / (self.sum + ALARM)


def bernoulli(signs: float, answers: float, usual: float, attack: float) -> float:
    """Return the logarithm of the likelihood ratio of so many signs among answers, in nats."""
    return signs * math.log(attack / usual) + max(answers - signs, 0) * math.log((1 - attack) / (1 - usual))


def poisson(signs: float, seconds: float, usual: float, times: float) -> float:
    """Return the logarithm of the likelihood ratio of ``times`` the ``usual`` rate of signs a second, in nats."""
    return signs * math.log(times) - usual * seconds * (times - 1)


def zone_tests(rows: Iterable[Row], usual_wrong: float) -> Tests:
    """Test the rows of one zone, in the order of time. ``usual_wrong`` is the share of wrong answers without an attack.

    A zone has rows only from its first sign on. So a test's first sign, by which it was chosen, does not count.
    """
    tests = Tests()
    usual = min(max(usual_wrong, USUAL_WRONG), MAX_USUAL)
    second = min(_USUAL_SECOND + usual - USUAL_WRONG, _SECOND / 2)
    totals = dict.fromkeys(_HINTS, 0)
    for row in rows:
        for name in totals:
            totals[name] += row.signs[name]
        wrong = row.wrong
        # Where packets are lost or out of order, each query may have one answer that looks wrong.
        beyond = max(wrong - row.queries, 0)
        answers = row.matched - wrong + beyond
        tests.guessing.add(row, _chosen(tests.guessing, beyond, answers, usual, HALF_WRONG), wrong)
        others = row.signs["conflicting_answers"]
        tests.second.add(row, _chosen(tests.second, others, row.matched, second, _SECOND), others)
        tests.hints = min(sum(worth * _tenfolds(totals[name]) for name, worth in _HINTS.items()), _MAX_HINTS)
        tests.look(row)
    return tests


def whole_tests(rows: Iterable[Row]) -> Tests:
    """Test the rows of a resolver as a whole, in the order of time: its usual rates are learnt on the way.

    What is usual learns slowly from suspicious rows, and not at all from those that are beyond the alarm.
    """
    tests = Tests()
    usual = {"icmp_unreachable": 0.0, "odd_fragments": 0.0}
    for row in rows:
        seconds = max(row.seconds, 1.0)
        late = _USUAL_UNREACHABLE + _LATE * row.responses / seconds
        for name, test, floor, times, together in (
            ("icmp_unreachable", tests.scan, late, TIMES, _TOGETHER),
            ("odd_fragments", tests.fragments, _USUAL_ODD, _TIMES_ODD, 1),
        ):
            signs = row.signs[name]
            test.add(row, poisson(signs, seconds, max(usual[name], floor), times) / together, signs)
            weight = 0.0 if test.sum >= ALARM else LEARNING / 10 if test.sum > ALARM / 2 else LEARNING
            usual[name] += weight * (signs / max(seconds, 60.0) - usual[name])
        tests.look(row)
    return tests


def _chosen(test: Cusum, signs: int, answers: int, usual: float, attack: float) -> float:
    first = 1 if signs and not test.sum else 0
    return bernoulli(signs - first, answers - first, usual, attack)


def _tenfolds(count: int) -> float:
    return math.log10(10 * count) if count else 0.0
