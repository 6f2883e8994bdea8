"""Registered domains by the Public Suffix List, and configured zones, as the expressions find them in a table."""

import random
from collections.abc import Iterator

import duckdb
import ibis
import pytest
import tldextract

from dnsvigil.features.domains import longest_zones, registered_domains
from dnsvigil.sources.public_suffixes import ambiguous_suffixes, public_suffixes

EXTRACT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


class Tables:
    """The expressions, run on an embedded engine."""

    def __init__(self) -> None:
        self._connection = ibis.duckdb.connect()
        self._suffixes = self._table("suffixes", {"suffix": [], "kind": []}, public_suffixes())

    def close(self) -> None:
        self._connection.disconnect()

    def domains(self, names: list[str]) -> dict[str, str]:
        keys = self._table("keys", {"key": []}, [(name,) for name in names])
        return dict(self._rows(registered_domains(keys, self._suffixes), "key", "domain"))

    def zones(self, names: list[str], zones: list[str]) -> dict[str, str]:
        keys = self._table("keys", {"key": []}, [(name,) for name in names])
        table = self._table("zones", {"zone": []}, [(zone,) for zone in zones])
        most = max((zone.count(".") + 1 for zone in zones), default=1)
        return dict(self._rows(longest_zones(keys, table, most), "key", "zone"))

    def _table(self, name: str, columns: dict[str, list[str]], rows: list[tuple[str, ...]]) -> ibis.Table:
        raw: duckdb.DuckDBPyConnection = self._connection.con
        raw.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({', '.join(f'{column} VARCHAR' for column in columns)})")
        for position, _ in enumerate(columns):
            assert all(len(row) > position for row in rows)
        values = ", ".join(f"unnest($c{i}::VARCHAR[])" for i in range(len(columns)))
        raw.execute(f"INSERT INTO {name} SELECT {values}", {f"c{i}": [r[i] for r in rows] for i in range(len(columns))})
        return ibis.table(dict.fromkeys(columns, "string"), name=name)

    def _rows(self, expression: ibis.Table, *columns: str) -> list[tuple[str, str]]:
        query = ibis.to_sql(expression, dialect="duckdb")
        return self._connection.con.execute(f"SELECT {', '.join(columns)} FROM ({query})").fetchall()


@pytest.fixture(scope="module")
def tables() -> Iterator[Tables]:
    tables = Tables()
    yield tables
    tables.close()


RULES = dict(public_suffixes())


def by_the_algorithm(name: str) -> str:
    """The registered domain by publicsuffix.org's own description of the algorithm; a suffix stands for itself."""
    labels = name.split(".")
    prevailing = 1  # the rule that holds if no rule matches is "*"
    for count in range(1, len(labels) + 1):
        rule = ".".join(labels[-count:])
        if KINDS.get((rule, "exception")):
            prevailing = count - 1
            break
        if KINDS.get((rule, "normal")):
            prevailing = max(prevailing, count)
        if KINDS.get((rule, "wildcard")) and len(labels) > count:
            prevailing = max(prevailing, count + 1)
    return ".".join(labels[-(prevailing + 1) :])


KINDS = dict.fromkeys(public_suffixes(), True)


class TestRegisteredDomain:
    @pytest.mark.parametrize(
        ("name", "domain"),
        [
            # The list's own test vectors, as far as they concern names and not notation.
            ("com", "com"),
            ("example.com", "example.com"),
            ("b.example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("a.b.example.uk.com", "example.uk.com"),
            ("c.kobe.jp", "c.kobe.jp"),
            ("b.c.kobe.jp", "b.c.kobe.jp"),
            ("a.b.c.kobe.jp", "b.c.kobe.jp"),
            ("city.kobe.jp", "city.kobe.jp"),
            ("www.city.kobe.jp", "city.kobe.jp"),
            ("test.ck", "test.ck"),
            ("b.test.ck", "b.test.ck"),
            ("a.b.test.ck", "b.test.ck"),
            ("www.ck", "www.ck"),
            ("www.www.ck", "www.ck"),
            ("test.k12.ak.us", "test.k12.ak.us"),
            ("www.test.k12.ak.us", "test.k12.ak.us"),
            ("xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
            ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
            # Private suffixes count.
            ("a.b.github.io", "b.github.io"),
            ("github.io", "github.io"),
            ("a.svc.firenet.ch", "a.svc.firenet.ch"),
            ("b.a.svc.firenet.ch", "b.a.svc.firenet.ch"),
            ("c.b.a.svc.firenet.ch", "b.a.svc.firenet.ch"),
            # What is no name of the public Internet.
            ("router", "router"),
            ("a.b.router", "b.router"),
            (".", "."),
            ("1.0.168.192.in-addr.arpa", "192.in-addr.arpa"),
            (r"\x00.\xff.example.com", "example.com"),
            ("a..b", ".b"),
            (".".join("x" * 120), "x.x"),
        ],
    )
    def test_of(self, tables: Tables, name: str, domain: str) -> None:
        assert tables.domains([name]) == {name: domain}

    def test_is_what_the_algorithm_says(self, tables: Tables) -> None:
        """For every rule of the list: its name, and names one and two labels below."""
        names = sorted({below + name for name, _ in public_suffixes() for below in ("", "a.", "b.a.", "x.b.a.")})
        found = tables.domains(names)
        assert [(name, found[name]) for name in names if found[name] != by_the_algorithm(name)] == []

    def test_is_what_tldextract_says(self, tables: Tables) -> None:
        """But for names that are themselves what a wildcard stands for, where tldextract differs from the list."""
        dice = random.Random(1)
        rules = dice.sample([name for name, kind in public_suffixes() if kind == "normal"], 2000)
        names = [f"{below}.{name}" for name in rules for below in ("no-suffix", "www.no-suffix")]
        names = [name for name in names if not any((rule, "wildcard") in KINDS for rule in tails(name))]
        found = tables.domains(names)
        assert len(names) > 3500
        assert [n for n in names if found[n] != EXTRACT(n).top_domain_under_public_suffix] == []

    def test_is_known_from_the_last_two_labels_unless_they_are_deep(self) -> None:
        ambiguous = ambiguous_suffixes()
        for name, _ in public_suffixes():
            for below in ("a.b.", "b.", ""):
                last_two = ".".join((below + name).split(".")[-2:])
                if not {last_two, last_two.split(".")[-1]} & ambiguous:
                    assert by_the_algorithm(below + name) == last_two


def tails(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]


class TestZone:
    ZONES = ("example.com", "mail.example.com", "arpa", "a.b.c.d.example.net", "x")

    @pytest.mark.parametrize(
        ("name", "zone"),
        [
            ("example.com", "example.com"),
            ("www.example.com", "example.com"),
            ("mail.example.com", "mail.example.com"),
            ("mx.mail.example.com", "mail.example.com"),
            ("notmail.example.com", "example.com"),
            ("notexample.com", None),
            ("com", None),
            ("1.in-addr.arpa", "arpa"),
            ("b.c.d.example.net", None),
            ("z.a.b.c.d.example.net", "a.b.c.d.example.net"),
            ("x", "x"),
            (".", None),
        ],
    )
    def test_is_the_longest_that_the_name_lies_in(self, tables: Tables, name: str, zone: str | None) -> None:
        assert tables.zones([name], list(self.ZONES)).get(name) == zone

    def test_of_none(self, tables: Tables) -> None:
        assert tables.zones(["example.com"], []) == {}
