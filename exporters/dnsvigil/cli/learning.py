"""``dnsvigil train``: a name score that knows the operator's own names. ``dnsvigil evaluate``: how well it does."""

import argparse
import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tqdm import tqdm

from dnsvigil.api.finding_text import sentence
from dnsvigil.cli.ask import AskError, ask
from dnsvigil.cli.ingest import ingest
from dnsvigil.cli.output import show, show_json
from dnsvigil.cli.ownership import require_owner
from dnsvigil.config.collector import Config
from dnsvigil.learning import training
from dnsvigil.learning.default import default_model, trained_model
from dnsvigil.learning.evaluate import FALSE_POSITIVES, read_families
from dnsvigil.learning.namescore import NameModel
from dnsvigil.learning.training import STEPS, Lessons
from dnsvigil.store.findings import STATES, Finding, Findings, findings_in
from dnsvigil.store.store import Store
from dnsvigil.system.files import read_file
from dnsvigil.system.terminal import printable, printable_lines

log = logging.getLogger(__name__)

_MAX_NAMES: Final = 64 << 20  # bytes
_TITLES: Final = {"generated": "Generators, under seeds held back", "listed": "Lists"}


class UsageError(Exception):
    """What was asked for makes no sense."""


def train(options: argparse.Namespace, config: Config) -> int:
    """Train a model and leave it where the collector looks for it.

    Raises :class:`UsageError`, :class:`dnsvigil.cli.ask.AskError`, ``OSError``, and ``ValueError`` for too few names.
    """
    if not options.output or options.output.resolve().is_relative_to(options.state.resolve()):
        require_owner(options.state)
    families = _families(options.lists) if options.lists else {}
    lessons = replace(_own_names(options, config), listed=families)
    output = options.output or trained_model(options.state)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):  # better told now than after a minute
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output.parent))
    with _progress() as progress:
        model = training.train(lessons, options.seed, progress)
    model.save(output)
    for part, figures in model.facts["figures"].items():
        if part in _TITLES:
            said = f"{figures['found']:.1%} found at {FALSE_POSITIVES:.0%} false positives, AUC {figures['auc']:.4f}"
            print(f"{_TITLES[part]}: {said}")
    learned = [("popular", lessons.popular), ("dismissed", lessons.dismissed), ("listed families", lessons.listed)]
    print(f"{output}: trained, also on {', '.join(f'{len(what):,} {name}' for name, what in learned)}")
    return 0


def evaluate(options: argparse.Namespace, config: Config) -> int:
    """Print how well a model does on names it does not know, or what the detectors find in logs.

    Raises :class:`UsageError`, :class:`dnsvigil.learning.models.ModelError`,
    :class:`dnsvigil.store.store.StoreError`, ``OSError``, and ``ValueError`` where no names are left to evaluate with.
    """
    own = trained_model(options.state)
    directory = options.model or (own if own.exists() else default_model())
    if options.logs:
        if options.lists:
            raise UsageError("--lists: not together with logs")
        return _evaluate_logs(options, config, directory)
    model = NameModel.load(directory)
    found = training.figures_of(model, _families(options.lists) if options.lists else {})
    if options.json:
        facts = {name: fact for name, fact in model.facts.items() if name != "figures"}
        records = {part: figures.record() for part, figures in found.items()}
        show_json({"model": str(directory), "facts": facts, "figures": records})
        return 0
    print(f"Model {printable(str(directory))}")
    for part, figures in found.items():
        print(f"\n{_TITLES[part]}\n{printable_lines(figures.table())}")
    return 0


def _evaluate_logs(options: argparse.Namespace, config: Config, model: Path) -> int:
    NameModel.load(model)  # the detectors would go on without one that is refused
    results = [(path, *_found_in(path, config, model)) for path in options.logs]
    if options.json:
        show_json(
            [
                {"path": str(path), "complete": not problem, "findings": [each.record() for each in found]}
                for path, found, problem in results
            ]
        )
    else:
        head = ("log", "first seen", "last seen", "score", "severity", "detector", "type", "subject", "what happens")
        each = (row for path, found, problem in results for row in _rows(path, found, problem))
        rows, sentences = zip(*each, strict=True)
        show(head, rows, sentences)
    return 1 if any(problem for _, _, problem in results) else 0


def _found_in(path: Path, config: Config, model: Path) -> tuple[list[Finding], str]:
    """Return what detectors find in a log, or a folder of logs, alone; and what kept them from looking at all of it."""
    with TemporaryDirectory(prefix="dnsvigil-evaluate-") as folder:
        own = trained_model(Path(folder))
        own.parent.mkdir(parents=True)
        own.symlink_to(model.absolute())
        complete = ingest([path], config, Path(folder))
        with Store(Path(folder)) as store:
            Findings(store)
            queries = store.rows("SELECT count(*) FROM minute_types")[0][0]
            found = [each for state in STATES for each in findings_in(store.rows, state)]
    problem = "" if complete else "could not be read, or not all of it"
    if complete and not queries:
        problem = "has no DNS queries, so nothing was evaluated"
    return sorted(found, key=lambda each: (each.first_seen, each.detector, each.subject)), problem


def _rows(path: Path, found: list[Finding], problem: str) -> Iterator[tuple[list[Any], str]]:
    if problem:
        yield [str(path), *([None] * 7)], problem
    elif not found:
        yield [str(path), *([None] * 7)], "nothing was found"
    for each in found:
        times = [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (each.first_seen, each.last_seen)]
        subject = [each.severity, each.detector, each.subject_type, each.subject]
        yield [str(path), *times, each.score, *subject], sentence(each.record())


def _own_names(options: argparse.Namespace, config: Config) -> Lessons:
    """Return what a store, or what was asked of one, has to learn from."""
    if options.names:
        try:
            content = json.loads(read_file(options.names, _MAX_NAMES).decode())
            return Lessons(popular=_names(content, "popular"), dismissed=_names(content, "dismissed"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{options.names}: not what /api/training answers: {error}") from error
    try:
        return Lessons(**ask(config, options.state, "/api/training"))
    except AskError as error:
        raise AskError(f"{error}; what /api/training answered can be given with --names", error.usage) from error


def _names(content: Any, key: str) -> list[str]:
    names = content[key]
    if not (isinstance(names, list) and all(isinstance(name, str) and name.encode() for name in names)):
        raise ValueError(f"{key}: expected a list of names")
    return names


def _families(directory: Path) -> dict[str, list[str]]:
    families = read_families(directory) if directory.is_dir() else {}
    if not families:
        raise UsageError(f"{directory}: there are no lists of names, FAMILY.txt with one name a line")
    return families


@contextmanager
def _progress() -> Iterator[Any]:
    # None: shown on a terminal only.
    with tqdm(total=len(STEPS), disable=None, dynamic_ncols=True) as bar:

        def begin(step: str) -> None:
            bar.update(STEPS.index(step) - bar.n)
            bar.set_description(step)

        yield begin
        bar.update(len(STEPS) - bar.n)
