r"""Domain names as people and programs write them, as records have them, and as zone files have them.

Records have names in lower case, without the final dot, and all but printable ASCII as ``\xNN``. Zone files have a
final dot and ``\DDD``, with three decimal digits (RFC 1035, section 5.1).
"""

import re
from typing import Final

import dns.exception
import dns.name

_TOKEN: Final = re.compile(r"\\x([0-9a-fA-F]{2})|\\.|.", re.DOTALL)
_UNPRINTABLE: Final = re.compile(r"\\x([0189a-f][0-9a-f]|7f)")
_SPECIAL: Final = re.compile(rf"{_UNPRINTABLE.pattern}|[\\ ]")


def parse_name(text: str) -> str:
    r"""Return a name in the form of records.

    It may have upper case, a final dot, labels in Unicode, which become A-labels (IDNA 2008 as UTS 46 has it), and
    escapes, ``\DDD`` as well as ``\xNN``. Raises ``ValueError``.
    """
    if not text:
        raise ValueError("expected a name")
    if not text.isascii() and "\\" in text:
        raise ValueError("expected a name in Unicode or one with escapes, not both")
    plain = "".join(
        f"\\{int(token[1], 16):03}" if token[1] else "\\@" if token[0] == "@" else token[0]
        for token in _TOKEN.finditer(text)
    )
    try:
        name = dns.name.from_text(plain, dns.name.root, dns.name.IDNA_2008_Practical)
    except (dns.exception.DNSException, UnicodeError) as error:
        reason = ascii(str(error).rstrip(".").lower())[1:-1]  # of IDNA, it quotes what is wrong
        raise ValueError(f"{text!a} is no domain name: {reason}") from None
    return ".".join(map(_label, name.labels[:-1])) or "."


def parse_octets(octets: bytes) -> str:
    r"""Return what stands in a URL as text: UTF-8, or else with ``\xNN`` for all but ASCII."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("ascii", "backslashreplace")


def wire_name(octets: bytes) -> str:
    """Return the name in the wire's form, without compression, in the form of records. Raises ``ValueError``."""
    try:
        name, used = dns.name.from_wire(octets, 0)
    except dns.exception.DNSException:
        used = -1
    if used != len(octets):
        raise ValueError("the octets are no domain name")
    return ".".join(map(_label, name.labels[:-1])) or "."


def zone_file_name(name: str) -> str:
    """Return a name of records as zone files have it."""
    if name == ".":
        return name
    if "\\" in name or " " in name:
        name = _SPECIAL.sub(lambda found: f"\\{int(found[1], 16):03}" if found[1] else _escaped(found[0]), name)
    return f"{name}."


def zone_file_text(text: str) -> str:
    r"""Return data of records, which is not a name, with the escapes of zone files."""
    return _UNPRINTABLE.sub(lambda found: f"\\{int(found[1], 16):03}", text) if "\\x" in text else text


def _escaped(character: str) -> str:
    return "\\032" if character == " " else "\\\\"


def _label(label: bytes) -> str:
    return "".join(chr(octet) if 32 <= octet < 127 else f"\\x{octet:02x}" for octet in label.lower())
