"""Look-ups over real HTTP, also by the clients of others: DNSDB's dnsdbq and dnsdb2, and CIRCL's pypdns."""

import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from dnsvigil.api.app import api
from dnsvigil.api.passive_dns import saf, streams
from dnsvigil.api.routes import KEY_PATHS, open_paths
from dnsvigil.collector.application import application
from dnsvigil.config.collector import Api, ApiKey, Config
from dnsvigil.engines.tuples import LookupTimeoutError
from dnsvigil.httpd.access import TOKEN_FILE, Access, Token, keep_token
from dnsvigil.httpd.api_keys import ApiKeys
from dnsvigil.httpd.server import Server
from dnsvigil.store.store import StoreError
from exporters.api.fake_tuples import FakeReader, Tuple
from exporters.running import eventually

KEY = "d41d8cd98f00b204e9800998ecf8427e"
DAY = 86400
REQUEST = (
    f"GET /dnsdb/v2/lookup/rrset/name/example.com HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n\r\n".encode()
)
NOW = 1_700_000_000

TUPLES = [
    Tuple("example.com", "A", "192.0.2.1", "example.com", NOW - 9 * DAY, NOW - 8 * DAY, 10),
    Tuple("example.com", "A", "192.0.2.2", "example.com", NOW - 5 * DAY, NOW - 1 * DAY, 20, 3),
    Tuple("example.com", "A", "192.0.2.2", "com", NOW - 3 * DAY, NOW - 2 * DAY, 5, 2),
    Tuple("example.com", "AAAA", "2001:db8::1", None, NOW - 9 * DAY, NOW, 1),
    Tuple("example.com", "MX", "10 mail.example.com", "example.com", NOW - 9 * DAY, NOW, 3),
    Tuple("example.com", "SOA", "ns1.example.net hostmaster.example.com 1 2 3 4 5", "example.com", NOW, NOW, 1),
    Tuple("example.com", "DS", "1 8 2 ab", "com", NOW, NOW, 1),
    Tuple("example.com", "NS", "ns1.example.net", "com", NOW - 9 * DAY, NOW, 7),
    Tuple("www.example.com", "CNAME", "cdn.example.net", "example.com", NOW - 9 * DAY, NOW, 4),
    Tuple("a.www.example.com", "TYPE65280", "\\# 1 00", None, NOW, NOW, 1),
    Tuple("www.example.org", "A", "192.0.3.1", None, NOW, NOW, 1),
    Tuple("host.example.org", "A", "10.0.0.1", None, NOW, NOW, 1),
    Tuple("\\xff<script> \\.example.org", "TXT", '"\\x1b[31m\\xc3"', None, NOW, NOW, 1),
    Tuple("nothing.example.com", "NXDOMAIN", "", None, NOW, NOW, 9),
    Tuple("0/25.2.0.192.in-addr.arpa", "PTR", "www.example.com", None, NOW, NOW, 1),
]


class Behind:
    """The part of a collector behind the look-ups."""

    def __init__(self, reader: FakeReader) -> None:
        self.tuples = reader

    def read(self, query: str) -> list[tuple[int, str]]:
        assert "passive_dns_sensors" in query
        return [(0, "cache1"), (1, "cache2")]


@contextmanager
def serving(
    tmp_path: Path, reader: FakeReader | None = None, ready=lambda: True, web_config: Path | None = None, **keys
) -> Iterator[Server]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    limited = hashlib.sha256(b"limited").hexdigest()
    given = [ApiKey("soc", digest.upper()), ApiKey("trial", limited, daily_limit=2)]
    config = Config(api=Api(keys=given, **keys))
    access = Access(tmp_path / TOKEN_FILE, [*open_paths(config)], loopback=True)
    token = Token(tmp_path / TOKEN_FILE, ApiKeys({key.name: key.sha256 for key in given}, KEY_PATHS))
    app = application([api(Behind(reader or FakeReader(TUPLES, chunk=4)), config, ready)], access)
    with Server(app, "127.0.0.1:0", web_config, token=token) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("api")) as server:
        yield server


def ask(server: Server, path: str, body=None, *, key: str | None = KEY, headers=(), method=None, **query):
    """Status, headers and body of an answer."""
    headers = {**({"X-API-Key": key} if key else {}), **dict(headers)}
    with closing(http.client.HTTPConnection(*server.address, timeout=30)) as connection:
        target = f"{path}?{urlencode(query)}" if query else path
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), target, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def frames(server: Server, path: str, body=None, **query) -> list[dict]:
    status, headers, content = ask(server, path, body, **query)
    assert status == 200, content
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Cache-Control"] == "no-store"
    assert content.isascii()
    found = [json.loads(line) for line in content.splitlines()]
    assert found[0] == {"cond": "begin"}
    return found


