"""Lists that an operator drops in a directory: every form, what is wrong in them, and what changes."""

import gzip
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.blocklists.list_file import ListFile

PLAIN = """\
# a list
bad.example
 spaced.example
*.wild.example
.dotted.example
Upper.EXAMPLE.
with-comment.example # seen in May
bücher.example
"""
HOSTS = """\
127.0.0.1 localhost
127.0.0.1 localhost.localdomain
::1 localhost ip6-localhost
0.0.0.0 one.example
127.0.0.1\ttwo.example three.example # both
0.0.0.0 0.0.0.0
"""
POLICY = """\
$TTL 300
$ORIGIN rpz.local.
@ SOA ns.rpz.local. hostmaster.rpz.local. (
    1 3600
600 86400 300 )
  NS ns.rpz.local.
bad.example CNAME .
bad2.example 300 IN CNAME *.
*.sub.example IN CNAME .
good.example CNAME rpz-passthru.
walled.example A 192.0.2.1
absolute.example.rpz.local. CNAME rpz-drop.
elsewhere.example. CNAME .
32.1.2.0.192.rpz-ip CNAME .
ns.bad.example.rpz-nsdname CNAME .
$ORIGIN com.rpz.local.
evil CNAME .
www.evil2 CNAME .
"""
MISP = """\
uuid,event_id,category,type,value,comment,to_ids,date
1,7,"Network activity",domain,bad.example,"a ""quoted"", comment",1,20250101
2,7,"Network activity",hostname,www.other.example,,1,20250101
3,7,"Network activity",domain|ip,both.example|192.0.2.1,,1,20250101
4,7,"Network activity",ip-dst,192.0.2.1,,1,20250101
5,7,"Network activity",domain,good.example,,0,20250101
6,7
"""
MALTRAIL = """\
# Copyright somebody
# Reference: https://example.org/report

bad.example
/admin.php
192.0.2.7:8080
192.0.2.8
other.example/gate.php
"""


def lists(folder: Path, **contents: str | bytes) -> DomainLists:
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    found = DomainLists(folder)
    found.reload()
    return found


def only(found: DomainLists) -> ListFile:
    (file,) = found.files
    return file


def hit(found: DomainLists, *names: str) -> list[str]:
    return sorted(found.match(names))


