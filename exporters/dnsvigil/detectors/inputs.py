"""What novel traffic lacks, for the detectors that read it."""

from datetime import datetime, timedelta
from typing import Final

from dnsvigil.store.store import Read

LEARNING: Final = timedelta(hours=1)
"""The time from the first record on in which much seems new that is not."""

_WINDOW: Final = timedelta(hours=25)
_ENOUGH: Final = 1000  # names, of which some fail and some are answered in any network
_SUMS: Final = """
    SELECT coalesce(sum(names), 0), coalesce(sum(failures), 0), coalesce(sum(answered_names), 0) FROM novel
    WHERE hour > $1 AND hour < $2
"""


def learning(read: Read, now: datetime) -> str:
    """Return what is not known in the first hour of a store."""
    ((begin,),) = read("SELECT min(first_seen) FROM novel WHERE hour = (SELECT min(hour) FROM novel)")
    return "in its first hour, every name is new" if begin and now < begin + LEARNING else ""


def lacks(read: Read, now: datetime, *, failures: bool = False, answers: bool = False) -> list[str]:
    """Return what a day of novel traffic does not have, of ``failures`` and ``answers`` as far as these are needed.

    ``names``: there are none, as where the logs have no client addresses. The others only where there are many names.
    """
    ((names, failed, answered),) = read(_SUMS, now - _WINDOW, now)
    if not names:
        return ["names"]
    found = {"failures": failures and not failed, "answers": answers and not answered}
    return [what for what, lacking in found.items() if lacking and names >= _ENOUGH]