def objects(server: Server, path: str, body=None, end="succeeded", **query) -> list[dict]:
    found = frames(server, path, body, **query)
    assert found[-1]["cond"] == end, found[-1]
    return [frame["obj"] for frame in found[1:-1]]


def rows(found: list[dict]) -> set[tuple[str, str, str]]:
    return {(each["rrname"], each["rrtype"], rdata) for each in found for rdata in each["rdata"]}


# DNSDB


def test_rrsets_have_the_form_of_dnsdb(server):
    assert objects(server, "/dnsdb/v2/lookup/rrset/name/example.com/A") == [
        {
            "count": 30,
            "time_first": NOW - 9 * DAY,
            "time_last": NOW - 1 * DAY,
            "rrname": "example.com.",
            "rrtype": "A",
            "bailiwick": "example.com.",
            "rdata": ["192.0.2.1", "192.0.2.2"],
        },
        {
            "count": 5,
            "time_first": NOW - 3 * DAY,
            "time_last": NOW - 2 * DAY,
            "rrname": "example.com.",
            "rrtype": "A",
            "bailiwick": "com.",
            "rdata": ["192.0.2.2"],
        },
    ]


def test_names_in_data_have_a_final_dot(server):
    found = objects(server, "/dnsdb/v2/lookup/rrset/name/example.com")
    assert rows(found) >= {
        ("example.com.", "MX", "10 mail.example.com."),
        ("example.com.", "NS", "ns1.example.net."),
        ("example.com.", "SOA", "ns1.example.net. hostmaster.example.com. 1 2 3 4 5"),
        ("example.com.", "AAAA", "2001:db8::1"),
    }
    assert "DS" not in {each["rrtype"] for each in found}
    assert [each["rrtype"] for each in objects(server, "/dnsdb/v2/lookup/rrset/name/example.com/ANY-DNSSEC")] == ["DS"]
    assert "bailiwick" not in next(each for each in found if each["rrtype"] == "AAAA")


def test_data_look_ups_have_a_record_for_all_bailiwicks(server):
    assert objects(server, "/dnsdb/v2/lookup/rdata/ip/192.0.2.2") == [
        {
            "count": 25,
            "time_first": NOW - 5 * DAY,
            "time_last": NOW - 1 * DAY,
            "rrname": "example.com.",
            "rrtype": "A",
            "rdata": ["192.0.2.2"],
        }
    ]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("rrset/name/*.example.com", {"example.com.", "www.example.com.", "a.www.example.com."}),
        ("rrset/name/%2A.EXAMPLE.com.", {"example.com.", "www.example.com.", "a.www.example.com."}),
        ("rrset/name/%2B.example.com", {"www.example.com."}),
        ("rrset/name/www.*", {"www.example.com.", "www.example.org."}),
        ("rrset/name/www.example.+", {"www.example.com.", "www.example.org."}),
        ("rrset/name/example.com/any/com", {"example.com."}),
        ("rrset/name/example.com/ANY/net", set()),
        ("rrset/name/a.www.example.com/TYPE65280", {"a.www.example.com."}),
        ("rrset/name/0%2F25.2.0.192.in-addr.arpa", {"0/25.2.0.192.in-addr.arpa."}),
        ("rrset/name/%FF%3Cscript%3E%20%5C%5C.example.org", {"\\255<script>\\032\\\\.example.org."}),
        ("rrset/raw/03777777076578616d706c65036f726700", {"www.example.org."}),
        ("rdata/name/mail.example.com", {"example.com."}),
        ("rdata/name/mail.example.com/MX", {"example.com."}),
        ("rdata/name/mail.example.com/CNAME", set()),
        ("rdata/name/*.example.net", {"example.com.", "www.example.com."}),
        ("rdata/ip/192.0.2.0,24", {"example.com."}),
        ("rdata/ip/192.0.2.0,23/A", {"example.com.", "www.example.org."}),
        ("rdata/ip/192.0.2.2-192.0.3.9/ANY", {"example.com.", "www.example.org."}),
        ("rdata/ip/2001%3Adb8%3A%3A%2C32", {"example.com."}),
        ("rdata/ip/10.0.0.1", {"host.example.org."}),
        ("rdata/raw/c0000301", {"www.example.org."}),
        ("rrset/name/nothing.example.com", set()),
        ("rrset/name/%27%3B%20DROP%20TABLE%20x%3B--", set()),
    ],
)
def test_names_are_found_by_dnsdb_s_paths(server, path, names):
    assert {each["rrname"] for each in objects(server, f"/dnsdb/v2/lookup/{path}")} == names


