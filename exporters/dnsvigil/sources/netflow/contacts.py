"""Who exchanges packets with some addresses, by nfdump's own filter."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from dnsvigil.sources.netflow.dumper import search_file
from dnsvigil.sources.netflow.process import NFDumpError


def contacts(path: Path, addresses: Collection[str], nfdump: str) -> list[tuple[str, str, int, int, int]]:
    """Return client, address, flows, and the bytes that the client sent and received, those with most bytes first.

    ``addresses`` are in the form of :mod:`ipaddress`; between two of them each is the client of the other. What nfdump
    reads before it fails counts.
    """
    flows: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    received: Counter[tuple[str, str]] = Counter()
    query = f"ip in [ {' '.join(sorted(addresses))} ]"
    try:
        for flow in search_file(path, query, aggregate=["srcip", "dstip"], executable_path=nfdump):
            source, target = str(flow["srcip"]), str(flow["dstip"])
            for client, address, up, down in ((source, target, sent, received), (target, source, received, sent)):
                if address in addresses:
                    flows[client, address] += flow["flows"]
                    up[client, address] += flow["bytes"]
                    down[client, address] += flow["out_bytes"]
    except NFDumpError:
        pass  # the file's own reader has said so
    pairs = sorted(flows, key=lambda pair: (-sent[pair] - received[pair], pair))
    return [(*pair, flows[pair], sent[pair], received[pair]) for pair in pairs]
