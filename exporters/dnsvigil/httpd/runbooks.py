"""Serves the runbooks of the alerts: every page of ``docs/runbooks``, and a list of them."""

import html
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from dnsvigil.httpd.routes import Handler, Response

FOLDER = Path(__file__).parents[1] / "runbooks"
"""In a checkout a link to docs/runbooks, in an installed package a copy of it."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem }}
code {{ background: #f0f0f0; padding: 0 .2rem }} pre {{ background: #f0f0f0; overflow-x: auto; padding: .5rem 1rem }}
pre code {{ padding: 0 }} table {{ border-collapse: collapse }}
th, td {{ padding: .2rem 1rem .2rem 0; text-align: left }}
</style>
{body}
</html>
"""


def names() -> list[str]:
    """Return the names of the runbooks."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def index() -> str:
    """Return the page with links to all runbooks."""
    items = "\n".join(f'<li><a href="{html.escape(name)}">{html.escape(name)}</a></li>' for name in names())
    title = "Runbooks of dnsvigil"
    return _PAGE.format(title=title, body=f"<h1>{title}</h1>\n<ul>\n{items}\n</ul>")


def page(name: str) -> str:
    """Return the page of a runbook, one of :func:`names`."""
    return _PAGE.format(title=html.escape(name), body=f'<p><a href="./">All runbooks</a></p>\n{_rendered(name)}')


def runbook_routes() -> Mapping[str, Handler]:
    """Return the handlers of ``/runbooks/`` and of each ``/runbooks/NAME``, for :func:`~dnsvigil.httpd.routes.routes`.

    Only files that are there now have a path, so no request can name another.
    """

    def respond(make: Callable[[], str], _: object) -> Response:
        return Response(200, {"Content-Type": "text/html; charset=utf-8"}, make().encode())

    return {
        "/runbooks": lambda _: Response(308, {"Location": "runbooks/"}, b""),
        "/runbooks/": partial(respond, index),
        **{f"/runbooks/{name}": partial(respond, partial(page, name)) for name in names()},
    }


@cache
def _rendered(name: str) -> str:
    from markdown_it import MarkdownIt  # a program that nobody asks for a runbook does without it

    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((\w+)\.md\)", r"](\1)", text)
    text = re.sub(r"\[([^]]+)\]\(\.\./([^)#]+)[^)]*\)", r"\1 (docs/\2)", text)  # a page that is not served
    rendered: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return rendered
