"""The operator's own labelled examples: what becomes one, what they change, and models that cannot be used."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.detectors.labelled import DISMISSED, MAX_OWN, Labelled, Neighbours
from dnsvigil.detectors.open_resolver.kinds import CLOSED, FORWARDER, RESOLVER
from dnsvigil.detectors.open_resolver.kinds import LABELLED as HOSTS
from dnsvigil.detectors.poisoning.neighbours import FORGERY
from dnsvigil.detectors.poisoning.neighbours import LABELLED as WINDOWS
from dnsvigil.learning.examples import Example, save_examples
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store

NOON = datetime(2026, 3, 1, 12)


def values(labelled: Labelled, kind: str, origin: str) -> dict[str, float]:
    """Return the values of one of the package's examples, by name."""
    like = next(each for each in labelled.known if (each.origin, each.kind) == (origin, kind))
    return {name: value for name, value in zip(labelled.weights, like.values, strict=True) if value is not None}


def put(
    store: Store, labelled: Labelled, subject: str, evidence: Mapping[str, Any], *, dismissed: bool = False
) -> None:
    """Let a finding have been made, and perhaps dismissed."""
    findings = Findings(store)
    with store.transaction():
        number = findings.put(Finding(labelled.detector, "host", subject, 0.7, "warning", NOON, NOON, evidence))
        assert number
        if dismissed:
            findings.dismiss(number, "ours", NOON)


def learnt(store: Store, labelled: Labelled) -> dict[tuple[str, str], str]:
    return {(each.name, each.origin): each.kind for each in labelled.learn(store.rows)}


class TestLearn:
    def test_hosts_are_what_a_dismissal_a_sensor_or_a_scan_says(self, tmp_path: Path) -> None:
        flows, sensor = values(HOSTS, CLOSED, "flows"), values(HOSTS, FORWARDER, "sensor")
        with Store(tmp_path) as store:
            put(store, HOSTS, "dismissed", {"seen_by": ["flows"], "compared": {"flows": flows}}, dismissed=True)
            put(store, HOSTS, "nobody", {"seen_by": ["flows"], "compared": {"flows": flows}})
            put(store, HOSTS, "scanned", {"seen_by": ["flows", "scan"], "compared": {"flows": flows}})
            both = {"seen_by": ["sensor", "flows"], "looks_like": FORWARDER}
            put(store, HOSTS, "both", both | {"compared": {"sensor": sensor, "flows": flows}})
            # It is open for sure: that it is harmless is no reason to take what looks like it for closed.
            put(store, HOSTS, "on purpose", both | {"compared": {"flows": flows}}, dismissed=True)
            assert learnt(store, HOSTS) == {
                ("dismissed", "flows"): DISMISSED,
                ("scanned", "flows"): RESOLVER,
                ("both", "flows"): FORWARDER,
            }

    def test_windows_are_what_a_dismissal_or_the_past_says(self, tmp_path: Path) -> None:
        window = {"compared": {"sensor": values(WINDOWS, "guessing", "sensor")}}
        with Store(tmp_path) as store:
            put(store, WINDOWS, "a at r", window | {"kind": "guessing", "landed": False}, dismissed=True)
            put(store, WINDOWS, "b at r", window | {"kind": "guessing", "landed": True})
            put(store, WINDOWS, "c at r", window | {"kind": "novel", "landed": True})
            put(store, WINDOWS, "d at r", window | {"kind": "guessing", "landed": False})
            expected = {"a at r": DISMISSED, "b at r": "guessing", "c at r": FORGERY}
            assert learnt(store, WINDOWS) == {(name, "sensor"): kind for name, kind in expected.items()}

    @pytest.mark.parametrize(
        "compared",
        [
            None,
            [],
            {"flows": None},
            {"flows": {}},
            {"scan": {}},
            {"flows": {"larger": "x"}},
            {"flows": {"larger": True}},
        ],
    )
    def test_what_is_no_comparison_is_left_out(self, tmp_path: Path, compared: object) -> None:
        with Store(tmp_path) as store:
            put(store, HOSTS, "odd", {"seen_by": ["flows", "scan"], "compared": compared})
            assert learnt(store, HOSTS) == {}

    def test_are_a_bounded_number_of_each_kind(self, tmp_path: Path) -> None:
        flows = values(HOSTS, CLOSED, "flows")
        with Store(tmp_path) as store:
            for number in range(MAX_OWN + 5):
                put(store, HOSTS, f"{number}", {"seen_by": ["flows", "scan"], "compared": {"flows": flows}})
            assert len(learnt(store, HOSTS)) == MAX_OWN


class TestNeighbours:
    def own(self, state: Path, *kinds: str) -> None:
        known = values(HOSTS, RESOLVER, "flows")
        row = tuple(known.get(name) for name in HOSTS.weights)
        examples = [Example("flows", kind, f"{number}", row) for number, kind in enumerate(kinds)]
        save_examples(state / "models" / "open_resolver", "open_resolver", [*HOSTS.weights], examples, {})

    def votes(self, neighbours: Neighbours) -> str:
        neighbours.reload()
        known = values(HOSTS, RESOLVER, "flows")
        return neighbours.votes("flows", {name: known.get(name) for name in HOSTS.weights}).kind

    def test_are_loaded_as_they_are_written_and_removed(self, tmp_path: Path) -> None:
        neighbours = Neighbours(HOSTS, tmp_path)
        assert self.votes(neighbours) == RESOLVER and neighbours.time is None
        self.own(tmp_path, *[DISMISSED] * 4)
        assert self.votes(neighbours) == DISMISSED and neighbours.time and not neighbours.problem
        self.own(tmp_path)
        assert self.votes(neighbours) == RESOLVER

    def test_that_cannot_be_used_are_a_problem_and_left_out(self, tmp_path: Path) -> None:
        self.own(tmp_path, *[DISMISSED] * 4)
        (tmp_path / "models" / "open_resolver" / "arrays.npz").write_bytes(b"PK")
        neighbours = Neighbours(HOSTS, tmp_path)
        assert self.votes(neighbours) == RESOLVER
        assert "was changed" in neighbours.problem and "the package alone are used" in neighbours.problem
