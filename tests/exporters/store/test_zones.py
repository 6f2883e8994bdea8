"""Records in the store: to which server and zone each is counted, and what is shown as time goes on."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, ConfiguredServer, Servers, Zone, Zones
from dnsvigil.config.types import ServerAddress, ZoneName
from dnsvigil.ingest.dns import ZONE_FAILURES
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.store import Store
from exporters.running import OF_THE_PROCESS, Samples, metrics_text, sample, samples
from exporters.zeeklogs import HEADER, START, tsv

SERVER = "192.0.2.53"
OTHER_SERVER = "2001:db8::53"


class Collecting:
    """A store of its own, into which lines go."""

    def __init__(self, intake: Intake, config: Config) -> None:
        self._intake = intake
        self._config = config

    def take(self, *lines: bytes, header: bytes = HEADER) -> None:
        """Take lines as one batch."""
        body = b"".join(lines)
        chunks, _, skipped = split(header + body, None, DNS)
        cursor = Cursor("1", "zeek", 0, "", 0, b"", "")
        self._intake.ingest([Batch(chunks, count_lines(body), skipped, cursor, 0)])

    @property
    def metrics(self) -> Samples:
        """What /metrics would show."""
        return samples(metrics_text(self._intake.snapshot(), self._config))

    def zones(self, metric: str = "queries", server: str = SERVER) -> dict[str, float]:
        """Value by zone of one of the zones' metrics."""
        found: dict[str, float] = {}
        for (name, labels), value in self.metrics.items():
            if name == f"dnsvigil_zone_{metric}_total" and ("server", server) in labels:
                zone = dict(labels)["dns_zone"]
                found[zone] = found.get(zone, 0) + value
        return found

    def reasons(self, zone: str, server: str = SERVER) -> dict[str, float]:
        """Failures of a zone by reason."""
        return {
            dict(labels)["reason"]: value
            for (name, labels), value in self.metrics.items()
            if name == "dnsvigil_zone_failures_total" and {("server", server), ("dns_zone", zone)} <= labels
        }


@contextmanager
def collecting(folder: Path, config: Config) -> Iterator[Collecting]:
    with Store(folder) as store, closing(Intake(store, config)) as intake:
        yield Collecting(intake, config)


