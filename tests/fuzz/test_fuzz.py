"""The campaign of mutated inputs, for a moment, with the same inputs each time; ``make fuzz`` goes on for hours."""

import logging

import pytest

from fuzz.campaign import campaign
from fuzz.doors import DOORS

FEW = {"nfcapd": 25, "models": 20, "zeek-tsv": 40, "zeek-json": 40, "package-logs": 40, "honeypot-logs": 40}
INPUTS = 300


@pytest.mark.parametrize("door", DOORS)
def test_mutated_inputs_end_nothing(tmp_path, door, caplog):
    caplog.set_level(logging.CRITICAL)
    result = campaign(door, tmp_path, 1, inputs=FEW.get(door, INPUTS))
    print(f"{door}: {result.inputs:,} inputs, slowest {result.slowest:.1f} s, memory {result.growth:.2f}-fold")
    assert result.failures == []
