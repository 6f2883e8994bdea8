"""Addresses of clients, masked for those who may not see them."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

_PREFIXES: Final = {4: 24, 6: 56}
_LIKE_ADDRESS: Final = re.compile(
    r"(?<![\w.:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f.]{0,15}){2,8}(?:/[0-9]{1,3})?(?![\w:])"
    r"|(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,3})?(?!\w)"
)
_REVERSED: Final = (  # names of addresses: the labels of the host, and the rest
    re.compile(r"(?<![\w.])[0-9]{1,3}((?:\.[0-9]{1,3}){3}\.in-addr\.arpa)", re.IGNORECASE),
    re.compile(r"(?<![\w.])(?:[0-9a-f]\.){17}[0-9a-f]((?:\.[0-9a-f]){14}\.ip6\.arpa)", re.IGNORECASE),
)


def masked(address: str) -> str:
    """Return the network that an address or a network is in, a /24 or a /56, and any other text as it is."""
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return address
    length = _PREFIXES[network.version]
    return str(network if network.prefixlen <= length else network.supernet(new_prefix=length))


def mask_texts(value: Any, shown: Callable[[str], bool]) -> Any:
    """Return what JSON holds with each address in its texts masked, but for those to be ``shown``."""
    again = partial(mask_texts, shown=shown)
    if isinstance(value, str):
        for name in _REVERSED:
            value = name.sub(r"*\1", value)
        return _LIKE_ADDRESS.sub(lambda found: found[0] if shown(found[0]) else masked(found[0]), value)
    if isinstance(value, Mapping):
        return {again(key): again(part) for key, part in value.items()}
    return [again(part) for part in value] if isinstance(value, list | tuple) else value