Open = Callable[..., Collecting]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a store with some configuration of zones and servers."""
    stack = []

    def open_one(servers: Servers | None = None, **zones: object) -> Collecting:
        config = Config(zones=Zones(**zones), servers=servers or Servers())  # type: ignore[arg-type]
        stack.append(collecting(tmp_path, config))
        return stack[-1].__enter__()

    yield open_one
    for each in stack:
        each.__exit__(None, None, None)


def servers_of(*addresses: str, **named: list[str]) -> Servers:
    """The configuration of servers, with and without names."""
    plain = [ConfiguredServer.parse(address) for address in addresses]
    return Servers(
        configured=[*plain, *(ConfiguredServer(name, [*map(ServerAddress, of)]) for name, of in named.items())]
    )


def zones_of(*names: str) -> list[Zone]:
    return [Zone(ZoneName(name)) for name in names]


def lines(counts: Mapping[str, int], **values: str) -> list[bytes]:
    """So many lines of each name."""
    return [tsv(query=name, **values) for name, count in counts.items() for _ in range(count)]


class TestZone:
    def test_is_the_longest_configured_or_the_registered_domain(self, opened: Open) -> None:
        collecting = opened(configured=zones_of("example.com", "mail.example.com", "deep.a.b.example.net", "test"))
        collecting.take(
            *lines(
                {
                    "example.com": 1,
                    "WWW.Example.COM": 1,
                    "xmail.example.com": 1,
                    "mail.example.com": 1,
                    "mx1.mail.example.com": 1,
                    "notexample.com": 1,
                    "x.deep.a.b.example.net": 1,
                    "a.b.example.net": 1,
                    "b.github.io": 1,
                    "a.b.github.io": 1,
                    "any.thing.test": 1,
                    "bbc.co.uk": 1,
                    "router": 1,
                    "(empty)": 1,
                    "-": 1,
                }
            )
        )
        assert collecting.zones() == {
            "example.com": 3,
            "mail.example.com": 2,
            "notexample.com": 1,
            "deep.a.b.example.net": 1,
            "example.net": 1,
            "b.github.io": 2,
            "test": 1,
            "bbc.co.uk": 1,
            "router": 1,
            ".": 1,
            "other": 1,
        }

    def test_is_other_beyond_the_top(self, opened: Open) -> None:
        collecting = opened(top=2, configured=zones_of("small.example"))
        collecting.take(*lines({"www.small.example": 1, "a.com": 9, "b.com": 8, "c.com": 7, "d.com": 6}))
        assert collecting.zones() == {"small.example": 1, "a.com": 9, "b.com": 8, "other": 13}

    def test_of_odd_names_can_be_shown(self, opened: Open) -> None:
        names = ['"quoted".a"b', r"a\x0ab\x00.\x0a", r"\\.\\", "{x}", "ü.ü", "x" * 63 + ".com", "other"]
        collecting = opened()
        collecting.take(*lines(dict.fromkeys(names, 2)))
        assert collecting.zones() == {
            '"quoted".a"b': 2,
            r"a\x0ab\x00.\x0a": 2,
            "\\.\\": 2,
            "{x}": 2,
            r"\xc3\xbc.\xc3\xbc": 2,
            "x" * 63 + ".com": 2,
            "other": 2,
        }

    def test_is_per_server(self, opened: Open) -> None:
        collecting = opened()
        collecting.take(*lines({"a.com": 2}), *lines({"a.com": 3, "b.com": 1}, id_resp_h=OTHER_SERVER))
        assert collecting.zones() == {"a.com": 2}
        assert collecting.zones(server=OTHER_SERVER) == {"a.com": 3, "b.com": 1}


class TestFailures:
    OUTCOMES = (("0", 5), ("2", 4), ("5", 3), ("3", 2), ("-", 1), ("1", 6), ("4", 7), ("9", 8), ("23", 9), ("4095", 1))

    def outcomes(self) -> list[bytes]:
        return [line for rcode, count in self.OUTCOMES for line in lines({"www.a.com": count}, rcode=rcode)]

    @pytest.mark.parametrize(
        ("failures", "reasons"),
        [
            (None, {"servfail": 4, "refused": 3, "timeout": 1, "formerr": 6, "notimp": 7}),
            (["SERVFAIL"], {"servfail": 4}),
            (["unanswered"], {"timeout": 1}),
            (["NXDOMAIN", "NOTAUTH"], {"nxdomain": 2, "notauth": 8}),
            (["BADCOOKIE", "NOERROR", "NXRRSET"], {"badcookie": 9, "noerror": 5, "nxrrset": 0}),
            ([], {}),
        ],
    )
    def test_are_what_is_configured_by_reason(
        self, opened: Open, failures: list[str] | None, reasons: dict[str, int]
    ) -> None:
        collecting = opened() if failures is None else opened(failures=failures)
        collecting.take(*self.outcomes())
        assert collecting.reasons("a.com") == reasons
        assert collecting.zones("queries") == {"a.com": sum(n for _, n in self.OUTCOMES)}
        assert collecting.zones("nxdomain") == {"a.com": 2}

    def test_responses_are_counted_by_code(self, opened: Open) -> None:
        collecting = opened()
        collecting.take(*self.outcomes())
        found = {
            dict(labels)["rcode"]: value
            for (name, labels), value in collecting.metrics.items()
            if name == "dnsvigil_responses_total"
        }
        assert found == {
            "NOERROR": 5,
            "SERVFAIL": 4,
            "REFUSED": 3,
            "NXDOMAIN": 2,
            "FORMERR": 6,
            "NOTIMP": 7,
            "NOTAUTH": 8,
            "BADCOOKIE": 9,
            "other": 1,
        }
        assert collecting.metrics[sample("dnsvigil_unanswered_total", server=SERVER)] == 1

    def test_of_a_zone_without_any_are_zero(self, opened: Open) -> None:
        collecting = opened()
        collecting.take(*lines({"a.com": 1}))
        assert (collecting.zones("failures"), collecting.zones("nxdomain")) == ({"a.com": 0}, {"a.com": 0})
        assert list(collecting.reasons("a.com")) == ["servfail", "refused", "formerr", "notimp", "timeout"]

    def test_keep_their_reason_when_the_configuration_changes(self, tmp_path: Path) -> None:
        with collecting(tmp_path, Config()) as first:
            first.take(*self.outcomes())
        with collecting(tmp_path, Config(zones=Zones(failures=["SERVFAIL", "NXDOMAIN"]))) as second:
            second.take(*self.outcomes())
            assert second.reasons("a.com") == {
                "servfail": 8,
                "nxdomain": 2,
                "refused": 3,
                "timeout": 1,
                "formerr": 6,
                "notimp": 7,
            }

    def test_of_a_zone_that_is_forgotten_go_with_it(self, tmp_path: Path) -> None:
        with collecting(tmp_path, Config(zones=Zones(top=1))) as collecting_one:
            collecting_one.take(*lines({"www.a.com": 2, "b.com": 1}, rcode="2"))
            for hour in range(1, 12):
                collecting_one.take(*batch_at(hour, {"x.com": 900}))
        with Store(tmp_path) as store:
            assert [row[1:] for row in ZONE_FAILURES.rows(store.rows)] == [("other", "servfail", 1)]

    def test_thresholds_are_those_of_the_zone(self, opened: Open) -> None:
        own = Zone(ZoneName("bank.example"), failure_ratio_threshold=0.5, min_queries=7)
        collecting = opened(configured=[own, *zones_of("plain.example")], failure_ratio_threshold=0.2, min_queries=30)
        collecting.take(*lines({"a.com": 1}))
        name = "dnsvigil_zone_failure_ratio_"
        found = {k[0].removeprefix(name): {} for k in collecting.metrics if k[0].startswith(name)}
        for (metric, labels), value in collecting.metrics.items():
            if metric.startswith(name):
                found[metric.removeprefix(name)][dict(labels)["dns_zone"]] = value
        assert found == {
            "threshold": {"bank.example": 0.5, "plain.example": 0.2, "a.com": 0.2, "other": 0.2},
            "min_queries": {"bank.example": 7, "plain.example": 30, "a.com": 30, "other": 30},
        }


class TestServers:
    def test_are_the_busiest(self, opened: Open) -> None:
        collecting = opened(Servers(top=2))
        batch = [line for i in range(1, 6) for line in lines({"a.com": i}, id_resp_h=f"192.0.2.{i}")]
        collecting.take(*batch)
        assert self.queries(collecting) == {"192.0.2.5": 5, "192.0.2.4": 4, "other": 6}

    def test_are_those_configured(self, opened: Open) -> None:
        collecting = opened(servers_of("192.0.2.1", "2001:DB8::0:53"))
        batch = [*lines({"a.com": 3}, id_resp_h=OTHER_SERVER), *lines({"a.com": 2}), *lines({"b.com": 1})]
        collecting.take(*batch)
        assert self.queries(collecting) == {OTHER_SERVER: 3, "other": 3}

    def test_have_names_for_all_their_addresses(self, opened: Open) -> None:
        collecting = opened(servers_of("192.0.2.1", cache1=[SERVER, OTHER_SERVER]))
        collecting.take(
            *lines({"a.com": 2}, rcode="2"),
            *lines({"a.com": 3}, id_resp_h=OTHER_SERVER, id_orig_h="198.51.100.8"),
            *lines({"a.com": 4}, id_resp_h="192.0.2.1"),
            *lines({"a.com": 5}, id_resp_h="192.0.2.2"),
        )
        assert self.queries(collecting) == {"cache1": 5, "192.0.2.1": 4, "other": 5}
        assert collecting.zones(server="cache1") == {"a.com": 5}
        assert collecting.reasons("a.com", "cache1")["servfail"] == 2
        assert collecting.metrics[sample("dnsvigil_clients", server="cache1")] == 2
        assert collecting.metrics[sample("dnsvigil_response_duration_seconds_count", server="cache1")] == 5

    def test_have_their_types(self, opened: Open) -> None:
        collecting = opened()
        collecting.take(*(line for qtype in ("1", "28", "65", "65280", "-") for line in lines({"a": 1}, qtype=qtype)))
        found = Counter(
            dict(labels).get("qtype") for name, labels in collecting.metrics if name == "dnsvigil_queries_total"
        )
        assert found == {"A": 1, "AAAA": 1, "HTTPS": 1, "other": 1, "unknown": 1}

    @staticmethod
    def queries(collecting: Collecting) -> dict[str, float]:
        found: Counter[str] = Counter()
        for (name, labels), value in collecting.metrics.items():
            if name == "dnsvigil_queries_total":
                found[dict(labels)["server"]] += int(value)
        return dict(found)

    def test_have_as_many_clients_as_asked_in_five_minutes(self, opened: Open) -> None:
        collecting = opened()
        for minute in range(12):
            stamp = f"{START + 60 * minute}.0"
            collecting.take(*(tsv(ts=stamp, id_orig_h=f"10.0.{minute}.{i}") for i in range(10)))
        collecting.take(tsv(ts=f"{START + 60 * 12}.0", id_orig_h="10.0.11.1"))
        # Minutes 7 to 11, and 12, in which one of them asked.
        assert collecting.metrics[sample("dnsvigil_clients", server=SERVER)] == 50


def batch_at(hour: float, counts: Mapping[str, int]) -> list[bytes]:
    return lines(counts, ts=f"{START + 3600 * hour:.6f}")


class TestTime:
    """Hours of event time in which the heavy zones change."""

    HOURS: Sequence[Mapping[str, int]] = (
        {"a.com": 50, "b.com": 40, "c.com": 5},
        {"a.com": 50, "b.com": 40, "c.com": 5},
        {"c.com": 400, "d.com": 300, "a.com": 1},
        {"c.com": 400, "d.com": 300, "a.com": 1},
        {"a.com": 3000, "b.com": 2000, "f.com": 1},
        {"a.com": 3000, "b.com": 2000, "c.com": 1},
        {f"x{i}.com": 30 for i in range(60)},
        {"a.com": 3000, "b.com": 2000, "c.com": 1},
    )

    def test_series_never_go_back_and_nothing_is_lost(self, opened: Open) -> None:
        """What a series gains, hour by hour, sums up to all queries, whichever are shown."""
        collecting = opened(top=2, configured=zones_of("e.com"))
        last: dict[str, float] = {}
        gained = 0.0
        shown = set()
        for hour, counts in enumerate(self.HOURS):
            for part in range(3):  # batches of twenty minutes
                share = {name: count for i, (name, count) in enumerate(counts.items()) if i % 3 == part}
                before = collecting.zones()
                collecting.take(*batch_at(hour + part / 3, {"e.com": 1, **share}))
                now = collecting.zones()
                assert all(now[zone] >= value for zone, value in before.items() if zone in now)
                assert all(now[zone] >= value for zone, value in last.items() if zone in now)
                # A series that was not shown holds still until it is shown again.
                gained += sum(value - last.get(zone, 0) for zone, value in now.items())
                last |= now
                shown.add(frozenset(now) - {"other", "e.com"})
        assert gained == sum(sum(counts.values()) for counts in self.HOURS) + 3 * len(self.HOURS)
        assert len(shown) >= 4, "the set that is shown has not changed"

    def test_the_heavy_ones_are_shown_in_the_end(self, opened: Open) -> None:
        collecting = opened(top=2)
        for hour, counts in enumerate(self.HOURS):
            collecting.take(*batch_at(hour, counts))
        assert set(collecting.zones()) == {"a.com", "b.com", "other"}

    def test_a_zone_that_comes_back_goes_on_where_it_was(self, opened: Open) -> None:
        collecting = opened(top=1)
        collecting.take(*batch_at(0, {"a.com": 10}))
        collecting.take(*batch_at(0.1, {"b.com": 100}))
        collecting.take(*batch_at(0.2, {"b.com": 1}))
        assert collecting.zones() == {"b.com": 1, "other": 100}
        collecting.take(*batch_at(0.3, {"a.com": 1000}))
        collecting.take(*batch_at(0.4, {"a.com": 1}))
        assert collecting.zones()["a.com"] == 11

    def test_the_set_survives_a_restart(self, tmp_path: Path) -> None:
        config = Config(zones=Zones(top=2))
        with collecting(tmp_path, config) as first:
            first.take(*batch_at(0, {"a.com": 10, "b.com": 5, "c.com": 1}))
            before = first.metrics
        with collecting(tmp_path, config) as second:
            varies = ("dnsvigil_store_size_bytes", "dnsvigil_model_", *OF_THE_PROCESS)
            assert {k: v for k, v in second.metrics.items() if not k[0].startswith(varies)} == {
                k: v for k, v in before.items() if not k[0].startswith(varies)
            }
            second.take(*batch_at(0, {"c.com": 1}))
            assert second.zones() == {"a.com": 10, "b.com": 5, "other": 2}

    def test_records_out_of_order_are_counted(self, opened: Open) -> None:
        collecting = opened()
        for hour in (5, 0, 3, 5.01, 4.99, 0):
            collecting.take(*batch_at(hour, {"a.com": 1}))
        assert collecting.zones() == {"a.com": 6}

    def test_late_records_do_not_turn_time_back(self, opened: Open) -> None:
        collecting = opened()
        collecting.take(*batch_at(5, {"a.com": 1}))
        collecting.take(tsv(ts=f"{START}.0", id_orig_h="198.51.100.99"))
        assert collecting.metrics[sample("dnsvigil_clients", server=SERVER)] == 1

    def test_clock_jumps_change_nothing(self, opened: Open) -> None:
        """A sensor that believes in 1970 or 2106 must not age or rush what the others say."""
        collecting = opened()
        collecting.take(*batch_at(0, {"a.com": 5}))
        before = collecting.metrics
        collecting.take(tsv(ts="0.000000"), tsv(ts="4294967295.000000"), tsv(ts="631151999.000000"))
        after = collecting.metrics
        timestamp = sample("dnsvigil_records_skipped_total", source="zeek", reason="timestamp")
        assert after[timestamp] - before[timestamp] == 3
        newest = sample("dnsvigil_last_event_timestamp_seconds", source="zeek", sensor="zeek")
        assert after[newest] == before[newest] == START
        collecting.take(*batch_at(0, {"a.com": 5}))
        assert collecting.zones() == {"a.com": 10}
