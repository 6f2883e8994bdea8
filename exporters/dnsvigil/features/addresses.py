"""The networks that addresses lie in, from their text, with the functions that every engine has."""

from typing import Final

import ibis
import ibis.expr.types as ir

IPV4: Final = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"
IPV6: Final = r"^[0-9a-f:]*:[0-9a-f:.]*$"

LEVELS: Final = {4: (8, 16, 24), 6: (32, 48, 64)}
"""The lengths of the prefixes of each family, the shortest first."""


def networks(rows: ir.Table) -> ir.Table:
    """Add the networks of ``rows.address``, of the ``family`` 4 or 6: ``network_0`` to ``network_2``, as of ``LEVELS``.

    They are texts. Two addresses of one family have the same exactly where they are in the same network. IPv6 addresses
    are in the form of RFC 5952.
    """
    columns = rows.columns
    halves = rows.address.split("::")
    t = rows.mutate(four=rows.address.split("."), front=halves[0].split(":"), behind=halves[1].fill_null("").split(":"))
    # Beside what stands behind "::": the groups in front of it, and zeros between.
    t = t.mutate(
        headed=ibis.ifelse(t.front[0] == "", 0, t.front.length()),
        begin=8 - ibis.ifelse(t.behind[0] == "", 0, t.behind.length()),
    )
    groups = [
        ibis.cases((t.headed > place, t.front[place]), (t.begin <= place, t.behind[place - t.begin]), else_="0")
        for place in range(4)
    ]
    t = t.mutate(six=ibis.array(groups))
    texts = [
        ibis.ifelse(t.family == 4, t.four[: level + 1].join("."), t.six[: level + 2].join(":")) for level in range(3)
    ]
    return t.select(*columns, **{f"network_{level}": text for level, text in enumerate(texts)})