class TestForms:
    def test_plain(self, tmp_path: Path) -> None:
        found = lists(tmp_path, plain=PLAIN)
        names = ["bad.example", "spaced.example", "wild.example", "dotted.example", "upper.example"]
        names += ["with-comment.example", "xn--bcher-kva.example"]
        assert hit(found, *names, "good.example", "example") == sorted(names)
        assert (only(found).names, only(found).skipped) == (7, {})

    def test_hosts(self, tmp_path: Path) -> None:
        found = lists(tmp_path, hosts=HOSTS)
        names = ["one.example", "two.example", "three.example"]
        assert hit(found, *names, "localhost.localdomain") == sorted(names)
        assert (only(found).names, only(found).skipped) == (3, {"address": 1})

    def test_policy_zone(self, tmp_path: Path) -> None:
        found = lists(tmp_path, zone=POLICY)
        names = ["bad.example", "bad2.example", "sub.example", "walled.example", "absolute.example"]
        names += ["evil.com", "www.evil2.com"]
        assert hit(found, *names, "good.example", "rpz.local", "ns.rpz.local", "evil2.com") == sorted(names)
        assert only(found).names == 7
        assert only(found).skipped == {"passed_through": 1, "not_in_zone": 1, "not_a_name": 2}

    def test_misp(self, tmp_path: Path) -> None:
        found = lists(tmp_path, csv=MISP)
        names = ["bad.example", "www.other.example", "both.example"]
        assert hit(found, *names, "good.example", "other.example") == sorted(names)
        assert (only(found).names, only(found).skipped) == (4, {"not_for_detection": 1, "not_a_row": 1})

    def test_maltrail(self, tmp_path: Path) -> None:
        found = lists(tmp_path, emotet=MALTRAIL)
        asked = ["bad.example", "other.example", "192.0.2.7", "192.0.2.8", "192.0.2.9"]
        assert hit(found, *asked) == ["192.0.2.7", "192.0.2.8", "bad.example"]
        assert (only(found).names, only(found).skipped) == (3, {"url": 2})

    @pytest.mark.parametrize("content", [PLAIN, HOSTS, POLICY, MISP, MALTRAIL])
    def test_with_the_ends_of_lines_that_windows_has(self, tmp_path: Path, content: str) -> None:
        found = lists(tmp_path, list=content)
        (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
        before = only(found)
        assert found.reload()
        assert (only(found).names, only(found).skipped) == (before.names, before.skipped)

    def test_compressed(self, tmp_path: Path) -> None:
        assert hit(lists(tmp_path, list=gzip.compress(PLAIN.encode())), "bad.example") == ["bad.example"]


class TestMatch:
    def test_a_name_counts_once(self, tmp_path: Path) -> None:
        found = lists(tmp_path, a="bad.example\nother.example\n" * 100)
        assert len(found) == only(found).names == 2

    def test_subdomains_and_what_only_looks_like_one(self, tmp_path: Path) -> None:
        found = lists(tmp_path, a="bad.example\n")
        asked = ["a.b.bad.example", "bad.example", "notbad.example", "bad.example.org", "example", "."]
        assert hit(found, *asked) == ["a.b.bad.example", "bad.example"]

    def test_says_the_longest_entry_and_every_list_that_has_it(self, tmp_path: Path) -> None:
        found = lists(tmp_path, a="www.bad.example\n", b="bad.example\nwww.bad.example\n", c="bad.example\n")
        (listed,) = found.match(["x.www.bad.example"]).values()
        assert (listed.entry, listed.lists) == ("www.bad.example", ("a", "b"))

    def test_addresses_and_networks(self, tmp_path: Path) -> None:
        found = lists(
            tmp_path, a="203.0.113.7\n2001:DB8::0:7\n198.51.100.0/25 ; SBL1\n2001:db8:1::/48\n", b="203.0.113.0/24\n"
        )
        expected = {
            "203.0.113.7": ("203.0.113.7", ("a",)),
            "203.0.113.8": ("203.0.113.0/24", ("b",)),
            "198.51.100.127": ("198.51.100.0/25", ("a",)),
            "2001:db8::7": ("2001:db8::7", ("a",)),
            "2001:db8:1:2::3": ("2001:db8:1::/48", ("a",)),
            "2001:db8:1::/48": ("2001:db8:1::/48", ("a",)),
        }
        others = [
            "198.51.100.128",
            "2001:db8::8",
            "2001:db8:2::1",
            "203.0.113",
            "203.0.113.7.example",
            "1.2.3.4.5",
            ":",
        ]
        matched = found.match([*expected, *others])
        assert {text: (each.entry, each.lists) for text, each in matched.items()} == expected
        assert found.has_addresses and not lists(tmp_path, a="bad.example\n", b="").has_addresses

    @pytest.mark.parametrize(
        "entry", ["0.0.0.0/0", "128.0.0.0/1", "10.1.2.3", "192.168.0.0/16", "::/0", "fe80::1", "127.0.0.1"]
    )
    def test_local_and_very_large_networks_are_left_out(self, tmp_path: Path, entry: str) -> None:
        found = lists(tmp_path, a=f"{entry}\n")
        assert not found.has_addresses and only(found).skipped == {"address": 1}

    def test_no_list_no_match(self, tmp_path: Path) -> None:
        assert lists(tmp_path).match(["bad.example"]) == {}


class TestReload:
    def test_takes_up_what_is_new_changed_and_gone(self, tmp_path: Path) -> None:
        found = lists(tmp_path, a="one.example\n", b="two.example\n")
        assert not found.reload()
        (tmp_path / "a").write_text("three.example\nfour.example\n")
        (tmp_path / "b").unlink()
        (tmp_path / "c").write_text("one.example\n")
        assert found.reload()
        assert hit(found, "one.example", "two.example", "three.example") == ["one.example", "three.example"]
        assert [(file.name, file.names) for file in found.files] == [("a", 2), ("c", 1)]
        assert len(found) == 3

    def test_leaves_files_alone_that_are_not_finished(self, tmp_path: Path) -> None:
        found = lists(tmp_path, **{".a.swp": "bad.example\n", "a.tmp": "bad.example\n", "a~": "bad.example\n"})
        assert not found.files

    def test_keeps_what_it_has_of_a_list_that_cannot_be_read_any_more(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = lists(tmp_path, a="bad.example\n")
        (tmp_path / "a").unlink()
        # A file of /proc that opens and then cannot be read stands for a disk that fails.
        (tmp_path / "a").symlink_to(f"/proc/{os.getpid()}/mem")
        for _ in range(2):
            assert not found.reload()
        assert hit(found, "bad.example") == ["bad.example"]
        assert only(found).error and only(found).names == 1
        assert len(caplog.records) == 1
        (tmp_path / "a").unlink()
        (tmp_path / "a").write_text("bad2.example\n")
        assert found.reload()
        assert (hit(found, "bad2.example", "bad.example"), only(found).error) == (["bad2.example"], "")

    def test_reads_a_list_as_soon_as_it_can_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(path: Path) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("dnsvigil.sources.blocklists.list_file.DecompressedFile", fail)
            found = lists(tmp_path, a="bad.example\n")
        assert (only(found).error, only(found).names) == ("Input/output error", 0)
        assert found.reload()
        assert (only(found).error, hit(found, "bad.example")) == ("", ["bad.example"])


class TestBadInput:
    @pytest.mark.parametrize("seed", range(5))
    def test_garbage_is_counted_and_the_rest_used(self, tmp_path: Path, seed: int) -> None:
        noise = random.Random(seed)
        names = [f"name{n}.example" for n in range(2000)]
        lines = [name.encode() for name in names]
        garbage = 0
        for _ in range(500):
            junk = bytes(noise.randrange(128, 256) for _ in range(noise.randrange(1, 80)))
            lines.insert(noise.randrange(len(lines)), b"!!".join((b"?", junk)).replace(b"\n", b"?"))
            garbage += 1
        found = lists(tmp_path, list=b"\n".join(lines))
        assert len(hit(found, *names)) == 2000
        assert only(found).names == 2000
        assert only(found).skipped.total() == garbage

    def test_an_endless_line_takes_no_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "list"
        with path.open("wb") as file:
            file.write(b"one.example\n")
            for _ in range(40):
                file.write(b"x" * 2**20)
            file.write(b"\ntwo.example\n")
        tracemalloc.start()
        found = DomainLists(tmp_path)
        found.reload()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12 * 2**20
        assert hit(found, "one.example", "two.example") == ["one.example", "two.example"]
        assert only(found).skipped == {"too_long": 1}

    def test_a_compressed_list_that_breaks_off_gives_whole_names_only(self, tmp_path: Path) -> None:
        noise = random.Random(1)
        names = [f"{noise.getrandbits(64):x}.example.com" for _ in range(20_000)]
        packed = gzip.compress("\n".join(names).encode())
        for cut in range(len(packed) // 2, len(packed) // 2 + 300, 60):
            found = lists(tmp_path, list=packed[:cut])
            assert 5000 < len(found) == len(hit(found, *names)) < 15_000
            assert only(found).skipped == {"truncated": 1}

    def test_more_names_than_there_is_room_for(self, tmp_path: Path) -> None:
        (tmp_path / "list").write_text("".join(f"name{n}.example\n" for n in range(100)))
        found = DomainLists(tmp_path, max_names=60)
        found.reload()
        assert (len(found), only(found).names, only(found).skipped) == (60, 60, {"too_many": 40})

    def test_room_is_free_again_when_a_list_is_gone(self, tmp_path: Path) -> None:
        found = DomainLists(tmp_path, max_names=60)
        for name in ("one", "two"):
            (tmp_path / name).write_text("".join(f"{name}{n}.example\n" for n in range(50)))
            found.reload()
        assert len(found) == 60
        (tmp_path / "one").unlink()
        (tmp_path / "two").write_text("".join(f"two{n}.example\n" for n in range(55)))
        found.reload()
        assert (len(found), only(found).skipped) == (55, {})

    def test_an_endless_list_takes_no_more_than_its_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dnsvigil.sources.blocklists.list_file._AT_ONCE", 1000)
        (tmp_path / "list").write_text("".join(f"name{n}.example\n" for n in range(100_000)))
        found = DomainLists(tmp_path, max_names=500)
        tracemalloc.start()
        found.reload()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (len(found), only(found).skipped) == (500, {"too_many": 99_500})
        assert peak < 20 * 2**20  # most of it for the piece that is read

    def test_a_directory_that_cannot_be_read_leaves_all_lists(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = lists(tmp_path, a="bad.example\n")

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "scandir", fail)
        with pytest.raises(OSError, match="Input/output"):
            found.reload()
        assert hit(found, "bad.example") == ["bad.example"]

    def test_an_empty_file_and_a_binary_one(self, tmp_path: Path) -> None:
        found = lists(tmp_path, empty=b"", binary=bytes(range(256)) * 100)
        assert len(found) == 0
        assert found.files[0].skipped.total() > 0
