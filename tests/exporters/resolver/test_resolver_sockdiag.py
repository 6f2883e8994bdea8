from __future__ import annotations

import errno
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsvigil.resolver.kernel.sockdiag import LISTEN, Exchange, Socket, exchange, request, sockets

PORTS = frozenset([53, 853])
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
ESTABLISHED, TIME_WAIT, UNCONNECTED = 1, 6, 7
SKMEMINFO = 7
DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)


def message(one: Socket, *attributes: tuple[int, bytes], kind: int = 20) -> bytes:
    """What the kernel says about a socket: struct nlmsghdr, struct inet_diag_msg, attributes."""
    identity = struct.pack(">HH16s16s", one.port, 0, one.address, b"") + struct.pack("=I8s", 0, b"cookie")
    body = struct.pack("=BBBB", one.family, one.state, 0, 0) + identity
    body += struct.pack("=IIIII", 0, one.receive_queue, one.send_queue, 0, one.inode)
    if one.receive_buffer is not None:
        memory = struct.pack("=9I", 1, one.receive_buffer, 2, 3, 4, 5, 6, 7, one.drops)
        attributes = (*attributes, (SKMEMINFO, memory))
    for number, content in attributes:
        body += bytes(-len(body) % 4) + struct.pack("=HH", 4 + len(content), number) + content
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)


def answer(*datagrams: bytes) -> Exchange:
    """Return what answers any request so."""
    return lambda _: iter(datagrams)


def read(
    ask: Exchange, protocol: int = UDP
) -> tuple[Counter[tuple[int, int, int]], Counter[tuple[int, int]], list[Socket]]:
    """Return the counts on PORTS, all local ports by family, and the sockets of interest."""
    counts: Counter[tuple[int, int, int]] = Counter()
    ports: Counter[tuple[int, int]] = Counter()
    found: list[Socket] = []
    for batch in sockets(ask, b"", protocol, PORTS):
        counts.update(batch.counts)
        for family, local in batch.ports.items():
            ports.update((family, port) for port in local)
        found += batch.sockets
    return counts, ports, found


def listener(port: int = 53, **changes: int | bytes) -> Socket:
    given = {"family": socket.AF_INET, "state": UNCONNECTED, "address": bytes([127, 0, 0, 1]), "port": port}
    rest = {"receive_queue": 0, "send_queue": 0, "inode": 7, "receive_buffer": 212992, "drops": 0}
    return Socket(**{**given, **rest, **changes})  # type: ignore[arg-type]


def test_sockets_of_one_length_are_read() -> None:
    first, second = listener(receive_queue=4352, drops=3), listener(853, inode=8)
    counts, ports, found = read(answer(message(first) + message(second), message(listener(40000)) + DONE))
    assert counts == {(socket.AF_INET, UNCONNECTED, 53): 1, (socket.AF_INET, UNCONNECTED, 853): 1}
    assert ports == {(socket.AF_INET, 53): 1, (socket.AF_INET, 853): 1, (socket.AF_INET, 40000): 1}
    assert found == [first, second]


def test_messages_that_only_look_as_if_of_one_length_are_read() -> None:
    """Of 88, 96 and 168 bytes, with what looks like a header's kind and flags at every 88."""
    looks = struct.pack("=HH", 20, 2)
    first, second = listener(receive_buffer=None, drops=None), listener(receive_buffer=None, drops=None, inode=8)
    third = listener(receive_buffer=None, drops=None, inode=int.from_bytes(looks, sys.byteorder))
    datagram = message(first) + message(second, (20, looks)) + message(third, (20, bytes(76)))
    assert len(datagram) == 4 * 88
    assert read(answer(datagram, DONE))[2] == [first, second, third]


def test_quiet_tcp_connections_are_only_counted() -> None:
    quiet = listener(state=ESTABLISHED, receive_buffer=None, drops=None)
    full = listener(state=ESTABLISHED, receive_buffer=None, drops=None, send_queue=1)
    waits = listener(state=LISTEN, receive_buffer=None, drops=None, receive_queue=2, send_queue=128)
    counts, _, found = read(answer(message(quiet) * 5, message(quiet) + message(full), message(waits) + DONE), TCP)
    assert counts == {(socket.AF_INET, ESTABLISHED, 53): 7, (socket.AF_INET, LISTEN, 53): 1}
    assert found == [full, waits]