@pytest.mark.parametrize(
    ("fences", "found"),
    [
        ({"time_last_after": NOW - 7 * DAY}, {"192.0.2.2"}),
        ({"time_first_before": NOW - 6 * DAY}, {"192.0.2.1"}),
        ({"time_first_after": NOW - 6 * DAY}, {"192.0.2.2"}),
        ({"time_last_before": NOW - 8 * DAY}, {"192.0.2.1"}),
        ({"time_last_before": NOW - 8 * DAY - 1}, set()),
        ({"time_first_after": NOW - 9 * DAY, "time_last_before": NOW}, {"192.0.2.1", "192.0.2.2"}),
        ({"time_first_after": -100}, set()),
        ({"time_last_before": -100}, {"192.0.2.1", "192.0.2.2"}),
        ({"time_first_after": 0, "time_last_after": ""}, None),
    ],
)
def test_time_fences_include_their_bounds(server, fences, found):
    path = "/dnsdb/v2/lookup/rrset/name/example.com/A/example.com"
    if found is None:
        assert ask(server, path, **fences)[0] == 400
    else:
        assert {rdata for _, _, rdata in rows(objects(server, path, **fences))} == found


def test_limit_and_offset_are_of_rrsets_and_say_that_there_is_more(server):
    path = "/dnsdb/v2/lookup/rrset/name/*.example.com"
    every = objects(server, path)
    first = frames(server, path, limit=2)
    assert [frame["obj"] for frame in first[1:-1]] == every[:2]
    assert first[-1] == {"cond": "limited", "msg": "Result limit reached"}
    assert objects(server, path, limit=2, offset=2, end="limited") == every[2:4]
    assert objects(server, path, limit=len(every)) == every
    assert objects(server, path, limit=0, offset=len(every) - 1) == every[-1:]
    assert objects(server, path, offset=3_000_000) == []


def test_times_may_be_text(server):
    (found,) = objects(server, "/dnsdb/v2/lookup/rdata/ip/10.0.0.1", humantime="t")
    assert found["time_first"] == found["time_last"] == "2023-11-14T22:13:20Z"


def test_a_summary_has_the_number_of_results_and_their_sum(server):
    whole = {"count": 35, "num_results": 2, "time_first": NOW - 9 * DAY, "time_last": NOW - 1 * DAY}
    assert objects(server, "/dnsdb/v2/summarize/rrset/name/example.com/A") == [whole]
    assert objects(server, "/dnsdb/v2/summarize/rrset/name/example.com/A", max_count=1, end="limited")[0]["count"] == 30
    assert (
        objects(server, "/dnsdb/v2/summarize/rrset/name/example.com/A", limit=1, end="limited")[0]["num_results"] == 1
    )
    assert objects(server, "/dnsdb/v2/summarize/rdata/ip/192.0.2.2")[0]["num_results"] == 1
    assert objects(server, "/dnsdb/v2/summarize/rrset/name/no.example") == [{"count": 0, "num_results": 0}]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("lookup/rrset/name/a..b", 400, "no domain name"),
        ("lookup/rrset/name/", 400, "a value"),
        ("lookup/rrset", 400, "rrset/name"),
        ("lookup/rrset/ip/192.0.2.1", 400, "rrset/name"),
        ("lookup/rdata/ip/192.0.2.0,33", 400, "no address"),
        ("lookup/rdata/ip/192.0.2.1/MX", 400, "A, AAAA or ANY"),
        ("lookup/rdata/raw/0", 400, "hexadecimal"),
        ("lookup/rdata/name/example.com/A/com", 400, "mean nothing"),
        ("lookup/rrset/name/example.com/A/com/x", 400, "mean nothing"),
        ("lookup/rrset/name/example.com/FOO", 400, "no type"),
        ("lookup/rrset/name/example.com/A/..", 400, "no domain name"),
        ("lookup/rrset/name/*.example.*", 400, "wildcard"),
        ("lookup/rrset/name/example.com?limit=x", 400, "limit"),
        ("lookup/rrset/name/example.com?limit=-1", 400, "limit"),
        ("lookup/rrset/name/example.com?limit=1&limit=2", 400, "twice"),
        ("lookup/rrset/name/example.com?time_first_after=now", 400, "time_first_after"),
        ("lookup/rrset/name/example.com?aggr=f", 400, "aggr"),
        ("lookup/rrset/name/example.com?humantime=maybe", 400, "humantime"),
        ("lookup/rrset/name/example.com?foo=1", 400, "unknown parameter"),
        ("summarize/rrset/name/example.com?offset=1", 400, "unknown parameter"),
        ("summarize/rrset/name/example.com?max_count=-1", 400, "max_count"),
        ("lookup/rrset/name/example.com?offset=3000001", 416, "offset"),
        ("lookup/rrset/name/example.com?offset=-1", 416, "offset"),
        ("regex/rrnames/x", 404, "unknown path"),
        ("ping/x", 404, "unknown path"),
        ("lookup/rrset/name/%00%1b%5B31m%ff..", 400, "no domain name"),
    ],
)
def test_errors_are_text_with_a_status_of_dnsdb(server, path, status, reason):
    found, headers, body = ask(server, f"/dnsdb/v2/{path}")
    assert found == status
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert body.startswith(b"Error: ")
    assert reason in body.decode()
    assert body.decode().strip().isprintable()


