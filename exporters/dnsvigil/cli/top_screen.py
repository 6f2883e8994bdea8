"""The screen of ``dnsvigil top``: one page that scrolls, a heading above it, and the keys below."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Final

import urwid

from dnsvigil.api.coverage import Picture
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.top_lines import SORTS, View, heading, lines
from dnsvigil.system.terminal import printable

_OLD: Final = "old"
_PALETTE: Final = [
    ("plain", "default", "default", "default"),
    ("title", "default,bold", "default", "bold"),
    ("head", "default,underline", "default", "underline"),
    ("good", "dark green", "default", "default"),
    ("warning", "brown", "default", "bold"),
    ("critical", "light red,bold", "default", "standout"),
    (_OLD, "dark gray", "default", "default"),
    ("bar", "white", "dark blue", "standout"),
    ("away", "white,bold", "dark red", "standout"),
]
_COLOURS: Final = 16
_KEYS: Final = "q quit  s sort: {sort}  / filter{wanted}  p pause  arrows and page keys scroll"


class Page(urwid.Frame):  # type: ignore[misc]
    """The newest picture, and the keys."""

    def __init__(self, url: str) -> None:
        """``url`` is of the collector that is asked."""
        self._url = url
        self._view = View()
        self._picture: Picture | None = None
        self._newest: Picture | CommandError | None = None  # what came while the page is paused
        self._away = ""  # why there is no newer picture
        self._since: datetime | None = None  # when the collector did not answer for the first time since it last did
        self._paused = False
        self._width = 0
        self._rows = urwid.SimpleFocusListWalker([])
        self._filter = urwid.Edit("filter: ", wrap="clip")
        self._keys = urwid.Text("", wrap="clip")
        self._actions: dict[str, Callable[[], None]] = {
            "q": self._quit,
            "Q": self._quit,
            "s": self._sort,
            "/": self._begin_filter,
            "p": self._pause,
        }
        super().__init__(urwid.ListBox(self._rows), footer=urwid.AttrMap(self._keys, "bar"))
        self._lay_out()

    def take(self, found: Picture | CommandError) -> None:
        """Show a picture; where there is none, show why, and the last one as old."""
        self._since = (self._since or datetime.now(UTC)) if isinstance(found, CommandError) else None
        if self._paused:
            self._newest = found
        else:
            self._show(found)

    def _show(self, found: Picture | CommandError) -> None:
        if isinstance(found, CommandError):
            self._away = str(found)
        else:
            self._picture, self._away = found, ""
        self._lay_out()

    def render(self, size: tuple[int, int], focus: bool = False) -> Any:
        """Draw; lines are made anew for a terminal of another width."""
        if size[0] != self._width:
            self._width = size[0]
            self._view = replace(self._view, width=size[0])
            self._lay_out()
        return super().render(size, focus)

    def keypress(self, size: tuple[int, int], key: str) -> str | None:
        """Do what a key stands for; while a filter is typed, keys are its text."""
        if self.focus_position == "footer":
            return self._type(size, key)
        if action := self._actions.get(key):
            action()
            return None
        unused: str | None = super().keypress(size, key)
        return unused

    def _type(self, size: tuple[int, int], key: str) -> str | None:
        if key in ("enter", "esc"):
            if key == "esc":
                self._filter.set_edit_text("")
            self.footer = urwid.AttrMap(self._keys, "bar")
            self.focus_position = "body"
        else:
            super().keypress(size, key)
        self._view = replace(self._view, wanted=self._filter.edit_text)
        self._lay_out()
        return None

    def _quit(self) -> None:
        raise urwid.ExitMainLoop

    def _sort(self) -> None:
        names = list(SORTS)
        self._view = replace(self._view, sort=names[(names.index(self._view.sort) + 1) % len(names)])
        self._lay_out()

    def _begin_filter(self) -> None:
        self.footer = urwid.AttrMap(self._filter, "bar")
        self.focus_position = "footer"

    def _pause(self) -> None:
        self._paused = not self._paused
        newest, self._newest = self._newest, None
        if newest is not None:
            self._show(newest)
        self._lay_out()

    def _lay_out(self) -> None:
        self.header = urwid.Pile([urwid.AttrMap(urwid.Text(text), style) for style, text in self._head()])
        wanted = f": {printable(self._view.wanted)}" if self._view.wanted else ""
        self._keys.set_text(_KEYS.format(sort=self._view.sort, wanted=wanted))
        shown = lines(self._picture, self._view) if self._picture else []
        self._rows[:] = [
            urwid.Text((_OLD if self._away else style, text), wrap="clip") for style, text in shown or [("plain", "")]
        ]

    def _head(self) -> list[tuple[str, str]]:
        shown = heading(self._picture) if self._picture else "dnsvigil top"
        head = [("bar", f"{shown}  {self._url}{'  PAUSED' if self._paused else ''}")]
        if self._away and self._since:
            head.append(("away", f"NO ANSWER since {self._since:%H:%M:%S} UTC; trying again. {printable(self._away)}"))
            head.append(("away", "This is the last picture." if self._picture else "There is no picture yet."))
        elif not self._picture:
            head.append(("bar", "Asking the collector"))
        return head


class Screen:
    """The page on the terminal of this process."""

    def __init__(self, url: str) -> None:
        self.page = Page(url)
        self._found: SimpleQueue[Picture | CommandError] = SimpleQueue()
        self._loop = urwid.MainLoop(self.page, _PALETTE, handle_mouse=False)
        colours = 1 if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else _COLOURS
        self._loop.screen.set_terminal_properties(colors=colours)
        self._pipe = self._loop.watch_pipe(self._take)

    def deliver(self, found: Picture | CommandError) -> None:
        """Show a picture, or why there is none; may be called from any thread."""
        self._found.put(found)
        os.write(self._pipe, b"\n")

    def run(self) -> None:
        """Show the page until a key ends it."""
        self._loop.run()

    def _take(self, _: bytes) -> None:
        while not self._found.empty():
            self.page.take(self._found.get())
