"""The finding for what a hunt has found in the history of passive DNS."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from dnsvigil.detectors.malware.known import is_doubtful
from dnsvigil.engines.hunt import Hit, Indicator
from dnsvigil.store.findings import Finding
from dnsvigil.system.terminal import counted

NAME: Final = "hunt"
"""What findings name as their detector."""

_SCORE: Final = 0.6
_DOUBTFUL: Final = 0.3  # of an entry that also covers much that is harmless
_LISTS: Final = 5


def finding(indicator: Indicator, hit: Hit, lists: Sequence[str], now: datetime) -> Finding:
    """Return the finding for a hit at ``now``, UTC without a zone; ``lists`` are those that have the indicator.

    It is about a domain, or about a host for an address or a network. Its evidence has when passive DNS first and last
    saw it, how often, and some of the records.
    """
    is_name = indicator.order == "names"
    subject = indicator.text.removeprefix("*.") if is_name else indicator.text
    first, last = (_time(seconds) for seconds in (hit.time_first, hit.time_last))
    doubtful = is_name and is_doubtful(subject)
    evidence = {
        "what": _sentence(indicator.text, hit, lists, first, last),
        "domains": [subject] if is_name else [],
        "lists": lists[:_LISTS],
        "first_in_history": f"{first:%Y-%m-%dT%H:%M:%SZ}",
        "last_in_history": f"{last:%Y-%m-%dT%H:%M:%SZ}",
        "answers": hit.count,
        "records": [*hit.records],
    }
    score, severity = (_DOUBTFUL, "info") if doubtful else (_SCORE, "warning")
    subject_type = "domain" if is_name else "host"
    return Finding(NAME, subject_type, subject, score, severity, first, max(now, last), evidence)


def _sentence(text: str, hit: Hit, lists: Sequence[str], first: datetime, last: datetime) -> str:
    names = ", ".join(lists[:_LISTS])
    why = f"is on the list{'s' * (len(lists) > 1)} {names}" if lists else "was hunted for"
    seen = f"{counted(hit.count, 'answer')} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    return f"Passive DNS has {text}, which {why}: {seen}, such as {next(iter(hit.records))}."


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
