from __future__ import annotations

import errno
import logging
import re
import shutil
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dnsvigil.resolver import config
from dnsvigil.resolver.collectors.sockets import SocketCollector
from dnsvigil.resolver.kernel import sockdiag
from dnsvigil.resolver.kernel.procfs import ProcFs
from exporters.resolver.collected import chosen, collected

WAYS = {"netlink": sockdiag.exchange, "proc": None}
"""The two ways to the sockets of this machine."""
SS_STATES = {"UNCONN": "unconnected", "ESTAB": "established", "LISTEN": "listen", "TIME-WAIT": "time_wait"}


def forbidden(_: bytes) -> Iterator[bytes]:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> sockdiag.Exchange:
    return WAYS[request.param] or forbidden


def watch(*ports: int, way: sockdiag.Exchange = sockdiag.exchange, listeners: int = 64) -> SocketCollector:
    return SocketCollector(config.Sockets(ports=list(ports), listeners=listeners), ask=way)


def opened(address: str = "127.0.0.1", kind: int = socket.SOCK_DGRAM, port: int = 0, buffer: int = 0) -> socket.socket:
    """Return a socket bound to ``address``, which others may share."""
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    one.bind((address, port))
    return one


def port_of(one: socket.socket) -> int:
    port: int = one.getsockname()[1]
    return port


def flood(port: int, address: str = "127.0.0.1", count: int = 200) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(bytes(200), (address, port))


