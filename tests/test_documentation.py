"""What the pages in docs/ list is what there is, no more and no less."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.config.types import Duration, Size
from dnsvigil.detectors.runner import GROUP
from dnsvigil.records import DOMAIN_FEATURES, LISTED, NOVEL
from dnsvigil.sources import blocklists
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS

DOCS = Path(__file__).parents[1] / "docs"
SUFFIXES = {".md", ".yml", ".toml", ".py", ".pm", ".php", ".zeek"}


def rows(page: str) -> dict[str, list[str]]:
    """The page's table rows that begin with a name in backticks, by that name."""
    found = {}
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and (name := re.fullmatch(r"`([^`]+)`", cells[0].strip("| "))):
            found[name[1]] = [cell.rstrip(" |") for cell in cells[1:]]
    return found


def keys(kind: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every key of the configuration with its default."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        key, hint = prefix + field.name, hints[field.name]
        items = [arg for arg in typing.get_args(hint) if dataclasses.is_dataclass(arg)]
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, f"{key}.")
        else:
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            yield key, default
        for item in items:
            yield from keys(item, f"{key}[].")


def test_every_key_of_the_configuration_is_documented_with_its_default():
    documented = rows("configuration.md")
    known = dict(keys(Config))
    assert documented.keys() == known.keys()
    for key, default in known.items():
        said = documented[key][0]
        if default is dataclasses.MISSING:
            assert said == "needed", key
        elif default in ([], {}) and key != "zones.failures":
            assert said == "none", key
        elif key == "zones.failures":
            assert said == f"`[{', '.join(default)}]`"
        elif isinstance(default, Duration | Size):
            assert type(default).parse(said.strip("`")) == default, key
        elif isinstance(default, bool):
            assert said == f"`{str(default).lower()}`", key
        elif default is not None and "[]" not in key:
            assert said == f"`{default}`", key


def test_every_reason_to_skip_a_record_is_documented():
    documented = rows("operate/counting.md")
    assert {name: documented[name][0] for name in SKIP_REASONS if name in documented} == SKIP_REASONS


def test_rules_and_runbooks_speak_of_metrics_that_there_are():
    documented = set(rows("metrics.md"))
    suffixed = {f"{name}{suffix}" for name in documented for suffix in ("", "_bucket", "_sum", "_count")}
    rules = DOCS.parent / "rules"
    pages = [*(DOCS / "runbooks").glob("*.md"), *rules.rglob("*.yml"), *rules.rglob("*.json")]
    for page in pages:
        named = set(re.findall(r"(?<![\w:])dnsvigil_\w+(?![\w:])", page.read_text()))
        assert named <= suffixed, page


def test_every_detector_has_its_page():
    pages = {path.stem for path in (DOCS / "detectors").glob("*.md")} - {"README", "evasions", "name-score"}
    assert pages == {entry.name for entry in entry_points(group=GROUP) if entry.value.startswith("dnsvigil.")}
    listed = set(
        re.findall(r"^\| \[`([\w-]+)`\]\(\1\.md\) \|", (DOCS / "detectors/README.md").read_text(), re.MULTILINE)
    )
    assert listed == pages


def test_every_column_of_a_feature_table_is_documented():
    lines = (DOCS / "detectors/README.md").read_text().splitlines()
    first_cells = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    documented = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert documented >= {*NOVEL, *LISTED}
    assert documented <= {*NOVEL, *LISTED, *entry_points(group=GROUP).names}


def test_every_feature_of_a_domain_is_documented():
    assert set(rows("features.md")) == {"first_seen", "last_seen", *DOMAIN_FEATURES}


def test_every_reason_to_skip_a_line_of_a_list_is_documented():
    section = (DOCS / "operate" / "detectors.md").read_text().partition("## Lists of domains")[2].partition("\n## ")[0]
    documented = {
        name for item in re.findall(r"^- (.*?):", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", item)
    }
    sources = [path.read_text() for path in Path(blocklists.__file__).parent.glob("*.py")]
    assert documented == {name for text in sources for name in re.findall(r"""skipped\["(\w+)"\]""", text)}


def test_every_link_between_pages_leads_to_a_heading_that_there_is():
    root = DOCS.parent
    for page in [root / "README.md", *DOCS.rglob("*.md"), *(root / "rules").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            linked = page.parent / path if path else page
            assert linked.exists(), (page, target)
            if anchor and linked.suffix == ".md":
                headings = re.findall(r"^#+ (.*)", linked.read_text(), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}, (
                    page,
                    target,
                )


@pytest.mark.parametrize(
    "phrase",
    [
        "resolvers are told",
        "% plausible",
        "humanizePercentage }} plausible",
        "not as it should",
        "does not judge",
        "goes? unseen",
        "sa(y|id|ys) nothing",
        'looked for"',
        "(its|their) like (is|was|raises|are)",
        "the one that came",
        "in its clothes",
        "^Read are ",
    ],
)
def test_phrases_that_operators_stumbled_over_stay_out_of_what_they_read(phrase: str) -> None:
    root = DOCS.parent
    folders = [root / name for name in ("docs", "rules", "plugins", "zeek-scripts", "exporters")]
    texts = [path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES]
    found = [path for path in [root / "README.md", *texts] if re.search(phrase, path.read_text(), re.MULTILINE)]
    assert found == []
