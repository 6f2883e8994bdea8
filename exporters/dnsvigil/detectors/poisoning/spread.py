"""Finds signs in very many zones of one resolver: answers forged on the path, or a flood that hides one attack."""

from collections.abc import Sequence
from typing import Any, Final

from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.poisoning.sequential import ALARM, LEARNING, TIMES, poisson
from dnsvigil.detectors.poisoning.windows import Spread
from dnsvigil.detectors.techniques import ADVERSARY_IN_THE_MIDDLE

_USUAL: Final = 3.0  # zones of a resolver in an hour in which answers to one query differ, at least
_ANSWERS: Final = 100_000  # for one zone more
_LOST: Final = 100.0  # zones more if all packets were lost


def spread(hours: Sequence[Spread], left_over: Sequence[float], loss: float) -> Anomaly | None:
    """Return a resolver with answers raced in more zones than usual, or with more alarms than findings.

    ``hours`` are in the order of time, the last is the one in question. ``left_over`` are the scores of zones without
    findings of their own.
    """
    last, total = hours[-1], nats(hours, loss)
    if total <= 0 and not left_over:
        return None
    score = max([total / (total + ALARM) if total > 0 else 0.0, *left_over])
    said = (
        f"second answers contradict the first in {last.second:,} zones within an hour: somebody on the path forges"
        " answers. Compare with answers over another path"
        if total > 0
        else f"wrong answers arrive in {last.wrong:,} zones within an hour, more than have findings of their own: they"
        " may hide the attack that counts. Block their sources, and flush what landed"
    )
    shown: dict[str, Any] = {
        "what": f"Resolver {last.resolver}: {said}.",
        "domains": last.zones,
        "kind": "injection" if total > 0 else "flood",
        "technique": ADVERSARY_IN_THE_MIDDLE,
        "resolver": last.resolver,
        "zones_with_second_answers": last.second,
        "zones_with_wrong_answers": last.wrong,
        "zones_without_own_finding": len(left_over),
        "nats": round(total, 1),
    }
    return Anomaly("resolver", last.resolver, score, "warning", last.first, last.last, shown)


def nats(hours: Sequence[Spread], loss: float) -> float:
    """Return the logarithm of the likelihood ratio of the zones with differing answers in the last of some hours.

    What is usual is learnt from the hours before: slowly from suspicious ones, not at all from those beyond the alarm.
    """
    usual = 0.0
    for hour in hours:
        change = poisson(hour.second, 1, max(usual, _USUAL + hour.answers / _ANSWERS + _LOST * loss), TIMES)
        weight = 0.0 if change >= ALARM else LEARNING / 10 if change > 0 else LEARNING
        usual += weight * (hour.second - usual)
    return change
