"""MISP's lists, as their package has them."""

import subprocess
import sys

from pymispwarninglists import WarningLists

from dnsvigil.sources.warninglists import warning_list


def test_the_entries_are_those_of_the_package() -> None:
    lists = {each.name: each.list for each in WarningLists(slow_search=True).warninglists.values()}
    sinkholes = next(entries for name, entries in lists.items() if "sinkhole" in name.lower())
    assert sorted(warning_list("sinkholes")) == sorted(sinkholes)
    assert "duckdns.org" in warning_list("dynamic-dns")


def test_reading_a_list_does_not_load_the_package() -> None:
    code = "import sys; from dnsvigil.sources.warninglists import warning_list as w; assert w('tlds')"
    code += "; assert not {'requests', 'jsonschema', 'pymispwarninglists'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
