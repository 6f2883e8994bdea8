"""Whether it proves anything that a picture of ``/api/now`` shows nothing, or nobody could look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

Picture = Mapping[str, Any]
"""An answer of ``/api/now``."""

_WORKING: Final = ("running", "learning")
_NAMED: Final = 5
_OLD: Final = timedelta(minutes=20)  # a slot of five minutes, and the 15 after which a source counts as silent


@dataclass(frozen=True)
class Coverage:
    """What an empty list is worth."""

    doubt: str  # why it proves nothing; empty: that nothing was found is good news
    learning: bool  # the only doubt is that something still learns what is usual


def working(picture: Picture) -> int:
    """Return how many detectors run, those that still learn included."""
    return sum(each["state"] in _WORKING for each in picture["detectors"])


def of_findings(picture: Picture) -> Coverage:
    """Return what it is worth that there is no open finding."""
    detectors = picture["detectors"]
    blind = [each["detector"] for each in detectors if each["state"] not in _WORKING]
    unread = [each["path"] for each in picture["folders"] if each["problem"]]
    silent = [f"{each['sensor']} ({each['source']})" for each in picture["sensors"] if each["state"] == "silent"]
    if not detectors:
        return Coverage("no detector is enabled", learning=False)
    if not picture["current"]:
        return Coverage("there are no new records to find anything in", learning=False)
    if blind:
        return Coverage(f"not all detectors run: {_named(blind)}", learning=False)
    if unread or silent:
        return Coverage(f"there is nothing new from {_named([*unread, *silent])}", learning=False)
    learning = [each["detector"] for each in detectors if each["state"] == "learning"]
    return Coverage(f"some detectors still learn: {_named(learning)}" if learning else "", learning=bool(learning))


def of_flows(picture: Picture) -> Coverage:
    """Return what it is worth that no flow stands out."""
    flows = picture["flows"]
    if flows["slot"] is None:
        return Coverage("no flow was evaluated yet", learning=False)
    if datetime.fromisoformat(picture["time"]) - datetime.fromisoformat(flows["slot"]) > _OLD:
        return Coverage(f"the newest flows are those of {flows['slot']}", learning=False)
    if flows["learning"]:
        of = f"{flows['learning']:,} of {flows['series']:,} series"
        return Coverage(f"{of} still learn what is usual", learning=True)
    return Coverage("", learning=False)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
