"""Renders the templates: everything in them is escaped, and what cannot be seen is made visible."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dnsvigil import __version__
from dnsvigil.web import svg, text
from dnsvigil.web.assets import asset_url
from dnsvigil.web.links import unicode_of
from dnsvigil.web.passive_dns import TYPES


@cache
def environment() -> Environment:
    """Return the templates with what all of them may call. A value that is missing is an error, never a gap."""
    made = Environment(
        loader=PackageLoader("dnsvigil.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.visible,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "svg": svg,
        "asset_url": asset_url,
        "version": __version__,
        "unicode_of": unicode_of,
        "record_types": TYPES,
    }
    for each in (text.moment, text.iso_moment, text.span, text.count, text.percent, text.brief, text.date):
        made.filters[each.__name__] = each
    return made


def rendered(template: str, **values: Any) -> str:
    """Return a template with its values."""
    return environment().get_template(template).render(**values)
