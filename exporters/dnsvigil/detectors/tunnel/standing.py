"""What a domain is, and which share of what its names carry may therefore be data."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from dnsvigil.detectors.floods import Row, failed
from dnsvigil.engines.established import is_established
from dnsvigil.records import is_local
from dnsvigil.sources.warninglists import warning_list

POPULAR: Final = 0.01
"""The share of a domain among the 10,000 most popular."""

_SERVICE: Final = 0.001
_BY_DESIGN: Final = 0.002
_RANKED: Final = 0.25
_MIN_DESIGNED: Final = 0.03  # share of names with an answer that is by design ...
_MIN_DESIGNED_OR_FAILED: Final = 0.9  # ... and of these together with those that fail

SERVICES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("in-addr.arpa", "ip6.arpa"), "addresses in reverse"),
    **dict.fromkeys(
        (
            "abuse.ch", "abuseat.org", "abusix.zone", "barracudacentral.org", "dnswl.org", "gbudb.net",
            "interserver.net", "invaluement.com", "junkemailfilter.com", "mailspike.net", "msbl.org", "nszones.com",
            "rspamd.com", "s5h.net", "sorbs.net", "spamcop.net", "spameatingmonkey.net", "spamhaus.net",
            "spamhaus.org", "spamrats.com", "support-intelligence.net", "surbl.org", "surriel.com", "uceprotect.net",
            "uribl.com", "validity.com", "senderscore.com",
        ),
        "block lists: addresses, domains and hashes of mail",
    ),
    **dict.fromkeys(
        (
            "avast.com", "avcdn.net", "avira.com", "bitdefender.net", "brightcloud.com", "cymru.com", "e5.sk",
            "eset.com", "kaspersky-labs.com", "mcafee.com", "sophosxl.net", "trendmicro.com", "webrootcloudav.com",
        ),
        "reputation: hashes of files and pages",
    ),
    **dict.fromkeys(("vali.email", "dmarcian.com", "ondmarc.com", "spf.access.nu"), "mail policy: SPF with the sender"),
    **dict.fromkeys(
        ("dotnxdomain.net", "footprintdns.com", "cedexis-radar.net", "fastly-insights.com", "perfops.net",
         "dns-oarc.net", "test-ipv6.com", "nabu.casa", "plex.direct"),
        "measurement and devices: a name for each view or device",
    ),
}  # fmt: skip
"""Registered domains below which names are long by design, and why; the public suffixes' own customers are apart."""


def standing(domain: Row) -> tuple[float, list[str]]:
    """Return the share of the octets below a domain that may be data, by what the domain is, with the reasons."""
    name, names = domain["domain"], max(domain["names"], 1)
    failing = failed(domain)
    answered = names - failing
    shares = {}
    if is_local(name):
        shares["names for local use, which no server outside answers"] = 0.0
    if not answered and name.rpartition(".")[2] not in _top_level():
        shares["names below a top-level domain that does not exist go nowhere"] = 0.0
    if name in SERVICES:
        shares[f"known for {SERVICES[name]}"] = _SERVICE
    design = domain["design_names"]
    designed = design >= _MIN_DESIGNED * names and design + failing >= _MIN_DESIGNED_OR_FAILED * names
    # Answers that are by design do not hide text that comes beside them.
    if designed and 2 * domain["text_names"] <= names:
        shares["answers of a block list, a reputation service or mail policy"] = _BY_DESIGN
    if name not in _dynamic():
        if name in _popular():
            shares["among the 10,000 most popular domains"] = POPULAR
        elif is_established(name):
            shares["among the million most popular domains"] = _RANKED
    least = min(shares.values(), default=1.0)
    return least, [why for why, share in shares.items() if share == least]


@cache
def _popular() -> frozenset[str]:
    return frozenset(warning_list("tranco10k"))


@cache
def _dynamic() -> frozenset[str]:
    """Return domains below which anyone may register a name, so their own popularity does not count."""
    return frozenset(warning_list("dynamic-dns"))


@cache
def _top_level() -> frozenset[str]:
    return frozenset(name.lower() for name in warning_list("tlds"))