def test_ping_and_rate_limit(server):
    assert json.loads(ask(server, "/dnsdb/v2/ping")[2]) == {"ping": "ok"}
    rate = {"reset": "n/a", "limit": "unlimited", "remaining": "n/a", "results_max": 1_000_000, "offset_max": 3_000_000}
    assert json.loads(ask(server, "/dnsdb/v2/rate_limit")[2]) == {"rate": rate}


# Keys


@pytest.mark.parametrize("key", [None, "", "x", KEY.upper(), KEY + "0", "soc", "\xff"])
def test_without_a_right_key_nothing_is_found(server, key):
    for path in ("lookup/rrset/name/example.com", "summarize/rrset/name/example.com", "rate_limit", "ping", "foo"):
        status, _, body = ask(server, f"/dnsdb/v2/{path}", key=key)
        assert status == 403
        assert body.startswith(b"Error: ")
    assert ask(server, "/pdns/query/example.com", key=key)[0] == 401
    assert ask(server, "/api/pdns/lookup?query=example.com", key=key)[0] == 401
    assert ask(server, "/api/pdns/lookup", {"queries": []}, key=key)[0] == 401


def test_a_key_opens_look_ups_alone(server):
    assert ask(server, "/pdns/query/example.com")[0] == 200
    assert ask(server, "/api/pdns/lookup?query=example.com")[0] == 200
    for path in ("/api/findings", "/api/set-aside", "/api/training"):
        assert ask(server, path)[0] == 401
    assert ask(server, "/api/findings", {})[0] == 401


def test_the_token_opens_look_ups_too(server):
    headers = {"Authorization": f"Bearer {keep_token(server.token.path)}"}
    assert ask(server, "/dnsdb/v2/ping", key=None, headers=headers)[0] == 200
    assert ask(server, "/pdns/query/example.com", key=None, headers=headers)[0] == 200


def test_the_configuration_can_open_look_ups(tmp_path):
    with serving(tmp_path, client_addresses="everyone") as server:
        for path in ("/dnsdb/v2/lookup/rrset/name/example.com", "/pdns/query/example.com", "/api/pdns/lookup?query=a"):
            assert ask(server, path, key=None)[0] == 200
            assert ask(server, path, key=None, headers={"Host": "evil.example"})[0] == 403


