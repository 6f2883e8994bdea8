"""Names in Unicode: only those that cannot pass for others."""

from __future__ import annotations

import idna
import pytest

from dnsvigil.web.idn import in_unicode


def ascii_of(label: str) -> str:
    return f"xn--{label.encode('punycode').decode()}"


@pytest.mark.parametrize(
    "name", ["münchen.example", "пример.example", "日本語.example", "ひらカタ漢字.example", "한국어.example"]
)
def test_a_name_of_one_script_is_shown(name):
    assert in_unicode(idna.encode(name).decode()) == name


@pytest.mark.parametrize(
    "label",
    [
        "раypal",  # Cyrillic and Latin
        "аррӏе",  # Cyrillic that looks like Latin
        "ο",  # Greek that looks like Latin
        "a\u202eb",  # turns the direction
        "a\u200bb",  # cannot be seen
        "☃",  # no letter
        "ab",  # not in need of it
    ],
)
def test_what_may_pass_for_another_stays(label):
    assert in_unicode(f"{ascii_of(label)}.example") is None
    assert in_unicode(f"{ascii_of(label)}.xn--mnchen-3ya.example") == f"{ascii_of(label)}.münchen.example"


@pytest.mark.parametrize("name", ["www.example.com", ".", "xn--", "xn--99999999.a", f"xn--{'a' * 300}", "xn--\\xff.a"])
def test_what_is_no_such_name_stays(name):
    assert in_unicode(name) is None
