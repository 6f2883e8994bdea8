"""``dnsvigil evaluate``: how well the models do, and what the detectors find in logs."""

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
from dnsvigil.detectors.labelled import Labelled
from dnsvigil.detectors.runner import labelled, learners
from dnsvigil.learning import training
from dnsvigil.learning.default import NAME_SCORE, default_model, models_folder
from dnsvigil.learning.examples import Example
from dnsvigil.learning.namescore import NameModel
from dnsvigil.learning.nearest import KindFigures, figures
from dnsvigil.store.findings import STATES, Finding, Findings, findings_in
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import printable, printable_lines


def evaluate(options: argparse.Namespace, config: Config) -> int:
    """Print how well models do on what they do not know, or what the detectors find in logs.

    Raises :class:`CommandError`, also where no names are left to evaluate with, ``ModelError``, ``StoreError`` and
    ``OSError``.
    """
    models = options.models or models_folder(options.state)
    if options.models and not models.is_dir():
        raise UsageError(f"--models: {models}: there is no such folder")
    own = models / NAME_SCORE
    directory = own if own.exists() else default_model()
    if options.logs:
        if options.lists:
            raise UsageError("--lists: not together with logs")
        return _evaluate_logs(options, config, models, directory)
    model = NameModel.load(directory)
    detectors = learners(config.detectors.disabled)
    examples = {each.name: _figures(each.labelled, models) for each in detectors if each.labelled}
    with enough_names():
        found = training.figures_of(model, families_in(options.lists) if options.lists else {})
    if options.json:
        facts = {name: fact for name, fact in model.facts.items() if name != "figures"}
        records = {part: each.record() for part, each in found.items()}
        content = {
            each.name: [vars(row) for row in examples[each.name]] if each.labelled else each.learns
            for each in detectors
        }
        show_json({"model": str(directory), "facts": facts, "figures": records, "detectors": content})
        return 0
    print(f"Model {printable(str(directory))}")
    for part, shown in found.items():
        print(f"\n{TITLES[part]}\n{printable_lines(shown.table())}")
    for name, rows in examples.items():
        print(f"\n{name}: labelled examples, each named by those that have another name")
        head = ("seen by", "kind", "examples", "named rightly", "rightly as harmless or not")
        show(head, [(row.origin, row.kind, row.examples, row.named, row.sided) for row in rows])
    print("\nWhat the other detectors learn")
    show(("detector", "learns"), [(each.name, each.learns) for each in detectors if not each.labelled])
    return 0


def _figures(known: Labelled, models: Path) -> list[KindFigures]:
    """Return the figures of a detector's examples, with the operator's own if there are any."""
    return figures([*known.known, *_own(known, models)], [*known.weights.values()], known.harmless)


def _own(known: Labelled, models: Path) -> list[Example]:
    return known.own(models) if (models / known.detector).exists() else []


def _evaluate_logs(options: argparse.Namespace, config: Config, models: Path, name_score: Path) -> int:
    # The detectors would go on without one that is refused.
    NameModel.load(name_score)
    for known in labelled(config.detectors.disabled):
        _own(known, models)
    results = [(path, *_found_in(path, config, models)) for path in options.logs]
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


def _found_in(path: Path, config: Config, models: Path) -> tuple[list[Finding], str]:
    """Return the findings in a log or a folder of logs alone, and why not all of it was looked at."""
    with TemporaryDirectory(prefix="dnsvigil-evaluate-") as folder:
        models_folder(Path(folder)).symlink_to(models.absolute())
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
