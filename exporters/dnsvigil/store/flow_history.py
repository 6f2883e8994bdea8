"""The past of series of flows, as arrays: what baselines are made from."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from dnsvigil.records import FLOW_SLOT_SECONDS
from dnsvigil.store.store import Store

_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)

Array = npt.NDArray[np.float64]


def service_history(
    store: Store, exporter: str, series: Sequence[tuple[str, str]], slot: datetime, slots: int
) -> Array:
    """Return float64[series, 3, slots]: flows, packets and bytes up to ``slot``; NaN where there is no data.

    A slot in which the exporter had no flow at all is one without data.
    """
    found = _columns(
        store,
        "slot_services JOIN (SELECT unnest($a) AS protocol, unnest($b) AS service, unnest($numbers) AS number)"
        " USING (protocol, service)",
        ["sum(flows)", "sum(packets)", "sum(bytes)"],
        exporter,
        slot,
        slots,
        {"a": [protocol for protocol, _ in series], "b": [service for _, service in series]},
    )
    history = np.full((len(series), 3, slots), np.nan)
    history[:, :, _present(store, exporter, slot, slots)] = 0
    _scatter(history, found, (0, 1, 2))
    return history


def resolver_history(store: Store, exporter: str, resolvers: Sequence[str], slot: datetime, slots: int) -> Array:
    """Return float64[resolvers, 5, slots] of ``RESOLVER_MEASURES`` up to ``slot``; NaN where there is no data.

    There is none before a resolver was first seen, since it was then among the others.
    """
    joined = "JOIN (SELECT unnest($a) AS resolver, unnest($numbers) AS number) USING (resolver)"
    bound = {"a": list(resolvers)}
    sums = _columns(
        store,
        f"slot_resolvers {joined}",
        [
            "sum(query_packets)",
            "sum(query_bytes)",
            "sum(response_bytes)",
            "sum(CASE WHEN proto = 'tcp' THEN query_flows ELSE 0 END) / nullif(sum(query_flows), 0)",
        ],
        exporter,
        slot,
        slots,
        bound,
    )
    clients = _columns(store, f"slot_clients {joined}", ["max(clients)"], exporter, slot, slots, bound)
    history = np.full((len(resolvers), 5, slots), np.nan)
    present = _present(store, exporter, slot, slots)
    for number in range(len(resolvers)):
        columns = sums[1][sums[0] == number]
        if len(columns):
            history[number, :4, present[present >= columns.min()]] = 0
    _scatter(history, sums, (1, 2, 3, 4))
    _scatter(history, clients, (0,))
    return history


def _present(store: Store, exporter: str, slot: datetime, slots: int) -> npt.NDArray[np.int64]:
    columns = store.connection.execute(
        "SELECT DISTINCT ((epoch($slot) - epoch(slot)) / $seconds)::BIGINT AS back FROM slot_services"
        " WHERE exporter = $exporter AND slot > $first AND slot <= $slot",
        {"exporter": exporter, "slot": slot, "first": slot - slots * _SLOT, "seconds": FLOW_SLOT_SECONDS},
    ).fetchnumpy()
    return np.sort(slots - 1 - columns["back"].astype(np.int64))


def _columns(  # noqa: PLR0917
    store: Store,
    rows: str,
    values: list[str],
    exporter: str,
    slot: datetime,
    slots: int,
    bound: Mapping[str, list[str]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Array]]:
    """Return series number, column and values, one for each series and slot that has rows."""
    named = ", ".join(f"coalesce(({value})::DOUBLE, 'nan'::DOUBLE) AS v{i}" for i, value in enumerate(values))
    found = store.connection.execute(
        f"SELECT number, ((epoch($slot) - epoch(slot)) / $seconds)::BIGINT AS back, {named} FROM {rows}"
        " WHERE exporter = $exporter AND slot > $first AND slot <= $slot GROUP BY ALL",
        {
            "exporter": exporter,
            "slot": slot,
            "first": slot - slots * _SLOT,
            "seconds": FLOW_SLOT_SECONDS,
            "numbers": list(range(len(bound["a"]))),
            **bound,
        },
    ).fetchnumpy()
    column = slots - 1 - found["back"].astype(np.int64)
    return found["number"].astype(np.int64), column, [found[f"v{i}"] for i in range(len(values))]


def _scatter(
    history: Array, found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Array]], measures: Sequence[int]
) -> None:
    number, column, values = found
    for measure, value in zip(measures, values, strict=True):
        history[number, measure, column] = value
        # Who never gives a count has none in slots without flows either.
        given = np.bincount(number, np.isfinite(value), len(history)) > 0
        history[~given & (np.bincount(number, minlength=len(history)) > 0), measure] = np.nan
