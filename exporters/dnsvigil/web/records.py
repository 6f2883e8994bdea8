"""Findings as a viewer may see them."""

from collections.abc import Mapping
from typing import Any

from dnsvigil.api.finding_text import sentence
from dnsvigil.web.masks import mask_texts
from dnsvigil.web.page import Asked


def shown_record(record: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Return a finding as JSON has it, with its ``sentence``, and with addresses masked for who may not see clients'.

    Any address may be a client's, but for those of configured servers and of a server that the finding is about.
    """
    shown = dict(record)
    if not asked.viewer.sees_clients:
        about = [record["subject"]] if record["subject_type"] in ("server", "resolver") else []
        servers = {*asked.config.servers.labels, *about}
        texts = {name: record[name] for name in ("subject", "evidence", "why")}
        shown |= mask_texts(texts, lambda address: address in servers)
    return shown | {"sentence": sentence(shown)}
