"""The hosts in URLs and in commands that attackers type: where they fetch their programs, and where they connect to."""

import re
import socket
from collections import Counter
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dnsvigil.sources.blocklists.addresses import length_of
from dnsvigil.sources.blocklists.names import clean

MAX_HOSTS: Final = 20
"""So many hosts are taken from one command at most."""

_URL: Final = re.compile(r"(?i)\b(?:https?|s?ftp|tftp)://[^\s\"'<>|;&`)(]+")
_DEVICE: Final = re.compile(r"/dev/(?:tcp|udp)/([^/\s\"'<>|;&`)(]+)/\d")
_COMMANDS: Final = re.compile(r"[|;&`\n()]|\\x0a")
_WORDS: Final = re.compile(r"[^\s\"']+")
_NUMERIC: Final = re.compile(r"(?i)[0-9a-fx]+(?:\.[0-9a-fx]+){0,3}")


class _Program(NamedTuple):
    """What of a program's arguments are hosts: those that are no options and no values of these options."""

    valued: Collection[str]
    most: int = 1


_PROGRAMS: Final = {
    "wget": _Program(("-O", "-o", "-a", "-P", "-U", "-t", "-T", "-e"), MAX_HOSTS),
    "curl": _Program(("-o", "-A", "-H", "-d", "-X", "-u", "-m", "-e", "-T", "-F", "-b", "-c"), MAX_HOSTS),
    "tftp": _Program(("-r", "-l", "-b", "-m")),
    "ftpget": _Program(("-u", "-p", "-P")),
    "nc": _Program(("-e", "-p", "-s", "-w", "-i", "-c")),
    "ncat": _Program(("-e", "-p", "-s", "-w", "-i", "-c")),
    "telnet": _Program(("-l", "-e")),
}


def hosts_in_url(url: str) -> Iterator[str]:
    """Yield the host of a URL, a name of two labels or more or an address in canonical form; nothing without one."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # half an IPv6 address
        return
    yield from _host(host)


def hosts_in_command(command: str) -> list[str]:
    """Return the hosts in a command line of a shell, each once, up to ``MAX_HOSTS``."""
    found: dict[str, None] = {}
    for url in _URL.findall(command):
        found |= dict.fromkeys(hosts_in_url(url))
    for host in _DEVICE.findall(command):
        found |= dict.fromkeys(_host(host))
    for part in _COMMANDS.split(command):
        found |= dict.fromkeys(_arguments(_WORDS.findall(part)))
    return list(found)[:MAX_HOSTS]


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a text, IPv4 where it is one that IPv6 maps; None for no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _arguments(words: list[str]) -> Iterator[str]:
    """Yield the hosts among the arguments of the first program in a command that takes hosts."""
    program: _Program | None = None
    valued, taken = False, 0
    for word in words:
        if program is None:
            program = _PROGRAMS.get(word.rpartition("/")[2])
        elif valued or taken == program.most:
            valued = False
        elif word.startswith("-"):
            valued = word in program.valued
        elif "://" in word:
            taken += 1
        else:
            taken += 1
            yield from _host(re.split(r"[/?#]", word)[0])


def _host(text: str) -> Iterator[str]:
    host = text.strip("[]").rpartition("@")[2]
    if not address_of(host):
        host = re.sub(r":\d+$", "", host)
    if address := address_of(host):
        yield str(address)
    elif _NUMERIC.fullmatch(host):
        # 2130706433, 0x7f.1 and the like, which the C library takes for addresses.
        try:
            yield socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return
    else:
        names = (name.decode() for name in clean(host.lower().encode(errors="replace"), Counter()))
        yield from (name for name in names if not length_of(name))  # a network is no host
