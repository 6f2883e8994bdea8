"""Finds the data that installed packages bring, without importing these.

To import tldextract or pymispwarninglists loads requests: 50 ms of CPU and 16 MB, which nothing here needs.
"""

from importlib.util import find_spec
from pathlib import Path


def package_folder(name: str) -> Path:
    """Return the folder of an installed package."""
    package = find_spec(name)
    assert package and package.origin
    return Path(package.origin).parent
