"""Implants: found by few queries, whatever their channel, and not among look-alikes that ask for names once, too."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors.tunnel import implants as detection
from evaluation.detection import Watched, all_but, of_parts, subjects, watch
from lab import implants, lookalikes
from lab.population import popular_names
from lab.transactions import Session, Transactions

START = 1_718_000_000 // 86_400 * 86_400
CONFIG = Config(detectors=Detectors(disabled=all_but("tunnel"), top=1000))
FAMILIES = [*implants.DEVELOPMENT, *implants.HELD_OUT]
BENIGN = [kind for kind in lookalikes.KINDS if kind not in ("crawler", "guest network")]  # these take long
HOURS = {"block lists": 2.0, "reverse": 1.0, "mail policy": 2.0}  # of those that ask for much; else a working day


@functools.cache
def sessions() -> dict[str, Session]:
    """Return each family, with a client of its own."""
    return {
        what: implants.implant(
            what, f"10.2.0.{number}", [f"site{number}of{place}-x.com" for place in range(5)], seed=4, start=START + 600
        )
        for number, what in enumerate(FAMILIES)
    }


@functools.cache
def watched() -> Watched:
    """Return what is found of all families and look-alikes, as if one network had them."""
    odd = [
        lookalikes.lookalike(kind, [f"10.3.{number}.1"], popular_names(), seed=4, start=START, hours=HOURS.get(kind, 8))
        for number, kind in enumerate(BENIGN)
    ]
    made = [*sessions().values(), *odd]
    return watch(of_parts([Transactions.join([each.transactions for each in made])]), config=CONFIG, seconds=2 * 3600)


def evidence_of(what: str) -> dict[str, Any]:
    (client,) = sessions()[what].clients
    (found,) = (one.finding for one in watched().found if one.finding.subject == client)
    return dict(found.evidence)


@pytest.mark.parametrize("what", FAMILIES)
def test_each_family_is_found(what: str) -> None:
    session = sessions()[what]
    evidence = evidence_of(what)
    assert set(evidence["domains"]) <= set(session.domains)
    if "what" in evidence:  # else its volume says more
        assert evidence["technique"].startswith("T1071.004")
        assert session.clients[0] in evidence["what"] and evidence["domains"][0] in evidence["what"]


@pytest.mark.parametrize(
    ("what", "sign"),
    [
        ("A, base36", "addresses of unrelated networks"),
        ("AAAA, text behind a prefix", "text in addresses"),
        ("TTL", "a TTL for each name"),
        ("CNAME behind A", "a target for each name"),
    ],
)
def test_the_evidence_names_the_channel(what: str, sign: str) -> None:
    evidence = evidence_of(what)
    assert max(evidence["answers"], key=evidence["answers"].get) == sign
    asked, _, got = evidence["samples"][0].partition(" → ")
    rows = sessions()[what].transactions
    (place,) = (rows.qname == asked).nonzero()[0]
    assert got == f"{rows.answers[place].replace(',', ', ')} (TTL {rows.ttl[place]})"


@pytest.mark.parametrize("kind", BENIGN)
def test_look_alikes_are_not_found(kind: str) -> None:
    found = {one.finding.subject: one.finding.evidence for one in watched().found}
    assert not found.keys() & set(subjects([f"10.3.{BENIGN.index(kind)}.1"]))


class TestEvidence:
    """One row by client and domain, with the sums of the domain."""

    def row(self, **values: Any) -> dict[str, Any]:
        names = [f"{number * 0x9E3779B97F4A7C15 % 16**12:012x}" for number in range(1, 25)]
        received = [f"{name}.odd-x.com\t60\t{place + 20}.{place * 7}.1.9" for place, name in enumerate(names)]
        counts = dict.fromkeys(("failed_names", "text_names", "design_names", "label_bytes", "answer_bytes"), 0)
        return {
            "client": "198.51.100.7", "domain": "odd-x.com", "names": 24, "queries": 24, "answered_names": 24,
            "clients": 1, "active": 24, "newly_observed": True, "first_seen": None, "last_seen": None, "sources": None,
            "samples": [f"{name}.odd-x.com" for name in names], "received": received, **counts, **values,
        }  # fmt: skip

    def score(self, look: float = 5.0, **values: Any) -> float:
        row = self.row(**values)
        found = detection.anomalies([row], {row["domain"]: row}, lambda labels: [look for _ in labels], 2)
        return max((each.score for each in found), default=0.0)

    def test_names_that_are_asked_again_count_less(self) -> None:
        assert self.score() > 0.6
        assert self.score(queries=10 * 24) < self.score() / 1.5

    def test_a_popular_domain_is_no_implants(self) -> None:
        assert self.score(domain="cloudfront.net") < 0.1

    def test_names_with_words_need_more(self) -> None:
        assert self.score(look=0.2) < 0.3

    def test_addresses_that_are_in_their_names_are_no_answers_of_an_implant(self) -> None:
        received = [f"h-{n}-8-{n + 3}-9.odd-x.com\t60\t{n}.8.{n + 3}.9" for n in range(24)]
        assert self.score(received=received) == self.score(look=0.2, received=received) == 0

    @pytest.mark.parametrize(
        "name", ["p{0:02x}{1:02x}{2:02x}{3:02x}", "{3}.{2}.{1}.{0}.dyn", "h{0:02x}-{1:02x}-{2:02x}-{3:02x}"]
    )
    def test_a_mail_server_looks_up_who_sends_to_it(self, name: str) -> None:
        addresses = [(60 + 7 * n, 8, 3 * n, 9 + n) for n in range(24)]
        received = [f"{name.format(*each)}.odd-x.com\t60\t{'.'.join(map(str, each))}" for each in addresses]
        assert self.score(received=received) == 0

    def test_an_address_beside_data_hides_nothing(self) -> None:
        row = self.row()
        received = []
        for each in row["received"]:
            name, ttl, address = each.split("\t")
            received.append(f"{bytes(map(int, address.split('.'))).hex()}{name}\t{ttl}\t{address}")
        assert self.score(received=received) == self.score()

    def test_one_address_for_all_is_a_wildcard(self) -> None:
        received = [f"{n:012x}.odd-x.com\t60\t198.51.100.4" for n in range(24)]
        assert self.score(received=received) < 0.4

    def test_answers_of_few_names_tell_nothing(self) -> None:
        assert self.score(received=self.row()["received"][:3]) < 0.4
