"""Following folders and looking paths up, whichever source does it."""

import os
from pathlib import Path

import pytest

from dnsvigil.sources import folders
from dnsvigil.sources.folders import Listings, Match, expand, expand_folders, files_below, stamp_of
from dnsvigil.system.files import NotAFileError


def test_the_first_wildcard_gives_the_part(tmp_path: Path) -> None:
    for name in ("b/logs/x", "a/logs/y"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    assert expand(tmp_path / "*" / "logs" / "*") == [
        Match(tmp_path / "a" / "logs" / "y", "a"),
        Match(tmp_path / "b" / "logs" / "x", "b"),
    ]
    assert expand(tmp_path / "a") == [Match(tmp_path / "a", None)]
    assert expand(tmp_path / "nothing") == expand(tmp_path / "c*") == []
    assert [match.part for match in expand_folders(tmp_path / "*")] == ["a", "b"]
    assert [match.part for match in expand(tmp_path / "*")] == ["a", "b", "file"]


def test_a_folder_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("folder")
    os.utime(tmp_path, (1_000_000_000, 1_000_000_000))
    listings = Listings()
    first = listings.read(tmp_path)
    assert (first.folders, first.files) == (("folder",), ("file", "link"))
    assert listings.read(tmp_path) is first
    (tmp_path / "new").touch()
    second = listings.read(tmp_path)
    assert second.files == ("file", "link", "new")
    listings.keep([])
    assert listings.read(tmp_path) is not second


def test_a_change_within_the_grain_of_the_clock_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listings = Listings()
    first = listings.read(tmp_path)
    status = tmp_path.stat()
    (tmp_path / "new").touch()
    os.utime(tmp_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert listings.read(tmp_path).files == ("new",) != first.files
    monkeypatch.setattr(folders, "_GRAIN", 0)
    (tmp_path / "newer").touch()
    os.utime(tmp_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert listings.read(tmp_path).files == ("new",)


def test_files_below_a_folder_and_a_file_itself(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / ".own").mkdir()
    for name in ("b/c/2", "b/1", "a", "b/.own/key"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "fifo")
    assert files_below(tmp_path) == [tmp_path / "a", tmp_path / "b" / "1", tmp_path / "b" / "c" / "2"]
    assert files_below(tmp_path / "a") == [tmp_path / "a"]
    assert files_below(tmp_path / "b" / ".own") == [tmp_path / "b" / ".own" / "key"]
    with pytest.raises(NotAFileError):
        files_below(tmp_path / "fifo")
    with pytest.raises(FileNotFoundError):
        files_below(tmp_path / "nothing")


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    before = stamp_of(path.stat())
    assert stamp_of(path.stat()) == before
    path.write_text("more")
    assert stamp_of(path.stat()) != before
