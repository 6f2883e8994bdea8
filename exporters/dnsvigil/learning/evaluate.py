"""How well the name score distinguishes names of malware from others, by family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tldextract

from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.features.names import label_of
from dnsvigil.learning.generators import FAMILIES, Family
from dnsvigil.learning.namescore import HELD_OUT_SEEDS, NameModel, lexicon_of
from dnsvigil.learning.samples import Benign
from dnsvigil.system.files import read_file

_MAX_LIST: Final = 256 << 20  # bytes

FALSE_POSITIVES: Final = 0.01
"""The share of false positives at which true positives are reported."""

_PER_SEED: Final = 40


@dataclass(frozen=True)
class FamilyFigures:
    """The figures of one family."""

    family: str
    names: int
    found: float  # share above the threshold
    auc: float


@dataclass(frozen=True)
class Figures:
    """The figures of a model on names that it was not trained on."""

    benign: int
    threshold: float  # the score that FALSE_POSITIVES of the benign names reach
    families: list[FamilyFigures]  # the worst first

    @property
    def found(self) -> float:
        """Return the mean share found, each family counting the same."""
        return float(np.mean([family.found for family in self.families]))

    @property
    def auc(self) -> float:
        """Return the mean area under the curve, each family counting the same."""
        return float(np.mean([family.auc for family in self.families]))

    def record(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return {
            "benign": self.benign,
            "threshold": round(self.threshold, 4),
            "found": round(self.found, 4),
            "auc": round(self.auc, 4),
            "families": {
                row.family: {"names": row.names, "found": round(row.found, 4), "auc": round(row.auc, 4)}
                for row in self.families
            },
        }

    def table(self) -> str:
        """Return the figures as text."""
        total = sum(row.names for row in self.families)
        rows = [*self.families, FamilyFigures("mean of families", total, self.found, self.auc)]
        width = max(len(row.family) for row in rows)
        lines = [f"{row.family:{width}}  {row.names:7}  {row.found:6.3f}  {row.auc:7.4f}" for row in rows]
        return "\n".join(
            [
                f"{'family':{width}}  {'names':>7}  {'found':>6}  {'AUC':>7}",
                *lines,
                f"at a score of {self.threshold:.4f}, which {FALSE_POSITIVES:.0%} of {self.benign} benign names reach",
            ]
        )


def evaluate(model: NameModel, families: Mapping[str, Sequence[str]], benign: Sequence[str]) -> Figures:
    """Return the figures of a model on the domains of each family and on benign ones.

    Raises ``ValueError`` where there are none.
    """
    if not families or not benign or not all(families.values()):
        raise ValueError("there are no names to evaluate with")
    allow_pandas()
    from sklearn.metrics import roc_auc_score

    good = model.ratios(benign)
    threshold = np.quantile(good, 1 - FALSE_POSITIVES)
    rows = []
    for family, domains in families.items():
        bad = model.ratios(domains)
        auc = roc_auc_score(np.repeat([0, 1], [len(good), len(bad)]), np.concatenate([good, bad]))
        rows.append(FamilyFigures(family, len(bad), float((bad > threshold).mean()), float(auc)))
    return Figures(
        len(good), float(model.scores_of(threshold)), sorted(rows, key=lambda row: (row.found, row.auc, row.family))
    )


def generated(
    model: NameModel, benign: Benign, english: Sequence[str], families: Sequence[Family] = FAMILIES
) -> dict[str, list[str]]:
    """Return names of the families, of the words that the model was trained with, but under seeds that it was not."""
    lexicon = lexicon_of(map(label_of, benign.language), model.words, english)
    return {family.name: family.names(HELD_OUT_SEEDS, _PER_SEED, lexicon) for family in families}


def read_families(directory: Path) -> dict[str, list[str]]:
    """Return the registered domains of files named ``FAMILY.txt`` or ``FAMILY__ANYTHING.txt``, each once.

    The files have one name a line, its first word. Lines without a domain, and files without any, are left out.
    Raises ``OSError``.
    """
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
    families: dict[str, set[str]] = {}
    for path in sorted(directory.glob("*.txt")):
        for line in read_file(path, _MAX_LIST).decode(errors="replace").splitlines():
            parts = extract.extract_str(line.lower().partition("#")[0].strip().partition(" ")[0])
            if parts.domain and parts.suffix:
                families.setdefault(path.stem.partition("__")[0], set()).add(f"{parts.domain}.{parts.suffix}")
    return {family: sorted(domains) for family, domains in families.items()}
