"""Questions to passive DNS: what texts mean, held against look-ups in plain Python."""

import ipaddress
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.api.passive_dns.bulk import together
from dnsvigil.api.passive_dns.lookup import (
    MAX_RDATA,
    LimitedError,
    page,
    record_sets,
    records,
    summary,
    without_bailiwick,
)
from dnsvigil.api.passive_dns.names import parse_name, parse_octets, zone_file_name, zone_file_text
from dnsvigil.api.passive_dns.question import (
    DNSSEC_TYPES,
    Fences,
    anything,
    data_address,
    data_name,
    data_octets,
    owner_name,
    owner_octets,
    parse_type,
)
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES
from exporters.api.fake_tuples import LABELS, FakeReader, Tuple, keys, matches, named, some

TUPLES = some(1, 400)
READER = FakeReader(TUPLES, chunk=100)
ANSWERS = [each for each in TUPLES if each.rrtype not in (*NEGATIVE_TYPES, *DNSSEC_TYPES)]


def found(*questions):
    return [each for each in records(READER, questions) if each]


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("Example.COM.", "example.com"),
        (".", "."),
        ("com", "com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("日本。jp", "xn--wgv71a.jp"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_sip._tcp.example", "_sip._tcp.example"),
        ("a\\255b.example", "a\\xffb.example"),
        ("a\\xFFb.example", "a\\xffb.example"),
        ("a\\x41b.example", "aab.example"),
        ("a\\065b.example", "aab.example"),
        ("a\\\\x41.example", "a\\x41.example"),
        ("a\\032b.example", "a b.example"),
        ("a b.example", "a b.example"),
        ("a\x00b\x1b[31m.example", "a\\x00b\\x1b[31m.example"),
        ("'; drop table x;--.example", "'; drop table x;--.example"),
        ("<script>.example", "<script>.example"),
        ("@", "@"),
        ("a@b.example", "a@b.example"),
        ("x" * 63 + ".example", "x" * 63 + ".example"),
        (".".join(["x" * 61] * 4) + ".abcde", ".".join(["x" * 61] * 4) + ".abcde"),
    ],
)
def test_a_name_may_be_written_in_many_ways(text, name):
    assert parse_name(text) == name
    assert parse_name(zone_file_name(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "..", "a..b", ".a", "x" * 64, ".".join(["x" * 62] * 4) + ".abcd", "a\\", "a\\25", "a\\999", "ü\\255"),
        *("ü" * 60, "\u202e.example", "xn--a\u0308.example", "\ud800.example", "bü\x01.example"),
    ],
)
def test_what_is_no_name_is_refused_in_ascii(text):
    with pytest.raises(ValueError, match="name") as refused:
        parse_name(text)
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()


@given(st.binary(min_size=1, max_size=20).map(lambda octets: octets.replace(b".", b"_")))
@settings(deadline=None)
def test_every_label_survives_the_way_out_and_in(octets):
    name = parse_name("".join(f"\\{octet:03}" for octet in octets))
    assert re.fullmatch("[ -~]+", name)
    written = zone_file_name(name)
    assert re.fullmatch("[!-~]+", written)
    assert parse_name(written) == name


def test_octets_of_a_url_are_utf_8_or_escaped():
    assert parse_octets("bücher".encode()) == "bücher"
    assert parse_name(parse_octets(b"a\xffb")) == "a\\xffb"


def test_data_that_is_no_name_keeps_the_escapes_of_zone_files():
    assert zone_file_text('"a\\"b\\xc3" x\\x41') == '"a\\"b\\195" x\\x41'


# Types


@pytest.mark.parametrize(
    ("text", "rrtype"),
    [("a", "A"), ("TYPE65", "HTTPS"), ("type65280", "TYPE65280"), ("any", "ANY"), ("any-dnssec", "ANY-DNSSEC")],
)
def test_a_type_may_be_written_in_many_ways(text, rrtype):
    assert parse_type(text) == rrtype


@pytest.mark.parametrize("text", ["", "X", "TYPE65536", "NXDOMAIN", "NODATA", "nodata", "A A", "\x1b"])
def test_what_is_no_type_is_refused(text):
    with pytest.raises(ValueError, match="type"):
        parse_type(text)


