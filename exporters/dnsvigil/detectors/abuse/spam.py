"""Spam: clients that look up the mail servers of many domains, and themselves in block lists.

A mail server asks for mail servers, too, but always did; or it receives mail, and looks up those that send it in block
lists. docs/detectors/abuse.md has the formula.
"""

from typing import Any, Final

from dnsvigil.detectors.abuse.amounts import Hour, Usual
from dnsvigil.detectors.detector import Anomaly
from dnsvigil.records import LISTING, MAIL, OWN_LISTING
from dnsvigil.store.client_lookups import SPAM
from dnsvigil.system.terminal import counted

TRADE: Final = 10
"""So many queries of others' addresses in a block list halve what else speaks against a client."""

ALONE: Final = 0.45
"""The highest score of a sign that proves nothing by itself: less than a finding needs."""

_HALF: Final = 20  # mail domains
_HALF_LISTS: Final = 4
_MARGIN: Final = 3  # so many times what is usual is needed besides
_CRITICAL: Final = 0.9


def spam(hour: Hour, usual: Usual) -> Anomaly | None:
    """Return what the look-ups of a client in an hour say of spam; None if it looks up no mail servers."""
    mail = hour.get(MAIL)
    if not mail:
        return None
    client = mail.client
    usual_domains, usual_lists = usual.of(client, MAIL), usual.of(client, OWN_LISTING)
    others = queries_of_others(hour)
    domains = mail.amount / (1 + others / TRADE)
    by_mail = domains / (domains + _HALF + _MARGIN * usual_domains)
    if not usual.days:
        by_mail = min(by_mail, ALONE)
    own = hour.get(OWN_LISTING)
    lists = own.amount if own else 0
    by_lists = min(lists / (lists + _HALF_LISTS + _MARGIN * usual_lists), ALONE)
    score = 1 - (1 - by_mail) * (1 - by_lists)
    itself = f", and itself in {counted(lists, 'block list')}" if lists else ""
    evidence: dict[str, Any] = {
        "what": f"Client {client} looks up the mail servers of {counted(mail.amount, 'domain')} within an hour{itself};"
        f" {usual_domains or 'no'} domains are usual for it. It may send spam.",
        "domains": [],
        "mail_domains": mail.amount,
        "usual_mail_domains": usual_domains,
        "mail_queries": mail.queries,
        "mail_failures": mail.failures,
        "own_listings": lists,
        "usual_own_listings": usual_lists,
        "block_lists": list(own.samples) if own else [],
        "queries_of_others_in_a_block_list": others,
        "days_known": usual.days,
        "samples": list(mail.samples),
    }
    severity = "critical" if score >= _CRITICAL else "warning"
    return Anomaly("client", client, score, severity, mail.first_seen, mail.last_seen, evidence, SPAM)


def queries_of_others(hour: Hour) -> int:
    """Return how often the client looks up others' addresses in the block list that it asks most."""
    return hour[LISTING].amount if LISTING in hour else 0