def test_a_key_has_a_number_of_look_ups_a_day(tmp_path, monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    with serving(tmp_path) as server:
        path = "/dnsdb/v2/lookup/rrset/name/example.com"

        def rate() -> Mapping[str, int]:
            return json.loads(ask(server, "/dnsdb/v2/rate_limit", key="limited")[2])["rate"]

        assert (rate()["limit"], rate()["remaining"]) == (2, 2)
        assert ask(server, path, key="limited")[0] == 200
        assert ask(server, path + "..", key="limited")[0] == 400
        assert rate()["remaining"] == 1
        assert ask(server, "/dnsdb/v2/summarize/rrset/name/example.com", key="limited")[0] == 200
        status, _, body = ask(server, path, key="limited")
        assert (status, body) == (429, b"Error: the API key trial has no look-ups left today\n")
        assert rate() == {
            "reset": 1_700_006_400,
            "limit": 2,
            "remaining": 0,
            "results_max": 1_000_000,
            "offset_max": 3_000_000,
        }
        assert ask(server, path)[0] == 200, "another key"
        now = 1_700_006_400.0
        assert ask(server, path, key="limited")[0] == 200


# CIRCL and the API's own


def lines(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_circl_s_form_is_cof(server):
    status, _, body = ask(server, "/pdns/query/192.0.2.2")
    assert status == 200
    assert lines(body) == [
        {
            "rrname": "example.com",
            "rrtype": "A",
            "rdata": "192.0.2.2",
            "time_first": NOW - 3 * DAY,
            "time_last": NOW - 2 * DAY,
            "count": 5,
            "bailiwick": "com",
            "sensor_id": "cache2",
        },
        {
            "rrname": "example.com",
            "rrtype": "A",
            "rdata": "192.0.2.2",
            "time_first": NOW - 5 * DAY,
            "time_last": NOW - 1 * DAY,
            "count": 20,
            "bailiwick": "example.com",
            "sensor_id": "cache1,cache2",
        },
    ]
    assert {each["rdata"] for each in lines(ask(server, "/pdns/query/Example.COM.")[2])} >= {
        "10 mail.example.com",
        "ns1.example.net",
        "192.0.2.1",
    }
    only = ask(server, "/pdns/query/example.com", headers={"dribble-filter-rrtype": "MX"})[2]
    assert [each["rrtype"] for each in lines(only)] == ["MX"]
    (odd,) = lines(ask(server, "/pdns/query/%FF%3Cscript%3E%20%5C%5C.example.org")[2])
    assert (odd["rrname"], odd["rdata"]) == ("\\255<script>\\032\\\\.example.org", '"\\027[31m\\195"')
    assert {each["rrname"] for each in lines(ask(server, "/pdns/query/192.0.2.0/23")[2])} == {
        "example.com",
        "www.example.org",
    }
    assert ask(server, "/pdns/query/no.example")[2] == b""
    status, _, body = ask(server, "/pdns/query/a..b")
    assert status == 400
    assert "no domain name" in json.loads(body)["error"]


def test_the_api_s_own_look_up_has_cof_in_frames(server):
    found = objects(server, "/api/pdns/lookup", query="example.net", rdata="true")
    assert found == []
    found = objects(server, "/api/pdns/lookup", query="ns1.example.net", rdata="true")
    assert [(each["rrname"], each["rdata"]) for each in found] == [("example.com", "ns1.example.net")]
    assert len(objects(server, "/api/pdns/lookup", query="*.example.com", limit="3", end="limited")) == 3
    strict = objects(server, "/api/pdns/lookup", query="example.com", rrtype="A", time_last_before=str(NOW - 8 * DAY))
    assert [each["rdata"] for each in strict] == ["192.0.2.1"]
    for query in (
        {},
        {"query": "a..b"},
        {"query": "a", "foo": "1"},
        {"query": "a", "limit": "x"},
        {"query": "a", "offset": "-1"},
    ):
        status, _, body = ask(server, "/api/pdns/lookup", **query)
        assert status == 400, query
        assert json.loads(body)["error"]


def test_thousands_are_looked_up_at_once_and_what_is_wrong_is_reported(server):
    queries = [f"{number}.example" for number in range(10_000)]
    queries += ["www.example.org", "WWW.example.org.", "192.0.2.0/24", "a..b", "*.example.com"]
    found = frames(server, "/api/pdns/lookup", {"queries": queries, "rrtype": "A"})
    assert [frame for frame in found if "msg" in frame] == [
        {"cond": "ongoing", "msg": "'a..b' is no domain name: a dns label is empty"}
    ]
    records = [
        (each["obj"]["rrname"], each["obj"]["rdata"], each["obj"]["bailiwick"])
        for each in found
        if "obj" in each and "bailiwick" in each["obj"]
    ]
    assert sorted(records) == [
        ("example.com", "192.0.2.1", "example.com"),
        ("example.com", "192.0.2.2", "com"),
        ("example.com", "192.0.2.2", "example.com"),
    ]
    assert {each["obj"]["rrname"] for each in found if "obj" in each} == {"example.com", "www.example.org"}
    assert found[-1] == {"cond": "succeeded"}
    for body in (
        {},
        {"queries": "a"},
        {"queries": [1]},
        {"queries": [], "foo": 1},
        {"queries": ["a"], "rrtype": "FOO"},
    ):
        assert ask(server, "/api/pdns/lookup", body)[0] == 400, body
    assert objects(server, "/api/pdns/lookup", {"queries": []}) == []


# Streams


class Endless(FakeReader):
    """Has tuples without end; says when nobody wants more."""

    def __init__(self) -> None:
        super().__init__([])
        self.closed = threading.Event()
        self.given = 0

    def chunks(self, order, low, high, **_):
        texts = [Tuple("example.com", "TXT", f'"{number:06} {"x" * 200}"') for number in range(1000)]
        (chunk,) = FakeReader(texts, 1000).chunks("names", "", "\x7f")
        try:
            while True:
                self.given += 1
                yield chunk
        finally:
            self.closed.set()


def test_a_client_that_hangs_up_ends_its_look_up(tmp_path):
    reader = Endless()
    with serving(tmp_path, reader) as server, socket.create_connection(server.address) as client:
        client.sendall(REQUEST)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
        client.close()
        assert reader.closed.wait(20)
        assert ask(server, "/dnsdb/v2/ping")[0] == 200


def test_head_has_no_body_and_looks_nothing_up(tmp_path):
    reader = Endless()
    with serving(tmp_path, reader) as server:
        status, headers, body = ask(server, "/dnsdb/v2/lookup/rrset/name/example.com", method="HEAD")
        assert (status, body) == (200, b"")
        assert headers["Content-Type"] == "application/x-ndjson"
        assert reader.given == 0


def test_a_million_records_need_no_memory(tmp_path):
    reader = Endless()
    with (
        serving(tmp_path, reader) as server,
        closing(http.client.HTTPConnection(*server.address, timeout=60)) as client,
    ):
        tracemalloc.start()
        try:
            client.request("GET", "/dnsdb/v2/lookup/rdata/name/*?limit=20000", headers={"X-API-Key": KEY})
            response = client.getresponse()
            count = sum(1 for _ in response)
            assert count == 20_002
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


def test_an_older_client_gets_the_same_until_the_connection_ends(server):
    with socket.create_connection(server.address) as client:
        client.sendall(f"GET /dnsdb/v2/lookup/rrset/name/example.com/MX HTTP/1.0\r\nX-API-Key: {KEY}\r\n\r\n".encode())
        content = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = content.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert [list(line) for line in lines(body)] == [["cond"], ["obj"], ["cond"]]


def test_a_connection_serves_one_look_up_after_the_other(server):
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        for body in (None, b'{"queries": ["example.com"]}', None):
            headers = {"X-API-Key": KEY, **({"Content-Type": "application/json"} if body else {})}
            target = "/api/pdns/lookup" if body else "/api/pdns/lookup?query=example.com"
            connection.request("POST" if body else "GET", target, body, headers)
            before = connection.sock
            assert b"succeeded" in connection.getresponse().read()
            assert connection.sock is before is not None


class Failing(FakeReader):
    """Fails after its tuples."""

    def __init__(self, error: Exception) -> None:
        super().__init__(TUPLES)
        self.error = error

    def chunks(self, *arguments, **keywords):
        yield from super().chunks(*arguments, **keywords)
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LookupTimeoutError(), "the look-up took more than 60 s, so there may be more"),
        (StoreError("disk on fire"), "the store cannot be read now"),
        (RuntimeError("a defect"), "a fault of the server; its log has more"),
    ],
)
def test_a_look_up_that_fails_never_looks_whole(tmp_path, error, reason):
    with serving(tmp_path, Failing(error)) as server:
        found = frames(server, "/dnsdb/v2/lookup/rrset/name/example.com")
        assert found[-1] == {"cond": "failed", "msg": reason}
        assert len(found) > 2
        with pytest.raises(http.client.IncompleteRead):
            ask(server, "/pdns/query/example.com")
        assert ask(server, "/dnsdb/v2/ping")[0] == 200


