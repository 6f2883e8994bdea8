"""One bad value does not break all of /metrics."""

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.registry import Collector

from dnsvigil.exporter.families import gauge
from dnsvigil.exporter.sound import MAX_LABEL, Sound
from exporters.running import sample, samples


class Odd(Collector):
    """Has a good value beside a bad one, and ends with an error where that is asked for."""

    def __init__(self, label, value, error=None):
        self.label, self.value, self.error = label, value, error

    def collect(self):
        yield gauge("first", "x", ["which"], [(["good"], 1), ([self.label], self.value)])
        if self.error:
            raise self.error
        yield gauge("second", "x", [], [([], 2)])


def exposed(collector):
    left_out = []
    texts = []
    for encode in (generate_latest, generate_open):
        registry = CollectorRegistry()
        registry.register(Sound("odd", collector.collect, lambda *what: left_out.append(what)))
        texts.append(encode(registry).decode())
    return samples(texts[0]), left_out


@pytest.mark.parametrize(
    ("label", "value", "shown"),
    [
        ("half \ud800", 3, ("half \\ud800", 3)),
        ('\x00\x1b\n"\\', 3, ('\\x00\\x1b\\n"\\', 3)),
        ("x" * 5000, 3, ("x" * MAX_LABEL, 3)),
        pytest.param("huge", 10**400, ("huge", math.inf), id="huge"),
        pytest.param("huge", -(10**400), ("huge", -math.inf), id="minus-huge"),
        ("large", 2**63 - 1, ("large", float(2**63 - 1))),
    ],
)
def test_a_value_is_shown_as_far_as_it_can_be_written(label, value, shown):
    found, left_out = exposed(Odd(label, value))
    assert found[sample("first", which="good")] == 1
    assert found[sample("first", which=shown[0])] == shown[1]
    assert found[sample("second")] == 2
    assert left_out == []


@pytest.mark.parametrize(("label", "value"), [(None, 1), (7, 1), ("text", "text"), ("none", None), ("list", [1])])
def test_what_cannot_be_written_is_left_out_and_reported(label, value):
    found, left_out = exposed(Odd(label, value))
    assert found == {sample("first", which="good"): 1, sample("second"): 2}
    assert {name for name, _ in left_out} == {"first"}


def test_nan_is_a_value():
    assert math.isnan(exposed(Odd("nan", math.nan))[0][sample("first", which="nan")])


def test_a_collector_that_fails_shows_what_it_had():
    found, left_out = exposed(Odd("a", 1, KeyError("nobody thought of this")))
    assert found == {sample("first", which="good"): 1, sample("first", which="a"): 1}
    assert left_out[0] == ("odd", "KeyError: 'nobody thought of this'")