def test_any_leaves_out_dnssec_and_negative_answers_never_appear():
    every = {each.rrtype for each in found(owner_name("*"))}
    assert {"A", "CNAME", "TXT", "TYPE65280"} <= every
    assert every.isdisjoint({*DNSSEC_TYPES, *NEGATIVE_TYPES})
    assert {each.rrtype for each in found(owner_name("*").with_type("ANY-DNSSEC"))} == {"DS"}
    assert {each.rrtype for each in found(owner_name("*").with_type("TYPE65280"))} == {"TYPE65280"}


# What is found


@st.composite
def wanted(draw):
    labels = draw(st.lists(st.sampled_from(LABELS[:10]), max_size=3))
    wild = draw(st.sampled_from(["", "*", "+"]))
    return ".".join([wild, *labels] if wild and draw(st.booleans()) else [*labels, wild] if wild else labels) or "."


@given(wanted())
@settings(max_examples=150, deadline=None)
def test_names_are_those_that_match(text):
    assert keys(found(owner_name(text))) == keys(each for each in ANSWERS if matches(each.rrname, text))
    expected = [each for each in ANSWERS if (name := named(each)) is not None and matches(name, text)]
    assert keys(found(data_name(text))) == keys(expected)


@pytest.mark.parametrize("text", ["*.*", "+.+", "a.*.b", "*.a.+", "*..com", ".*", "*.a..b", "*." + "x" * 64])
def test_a_wildcard_is_one_whole_label_at_either_end(text):
    with pytest.raises(ValueError, match=r"wildcard|name"):
        owner_name(text)


def test_a_label_that_only_looks_like_a_wildcard_is_none():
    names = {each.rrname for each in found(owner_name("\\*"))}
    assert names == {"*"}
    assert owner_name("a*b.com").pattern is None


@given(st.sampled_from(["192.0.0.0", "192.0.1.3", "192.0.2.7", "2001:db8::3"]), st.integers(0, 128))
@settings(deadline=None)
def test_addresses_are_those_of_the_network(address, bits):
    bits = min(bits, ipaddress.ip_address(address).max_prefixlen)
    network = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    assert keys(found(data_address(f"{address}/{bits}"))) == keys(
        each for each in ANSWERS if each.rrtype in ("A", "AAAA") and ipaddress.ip_address(each.rdata) in network
    )


def test_addresses_may_be_a_range():
    inside = {f"192.0.1.{last}" for last in range(2, 6)}
    assert keys(found(data_address("192.0.1.2-192.0.1.5"))) == keys(each for each in ANSWERS if each.rdata in inside)
    assert keys(found(data_address("192.0.1.2"))) == keys(each for each in ANSWERS if each.rdata == "192.0.1.2")


