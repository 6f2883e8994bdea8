"""Packages with detectors, laid out as an installer leaves them."""

from collections.abc import Iterable
from pathlib import Path


def lay_out(folder: Path, name: str, source: str, detectors: Iterable[str]) -> None:
    """Put a package of one module into a folder of packages; its detectors are classes, by name in lower case."""
    (folder / f"{name}.py").write_text(source)
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    entries = "".join(f"{detector.lower()} = {name}:{detector}\n" for detector in detectors)
    (about / "entry_points.txt").write_text(f"[dnsvigil.detectors]\n{entries}")
