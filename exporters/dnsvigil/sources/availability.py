"""Whether the folders that the configuration names are there and can be read, and what is wrong where they are not."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.sources.folders import expand
from dnsvigil.sources.zeek.log_types import BY_PATH

log = logging.getLogger(__name__)

LOGS: Final = tuple(f"{path}.log" for path in BY_PATH)


@dataclass(frozen=True)
class Place:
    """A folder, or a glob of several, that the configuration names."""

    source: str  # the label: zeek, zeek_archive, netflow, honeypots, shadowserver or lists
    path: Path
    key: str  # in the configuration


def places(config: Config) -> Iterator[Place]:
    """Yield all folders that the configuration reads from."""
    for number, zeek in enumerate(config.sources.zeek):
        yield Place("zeek", zeek.path, f"sources.zeek[{number}].path")
        if zeek.archive:
            yield Place("zeek_archive", zeek.archive, f"sources.zeek[{number}].archive")
    for number, netflow in enumerate(config.sources.netflow):
        yield Place("netflow", netflow.path, f"sources.netflow[{number}].path")
    for number, honeypot in enumerate(config.sources.honeypots):
        yield Place("honeypots", honeypot.path, f"sources.honeypots[{number}].path")
        if honeypot.archive:
            yield Place("honeypots", honeypot.archive, f"sources.honeypots[{number}].archive")
    if config.sources.shadowserver:
        yield Place("shadowserver", config.sources.shadowserver, "sources.shadowserver")
    if config.detectors.lists:
        yield Place("lists", config.detectors.lists, "detectors.lists")


def no_sources(config: Config) -> str:
    """Return that there is nothing to read at all where the configuration names no source; else nothing."""
    if config.sources.logs or config.sources.netflow:
        return ""
    return "no folder of Zeek, nfcapd or a honeypot is configured, so nothing is read"


def problem_of(place: Place) -> str:
    """Return why nothing can be read in a place; empty where something may be."""
    wild = has_magic(str(place.path))
    matched = [str(match.path) for match in expand(place.path)] if wild else [str(place.path)]
    if not matched:
        return "no folder matches"
    problems = {name: problem for name in matched if (problem := _problem(Path(name)))}
    if place.source == "zeek":
        for name in matched:
            for log_file in LOGS:
                path = Path(name, log_file)
                if name not in problems and path.is_symlink() and not path.exists():
                    problems[str(path)] = f"{log_file} is a symbolic link to nothing"
                elif name not in problems and path.exists() and not os.access(path, os.R_OK):
                    problems[str(path)] = f"{log_file} cannot be read: permission denied"
    # Files that a glob matches beside folders are not meant.
    folders = [name for name in matched if name not in problems]
    if wild and folders:
        problems = {name: problem for name, problem in problems.items() if problem != _NO_FOLDER}
    if not problems:
        return ""
    name, problem = next(iter(problems.items()))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problem + more if name == str(place.path) else f"{name}: {problem}{more}"


_NO_FOLDER: Final = "is not a folder"


def _problem(path: Path) -> str:
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except FileNotFoundError:
        return "is a symbolic link to nothing" if path.is_symlink() else "does not exist"
    except NotADirectoryError:
        return _NO_FOLDER
    except PermissionError:
        return "cannot be read: permission denied"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if os.access(path, os.X_OK) else "cannot be read: permission denied"


class Availability:
    """Looks at the folders again and again; the log reports what changes."""

    def __init__(self, config: Config) -> None:
        self._places = list(places(config))
        self._problems: dict[Place, str] = {}
        if problem := no_sources(config):
            log.warning("%s", problem)

    @property
    def problems(self) -> dict[Place, str]:
        """Why nothing could be read in each folder at the last look; empty where all is well."""
        return dict(self._problems)

    def look(self) -> dict[Place, bool]:
        """Return whether each folder can be read now."""
        for place in self._places:
            before, problem = self._problems.get(place, ""), problem_of(place)
            if problem and problem != before and place.source != "netflow":  # its follower reports it
                log.warning("%s: %s %s; nothing is read from there until it can be", place.key, place.path, problem)
            elif before and not problem:
                log.info("%s: %s can be read again", place.key, place.path)
            self._problems[place] = problem
        return {place: not self._problems[place] for place in self._places}
