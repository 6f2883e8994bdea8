"""The configuration: what it may say, and that every mistake is told with file, line, key and what is expected."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Literal

import pytest

from dnsvigil.cli.main import main
from dnsvigil.config.collector import Config, ZeekSource, Zone, load_config
from dnsvigil.config.types import Address, Duration, Listen, Size, ZoneName
from dnsvigil.config.yaml_file import ConfigError, load

FULL = """\
listen: "[::1]:9953"
web_config_file: /etc/dnsvigil/web.yml
sources:
  zeek:
    - path: /var/log/sensors/*/current
    - path: /opt/zeek/logs/current
      sensor: fra-1
      archive: /srv/archive
servers:
  top: 5
  configured: [192.0.2.53, "2001:DB8:0::53"]
zones:
  top: 100
  failure_ratio_threshold: 0.2
  min_queries: 50
  failures: [SERVFAIL, unanswered]
  configured:
    - name: Bank.Example.
      failure_ratio_threshold: 1
      min_queries: 10
    - name: example.com
store:
  retention: 1w2d
  max_size: 2GiB
"""

# YAML, line of the mistake, its key, and words that the message has.
MISTAKES = {
    "spark elsewhere": ("spark:\n  master: http://a:1\n", 2, "spark.master", "expected local[*], spark://HOST:PORT"),
    "property": (
        "spark:\n  properties: {a.b: 1}\n",
        2,
        "spark.properties",
        "expected names such as spark.executor.memory",
    ),
    "unknown key": ("zones:\n  topp: 5\n", 2, "zones.topp", "unknown key, did you mean 'top'?"),
    "unknown key like no other": ("x: 5\n", 1, "x", "unknown key; known keys: listen, web_config_file"),
    "twice": ("listen: a:1\nlisten: a:2\n", 2, "listen", "given twice"),
    "list for a mapping": ("- listen\n", 1, "", "expected a mapping of keys to values, found a list"),
    "text for a mapping": ("zones: 5\n", 1, "zones", "expected a mapping of keys to values, found '5'"),
    "mapping for a list": ("sources:\n  zeek:\n    path: /x\n", 3, "sources.zeek", "expected a list, found a mapping"),
    "nothing for a list": ("sources:\n  zeek:\n", 2, "sources.zeek", "expected a list, found nothing"),
    "list for text": ("listen: [a]\n", 1, "listen", "expected listen, found a list"),
    "text for a number": ("zones:\n  top: many\n", 2, "zones.top", "expected a whole number, found 'many'"),
    "fraction for a whole number": ("zones:\n  top: 1.5\n", 2, "zones.top", "expected a whole number, found '1.5'"),
    "yes for a number": ("zones:\n  top: yes\n", 2, "zones.top", "expected a whole number, found 'yes'"),
    "nothing for a number": ("zones:\n  top:\n", 2, "zones.top", "expected a whole number"),
    "number too large": ("zones:\n  top: 1001\n", 2, "zones.top", "expected 1 to 1000, found 1001"),
    "number too small": ("servers:\n  top: 0\n", 2, "servers.top", "expected 1 to 1000, found 0"),
    "tag of another kind": ("zones:\n  top: !!int abc\n", 2, "zones.top", "expected a whole number, found 'abc'"),
    "date that is none": ("zones:\n  top: 2001-02-30\n", 2, "zones.top", "expected a whole number, found '2001-02-30'"),
    "object of Python": (
        "zones:\n  top: !!python/name:os.system x\n",
        2,
        "zones.top",
        "expected a whole number, found 'x'",
    ),
    "ratio of none": ("zones:\n  failure_ratio_threshold: 0\n", 2, "zones.failure_ratio_threshold", "found 0.0"),
    "ratio in percent": (
        "zones:\n  failure_ratio_threshold: 10\n",
        2,
        "zones.failure_ratio_threshold",
        "expected a ratio above 0 and at most 1, found 10.0",
    ),
    "yes for a ratio": (
        "zones:\n  failure_ratio_threshold: yes\n",
        2,
        "zones.failure_ratio_threshold",
        "expected a number, found 'yes'",
    ),
    "ratio that is no number": (
        "zones:\n  failure_ratio_threshold: .nan\n",
        2,
        "zones.failure_ratio_threshold",
        "found nan",
    ),
    "ratio of a zone": (
        "zones:\n  configured:\n    - name: a.example\n      failure_ratio_threshold: 1.1\n",
        4,
        "zones.configured[0].failure_ratio_threshold",
        "expected a ratio above 0 and at most 1",
    ),
    "zone without a name": (
        "zones:\n  configured:\n    - min_queries: 1\n",
        3,
        "zones.configured[0].name",
        "missing, and has no default",
    ),
    "zone twice": (
        "zones:\n  top: 5\n  configured:\n    - name: a.example\n    - name: A.EXAMPLE.\n",
        4,
        "zones.configured",
        "zone a.example is given twice",
    ),
    "zone with an empty label": (
        "zones:\n  configured:\n    - name: a..example\n",
        3,
        "zones.configured[0].name",
        "expected the name of a zone, such as example.com, found 'a..example'",
    ),
    "zone with a long label": (
        f"zones:\n  configured:\n    - name: {'a' * 64}.example\n",
        3,
        "zones.configured[0].name",
        "expected the name of a zone",
    ),
    "failure that is no response code": (
        "zones:\n  failures: [SERVFAIL, SERVFAIL2]\n",
        2,
        "zones.failures",
        "expected response codes such as SERVFAIL or unanswered, found 'SERVFAIL2'",
    ),
    "address with a port": (
        "servers:\n  configured:\n    - 192.0.2.1\n    - 192.0.2.1:53\n",
        4,
        "servers.configured[1]",
        "expected an IPv4 or IPv6 address, or a mapping with name and addresses, found '192.0.2.1:53'",
    ),
    "server with a bad address": (
        "servers:\n  configured:\n    - name: cache1\n      addresses: [192.0.2.1, cache1.example]\n",
        4,
        "servers.configured[0].addresses[1]",
        "expected an IPv4 or IPv6 address, found 'cache1.example'",
    ),
    "server without an address": (
        "servers:\n  configured:\n    - name: cache1\n      addresses: []\n",
        4,
        "servers.configured[0].addresses",
        "expected one address or more",
    ),
    "server called other": (
        "servers:\n  configured:\n    - name: other\n      addresses: [192.0.2.1]\n",
        3,
        "servers.configured[0].name",
        "'other' is the label of all servers that are not shown",
    ),
    "server called as an address": (
        "servers:\n  configured:\n    - name: 192.0.2.2\n      addresses: [192.0.2.1]\n",
        3,
        "servers.configured[0].name",
        "expected a name, found the address 192.0.2.2",
    ),
    "server with an odd name": (
        "servers:\n  configured:\n    - name: 2001:db8::x\n      addresses: [192.0.2.1]\n",
        3,
        "servers.configured[0].name",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found '2001:db8::x'",
    ),
    "site with a slash": (
        "archive:\n  path: /srv/archive\n  site: a/b\n",
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found 'a/b'",
    ),
    "site with dots": (
        "archive:\n  path: /srv/archive\n  site: ..\n",
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found '..'",
    ),
    "site with an equals sign": (
        "archive:\n  path: /srv/archive\n  site: day=1\n",
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found 'day=1'",
    ),
    "site with a percent sign": (
        "archive:\n  path: /srv/archive\n  site: a%2Fb\n",
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found 'a%2Fb'",
    ),
    "site with a line feed": (
        'archive:\n  path: /srv/archive\n  site: "a\\nb"\n',
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found 'a\\nb'",
    ),
    "site with no name": (
        'archive:\n  path: /srv/archive\n  site: ""\n',
        3,
        "archive.site",
        "expected up to 63 letters, digits, dots, hyphens and underscores, found ''",
    ),
    "server twice": (
        "servers:\n  configured:\n    - {name: a, addresses: [192.0.2.1]}\n    - {name: a, addresses: [192.0.2.2]}\n",
        3,
        "servers.configured",
        "server a is given twice",
    ),
    "address of two servers": (
        "servers:\n  configured:\n    - {name: a, addresses: ['2001:db8::1']}\n    - 2001:DB8::0:1\n",
        3,
        "servers.configured",
        "address 2001:db8::1 is given twice",
    ),
    "servers and addresses twice": (
        "servers:\n  configured:\n    - {name: a, addresses: [192.0.2.1]}\n    - {name: a, addresses: [192.0.2.1]}\n"
        "    - 192.0.2.2\n    - 192.0.2.2\n",
        3,
        "servers.configured",
        "server a and server 192.0.2.2 and address 192.0.2.1 are given twice",
    ),
    "server that is a group": (
        "servers:\n  configured:\n    - ff02::fb\n",
        3,
        "servers.configured[0]",
        "expected the address of one host, or a mapping with name and addresses, found 'ff02::fb'",
    ),
    "port that is none": (
        "servers:\n  excluded_ports: [137, 65536]\n",
        2,
        "servers.excluded_ports",
        "expected ports from 1 to 65535, found 65536",
    ),
    "listen without a port": ("listen: 127.0.0.1\n", 1, "listen", "expected host:port"),
    "listen on a large port": ("listen: 127.0.0.1:65536\n", 1, "listen", "expected host:port"),
    "listen on bare IPv6": ("listen: '::1:9953'\n", 1, "listen", "expected host:port"),
    "source without a path": (
        "sources:\n  zeek:\n    - sensor: a\n",
        3,
        "sources.zeek[0].path",
        "missing, and has no default",
    ),
    "source with an empty path": (
        'sources:\n  zeek:\n    - path: ""\n',
        3,
        "sources.zeek[0].path",
        "expected a path, found nothing",
    ),
    "source without any path": (
        "sources:\n  zeek:\n    - path:\n",
        3,
        "sources.zeek[0].path",
        "expected a path, found nothing",
    ),
    "archive in an object store": (
        "archive:\n  path: s3a://bucket/dns\n",
        2,
        "archive.path",
        "expected a path of this machine, found the URI 's3a://bucket/dns'",
    ),
    "time without a unit": (
        "store:\n  retention: 30\n",
        2,
        "store.retention",
        "expected a duration such as 90s, 5m, 12h or 30d, found '30'",
    ),
    "time too short": ("store:\n  retention: 5m\n", 2, "store.retention", "expected at least 1h"),
    "size without a unit": (
        "store:\n  max_size: 500\n",
        2,
        "store.max_size",
        "expected a size such as 500MB or 10GiB, found '500'",
    ),
    "size too small": ("store:\n  max_size: 1MB\n", 2, "store.max_size", "expected at least 100MB"),
    "YAML with a tab": ("zones:\n\ttop: 5\n", 2, "", "not valid YAML"),
    "YAML without an end": ("listen: [a\n", 2, "", "not valid YAML"),
    "YAML of two documents": ("listen: a:1\n---\nlisten: a:2\n", 2, "", "not valid YAML"),
    "key that is a list": ("[a]: b\n", 1, "", "expected a plain key, found a list"),
    "NUL byte": ("listen: a:1\n\0\n", 2, "", "not valid YAML"),
    "unknown anchor": ("listen: *a\n", 1, "", "not valid YAML"),
}


def check(path: Path) -> int:
    return main(["-c", str(path), "check-config"])


class TestMistake:
    @pytest.mark.parametrize("case", MISTAKES)
    def test_is_told_with_file_line_and_key(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
    ) -> None:
        text, line, key, words = MISTAKES[case]
        path = tmp_path / "dnsvigil.yml"
        path.write_text(text)
        assert check(path) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"dnsvigil: {path}:{line}: {f'{key}: ' if key else ''}")
        assert words in captured.err
        assert captured.err.count("\n") == 1

    def test_ends_every_command(self, tmp_path: Path) -> None:
        path = tmp_path / "dnsvigil.yml"
        path.write_text("zones:\n  topp: 5\n")
        for command in (["check-config"], ["metrics"], ["run"], ["ingest", str(path)]):
            ended = subprocess.run(
                [sys.executable, "-m", "dnsvigil", "--state", tmp_path / "state", "-c", path, *command],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ended.returncode, ended.stdout) == (2, "")
            assert ended.stderr == f"dnsvigil: {path}:2: zones.topp: unknown key, did you mean 'top'?\n"
        assert not (tmp_path / "state").exists()

    @pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "a folder"])
    def test_in_the_file_itself(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | str | None
    ) -> None:
        path = tmp_path / "dnsvigil.yml"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content:
            path.mkdir()
        assert check(path) == 2
        assert capsys.readouterr().err.startswith(f"dnsvigil: {path}: cannot be read: ")

    def test_in_the_web_configuration_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, web = tmp_path / "dnsvigil.yml", tmp_path / "web.yml"
        path.write_text(f"web_config_file: {web}\n")
        web.write_text("\nbasic_auth_userz: {}\n")
        assert check(path) == 2
        assert f"{web}:2: basic_auth_userz" in capsys.readouterr().err


class TestWithout:
    def test_mistakes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "dnsvigil.yml"
        path.write_text(FULL.replace("web_config_file: /etc/dnsvigil/web.yml\n", ""))
        assert check(path) == 0
        assert capsys.readouterr().out == f"{path}: no mistakes found\n"

    @pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n"])
    def test_content_the_defaults_serve(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "dnsvigil.yml"
        path.write_text(text)
        assert load_config(path) == Config()

    def test_a_file_the_defaults_serve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "dnsvigil.yml"
        monkeypatch.setattr("dnsvigil.config.collector.DEFAULT_PATH", path)
        assert load_config(None) == Config()
        path.write_text("listen: 127.0.0.1:1\n")
        assert load_config(None).listen == "127.0.0.1:1"


def test_every_key(tmp_path: Path) -> None:
    path = tmp_path / "dnsvigil.yml"
    path.write_text(FULL)
    config = load_config(path)
    assert config.listen == "[::1]:9953"
    assert config.web_config_file == Path("/etc/dnsvigil/web.yml")
    assert config.sources.zeek == [
        ZeekSource(Path("/var/log/sensors/*/current")),
        ZeekSource(Path("/opt/zeek/logs/current"), "fra-1", Path("/srv/archive")),
    ]
    assert (config.servers.top, config.servers.names) == (5, ["192.0.2.53", "2001:db8::53"])
    assert (config.zones.top, config.zones.failure_ratio_threshold, config.zones.min_queries) == (100, 0.2, 50)
    assert config.zones.failures == ["SERVFAIL", "unanswered"]
    assert config.zones.configured == [Zone(ZoneName("bank.example"), 1.0, 10), Zone(ZoneName("example.com"))]
    assert (config.store.retention, config.store.max_size) == (9 * 86400, 2 * 2**30)


