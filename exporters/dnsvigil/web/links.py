"""Links from every value to its page, relative to the page that they stand on."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from markupsafe import Markup

from dnsvigil.web.idn import in_unicode
from dnsvigil.web.masks import masked
from dnsvigil.web.text import visible
from dnsvigil.web.viewer import Viewer

_KIND_OF_SUBJECT: Final = {"host": "client", "resolver": "server"}
_OF_CLIENTS: Final = ("client", "host")


class Links:
    """The links of one page."""

    def __init__(self, paths: Mapping[str, str], viewer: Viewer, path: str) -> None:
        """``paths`` has the path of the page for each kind of value, ``path`` is that of the page with the links."""
        self._paths = paths
        self._viewer = viewer
        self.root: str = "../" * (path.count("/") - 1)

    def url(self, path: str, given: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Return the URL of a path with parameters; those that are None or empty are left out."""
        parameters = {name: value for name, value in {**(given or {}), **more}.items() if value not in (None, "")}
        query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
        return f"{self.root}{path.removeprefix('/')}{query}" or "./"

    def shows(self, kind: str) -> bool:
        """Return whether there is a page for a kind of value."""
        return kind in self._paths

    def of(self, kind: str, value: str) -> str:
        """Return the URL of a value's page; its kind has one."""
        return self.url(self._paths[kind], q=value)

    def value(self, kind: str, value: str | None, text: str | None = None) -> Markup | str:
        """Return a value with a link to its page, where its kind has one; a client's address only for who may see it.

        ``kind`` is one of ``KINDS`` or the type of a finding's subject.
        """
        if value is None:
            return str(visible(None))
        if kind in _OF_CLIENTS and not self._viewer.sees_clients:
            return Markup('<span class="value">{}</span>').format(visible(masked(value)))
        kind = _KIND_OF_SUBJECT.get(kind, kind)
        shown = visible(value if text is None else text)
        beside = unicode_of(value) if text is None else ""
        if not self.shows(kind):
            return Markup('<span class="value">{}</span>{}').format(shown, beside)
        return Markup('<a class="value" href="{}">{}</a>{}').format(self.of(kind, value), shown, beside)


def unicode_of(name: str) -> Markup | str:
    """Return what stands behind a name with labels that are Unicode; nothing behind others."""
    shown = in_unicode(name)
    return Markup(' <bdi class="dim">{}</bdi>').format(shown) if shown else ""
