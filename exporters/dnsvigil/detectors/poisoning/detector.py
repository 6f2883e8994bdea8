"""Finds attempts to poison the caches of resolvers, and zones that were taken over.

docs/detectors/poisoning.md has the tests, what they were measured to find, and their blind spots.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final, NamedTuple

from dnsvigil.detectors.detector import THRESHOLD, Anomaly, Context, Detector
from dnsvigil.detectors.labelled import COMPARED, Labelled, Neighbours, rounded
from dnsvigil.detectors.passive_dns import Tuples, seconds, time_of
from dnsvigil.detectors.places import NO_TABLE, Places
from dnsvigil.detectors.poisoning import evidence, windows
from dnsvigil.detectors.poisoning.injection import Injection, injections
from dnsvigil.detectors.poisoning.neighbours import LABELLED, ORIGIN, kind, vector
from dnsvigil.detectors.poisoning.search import Search
from dnsvigil.detectors.poisoning.sequential import ALARM, MAX_USUAL, USUAL_WRONG, Tests, whole_tests, zone_tests
from dnsvigil.detectors.poisoning.spread import nats, spread
from dnsvigil.detectors.poisoning.windows import Key, Row, Spread
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read

NO_SENSOR: Final = (
    "no sensor with the Zeek package reports: only what answers say of a zone's past is looked at, not the packets"
)
MAX_FINDINGS: Final = 20
"""So many zones of a resolver have findings of their own, the worst; of more, the resolver has one for all others."""

_MIN_SCORE: Final = 0.1
_MAX_SEARCHED: Final = 200  # zones whose past is read, those with most signs
_PASSIVE: Final = timedelta(minutes=5)  # between two searches in passive DNS


class _Attack(NamedTuple):
    """What a sensor saw of a zone, or a resolver."""

    rows: Sequence[Row]  # since the test began
    tests: Tests
    loss: float


class Poisoning(Detector):
    """Scores each zone of each resolver by a sequential test of its signs, and by the past of its answers."""

    name: ClassVar[str] = "poisoning"
    reads: ClassVar[Sequence[str]] = ("poisoning", "capture", "passive_dns_new", "passive_dns_files")
    labelled: ClassVar[Labelled | None] = LABELLED

    def __init__(self, context: Context) -> None:
        self._places = Places(context.config.domains.networks)
        self._search = Search(Tuples(context.state), self._places)
        self._searched: tuple[int, list[Anomaly]] = (0, [])
        self._neighbours = Neighbours(LABELLED, context.state)
        self._package = True

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the zones and resolvers under attack, and what passive DNS shows without a sign on the wire."""
        self._neighbours.reload()
        self._package = windows.has_package(read, now)
        slot = seconds(now) // int(_PASSIVE.total_seconds())
        if slot != self._searched[0]:
            self._searched = slot, [*self._passive(read, now)]
        worst: dict[tuple[str, str], Anomaly] = {}
        for found in (*self._on_the_wire(read, now), *self._searched[1]):
            known = worst.get((found.subject_type, found.subject))
            if not known or found.score > known.score:
                worst[found.subject_type, found.subject] = found
        return list(worst.values())

    def problems(self) -> Sequence[str]:
        """Return what cannot be read."""
        problems = self._places.problem, self._search.unreadable, self._neighbours.problem
        return [problem for problem in problems if problem]

    def model_time(self) -> datetime | None:
        """Return when the operator's own windows were written."""
        return self._neighbours.time

    def limits(self) -> Sequence[str]:
        """Return what it works without: a sensor upstream of the resolvers, AS numbers."""
        return [NO_SENSOR] * (not self._package) + [NO_TABLE] * self._places.none

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return what the sensors do not show."""
        blind = any(loss > MAX_USUAL for loss in windows.losses(read, now).values())
        return [*windows.lacks(read, now), *["packets lost at the tap"] * blind]

    def _on_the_wire(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        losses = windows.losses(read, now)
        usual = windows.usual_wrong(read, now, ALARM)
        wholes = windows.wholes(read, now)
        attacks: dict[tuple[str, str | None], _Attack] = {}
        for key, rows in [*windows.zones(read, now).items(), *wholes.items()]:
            found = _tested(key, rows, losses, usual)
            known = attacks.get((key[0], key[2]))
            if found and found.rows[-1].time_last > now - QUIET and (not known or found.tests.sum > known.tests.sum):
                attacks[key[0], key[2]] = found
        entropies = _entropies(wholes)
        by_resolver: defaultdict[str, list[Anomaly]] = defaultdict(list)
        worst = sorted((key for key in attacks if key[1]), key=lambda key: -attacks[key].tests.sum)[:_MAX_SEARCHED]
        searched = [(attacks[key].rows, attacks[key].tests.guessing.sum >= ALARM) for key in worst]
        landed = dict(zip(worst, self._search.attacked(read, searched), strict=True))
        for (resolver, zone), attack in attacks.items():
            changes = landed.get((resolver, zone), [])
            score = attack.tests.score
            if changes:
                score = 1 - (1 - score) * (1 - changes[0].score)
            if score < _MIN_SCORE:
                continue
            window = vector(attack.rows, attack.loss, *entropies.get(resolver, (None, None)))
            like = kind(self._neighbours, window)
            shown = evidence.of_zone(attack.rows, attack.tests, changes, like, attack.loss)
            shown[COMPARED] = {ORIGIN: rounded(window)}
            subject = ("zone", f"{zone} at {resolver}") if zone else ("resolver", resolver)
            severity = "critical" if shown["landed"] else "warning"
            first, last = attack.rows[0].time_first, attack.rows[-1].time_last
            by_resolver[resolver].append(Anomaly(*subject, score, severity, first, last, shown))
        lost = max(losses.values(), default=0.0)
        hours = {resolver: each for resolver, each in windows.spreads(read, now).items() if each[-1].last > now - QUIET}
        for resolver in by_resolver.keys() | hours.keys():
            yield from _of_resolver(by_resolver[resolver], hours.get(resolver, ()), lost)

    def _passive(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return what answers alone show."""
        suddenly = injections(self._search.tuples, read, now, self._places)
        for found in suddenly:
            if found.score >= _MIN_SCORE and time_of(found.last) > now - QUIET:
                yield _injected(found)
        shared = {found.rkey for found in suddenly}
        for zone, changes in self._search.changed(read, now, shared).items():
            best, last = changes[0], max((had.last for had in (*changes[0].new, *changes[0].old)), default=0)
            if best.score >= _MIN_SCORE and time_of(last) > now - QUIET:
                first = min((had.first for had in best.new), default=last)
                shown = evidence.of_change(zone, changes)
                yield Anomaly("zone", zone, best.score, "warning", time_of(first), time_of(last), shown)


