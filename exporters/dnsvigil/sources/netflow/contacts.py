"""Who exchanges packets with some addresses, by nfdump's own filter."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final

from dnsvigil.sources.netflow.dumper import search_file
from dnsvigil.sources.netflow.process import NFDumpError

_ELEMENTS: Final = ("srcip", "srcport", "dstip", "dstport")


def contacts(path: Path, addresses: Collection[str], nfdump: str) -> list[tuple[str, str, int, int, int]]:
    """Return client, address, flows, and the bytes that the client sent and received, those with most bytes first.

    ``addresses`` are in the form of :mod:`ipaddress`. Who has the higher port is the client: scans and visits that come
    from one of them are left out. What nfdump reads before it fails counts.
    """
    flows: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    received: Counter[tuple[str, str]] = Counter()
    query = f"ip in [ {' '.join(sorted(addresses))} ]"
    try:
        for flow in search_file(path, query, aggregate=_ELEMENTS, executable_path=nfdump):
            source, target = (str(flow["srcip"]), flow["srcport"]), (str(flow["dstip"]), flow["dstport"])
            ends = ((source, target, sent, received), (target, source, received, sent))
            for (client, port), (address, served), up, down in ends:
                if address in addresses and served <= port:
                    flows[client, address] += flow["flows"]
                    up[client, address] += flow["bytes"]
                    down[client, address] += flow["out_bytes"]
    except NFDumpError:
        pass  # the file's own reader has said so
    pairs = sorted(flows, key=lambda pair: (-sent[pair] - received[pair], pair))
    return [(*pair, flows[pair], sent[pair], received[pair]) for pair in pairs]
