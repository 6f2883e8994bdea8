"""``dnsvigil evaluate``: how well the name score does, and what the detectors find in logs."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dnsvigil.api.finding_text import sentence
from dnsvigil.cli.errors import UsageError
from dnsvigil.cli.ingest import ingest
from dnsvigil.cli.model_figures import TITLES, enough_names, families_in
from dnsvigil.cli.output import show, show_json
from dnsvigil.config.collector import Archive, Config
from dnsvigil.learning import training
from dnsvigil.learning.default import default_model, trained_model
from dnsvigil.learning.namescore import NameModel
from dnsvigil.store.findings import STATES, Finding, Findings, findings_in
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import printable, printable_lines


def evaluate(options: argparse.Namespace, config: Config) -> int:
    """Print how well a model does on names it does not know, or what the detectors find in logs.

    Raises :class:`CommandError`, also where no names are left to evaluate with, ``ModelError``, ``StoreError`` and
    ``OSError``.
    """
    own = trained_model(options.state)
    directory = options.model or (own if own.exists() else default_model())
    if options.logs:
        if options.lists:
            raise UsageError("--lists: not together with logs")
        return _evaluate_logs(options, config, directory)
    model = NameModel.load(directory)
    with enough_names():
        found = training.figures_of(model, families_in(options.lists) if options.lists else {})
    if options.json:
        facts = {name: fact for name, fact in model.facts.items() if name != "figures"}
        records = {part: figures.record() for part, figures in found.items()}
        show_json({"model": str(directory), "facts": facts, "figures": records})
        return 0
    print(f"Model {printable(str(directory))}")
    for part, figures in found.items():
        print(f"\n{TITLES[part]}\n{printable_lines(figures.table())}")
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
    """Return the findings in a log or a folder of logs alone, and why not all of it was looked at."""
    with TemporaryDirectory(prefix="dnsvigil-evaluate-") as folder:
        own = trained_model(Path(folder))
        own.parent.mkdir(parents=True)
        own.symlink_to(model.absolute())
        complete = ingest([path], replace(config, archive=Archive()), Path(folder))
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
