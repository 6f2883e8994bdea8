"""Bars for long work."""

import sys
import time

import pytest

from dnsvigil.cli import progress


def test_what_others_do_is_shown_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
    asked: list[int] = []

    def status() -> tuple[int, int]:
        asked.append(len(asked))
        return min(len(asked), 4), 8

    with progress.polled("tasks", status):
        time.sleep(0.05)
    assert (capsys.readouterr().err, asked) == ("", [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.polled("tasks", status):
        deadline = time.monotonic() + 10
        while len(asked) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "tasks" in capsys.readouterr().err
    calls = len(asked)
    time.sleep(0.05)
    assert len(asked) == calls >= 8
