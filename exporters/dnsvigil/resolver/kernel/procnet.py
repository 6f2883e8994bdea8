"""The kernel's sockets from /proc/net/{tcp,tcp6,udp,udp6}, where netlink is not available.

It takes four times as long, and lacks the receive buffer and the limit of an accept queue (the send queue of a
listening socket is 0). Not ``psutil.net_connections``: see :mod:`dnsvigil.resolver.kernel.sockdiag`.
"""

import socket
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

from dnsvigil.resolver.kernel.procfs import ProcFs
from dnsvigil.resolver.kernel.sockdiag import LISTEN, Batch, Socket

_LINES: Final = 256  # in a batch


def sockets(fs: ProcFs, protocol: int, family: int, ports: frozenset[int]) -> Iterator[Batch]:
    """Yield all sockets of ``protocol`` and ``family``; a line that is broken is left out. Raises ``OSError``."""
    name = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}[protocol] + "6" * (family == socket.AF_INET6)
    with (fs.proc / "net" / name).open("rb") as lines:
        next(lines, None)
        while batch := list(islice(lines, _LINES)):
            counts: Counter[tuple[int, int, int]] = Counter()
            every: list[int] = []
            found: list[Socket] = []
            for line in batch:
                fields = line.split(None, 13)
                try:
                    port = int(fields[1].rpartition(b":")[2], 16)
                    if port in ports:
                        one = _socket(protocol, family, fields)
                        if protocol == socket.IPPROTO_UDP or one.state == LISTEN or one.receive_queue or one.send_queue:
                            found.append(one)
                        counts[family, one.state, port] += 1
                    every.append(port)
                except (ValueError, IndexError):
                    continue
            yield Batch(counts, {family: every}, found)


def _socket(protocol: int, family: int, fields: list[bytes]) -> Socket:
    address, _, port = fields[1].partition(b":")
    words = array("I", bytes.fromhex(address.decode("ascii")))
    if len(words) != (4 if family == socket.AF_INET6 else 1):
        raise ValueError(address)
    if sys.byteorder == "little":  # each word is printed as a number, but lies in network order
        words.byteswap()
    send, _, receive = fields[4].partition(b":")
    return Socket(
        family,
        state=int(fields[3], 16),
        address=words.tobytes(),
        port=int(port, 16),
        receive_queue=int(receive, 16),
        send_queue=int(send, 16),
        inode=int(fields[9]),
        drops=int(fields[12]) if protocol == socket.IPPROTO_UDP else None,
    )
