"""``dnsvigil train``: models that know the operator's own names, and the labels of findings."""

import argparse
import errno
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dnsvigil.cli.ask import ask, ask_on, shows_answer
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.model_figures import TITLES, enough_names, families_in
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.progress import progress
from dnsvigil.cli.spark import cluster_if_asked
from dnsvigil.config.collector import Config
from dnsvigil.detectors.labelled import Labelled
from dnsvigil.detectors.runner import labelled
from dnsvigil.learning import training
from dnsvigil.learning.default import NAME_SCORE, models_folder
from dnsvigil.learning.evaluate import FALSE_POSITIVES
from dnsvigil.learning.examples import Example, save_examples
from dnsvigil.learning.training import STEPS, Lessons
from dnsvigil.system.files import read_file
from dnsvigil.system.terminal import printable

_PATH: Final = "/api/training"
_MAX_NAMES: Final = 64 << 20  # bytes
_MAX_SUSPECTED: Final = 0.05  # of the popular domains
_FEW_SUSPECTED: Final = 20  # domains that any network may have


@dataclass(frozen=True)
class _Own:
    """What the operator's own data has to train with."""

    popular: Sequence[str]
    dismissed: Sequence[str]
    examples: Mapping[Labelled, Sequence[Example]]


def train(options: argparse.Namespace, config: Config) -> int:
    """Train the models and leave them where the collector looks for them.

    Raises :class:`CommandError`, also for too few names, and ``OSError``.
    """
    if not options.output or options.output.resolve().is_relative_to(options.state.resolve()):
        require_owner(options.state)
    families = families_in(options.lists) if options.lists else {}
    own = _own(options, config)
    lessons = Lessons(own.popular, own.dismissed, families)
    output = options.output or models_folder(options.state)
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):  # better now than after a minute of training
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output))
    with progress(STEPS) as begin, enough_names():
        model = training.train(lessons, options.seed, begin)
    model.save(output / NAME_SCORE)
    for part, figures in model.facts["figures"].items():
        if part in TITLES:
            text = f"{figures['found']:.1%} found at {FALSE_POSITIVES:.0%} false positives, AUC {figures['auc']:.4f}"
            print(f"{TITLES[part]}: {text}")
    learned = [("popular", lessons.popular), ("dismissed", lessons.dismissed), ("listed families", lessons.listed)]
    print(f"{output / NAME_SCORE}: trained, also on {', '.join(f'{len(what):,} {name}' for name, what in learned)}")
    for each, examples in own.examples.items():
        kinds = Counter(example.kind for example in examples)
        save_examples(output / each.detector, each.detector, [*each.weights], examples, {"kinds": dict(kinds)})
        known = ", ".join(f"{count:,} {printable(kind)}" for kind, count in kinds.most_common()) or "none"
        print(f"{output / each.detector}: written, with examples of your own: {known}")
    return 0


@shows_answer
def _own(options: argparse.Namespace, config: Config) -> _Own:
    """Return what the operator's own data has: that in a file, or else that of the collector or the store."""
    parts = labelled(config.detectors.disabled)
    if options.names:
        try:
            content = json.loads(read_file(options.names, _MAX_NAMES).decode())
            return _own_of(content, parts)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{options.names}: not what {_PATH} answers: {error}") from error
    try:
        with cluster_if_asked(options, config) as cluster:
            content = ask_on(cluster, config, options.state, _PATH) if cluster else ask(config, options.state, _PATH)
    except CommandError as error:
        raise type(error)(f"{error}; what {_PATH} answered can be given with --names") from error
    return _own_of(content, parts)


def _own_of(content: Any, parts: Sequence[Labelled]) -> _Own:
    """Return what an answer of /api/training has. Raises ``ValueError`` and such, and ``CommandError``."""
    popular, suspected = _names(content, "popular"), int(content.get("suspected", 0))
    total = len(popular) + suspected
    if suspected > max(_FEW_SUSPECTED, _MAX_SUSPECTED * total):
        raise CommandError(
            f"not trained: {suspected:,} of the {total:,} domains that clients have queried for a week are in findings"
            f" or on lists, more than {_MAX_SUSPECTED:.0%}: what is left may not be normal either. Dismiss the findings"
            " that are harmless, remove the causes of the others, and train once they are gone"
        )
    examples = content.get("examples", {})
    if not isinstance(examples, dict):
        raise ValueError("examples: expected lists by detector")
    known = {each: each.examples_in(examples.get(each.detector, [])) for each in parts}
    return _Own(popular, _names(content, "dismissed"), known)


def _names(content: Any, key: str) -> list[str]:
    names = content[key]
    if not (isinstance(names, list) and all(isinstance(name, str) and name.encode() for name in names)):
        raise ValueError(f"{key}: expected a list of names")
    return names
