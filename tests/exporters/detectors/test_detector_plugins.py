"""Detectors of other packages: one that is installed with pip, and some that are broken."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation.detection import all_but
from exporters.detector_packages import lay_out
from exporters.running import collecting_here, eventually, get, ingested, line, sample, samples, write_config
from lab.zeeklog import header

EXAMPLE = Path(__file__).parents[1] / "example_detector"
PAGE = Path(__file__).parents[3] / "docs" / "detectors" / "README.md"
BROKEN = """
from dnsvigil.detectors.detector import Detector


class Unmade(Detector):
    name = "unmade"

    def __init__(self, context):
        raise FileNotFoundError("there is no model")

    def evaluate(self, read, now):
        return ()


class Raising(Unmade):
    name = "raising"

    def __init__(self, context):
        pass

    def evaluate(self, read, now):
        read("SELECT * FROM nothing_of_that_name")


class Lying(Raising):
    name = "lying"

    def evaluate(self, read, now):
        from dnsvigil.detectors.detector import Anomaly
        return [Anomaly("planet", "Mars", 7, "bad", now, now, {})]


class Speechless(Raising):
    name = "speechless"

    def evaluate(self, read, now):
        return ()

    def problems(self):
        raise ZeroDivisionError("of course")
"""
NAMES = ("Unmade", "Raising", "Lying", "Speechless", "Nowhere")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example and the broken ones."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    source.mkdir()
    for file in EXAMPLE.iterdir():  # pip leaves what it builds beside them
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    packages = folder / "packages"
    subprocess.run([*command, "--no-build-isolation", "--no-deps", "--target", packages, source], check=True)
    lay_out(packages, "broken_detectors", BROKEN, NAMES)
    return packages


def test_a_detector_of_another_package_finds_and_broken_ones_say_so(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = all_but()
    monkeypatch.syspath_prepend(str(installed))
    config = write_config(tmp_path, detectors={"disabled": ours, "thresholds": {"curious": 0.6}})
    log = tmp_path / "zeek" / "current" / "dns.log"
    now = time.time() - 60
    names = {"198.51.100.7": 200, "198.51.100.8": 100}  # for a score of two thirds, and of one half
    asked = [
        line(now, f"{client[-1]}-{n}-odd.com", client=client) for client, most in names.items() for n in range(most)
    ]
    log.write_bytes(header(now) + b"".join(asked))
    with collecting_here(config, tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        scored = sample("dnsvigil_anomaly_score", detector="curious", subject_type="client", subject="198.51.100.7")
        eventually(lambda: scored in samples(get(url)))
        with log.open("ab") as more:
            more.write(b"".join(line(now + 120, f"more-{n}.com") for n in range(5)))
        eventually(lambda: ingested(get(url)) == len(asked) + 5)
        found = samples(get(url))

    assert found[sample("dnsvigil_findings", detector="curious", severity="warning")] == 1
    (score, labels) = next(
        (value, dict(items)) for (name, items), value in found.items() if name == "dnsvigil_finding_score"
    )
    assert score == pytest.approx(2 / 3) and labels["subject"] == "198.51.100.7"
    assert labels["domain"].endswith("-odd.com")
    up = {dict(items)["detector"]: value for (name, items), value in found.items() if name == "dnsvigil_detector_up"}
    assert up == {"curious": 1} | {name.lower(): 0 for name in NAMES}
    problems = {
        dict(items)["detector"]: dict(items)["problem"] for name, items in found if name == "dnsvigil_detector_problem"
    }
    assert problems["unmade"] == "FileNotFoundError: there is no model"
    assert "nothing_of_that_name" in problems["raising"]
    assert problems["lying"].startswith("ValueError: ")
    assert problems["speechless"] == "ZeroDivisionError: of course"
    assert "Nowhere" in problems["nowhere"]
    assert found[sample("dnsvigil_detector_failures_total", detector="raising")] >= 1
    assert found[sample("dnsvigil_detector_failures_total", detector="curious")] == 0


def test_the_page_shows_the_example() -> None:
    page = PAGE.read_text()
    for file in ("pyproject.toml", "dnsvigil_curious.py"):
        code = "".join(f"    {line}".rstrip() + "\n" for line in (EXAMPLE / file).read_text().splitlines())
        assert code in page, file
