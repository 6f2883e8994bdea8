"""Findings as a viewer may see them."""

from collections.abc import Mapping
from typing import Any, Final

from dnsvigil.web.masks import mask_texts
from dnsvigil.web.page import Asked

_TEXTS: Final = ("subject", "what", "evidence", "why")


def shown_record(record: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Return a finding as JSON has it, with its addresses masked for who may not see those of clients.

    Any address may be a client's, but for those of configured servers and of a server that the finding is about.
    """
    if asked.viewer.sees_clients:
        return dict(record)
    about = [record["subject"]] if record["subject_type"] in ("server", "resolver") else []
    shown = {*asked.config.servers.labels, *about}
    texts = {name: record[name] for name in _TEXTS if name in record}
    return {**record, **mask_texts(texts, shown.__contains__)}
