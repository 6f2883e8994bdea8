"""Where addresses are: read beside all else, once for all who ask, and what is wrong is said."""

from __future__ import annotations

import threading
from unittest.mock import patch

from dnsvigil.sources import networks
from dnsvigil.sources.networks import Networks, networks_of
from dnsvigil.web.places import Place, Places
from exporters.running import eventually


def test_the_first_look_finds_nothing_and_says_why_and_the_next_finds_places(tmp_path):
    asns, countries = tmp_path / "asn.csv", tmp_path / "country.csv"
    asns.write_text("192.0.2.0,192.0.2.255,64500\n")
    countries.write_text("192.0.2.0,192.0.2.127,NL\n")
    paths = [asns, countries]
    wanted = ["192.0.2.1", "192.0.2.200", "198.51.100.1"]
    looked = threading.Event()

    def wait_and_read(given):
        assert looked.wait(60)
        return Networks(given)

    with patch.object(networks, "Networks", side_effect=wait_and_read) as read:
        places = Places(paths)
        assert places.of(wanted) == dict.fromkeys(wanted, Place())
        assert "being read" in places.lacking
        looked.set()
        eventually(lambda: not places.lacking)
        assert places.of(wanted) == dict(zip(wanted, (Place(64500, "NL"), Place(64500), Place()), strict=True))
        assert networks_of(paths) is networks_of(paths)
        assert read.call_count == 1


def test_without_a_table_or_with_a_broken_one_the_reason_is_said(tmp_path):
    assert "names no table" in Places([]).lacking
    (tmp_path / "asn.csv").write_text("nothing of the kind\n")
    places = Places([tmp_path / "asn.csv"])
    places.of(["192.0.2.1"])
    eventually(lambda: "cannot be read" in places.lacking)
    assert places.of(["192.0.2.1"]) == {"192.0.2.1": Place()}
