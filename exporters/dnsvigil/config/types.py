"""The types of values in the configuration, each read from the text of one YAML scalar by ``parse``."""

import ipaddress
import re
import urllib.parse
from contextlib import suppress
from typing import ClassVar, Self


class Duration(float):
    """Seconds, written like Prometheus durations: ``90s``, ``5m``, ``12h``, ``30d``, ``1h30m``."""

    _UNITS: ClassVar = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the duration in ``text``; ``ValueError`` when there is none."""
        if not re.fullmatch(r"(\d+[wdhms])+", text):
            raise ValueError("expected a duration such as 90s, 5m, 12h or 30d")
        return cls(sum(int(n) * cls._UNITS[unit] for n, unit in re.findall(r"(\d+)(.)", text)))


class Size(int):
    """Bytes, written with a unit: ``500MB``, ``10GB``, ``2GiB``."""

    _UNITS: ClassVar = {"B": 1} | {
        f"{letter}{i}B": (1024 if i else 1000) ** power
        for power, letter in enumerate("KMGT", start=1)
        for i in ("", "i")
    }

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the size in ``text``; ``ValueError`` when there is none."""
        match = re.fullmatch(r"(\d+) ?([KMGT]?i?B)", text)
        if not match or match[2] not in cls._UNITS:
            raise ValueError("expected a size such as 500MB or 10GiB")
        return cls(int(match[1]) * cls._UNITS[match[2]])


class Address(str):
    """An IP address in its canonical text form."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address; ``ValueError`` when ``text`` is none."""
        try:
            return cls(ipaddress.ip_address(text))
        except ValueError:
            raise ValueError("expected an IPv4 or IPv6 address") from None


class ServerAddress(Address):
    """The address of one host."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address; ``ValueError`` when ``text`` is none, or not that of one host."""
        address = super().parse(text)
        ip = ipaddress.ip_address(address)
        if ip.is_multicast or ip.is_unspecified or address == "255.255.255.255":
            raise ValueError("expected the address of one host")
        return address


class Listen(str):
    """``host:port`` to listen on; an IPv6 host stands in brackets."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address; ``ValueError`` when ``text`` is none."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*):(\d{1,5})", text)
        if not match or int(match[2]) > 65535:
            raise ValueError("expected host:port, such as 127.0.0.1:9953 or [::1]:9953")
        return cls(text)


class Url(str):
    """The http or https URL of a collector, without a user, a password and a final slash."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL; ``ValueError`` when ``text`` is none."""
        wrong = ValueError("expected a URL such as https://collector.example:9953")
        try:
            parts = urllib.parse.urlsplit(text)
            port = parts.port
        except ValueError:
            raise wrong from None
        if "@" in parts.netloc:
            raise ValueError("expected a URL without a user and a password, which have keys of their own")
        host_is_wrong = not parts.hostname or not re.fullmatch(r"[!-~]+", text)
        if parts.scheme not in ("http", "https") or host_is_wrong or port == 0 or parts.query or parts.fragment:
            raise wrong
        return cls(text.rstrip("/"))


class ZoneName(str):
    """A zone's name in lower case, without the final dot; labels that are not ASCII become A-labels (xn--)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name; ``ValueError`` when ``text`` is none."""
        name = text.lower().removesuffix(".")
        if not name.isascii():
            with suppress(UnicodeError):
                name = name.encode("idna").decode()
        labels = name.split(".")
        if not name.isascii() or len(name) > 253 or not all(0 < len(label) < 64 for label in labels):
            raise ValueError("expected the name of a zone, such as example.com")
        return cls(name)


class Network(str):
    """A network, or an address, in CIDR notation."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the network; ``ValueError`` when ``text`` is none."""
        try:
            return cls(ipaddress.ip_network(text))
        except ValueError as error:
            hint = "; bits are set behind the prefix" if "host bits" in str(error) else ""
            raise ValueError(f"expected a network such as 192.0.2.0/24 or 2001:db8::/32{hint}") from None


class Program(str):
    """The absolute path of a program."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the path; ``ValueError`` when ``text`` is none."""
        if not text.startswith("/"):
            raise ValueError("expected an absolute path, such as /usr/local/bin/nfdump")
        return cls(text)


class SparkMaster(str):
    """Where Spark runs."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the master; ``ValueError`` when ``text`` is none."""
        if not re.fullmatch(r"local(\[(\*|\d+)\])?|yarn|k8s://\S+|spark://[^\s:,]+:\d+(,[^\s:,]+:\d+)*", text):
            raise ValueError("expected local[*], spark://HOST:PORT, yarn or k8s://URL")
        return cls(text)


class NamePattern(str):
    """A shell pattern of file names."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern; ``ValueError`` when ``text`` is none."""
        if not text or "/" in text:
            raise ValueError("expected a pattern of file names without a folder, such as json_streaming_dns*")
        return cls(text)