@pytest.mark.parametrize(
    "text", ["192.0.2.0/33", "192.0.2", "x", "", "192.0.2.9-192.0.2.1", "::1-192.0.2.1", "1-", "2001:db8::/-1"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="address"):
        data_address(text)


def test_raw_octets_are_addresses_or_names():
    assert data_octets("c0000102") == data_address("192.0.1.2")
    assert data_octets("20010db8000000000000000000000003") == data_address("2001:db8::3")
    assert owner_octets("036E6574076578616d706c6500").ranges == owner_name("net.example").ranges
    assert keys(found(data_octets("076578616d706c6503636f6d00"))) == keys(
        each for each in ANSWERS if each.rrtype in ("CNAME", "NS") and each.rdata == "example.com"
    )
    for text in ("c", "xx", "", "03636f", "076578616d706c65ff"):
        with pytest.raises(ValueError, match=r"digits|octets|data"):
            owner_octets(text)
        with pytest.raises(ValueError, match=r"digits|octets|data"):
            data_octets(text)


def test_what_a_person_gives_is_an_address_or_a_name():
    assert anything("192.0.2.0/24") == data_address("192.0.2.0/24")
    assert anything("0/25.2.0.192.in-addr.arpa") == owner_name("0/25.2.0.192.in-addr.arpa")
    assert anything("a-b.example") == owner_name("a-b.example")


def test_a_bailiwick_is_exactly_that():
    asked = owner_name("*").with_bailiwick("COM.")
    assert keys(found(asked)) == keys(each for each in ANSWERS if each.bailiwick == "com")


times = st.none() | st.integers(1_600_000_000, 1_700_000_000)


@given(times, times, st.booleans())
@settings(deadline=None)
def test_loose_fences_let_in_what_overlaps_and_strict_ones_what_is_inside(after, before, strict):
    begin, end = after or 0, before or 2**40

    def inside(each):
        if strict:
            return begin <= each.time_first and each.time_last <= end
        return begin <= each.time_last and each.time_first <= end

    asked = owner_name("*").within(Fences.between(after, before, strict=strict))
    assert keys(found(asked)) == keys(filter(inside, ANSWERS))


# Many at once


@given(st.lists(wanted() | st.sampled_from(["192.0.1.0/30", "192.0.1.2", "2001:db8::/126"]), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_many_questions_find_what_each_finds_and_each_once(texts):
    one_by_one = {key for text in texts for key in keys(found(anything(text)))}
    assert keys(found(*together(map(anything, texts)))) == sorted(one_by_one)


def test_thousands_of_questions_read_the_tuples_once():
    reader = FakeReader(TUPLES, chunk=50)
    texts = [f"{number}.example" for number in range(5000)] + ["example.com", "*.net", "+.org", "www.*", "192.0.1.2"]
    questions = together(map(anything, texts))
    many = [each for each in records(reader, questions) if each]
    assert keys(many) == keys(found(*together(map(anything, texts[5000:]))))
    assert len(reader.asked) < 10


# In sets, in pages, in sums


def test_records_of_a_name_type_and_bailiwick_are_one_set():
    sets = [each for each in record_sets(records(READER, [owner_name("*")])) if each]
    places = [(each.rrname, each.rrtype, each.bailiwick) for each in sets]
    assert len(places) == len(set(places))
    for one in sets:
        own = [t for t in ANSWERS if (t.rrname, t.rrtype, t.bailiwick) == (one.rrname, one.rrtype, one.bailiwick)]
        assert sorted(one.rdata) == sorted(t.rdata for t in own)
        assert one.count == sum(t.count for t in own)
        assert (one.time_first, one.time_last) == (min(t.time_first for t in own), max(t.time_last for t in own))
    assert sum(len(each.rdata) for each in sets) == len(ANSWERS)


def test_a_set_has_a_bounded_number_of_records():
    reader = FakeReader([Tuple("example.com", "TXT", f'"{n}"') for n in range(2 * MAX_RDATA + 1)], chunk=500)
    sizes = [len(each.rdata) for each in record_sets(records(reader, [owner_name("example.com")])) if each]
    assert sizes == [MAX_RDATA, MAX_RDATA, 1]


def test_records_found_by_their_data_are_one_for_all_bailiwicks():
    single = [each for each in without_bailiwick(records(READER, [data_address("0.0.0.0/0")])) if each]
    expected = {(t.rrname, t.rdata): [] for t in ANSWERS if t.rrtype == "A"}
    for each in ANSWERS:
        if each.rrtype == "A":
            expected[each.rrname, each.rdata].append(each)
    assert len(single) == len(expected)
    for one in single:
        assert one.bailiwick is None
        assert one.count == sum(t.count for t in expected[one.rrname, one.rdata[0]])


def test_pages_put_together_are_the_whole():
    whole = [each.rdata for each in record_sets(records(READER, [owner_name("*.com")])) if each]
    pages, limited = [], 0
    for offset in range(0, len(whole), 7):
        try:
            for each in page(record_sets(records(READER, [owner_name("*.com")])), offset, 7):
                if each:
                    pages.append(each.rdata)
        except LimitedError:
            limited += 1
    assert pages == whole
    assert limited == (len(whole) - 1) // 7, "the last page is the last"


def test_a_summary_is_the_sum_of_what_is_found():
    own = [each for each in ANSWERS if matches(each.rrname, "*.com")]
    (whole,) = [each for each in summary(records(READER, [owner_name("*.com")]), None) if each]
    assert whole == {
        "count": sum(each.count for each in own),
        "num_results": len(own),
        "time_first": min(each.time_first for each in own),
        "time_last": max(each.time_last for each in own),
    }
    assert [each for each in summary(iter([]), None) if each] == [{"count": 0, "num_results": 0}]


def test_a_summary_stops_at_a_count():
    seen = []
    with pytest.raises(LimitedError):
        seen += (each for each in summary(records(READER, [owner_name("*")]), 1) if each)
    with pytest.raises(LimitedError):
        for each in summary(records(READER, [owner_name("*")]), 1):
            if each:
                seen.append(each)
    assert seen[0]["num_results"] == 1
    assert seen[0]["count"] >= 1


def test_what_cannot_be_read_is_reported(tmp_path):
    reader = FakeReader(TUPLES, unreadable={tmp_path: "it is cut off"})
    with pytest.raises(LimitedError, match="1 file of passive DNS cannot be read"):
        list(records(reader, [owner_name("example.com")]))