def test_files_that_cannot_be_read_limit_the_answer(tmp_path):
    reader = FakeReader(TUPLES, unreadable={tmp_path: "cut off"})
    with serving(tmp_path, reader) as server:
        last = frames(server, "/dnsdb/v2/lookup/rrset/name/example.com")[-1]
        assert last == {"cond": "limited", "msg": "1 file of passive DNS cannot be read, so there may be more"}


def test_a_look_up_that_finds_nothing_for_long_says_that_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(saf, "_SILENCE", 0.0)
    with serving(tmp_path) as server:
        found = frames(server, "/dnsdb/v2/lookup/rrset/name/www.*")
        assert {"cond": "ongoing"} in found
        assert found[-1] == {"cond": "succeeded"}


def test_some_look_ups_run_at_once_and_others_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_PATIENCE", 0.1)
    reader = Endless()
    with serving(tmp_path, reader) as server:
        clients = [socket.create_connection(server.address) for _ in range(4)]
        for client in clients:
            client.sendall(REQUEST)
            client.recv(1000)
        status, headers, body = ask(server, "/dnsdb/v2/lookup/rrset/name/example.com")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert b"look-ups are under way" in body
        assert ask(server, "/pdns/query/example.com")[0] == 503
        for client in clients:
            client.close()
        eventually(lambda: ask(server, "/dnsdb/v2/lookup/rrset/name/example.com", method="HEAD")[0] == 200)