def _tested(key: Key, rows: Sequence[Row], losses: Mapping[str, float], usual: Mapping[str, float]) -> _Attack | None:
    """Return what the tests make of rows, None where there is nothing."""
    loss = losses.get(key[1], 0.0)
    if loss > MAX_USUAL:
        return None  # what was lost cannot be distinguished from what was forged
    if key[2] is None:
        tests = whole_tests(rows)
    else:
        learnt = usual.get(key[0], USUAL_WRONG)
        tests = zone_tests(rows, min(max(learnt, USUAL_WRONG + loss), MAX_USUAL))
    if not tests.sum:
        return None
    began = tests.best.began if tests.best.sum else None
    since = (
        [row for row in rows if row.time_last >= began] if began else [row for row in rows if any(row.signs.values())]
    )
    return _Attack(since or rows, tests, loss)


def _entropies(wholes: Mapping[Key, Sequence[Row]]) -> dict[str, tuple[float | None, float | None]]:
    """Return the last entropies of each resolver's ports and ids, in bits."""
    return {
        resolver: (row.port_entropy, row.id_entropy)
        for (resolver, *_), rows in wholes.items()
        for row in rows
        if row.port_entropy is not None
    }


def _of_resolver(found: Sequence[Anomaly], hours: Sequence[Spread], lost: float) -> Iterable[Anomaly]:
    """Return the worst of what one resolver has, and one for all others."""
    worst = sorted(found, key=lambda each: (each.severity != "critical", -each.score))
    if hours and nats(hours, lost) >= ALARM:
        # Answers that are raced in very many zones are one finding.
        worst = [each for each in worst if each.severity == "critical" or each.evidence["kind"] != "injection"]
    yield from worst[:MAX_FINDINGS]
    left_over = [each.score for each in worst[MAX_FINDINGS:] if each.score >= THRESHOLD]
    if hours and (many := spread(hours, left_over, lost)):
        yield many


def _injected(found: Injection) -> Anomaly:
    shown = evidence.of_injection(found)
    return Anomaly("host", shown["address"], found.score, "warning", time_of(found.first), time_of(found.last), shown)
