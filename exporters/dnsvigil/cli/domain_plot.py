"""Draws groups of domains: a point for each, along the two directions in which the domains differ most."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dnsvigil.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from dnsvigil.learning.outcome import Outcome

_INCHES: Final = (11.0, 7.0)
_DPI: Final = 120
_DRAWN: Final = 20_000  # domains; of more, every other or less
_COLOURS: Final = "tab20"  # pairs of one hue, dark and light


def check_plot(path: Path) -> None:
    """Raise :class:`CommandError` where nothing can be drawn to a path, before any work is done."""
    if path.suffix != ".png":
        raise UsageError(f"--plot: expected a name that ends in .png, not {path}")
    if not find_spec("matplotlib"):
        raise CommandError("--plot needs Matplotlib, which is not installed: pip install 'dnsvigil[plot]'")
    if not path.parent.is_dir():
        raise CommandError(f"--plot: there is no folder {path.parent}")


def draw(found: "Outcome", path: Path) -> None:
    """Draw groups into a PNG file. Raises ``OSError``."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dnsvigil.learning.clusters import components, cut

    points = components(cut(found.rows), 1.0)[:, :2]
    every = len(points) // _DRAWN + 1
    figure = Figure(_INCHES, _DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, group in enumerate(found.facts.groups):
        own = points[found.clusters.labels == place][::every]
        label = f"{group.name} ({group.domains:,})"
        colour = colormaps[_COLOURS](2 * place % 20 + place // 10)
        axes.scatter(own[:, 0], own[:, 1], s=12, color=colour, alpha=0.7, linewidths=0, label=label)
    axes.set_xlabel("first principal component of the features")
    axes.set_ylabel("second principal component")
    axes.set_title(f"{len(found.domains):,} domains in {len(found.facts.groups)} groups")
    if found.facts.groups:
        axes.legend(title="group (domains)", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, frameon=False)
    figure.savefig(path)