def test_until_there_is_a_store_a_look_up_says_when_to_ask_again(tmp_path):
    with serving(tmp_path, ready=lambda: False) as server:
        for path in ("/dnsdb/v2/lookup/rrset/name/a", "/pdns/query/a", "/api/pdns/lookup?query=a"):
            status, headers, body = ask(server, path)
            assert (status, headers["Retry-After"]) == (503, "5")
            assert b"starting" in body
        assert ask(server, "/dnsdb/v2/ping")[0] == 200


# The clients of others


needs_dnsdbq = pytest.mark.skipif(not shutil.which("dnsdbq"), reason="needs dnsdbq")


def dnsdbq(server: Server, *arguments: str, given: str = "", key: str = KEY) -> tuple[str, str]:
    """What Debian's client of DNSDB prints, and what it complains of."""
    environment = {"DNSDB_API_KEY": key, "DNSDB_SERVER": server.url, "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
    command = ["dnsdbq", "-u", "dnsdb2", *arguments]
    done = subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, done.stderr


def printed(server: Server, *arguments: str) -> list[dict]:
    out, complaints = dnsdbq(server, "-p", "json", *arguments)
    assert complaints == ("" if out else "Query status: NOERROR (no results found for query.)\n")
    return [json.loads(line) for line in out.splitlines()]


@needs_dnsdbq
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["-r", "example.com"], "rrset/name/example.com"),
        (["-r", "example.com/A/com"], "rrset/name/example.com/A/com"),
        (["-r", "*.example.com", "-t", "CNAME"], "rrset/name/*.example.com/CNAME"),
        (["-r", "www.*"], "rrset/name/www.*"),
        (["-r", "+.example.com"], "rrset/name/+.example.com"),
        (["-r", "*.org", "-t", "TXT"], "rrset/name/*.org/TXT"),
        (["-n", "ns1.example.net"], "rdata/name/ns1.example.net"),
        (["-n", "*.example.net", "-t", "CNAME"], "rdata/name/*.example.net/CNAME"),
        (["-i", "192.0.2.2"], "rdata/ip/192.0.2.2"),
        (["-i", "192.0.2.0/23"], "rdata/ip/192.0.2.0,23"),
        (["-i", "2001:db8::/32"], "rdata/ip/2001:db8::,32"),
        (["-N", "c0000301"], "rdata/raw/c0000301"),
        (["-R", "03777777076578616d706c65036f726700"], "rrset/raw/03777777076578616d706c65036f726700"),
    ],
)
def test_dnsdbq_prints_what_is_found(server, arguments, path):
    expected = objects(server, f"/dnsdb/v2/lookup/{quote(path)}")
    assert expected
    assert printed(server, *arguments) == expected


@needs_dnsdbq
def test_dnsdbq_has_time_fences(server):
    def stamp(days: int) -> str:
        return f"{datetime.fromtimestamp(NOW - days * DAY, UTC):%Y-%m-%d %H:%M:%S}"

    ask_for = ("-r", "example.com/A/example.com")
    assert [each["rdata"] for each in printed(server, *ask_for, "-A", stamp(7))] == [["192.0.2.2"]]
    assert [each["rdata"] for each in printed(server, *ask_for, "-B", stamp(6))] == [["192.0.2.1"]]
    assert [each["rdata"] for each in printed(server, *ask_for, "-A", stamp(6), "-B", stamp(0), "-c")] == [
        ["192.0.2.2"]
    ]
    assert printed(server, *ask_for, "-A", stamp(7), "-B", stamp(6)) == []
    assert printed(server, *ask_for, "-A", "1d") == []