def run_ss(*arguments: str) -> list[str]:
    if not shutil.which("ss"):
        pytest.skip("no ss here; Debian has it in iproute2")
    return subprocess.run(["ss", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def ss(port: int) -> list[tuple[str, str, str, int, int, str, int, int]]:
    """Return protocol, family, state, both queues, local address, receive buffer and drops, as ss tells them."""
    found = []
    for protocol, flag in (("udp", "-u"), ("tcp", "-t")):
        for family, version in (("ipv4", "-4"), ("ipv6", "-6")):
            for line in run_ss("-HOanm", flag, version, f"sport = :{port}"):
                state, receive, send, local = line.split()[:4]
                # A connection in time-wait, left on this port by another test, has no memory any more.
                memory = re.search(r"rb(\d+).*,d(\d+)\)", line)
                assert memory or state == "TIME-WAIT"
                address = local.rpartition(":")[0].strip("[]").replace("*", "::")
                more = (int(memory[1]), int(memory[2])) if memory else (0, 0)
                found.append((protocol, family, SS_STATES[state], int(receive), int(send), address, *more))
    return found


def expected(port: int) -> dict[str, float]:
    """Return what is to be collected, by ss."""
    samples: Counter[str] = Counter()
    for protocol in ("tcp", "udp"):
        for family in ("ipv4", "ipv6"):
            states = (
                "established syn_recv time_wait close_wait listen" if protocol == "tcp" else "unconnected established"
            )
            samples.update({f"sockets {protocol} {family} {port} {state}": 0 for state in states.split()})
            for name in ("receive_queue", "send_queue", "receive_queue_max"):
                samples[f"socket_{name}_bytes {protocol} {family} {port}"] = 0
    fullest: dict[str, int] = {}
    for protocol, family, state, receive, send, address, buffer, drops in ss(port):
        place = f"{protocol} {family} {port}"
        samples[f"sockets {place} {state}"] += 1
        if state == "listen":
            samples[f"accept_queue_length {address} {port}"] += receive
            samples[f"accept_queue_limit {address} {port}"] += send
            continue
        samples[f"socket_receive_queue_bytes {place}"] += receive
        samples[f"socket_send_queue_bytes {place}"] += send
        if receive > fullest.get(place, -1):
            fullest[place] = receive
            samples[f"socket_receive_queue_max_bytes {place}"] = receive
            if protocol == "udp":
                samples[f"socket_receive_buffer_bytes {place}"] = buffer
        if protocol == "udp" and state == "unconnected":
            samples[f"udp_drops_total {address} {port}"] += drops
    return dict(samples)


def without_limits(samples: dict[str, float]) -> dict[str, float]:
    """Return what /proc/net has of it."""
    return {
        key: value for key, value in samples.items() if not re.match("accept_queue_limit|socket_receive_buffer", key)
    }


@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
def test_udp_is_as_ss_tells(way: sockdiag.Exchange, family: str) -> None:
    with opened(family, buffer=8192) as one, opened(family, port=port_of(one)), opened(family) as client:
        port = port_of(one)
        flood(port, family)
        client.connect((family, port))
        wanted = expected(port)
        assert wanted[f"udp_drops_total {family} {port}"] > 0
        assert wanted[f"socket_receive_queue_bytes udp {'ipv6' if ':' in family else 'ipv4'} {port}"] > 0
        found = chosen(collected(watch(port, port_of(client), way=way)), str(port))
        assert found == (wanted if way is sockdiag.exchange else without_limits(wanted))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::"])
def test_tcp_is_as_ss_tells(way: sockdiag.Exchange, address: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(opened(address, socket.SOCK_STREAM))
        port = port_of(server)
        server.listen(5)
        stack.enter_context(opened(address, socket.SOCK_STREAM, port)).listen(7)
        to = "127.0.0.1" if address == "::" else address  # so that IPv4 comes in by an IPv6 socket
        clients = [stack.enter_context(socket.create_connection((to, port))) for _ in range(6)]
        for client in clients:
            client.sendall(bytes(100))
        server.setblocking(False)
        try:
            accepted = stack.enter_context(server.accept()[0])
            accepted.sendall(bytes(50))  # its client does not read; acknowledged though
        except BlockingIOError:
            pass  # the other listener has them all
        wanted = expected(port)
        assert sum(chosen(wanted, "accept_queue_length").values()) >= 5
        assert sum(chosen(wanted, "socket_receive_queue_bytes").values()) == 600
        found = chosen(collected(watch(port, way=way)), str(port))
        assert found == (wanted if way is sockdiag.exchange else without_limits(wanted))


def test_states_go_to_zero_and_stay_shown(way: sockdiag.Exchange) -> None:
    with opened(kind=socket.SOCK_STREAM) as server:
        server.listen()
        port = port_of(server)
        collector = watch(port, way=way)
        key = f"sockets tcp ipv4 {port} fin_wait2"
        assert key not in collected(collector)
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.shutdown(socket.SHUT_WR)
        assert _until(lambda: collected(collector).get(key) == 1)
        assert chosen(collected(collector), "established", str(port))[f"sockets tcp ipv4 {port} established"] == 0
        client.close()
        accepted.close()
        assert _until(lambda: collected(collector)[key] == 0)
        assert _until(lambda: collected(collector)[f"sockets tcp ipv4 {port} time_wait"] == 1)


def test_drops_go_on_when_sockets_close(way: sockdiag.Exchange) -> None:
    first = opened(buffer=4096)
    port = port_of(first)
    key = f"udp_drops_total 127.0.0.1 {port}"
    collector = watch(port, way=way)
    assert collected(collector)[key] == 0
    flood(port)
    one = collected(collector)[key]
    assert one > 0
    assert collected(collector)[key] == one
    first.close()
    assert collected(collector)[key] == one
    with opened(port=port, buffer=4096) as second:
        assert collected(collector)[key] == one
        flood(port)
        both = collected(collector)[key]
        assert both == one + sum(drops for *_, drops in ss(port))
        assert both > one
        assert second.recv(200)
    assert collected(collector)[key] == both


def test_drops_of_connected_sockets_are_not_those_of_a_listener(way: sockdiag.Exchange) -> None:
    with opened(buffer=4096) as one, opened() as peer:
        one.connect(("127.0.0.1", port_of(peer)))
        for _ in range(200):
            peer.sendto(bytes(200), one.getsockname())
        assert sum(drops for *_, drops in ss(port_of(one))) > 0
        assert chosen(collected(watch(port_of(one), way=way)), "udp_drops_total") == {}


def test_drops_are_not_counted_again_after_a_change_between_netlink_and_proc() -> None:
    working = True
    with opened(buffer=4096) as one:
        port = port_of(one)
        collector = watch(port, way=lambda message: sockdiag.exchange(message) if working else forbidden(message))
        flood(port)
        before = collected(collector)
        working = False
        assert (
            collected(collector)[f"udp_drops_total 127.0.0.1 {port}"] == before[f"udp_drops_total 127.0.0.1 {port}"] > 0
        )
        working = True
        assert chosen(collected(collector), str(port)) == chosen(before, str(port))


def test_a_socket_that_an_answer_misses_does_not_count_anew() -> None:
    missed = False

    def ask(message: bytes) -> Iterator[bytes | memoryview]:
        if missed:
            yield struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
        else:
            yield from sockdiag.exchange(message)

    with opened(buffer=4096) as one:
        collector = watch(port_of(one), way=ask)
        key = f"udp_drops_total 127.0.0.1 {port_of(one)}"
        flood(port_of(one))
        dropped = collected(collector)[key]
        missed = True
        assert collected(collector)[key] == dropped > 0
        missed = False
        assert collected(collector)[key] == dropped


def test_an_answer_that_breaks_off_is_read_anew_from_proc_and_counts_once() -> None:
    def broken(message: bytes) -> Iterator[bytes | memoryview]:
        yield next(iter(sockdiag.exchange(message)))[:-20]  # without its end
        raise TimeoutError(errno.ETIMEDOUT, "timed out")

    with opened(buffer=4096) as one, opened("::1", buffer=4096) as other:
        ports = port_of(one), port_of(other)
        flood(ports[0])
        flood(ports[1], "::1")
        collector = watch(*ports, way=broken)
        for _ in range(2):
            found = collected(collector)
            for port in ports:
                assert chosen(found, str(port)) == without_limits(expected(port))
        assert list(collector.parts) == [("netlink", False)]


def test_addresses_beyond_the_bound_are_summed_up_as_other(way: sockdiag.Exchange) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(opened("127.0.0.2"))
        port = port_of(first)
        collector = watch(port, way=way, listeners=1)
        collected(collector)
        for number in range(3, 8):
            stack.enter_context(opened(f"127.0.0.{number}", port=port, buffer=4096))
            stack.enter_context(opened(f"127.0.0.{number}", socket.SOCK_STREAM, port)).listen(10)
            flood(port, f"127.0.0.{number}")
        drops = sum(one[-1] for one in ss(port))
        found = collected(collector)
        assert chosen(found, "udp_drops_total") == {
            f"udp_drops_total 127.0.0.2 {port}": 0,
            f"udp_drops_total other {port}": drops,
        }
        assert chosen(found, "accept_queue_length") == {f"accept_queue_length other {port}": 0}
        if way is sockdiag.exchange:
            assert chosen(found, "accept_queue_limit") == {f"accept_queue_limit other {port}": 50}


@pytest.mark.parametrize("reserved", [False, True])
def test_use_of_the_ephemeral_ports(way: sockdiag.Exchange, tmp_path: Path, reserved: bool) -> None:
    with opened("127.0.0.2") as shared, opened("127.0.0.3", port=port_of(shared)):  # the same port counts once
        port = port_of(shared)
        _settings(tmp_path, f"{port - 50}\t{port + 50}\n", f"1-10,{port - 5}-{port},65000\n" if reserved else "\n")
        ports = {*range(port - 50, port + 51)} - ({*range(port - 5, port + 1)} if reserved else set())

        def agree() -> bool:
            """Whether both say the same, though other programs come and go."""
            counted = _ephemeral(tmp_path, way)
            assert counted["ephemeral_ports"] == len(ports)
            return counted["ephemeral_ports_used udp ipv4"] == len(_local_ports() & ports)

        assert _until(agree)


def _local_ports() -> set[int]:
    return {int(line.split()[3].rpartition(":")[2]) for line in run_ss("-HOan4u")}


def _settings(folder: Path, ports: str, reserved: str) -> None:
    ipv4 = folder / "sys/net/ipv4"
    ipv4.mkdir(parents=True, exist_ok=True)
    (ipv4 / "ip_local_port_range").write_text(ports)
    (ipv4 / "ip_local_reserved_ports").write_text(reserved)
    if not (folder / "net").exists():
        (folder / "net").symlink_to("/proc/net")


def _ephemeral(folder: Path, way: sockdiag.Exchange) -> dict[str, float]:
    collector = SocketCollector(config.Sockets(ports=[53]), ProcFs(folder), ask=way)
    return {key: value for key, value in collected(collector).items() if key.startswith("ephemeral")}


def test_without_the_range_there_is_nothing_about_ephemeral_ports(tmp_path: Path) -> None:
    (tmp_path / "net").symlink_to("/proc/net")
    assert _ephemeral(tmp_path, sockdiag.exchange) == {}
    _settings(tmp_path, "what\n", "")
    assert _ephemeral(tmp_path, sockdiag.exchange) == {}


def test_netlink_that_is_missing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    working = False
    collector = watch(53, way=lambda message: sockdiag.exchange(message) if working else forbidden(message))
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            collected(collector)
        assert [record.message for record in caplog.records] == [
            "sockets: netlink not available: [Errno 1] Operation not permitted; /proc/net is read instead, which is"
            " slower and lacks limits of queues"
        ]
        assert list(collector.parts) == [("netlink", False)]
        working = True
        collected(collector)
        assert list(collector.parts) == [("netlink", True)]
        assert len(caplog.records) == 2


def test_a_kernel_without_udp_diag_still_tells_the_limits_of_tcp() -> None:
    def ask(message: bytes) -> Iterator[bytes | memoryview]:
        if message[4] == 20:
            yield struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.ENOENT) + bytes(16)
        else:
            yield from sockdiag.exchange(message)

    with opened(kind=socket.SOCK_STREAM) as server, opened() as one:
        server.listen(9)
        collector = watch(port_of(server), port_of(one), way=ask)
        found = collected(collector)
        assert found[f"accept_queue_limit 127.0.0.1 {port_of(server)}"] == 9
        assert found[f"sockets udp ipv4 {port_of(one)} unconnected"] == 1
        assert list(collector.parts) == [("netlink", False)]


TREE = {
    "net/tcp": """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 3500007F:0035 00000000:0000 0A 00000000:00000005 00:00000000 00000000   101        0 18003 2 0000000000000000 100 0 0 10 0
   1: 0100007F:0035 0100007F:9C40 01 00000010:00000020 00:00000000 00000000   101        0 18004 1 0000000000000000 20 4 0 10 -1
   2: 0100007F:0035 0100007F:9C41 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
   3: 0100007F:00
""",  # noqa: E501
    "net/udp": """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  309: 3500007F:0035 00000000:0000 07 00000000:00000900 00:00000000 00000000   101        0 18002 2 0000000000000000 12
  309: 3500007F:0035 00000000:0000 07 00000000:zzzz0900 00:00000000 00000000   101        0 18009 2 0000000000000000 12
  309: broken

  310: 00000000:9C42 08080808:0035 01 00000000:00000000 00:00000000 00000000   101        0 18005 2 0000000000000000 4
""",
    "net/udp6": """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  309: 0000000000000000FFFF00000100007F:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18012 2 0000000000000000 3
  309: B80D0120000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18013 2 0000000000000000 1
""",  # noqa: E501
    "sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
}


def test_a_tree_elsewhere_is_read_by_its_files(tmp_path: Path) -> None:
    if struct.pack("=H", 1) == b"\0\1":
        pytest.skip("this tree is from a little-endian machine")
    for name, content in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    found = collected(SocketCollector(config.Sockets(ports=[53]), ProcFs(tmp_path)))
    assert {key: value for key, value in found.items() if value} == {
        "sockets tcp ipv4 53 established": 1,
        "sockets tcp ipv4 53 listen": 1,
        "sockets tcp ipv4 53 time_wait": 1,
        "sockets udp ipv4 53 unconnected": 1,
        "sockets udp ipv6 53 unconnected": 2,
        "socket_receive_queue_bytes tcp ipv4 53": 32,
        "socket_receive_queue_max_bytes tcp ipv4 53": 32,
        "socket_send_queue_bytes tcp ipv4 53": 16,
        "socket_receive_queue_bytes udp ipv4 53": 2304,
        "socket_receive_queue_max_bytes udp ipv4 53": 2304,
        "accept_queue_length 127.0.0.53 53": 5,
        "udp_drops_total 127.0.0.53 53": 12,
        "udp_drops_total ::ffff:127.0.0.1 53": 3,
        "udp_drops_total 2001:db8::1 53": 1,
        "ephemeral_ports": 28232,
        "ephemeral_ports_used udp ipv4": 1,
    }


def test_neither_netlink_nor_proc_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="net/tcp"):
        collected(SocketCollector(config.Sockets(), ProcFs(tmp_path), ask=forbidden))


def test_netlink_can_be_replayed() -> None:
    recorded: dict[bytes, list[bytes]] = {}

    def record(message: bytes) -> Iterator[bytes | memoryview]:
        recorded[message] = []
        for datagram in sockdiag.exchange(message):
            recorded[message].append(bytes(datagram))
            yield datagram

    with opened(buffer=4096) as one, opened(kind=socket.SOCK_STREAM) as server:
        server.listen(3)
        ports = port_of(one), port_of(server)
        flood(ports[0])
        first = collected(watch(*ports, way=record))
    assert collected(watch(*ports, way=recorded.__getitem__)) == first
    assert any(chosen(first, "udp_drops_total").values())


def _until(condition: Callable[[], bool]) -> bool:
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.05)
    return False