addresses = st.sampled_from([(socket.AF_INET, 4), (socket.AF_INET6, 16)]).flatmap(
    lambda family: st.tuples(st.just(family[0]), st.binary(min_size=family[1], max_size=family[1]))
)
numbers = st.integers(0, 2**32 - 1)
several = st.lists(
    st.builds(
        lambda address, state, port, receive, send, inode, memory: Socket(
            *(address[0], state, address[1], port, receive, send, inode, *memory)
        ),
        *(addresses, st.integers(1, 11), st.sampled_from([53, 853, 40000, 65535, 1])),
        *(numbers, numbers, numbers, st.tuples(numbers, numbers) | st.just((None, None))),
    ).flatmap(
        lambda one: st.tuples(st.just(one), st.lists(st.tuples(st.integers(20, 30), st.binary(max_size=9)), max_size=2))
    ),
    max_size=12,
)


@given(st.lists(several, max_size=3))
def test_any_mixture_of_messages_is_read_whole(datagrams: list[list[tuple[Socket, list[tuple[int, bytes]]]]]) -> None:
    parts = [b"".join(message(one, *more) for one, more in part) for part in datagrams]
    counts, ports, found = read(answer(*filter(None, parts), DONE))
    every = [one for part in datagrams for one, _ in part]
    assert counts == Counter((one.family, one.state, one.port) for one in every if one.port in PORTS)
    assert ports == Counter((one.family, one.port) for one in every)
    assert found == [one for one in every if one.port in PORTS]


@given(several, st.data())
def test_a_broken_answer_is_an_error_of_the_system(
    given_sockets: list[tuple[Socket, list[tuple[int, bytes]]]], data: st.DataObject
) -> None:
    whole = bytearray(b"".join(message(one, *more) for one, more in given_sockets) + DONE)
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(answer(bytes(whole[: data.draw(st.integers(0, len(whole)))])))
    except OSError:
        return


@pytest.mark.parametrize("cut", range(len(message(listener()) + DONE)))
def test_an_answer_that_is_cut_off_is_never_taken_for_a_whole_one(cut: int) -> None:
    with pytest.raises(OSError, match="netlink"):
        read(answer((message(listener()) + DONE)[:cut]))


@pytest.mark.parametrize(
    ("datagrams", "number"),
    [
        ([struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.ENOENT) + bytes(16)], errno.ENOENT),
        ([message(listener()), struct.pack("=IHHIIi", 20, 3, 2, 1, 0, -errno.EPERM)], errno.EPERM),
        ([message(listener())], errno.EBADMSG),
        ([message(listener(), kind=99) + DONE], errno.EBADMSG),
        ([message(listener(family=7)) + DONE], errno.EBADMSG),
        ([message(listener(receive_buffer=None), (11, b"")).replace(b"\4\0\13\0", b"\0\0\13\0") + DONE], errno.EBADMSG),
    ],
    ids=["refused", "broken off", "without an end", "of another kind", "of no family", "attribute without a length"],
)
def test_errors_tell_their_number(datagrams: Iterable[bytes], number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        read(answer(*datagrams))
    assert caught.value.errno == number


def test_the_kernel_gives_only_the_ports_asked_for() -> None:
    with ExitStack() as stack:
        opened = []
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                for _ in range(4):
                    one = stack.enter_context(socket.socket(family, kind))
                    one.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
                    if kind == socket.SOCK_STREAM:
                        one.listen(5)
                    opened.append((family, kind, one.getsockname()[1]))
        for protocol, kind in ((TCP, socket.SOCK_STREAM), (UDP, socket.SOCK_DGRAM)):
            there = {(family, port) for family, of_kind, port in opened if of_kind == kind}
            asked = sorted(port for _, port in there)
            lone, among = frozenset(asked[:3]), range(asked[4], asked[5] + 1)
            found: set[tuple[int, int]] = set()
            for family in [socket.AF_UNSPEC] if protocol == TCP else [socket.AF_INET, socket.AF_INET6]:
                for batch in sockets(exchange, request(protocol, family, lone, among), protocol, lone):
                    found |= {(family, port) for family, ports in batch.ports.items() for port in ports}
                    assert {one.port for one in batch.sockets} <= lone
            assert {port for _, port in found} <= lone | set(among)
            assert found >= {(family, port) for family, port in there if port in lone or port in among}