@needs_dnsdbq
def test_dnsdbq_sorts_limits_and_summarizes(server):
    counts = [each["count"] for each in printed(server, "-r", "example.com", "-s", "-k", "count")]
    assert counts == sorted(counts)
    assert len(counts) > 4
    every = objects(server, "/dnsdb/v2/lookup/rrset/name/example.com")
    assert printed(server, "-r", "example.com", "-l", "2") == every[:2]
    assert printed(server, "-r", "example.com", "-l", "2", "-O", "4") == every[4:]
    (whole,) = printed(server, "-V", "summarize", "-r", "example.com/A")
    assert (whole["count"], whole["num_results"]) == (35, 2)
    assert "num_results: 2" in dnsdbq(server, "-V", "summarize", "-r", "example.com/A")[0]


@needs_dnsdbq
def test_dnsdbq_reports_the_rate(server):
    out, complaints = dnsdbq(server, "-I")
    assert complaints == ""
    assert "limit: unlimited" in out
    assert "results_max: 1000000" in out


@needs_dnsdbq
def test_dnsdbq_has_batches(server):
    batch = "rrset/name/example.com/MX\nrdata/ip/10.0.0.1\nrdata/name/ns1.example.net\nrrset/name/no.example\n"
    out, _ = dnsdbq(server, "-p", "json", "-f", given=batch)
    parts = [[json.loads(line) for line in part.splitlines()] for part in out.split("--\n")[:4]]
    assert [[each["rrname"] for each in part] for part in parts] == [
        ["example.com."],
        ["host.example.org."],
        ["example.com."],
        [],
    ]


@needs_dnsdbq
def test_dnsdbq_says_why_it_gets_nothing(tmp_path, server):
    out, complaints = dnsdbq(server, "-r", "example.com", key="wrong")
    assert (out, "403" in complaints, "needs an API key" in complaints) == ("", True, True)
    with serving(tmp_path, Failing(LookupTimeoutError())) as failing:
        out, complaints = dnsdbq(failing, "-r", "example.com", "-p", "json")
        assert out.count("\n") > 2
        assert "the look-up took more than 60 s" in complaints


def test_dnsdb2_finds_the_same(server):
    dnsdb2 = pytest.importorskip("dnsdb2")
    client = dnsdb2.Client(KEY, server=server.url)
    assert client.ping()
    assert client.rate_limit()["rate"]["limit"] == "unlimited"
    assert list(client.lookup_rrset("*.example.com")) == objects(server, "/dnsdb/v2/lookup/rrset/name/*.example.com")
    assert next(client.lookup_rrset("example.com", rrtype="A", bailiwick="com"))["rdata"] == ["192.0.2.2"]
    assert next(client.lookup_rdata_name("ns1.example.net"))["rrname"] == "example.com."
    assert {each["rrname"] for each in client.lookup_rdata_ip("192.0.2.0/23")} == {"example.com.", "www.example.org."}
    assert next(client.lookup_rdata_raw("c0000301"))["rrname"] == "www.example.org."
    assert next(client.summarize_rrset("example.com", rrtype="A"))["count"] == 35
    assert list(client.lookup_rrset("example.com", time_first_after=-100)) == []
    with pytest.raises(dnsdb2.QueryLimited):
        list(client.lookup_rrset("*.example.com", limit=1))
    with pytest.raises(dnsdb2.AccessDenied):
        list(dnsdb2.Client("wrong", server=server.url).lookup_rrset("example.com"))
    with pytest.raises(dnsdb2.OffsetError):
        list(client.lookup_rrset("example.com", offset=4_000_000))


def test_pypdns_finds_the_same(server):
    pypdns = pytest.importorskip("pypdns")
    token = keep_token(server.token.path)
    client = pypdns.PyPDNS(f"{server.url}/pdns/query", auth_token=f"Bearer {token}")
    found = client.rfc_query("example.com")
    assert {(each.rrtype, each.rdata) for each in found} >= {("A", "192.0.2.1"), ("MX", "10 mail.example.com")}
    assert [each.rdata for each in client.iter_query("example.com", filter_rrtype="NS")] == ["ns1.example.net"]
    assert [each.rrname for each in client.rfc_query("10.0.0.1")] == ["host.example.org"]
    assert client.rfc_query("no.example") == []
    with pytest.raises(pypdns.errors.UnauthorizedError):
        pypdns.PyPDNS(f"{server.url}/pdns/query").rfc_query("example.com")
