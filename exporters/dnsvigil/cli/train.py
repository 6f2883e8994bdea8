"""``dnsvigil train``: a name score that knows the operator's own names."""

import argparse
import errno
import json
import os
from dataclasses import replace
from typing import Any, Final

from dnsvigil.cli.ask import ask, shows_answer
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.model_figures import TITLES, enough_names, families_in
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.progress import progress
from dnsvigil.config.collector import Config
from dnsvigil.learning import training
from dnsvigil.learning.default import trained_model
from dnsvigil.learning.evaluate import FALSE_POSITIVES
from dnsvigil.learning.training import STEPS, Lessons
from dnsvigil.system.files import read_file

_MAX_NAMES: Final = 64 << 20  # bytes
_MAX_SUSPECTED: Final = 0.05  # of the popular domains
_FEW_SUSPECTED: Final = 20  # domains that any network may have


def train(options: argparse.Namespace, config: Config) -> int:
    """Train a model and leave it where the collector looks for it.

    Raises :class:`CommandError`, also for too few names, and ``OSError``.
    """
    if not options.output or options.output.resolve().is_relative_to(options.state.resolve()):
        require_owner(options.state)
    families = families_in(options.lists) if options.lists else {}
    lessons = replace(_own_names(options, config), listed=families)
    output = options.output or trained_model(options.state)
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):  # better now than after a minute of training
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output.parent))
    with progress(STEPS) as begin, enough_names():
        model = training.train(lessons, options.seed, begin)
    model.save(output)
    for part, figures in model.facts["figures"].items():
        if part in TITLES:
            text = f"{figures['found']:.1%} found at {FALSE_POSITIVES:.0%} false positives, AUC {figures['auc']:.4f}"
            print(f"{TITLES[part]}: {text}")
    learned = [("popular", lessons.popular), ("dismissed", lessons.dismissed), ("listed families", lessons.listed)]
    print(f"{output}: trained, also on {', '.join(f'{len(what):,} {name}' for name, what in learned)}")
    return 0


@shows_answer
def _own_names(options: argparse.Namespace, config: Config) -> Lessons:
    """Return the operator's own names: those in a file, or else those of the collector or the store."""
    if options.names:
        try:
            content = json.loads(read_file(options.names, _MAX_NAMES).decode())
            return _lessons(content)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"{options.names}: not what /api/training answers: {error}") from error
    try:
        content = ask(config, options.state, "/api/training")
    except CommandError as error:
        raise type(error)(f"{error}; what /api/training answered can be given with --names") from error
    return _lessons(content)


def _lessons(content: Any) -> Lessons:
    """Return what an answer of /api/training has. Raises ``ValueError`` and such, and ``CommandError``."""
    popular, suspected = _names(content, "popular"), int(content.get("suspected", 0))
    total = len(popular) + suspected
    if suspected > max(_FEW_SUSPECTED, _MAX_SUSPECTED * total):
        raise CommandError(
            f"not trained: {suspected:,} of the {total:,} domains that clients have queried for a week are in findings"
            f" or on lists, more than {_MAX_SUSPECTED:.0%}: what is left may not be normal either. Dismiss the findings"
            " that are harmless, remove the causes of the others, and train once they are gone"
        )
    return Lessons(popular=popular, dismissed=_names(content, "dismissed"))


def _names(content: Any, key: str) -> list[str]:
    names = content[key]
    if not (isinstance(names, list) and all(isinstance(name, str) and name.encode() for name in names)):
        raise ValueError(f"{key}: expected a list of names")
    return names