def test_a_client_of_ipv6_is_the_prefix_that_its_network_has(tmp_path: Path) -> None:
    path = tmp_path / "dnsvigil.yml"
    path.write_text("detectors: {client_prefixes: {2001:db8::/32: 56, 2001:db8:ff::/48: 48}}\n")
    client_of = load_config(path).detectors.client_of
    for client, name in {
        "192.0.2.1": "192.0.2.1",
        "2001:db9:1:203:4::5": "2001:db9:1:203::/64",
        "fd00::1:2:3:4": "fd00::/64",
        "2001:db8:1:203:4::5": "2001:db8:1:200::/56",
        "2001:db8:1:203::/64": "2001:db8:1:200::/56",
        "2001:db8:ff:203::5": "2001:db8:ff::/48",
        "2001:db9::/48": "2001:db9::/48",
        "fe80::1": "fe80::1",
        "::1": "::1",
        "::ffff:192.0.2.1": "::ffff:192.0.2.1",
        "fe80::1%eth0": "fe80::1%eth0",
        "no:address": "no:address",
    }.items():
        assert client_of(client) == name


@pytest.mark.parametrize(
    "given", ["192.0.2.0/24: 24", "2001:db8::1/32: 56", "2001:db8::/32: 31", "2001:db8::/32: 129", "none: 64"]
)
def test_prefixes_of_clients_that_cannot_be(tmp_path: Path, given: str) -> None:
    path = tmp_path / "dnsvigil.yml"
    path.write_text(f"detectors:\n  client_prefixes: {{{given}}}\n")
    with pytest.raises(ConfigError, match=r":2: detectors\.client_prefixes: expected (networks|lengths)"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43200), ("30d", 2592000), ("1h30m", 5400), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("1B", 1), ("500MB", 500 * 10**6), ("10 GB", 10**10), ("2GiB", 2**31), ("3KiB", 3072), ("1TB", 10**12)],
)
def test_sizes(text: str, count: int) -> None:
    assert Size.parse(text) == count


