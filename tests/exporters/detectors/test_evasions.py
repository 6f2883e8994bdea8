"""What hides a session cheaply does not: the rows of the evaluation's table that must stay found, among few clients."""

import pytest

from dnsvigil.config.collector import Config, Detectors
from evaluation.detection import all_but
from evaluation.evasions import EVASIONS, evaluate

CONFIG = Config(detectors=Detectors(disabled=all_but("malware", "tunnel"), top=1000))
WITHIN = 30  # minutes

SEEN = (
    "another address of its /64 for each query",
    "letters of either case",
    "an MX query before each",
    "a query that is refused before each",
    "NOERROR without records before each",
    "an A query that fails, two minutes before each",
    "after 50,000 names below one domain, answered",
    "after 10,000 domains that resolve",
)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float | None]]:
    return evaluate(SEEN, clients=4, hours=(WITHIN + 5) / 60, seconds=300, config=CONFIG)[1]


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in SEEN for kind in EVASIONS[name].of])
def test_is_found(name: str, kind: str, found: dict[str, dict[str, float | None]]) -> None:
    minutes = found[name][kind]
    assert minutes is not None and minutes <= WITHIN