def test_zone_is_as_on_the_wire() -> None:
    assert ZoneName.parse("BÜCHER.example.") == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((Duration, text) for text in ("", "5", "m", "1.5h", "5 m", "-5m", "5M", "5m x")),
        *((Size, text) for text in ("", "5", "GB", "1.5GB", "-1GB", "1gb", "1iB", "1 B B")),
        *((Address, text) for text in ("", "example.com", "192.0.2.256", "192.0.2.0/24", "[::1]")),
        *((Listen, text) for text in ("", ":", "host", "host:", "host:x", "host:123456", "[::1]", "a:b:1")),
        *((ZoneName, text) for text in ("", ".", "a..b", ".a", "ü" * 64, "x" * 64, ".".join(["x" * 60] * 5))),
    ],
)
def test_texts_that_say_nothing(kind: type[Duration | Size | Address | Listen | ZoneName], text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        kind.parse(text)


@dataclass(frozen=True)
class Kinds:
    """One field of each kind that the files know."""

    flag: bool = False
    text: str = ""
    ratio: float = 0.0
    choice: Literal["a", "b"] = "a"
    optional: int | None = 1
    numbers: dict[str, int] | None = None


class TestKinds:
    def read(self, tmp_path: Path, text: str) -> Kinds:
        path = tmp_path / "file.yml"
        path.write_text(dedent(text))
        return load(path, Kinds)

    def test_are_read(self, tmp_path: Path) -> None:
        text = """
            flag: true
            text: 5
            ratio: 1
            choice: b
            optional: ~
            numbers: {x: 1, y: 0x10}
            """
        assert self.read(tmp_path, text) == Kinds(True, "5", 1.0, "b", None, {"x": 1, "y": 16})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("flag: 1", "1: flag: expected true or false, found '1'"),
            ("flag: 'true'", "1: flag: expected true or false, found 'true'"),
            ("text:", "1: text: expected text, found nothing"),
            ("text: {}", "1: text: expected text, found a mapping"),
            ("ratio: high", "1: ratio: expected a number, found 'high'"),
            ("choice: c", "1: choice: expected one of a, b, found 'c'"),
            ("numbers: {x: 1, x: 2}", "1: numbers.x: given twice"),
            ("numbers: [1]", "1: numbers: expected a mapping of keys to values, found a list"),
            ("numbers:\n  x: a", "2: numbers.x: expected a whole number, found 'a'"),
        ],
    )
    def test_that_do_not_fit(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.read(tmp_path, text)
        assert str(caught.value) == f"{tmp_path / 'file.yml'}:{message}"


class TestDetectors:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("disabled: [sees]", "detectors.disabled: no detector 'sees' is installed; there are "),
            ("thresholds: {sees: 0.6}", "detectors.thresholds: no detector 'sees' is installed"),
            ("lists: /none/here", "detectors.lists: /none/here is not a folder"),
        ],
    )
    def test_that_are_not_there_are_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
    ) -> None:
        path = tmp_path / "dnsvigil.yml"
        path.write_text(f"detectors: {{{text}}}\n")
        assert check(path) == 2
        assert says in capsys.readouterr().err


# Files made to stop the program


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 20_000, "too deep within each other"),
        ("a: " + "[" * 5_000 + "]" * 5_000, "too deep within each other"),
        ("sources: &a\n  zeek: [*a]\n", "unknown key"),
        (
            "zones:\n  failures:\n"
            + "".join(f"    - &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)),
            "expected text",
        ),
        ("store: {retention: " + "9" * 5000 + "d}", "store.retention"),
        ("zones: {top: " + "9" * 5000 + "}", "zones.top"),
    ],
)
def test_a_file_made_to_stop_the_program_is_a_mistake_like_any_other(tmp_path, text, says):
    path = tmp_path / "dnsvigil.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_config(path)


def test_a_configuration_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, says in ((tmp_path / "fifo", "a FIFO"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(ConfigError, match=says):
            load_config(path)
