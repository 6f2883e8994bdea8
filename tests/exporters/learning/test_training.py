"""``dnsvigil train`` and ``evaluate``, trained small: what is learned from, what is said, what is refused."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.open_resolver.kinds import LABELLED as HOSTS
from dnsvigil.detectors.open_resolver.kinds import RESOLVER
from dnsvigil.detectors.poisoning.neighbours import LABELLED as WINDOWS
from dnsvigil.detectors.runner import GROUP
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.features.popular import own_popular_domains
from dnsvigil.ingest import intake
from dnsvigil.learning import training
from dnsvigil.learning.default import default_model, trained_model
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.learning.models import ModelError
from dnsvigil.learning.namescore import NameModel
from dnsvigil.learning.samples import Benign
from dnsvigil.learning.training import STEPS, parted
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Read, Store
from dnsvigil.store.tuple_keys import key_of_name
from exporters.running import line
from exporters.zeeklogs import HEADER

NOON = datetime(2026, 3, 1, 12)
DAY = timedelta(days=1)
SOME = [family for family in FAMILIES if family.name in {"bamital", "cryptolocker"}]
POPULAR = [f"shop-of-{word}.example" for word in ("north", "south", "east", "west", "harbour", "hill", "lake", "town")]
DISMISSED = ["xq7-telemetry.example", "zk9-telemetry.example"]
HOST = "198.51.100.9"
COMPARED = {
    name: value
    for name, value in zip(
        HOSTS.weights, next(each.values for each in HOSTS.known if each.origin == "flows"), strict=True
    )
    if value is not None
}
LISTED = [f"evil{n:03}x.com" for n in range(200)]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives exit status, output and errors of a command."""

    def running(*words: object) -> tuple[int, str, str]:
        try:
            status = main(["--log-level", "error", *map(str, words)])
        except SystemExit as end:
            status = int(str(end.code))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return running


def put_tuples(store: Store, names: Iterable[str], first: datetime, last: datetime, count: int = 1000) -> None:
    for name in names:
        store.connection.execute(
            "INSERT INTO passive_dns_new BY NAME SELECT ? AS nkey, 'A' AS rrtype, 'a192000002001' AS rkey,"
            " ?::BIGINT AS count, epoch(?::TIMESTAMP) AS time_first, epoch(?::TIMESTAMP) AS time_last,"
            " 1 AS sensors, 1 AS seen_in",
            [key_of_name(name), count, first, last],
        )


def put_finding(store: Store, domains: Sequence[object], subject: str = "198.51.100.1") -> int:
    findings = Findings(store)
    evidence = {"domains": list(domains), "odd": "\x1b[31m\u0000"}
    with store.transaction():
        number = findings.put(Finding("malware", "client", subject, 0.7, "warning", NOON, NOON, evidence))
    assert number
    return number


def fill(state: Path) -> None:
    """A store with popular domains, a dismissed finding, and an open host that a scan confirms."""
    with Store(state) as store:
        PassiveDns(store)
        put_tuples(store, (f"www.{name}" for name in POPULAR), NOON - 20 * DAY, NOON)
        number = put_finding(store, DISMISSED)
        findings = Findings(store)
        with store.transaction():
            findings.dismiss(number, "a scanner", NOON)
            evidence = {"seen_by": ["flows", "scan"], "compared": {"flows": COMPARED}}
            findings.put(Finding("open_resolver", "host", HOST, 0.7, "warning", NOON, NOON, evidence))


@pytest.fixture(scope="module")
def small(benign: Benign, english: list[str]) -> Iterator[None]:
    """Training with a few names and families only."""
    with pytest.MonkeyPatch.context() as patch:
        names = [domain for part in vars(benign).values() for domain in part]
        patch.setattr(training, "popular_domains", lambda: names)
        patch.setattr(training, "english_words", lambda: english)
        patch.setattr(training, "FAMILIES", SOME)
        yield


@pytest.fixture(scope="module")
def trained(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store, lists and the model that came of them."""
    folder = tmp_path_factory.mktemp("trained")
    fill(folder)
    (folder / "lists").mkdir()
    (folder / "lists" / "evil__one.txt").write_text("\n".join(LISTED))
    with pytest.MonkeyPatch.context() as patch, (folder / "stderr").open("w") as pipe:
        patch.setattr(sys, "stderr", pipe)
        assert main(["--log-level", "error", "--state", str(folder), "train", "--lists", str(folder / "lists")]) == 0
    assert (folder / "stderr").read_text() == ""  # no progress bar where nobody sees it
    return folder


class TestTrain:
    def test_learns_from_store_and_lists_and_keeps_figures(self, trained: Path) -> None:
        model = NameModel.load(trained_model(trained))
        taught = parted({"evil": LISTED}, taught=True)["evil"]
        assert 0.6 * len(LISTED) < len(taught) < 0.9 * len(LISTED)
        assert model.facts["listed"]["evil"]["names"] == len(taught)
        assert model.facts["families"]["evil"] == "listed"
        assert model.facts["dismissed"]["names"] == len(DISMISSED)
        assert 0 < model.facts["popular"]["names"] < len(POPULAR)
        figures = model.facts["figures"]
        assert figures["listed"]["families"]["evil"]["names"] == len(LISTED) - len(taught)
        assert figures["generated"]["families"].keys() == {family.name for family in SOME}
        assert figures["generated"]["families"]["bamital"]["found"] > 0.9
        assert model.reasons(DISMISSED[0]).benign[0].name == DISMISSED[0]
        nearest = model.reasons(taught[0]).generated[0]
        assert (nearest.name, nearest.family) == (taught[0], "evil")

    def test_what_another_store_answered_gives_the_same_model_and_says_so(
        self, trained: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[str] = []
        train = training.train
        monkeypatch.setattr(training, "train", lambda lessons, seed, _: train(lessons, seed, told.append))
        names = tmp_path / "names.json"
        with Store(trained) as store:
            popular = own_popular_domains(store.read, TupleReader(lambda: store)).popular
            examples = {each.detector: each.records(each.learn(store.rows)) for each in (HOSTS, WINDOWS)}
        content = {"popular": popular, "dismissed": DISMISSED, "examples": examples}
        names.write_text(json.dumps(content))
        command = ["train", "--output", tmp_path / "new", "--names", names, "--lists", trained / "lists"]
        status, output, errors = run("--state", tmp_path / "none", *command)
        assert (status, errors) == (0, "")
        assert tuple(told) == STEPS
        files = [path.relative_to(trained / "models") for path in (trained / "models").glob("*/*")]
        assert len(files) == 6
        for path in files:
            assert (tmp_path / "new" / path).read_bytes() == (trained / "models" / path).read_bytes()
        assert "Lists: " in output and "AUC 0." in output
        assert "also on 8 popular, 2 dismissed, 1 listed families\n" in output
        assert f"{tmp_path / 'new' / 'open_resolver'}: written, with examples of your own: 1 open resolver\n" in output
        assert output.endswith("poisoning: written, with examples of your own: none\n")
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        "content",
        [
            *("{", "[]", "{}", '{"popular": "x", "dismissed": []}', '{"popular": ["\\ud800"], "dismissed": []}'),
            '{"popular": [], "dismissed": [], "examples": []}',
            '{"popular": [], "dismissed": [], "examples": {"poisoning": {}}}',
            '{"popular": [], "dismissed": [], "examples": {"poisoning": [{"origin": "sensor", "kind": "x"}]}}',
        ],
    )
    def test_refuses_names_that_are_none(self, tmp_path: Path, run: Run, content: str) -> None:
        (tmp_path / "names").write_text(content)
        status, _, errors = run("--state", tmp_path, "train", "--names", tmp_path / "names")
        assert status == 2 and "not what /api/training answers" in errors

    @pytest.mark.parametrize(("popular", "suspected", "refused"), [(380, 21, True), (420, 21, False), (5, 20, False)])
    @pytest.mark.usefixtures("small")
    def test_refuses_what_is_not_normal(
        self, tmp_path: Path, run: Run, popular: int, suspected: int, refused: bool
    ) -> None:
        names = {"popular": [f"name{number}.example" for number in range(popular)], "dismissed": []}
        (tmp_path / "names").write_text(json.dumps(names | {"suspected": suspected}))
        command = ["train", "--names", tmp_path / "names", "--output", tmp_path / "models"]
        status, output, errors = run("--state", tmp_path, *command)
        assert status == refused
        assert (tmp_path / "models").exists() != refused
        if refused:
            assert f"{suspected} of the {popular + suspected} domains" in errors and not output

    def test_refuses_a_folder_without_lists(self, tmp_path: Path, run: Run) -> None:
        for folder in (tmp_path, tmp_path / "none"):
            status, _, errors = run("--state", tmp_path, "train", "--lists", folder)
            assert status == 2 and "FAMILY.txt" in errors

    def test_says_what_to_do_where_nobody_can_be_asked(self, tmp_path: Path, run: Run) -> None:
        fill(tmp_path)
        (tmp_path / "dnsvigil.duckdb").write_bytes(b"none")
        (tmp_path / "dnsvigil.yml").write_text("listen: 127.0.0.1:1\n")
        status, _, errors = run("-c", tmp_path / "dnsvigil.yml", "--state", tmp_path, "train")
        assert status == 1 and "cannot be opened" in errors and "--names" in errors

    def test_a_model_that_cannot_be_written_is_an_error(self, small: None, tmp_path: Path, run: Run) -> None:
        fill(tmp_path)
        (tmp_path / "file").touch()
        status, _, errors = run("--state", tmp_path, "train", "--seed", "0", "--output", tmp_path / "file")
        assert status == 1 and f"{tmp_path / 'file'}: File exists" in errors


class TestPopular:
    def ask(self, state: Path, put: Callable[[Store], object]) -> list[str]:
        with Store(state) as store:
            PassiveDns(store)
            Findings(store)
            put(store)
            return own_popular_domains(store.read, TupleReader(lambda: store)).popular

    def test_is_what_lasts(self, tmp_path: Path) -> None:
        def put(store: Store) -> None:
            put_tuples(store, ["www.a.co.uk", "x.y.b.example"], NOON - 8 * DAY, NOON, 10)
            put_tuples(store, ["mail.a.co.uk", "often.example"], NOON - 30 * DAY, NOON - DAY, 1000)
            put_tuples(store, ["new.example"], NOON - 6 * DAY, NOON)
            put_tuples(store, ["gone.example"], NOON - 30 * DAY, NOON - 3 * DAY)
            put_tuples(store, ["com", "localhost", "\x1b'; DROP TABLE findings"], NOON - 30 * DAY, NOON)

        assert self.ask(tmp_path, put) == ["a.co.uk", "often.example", "b.example"]

    def test_zones_count_that_were_heavy_on_seven_days(self, tmp_path: Path) -> None:
        def put(store: Store) -> None:
            for days, zone in ((7, "steady.example"), (6, "short.example"), (9, "other"), (8, "heavy.example")):
                for day in range(days):
                    store.connection.execute(
                        "INSERT INTO minute_zones VALUES (?, 's', ?, ?, 0)", [NOON - day * DAY, zone, days]
                    )

        assert self.ask(tmp_path, put) == ["heavy.example", "steady.example"]

    def test_is_not_what_findings_and_lists_have(self, tmp_path: Path) -> None:
        def put(store: Store) -> None:
            put_tuples(store, ["a.example", "b.example", "c.example", "d.example"], NOON - 8 * DAY, NOON)
            put_finding(store, ["a.example", 7, None, {"x": 1}])
            number = put_finding(store, ["b.example"], "198.51.100.2")
            put_finding(store, ["e.example"], "198.51.100.3")
            store.connection.execute("UPDATE findings SET evidence = '{' WHERE subject = '198.51.100.3'")
            store.connection.execute("CREATE TABLE IF NOT EXISTS listed (entry VARCHAR)")
            store.connection.execute("INSERT INTO listed (entry) VALUES ('www.c.example'), ('d.example.org')")
            findings = Findings(store)
            with store.transaction():
                findings.dismiss(number, "ours", NOON)

        assert self.ask(tmp_path, put) == ["b.example", "d.example"]
        with Store(tmp_path) as store:
            assert own_popular_domains(store.read, TupleReader(lambda: store)).suspected == 2

    def test_of_an_empty_store_there_are_none_and_never_too_many(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Store(tmp_path / "empty") as store:
            assert own_popular_domains(store.read, TupleReader(lambda: store)).popular == []
        monkeypatch.setattr("dnsvigil.features.popular.KEPT", 3)
        found = self.ask(tmp_path, lambda store: put_tuples(store, POPULAR, NOON - 8 * DAY, NOON))
        assert found == sorted(POPULAR)[:3]


class TestEvaluate:
    def test_prints_tables_by_family(self, trained: Path, run: Run) -> None:
        status, output, _ = run("--state", trained, "evaluate", "--lists", trained / "lists")
        assert status == 0
        assert output.startswith(f"Model {trained_model(trained)}\n")
        assert "open_resolver: labelled examples" in output and "poisoning: labelled examples" in output
        for name in ("abuse", "fast_flux", "honeypot"):
            assert re.search(rf"^{name} +nothing to train: ", output, re.MULTILINE)
        assert re.search(r"^tunnel +the name score", output, re.MULTILINE)
        assert "bamital" in output and "evil" in output

    def test_does_not_count_what_was_taught(self, trained: Path, run: Run) -> None:
        (trained / "more").mkdir()
        (trained / "more" / "evil.txt").write_text("\n".join(LISTED))
        (trained / "more" / "unknown.txt").write_text("\n".join(LISTED))
        status, output, _ = run("--state", trained, "evaluate", "--json", "--lists", trained / "more")
        found = json.loads(output)
        assert status == 0 and found["model"] == str(trained_model(trained))
        families = found["figures"]["listed"]["families"]
        assert families["unknown"]["names"] == len(LISTED)
        assert families["evil"]["names"] == len(parted({"evil": LISTED}, taught=False)["evil"])
        assert found["facts"]["seed"] == 0
        rows = {(row["origin"], row["kind"]): row["examples"] for row in found["detectors"]["open_resolver"]}
        packaged = sum((each.origin, each.kind) == ("flows", RESOLVER) for each in HOSTS.known)
        assert rows["flows", RESOLVER] == packaged + 1
        assert found["detectors"]["malware"] == "the name score"

    def test_refuses_a_model_that_was_changed(self, trained: Path, tmp_path: Path, run: Run) -> None:
        content = json.loads((trained_model(trained) / "model.json").read_text())
        for change, says in (({"version": 0}, "run dnsvigil train"), ({"digest": "0"}, "the model was changed")):
            changed = tmp_path / "models" / "name-score"
            changed.mkdir(parents=True, exist_ok=True)
            (changed / "model.json").write_text(json.dumps(content | change))
            (changed / "arrays.npz").write_bytes((trained_model(trained) / "arrays.npz").read_bytes())
            status, _, errors = run("--state", tmp_path, "evaluate", "--models", tmp_path / "models")
            assert status == 1 and says in errors and str(tmp_path) in errors
        log = tmp_path / "dns.log"
        log.write_bytes(HEADER)
        assert run("--state", tmp_path, "evaluate", "--models", tmp_path / "models", log)[0] == 1

    def test_refuses_lists_beside_logs(self, trained: Path, tmp_path: Path, run: Run) -> None:
        assert run("--state", trained, "evaluate", "--lists", trained / "lists", tmp_path)[0] == 2


class Sees(Detector):
    """Finds who asks, as soon as there is a model."""

    name = "sees"
    reads = ("novel",)

    def __init__(self, context: Context) -> None:
        NameModel.load(trained_model(context.state))

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        rows = read("SELECT client, min(first_seen), max(last_seen) FROM novel GROUP BY client")
        return [Anomaly("client", who, 0.75, "critical", *times, {"domains": ["\x1b[2J"]}) for who, *times in rows]


class TestLogs:
    @pytest.fixture
    def logs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """Two logs, of one client and of none."""
        entry = EntryPoint("sees", "exporters.learning.test_training:Sees", GROUP)
        monkeypatch.setattr(intake, "enabled", lambda disabled: [entry])
        begin = (NOON - datetime(1970, 1, 1)).total_seconds()
        full, empty = tmp_path / "full.log", tmp_path / "empty.log"
        full.write_bytes(HEADER + b"".join(line(begin + 60 * n, f"x{n}.example") for n in range(3)))
        empty.write_bytes(HEADER)
        return [full, empty]

    def test_each_is_judged_by_itself(self, trained: Path, logs: list[Path], run: Run) -> None:
        before = (trained / "dnsvigil.duckdb").read_bytes()
        status, output, _ = run("--state", trained, "evaluate", "--json", *logs)
        full, empty = json.loads(output)
        assert (status, full["path"], empty) == (
            1,
            str(logs[0]),
            {"path": str(logs[1]), "complete": False, "findings": []},
        )
        (found,) = full["findings"]
        assert [found[name] for name in ("detector", "subject", "score", "first_seen", "last_seen")] == [
            "sees", "198.51.100.1", 0.75, "2026-03-01T12:00:00Z", "2026-03-01T12:02:00Z",
        ]  # fmt: skip
        assert (trained / "dnsvigil.duckdb").read_bytes() == before

    def test_they_are_a_table_on_a_terminal(self, trained: Path, logs: list[Path], run: Run) -> None:
        status, output, _ = run("--state", trained, "evaluate", *logs)
        _, full, empty = output.splitlines()
        assert status == 1  # there is nothing in one of them
        assert full.split()[1:4] == ["2026-03-01T12:00:00Z", "2026-03-01T12:02:00Z", "0.75"]
        assert "\x1b" not in output and r"domains \x1b[2J" in full
        assert empty.endswith("has no DNS queries, so nothing was evaluated")

    def test_one_that_cannot_be_read_is_an_error(self, trained: Path, logs: list[Path], run: Run) -> None:
        status, output, _ = run("--state", trained, "evaluate", "--json", logs[1], logs[0].with_name("none.log"))
        assert status == 1
        assert len(json.loads(output)) == 2


def test_a_default_model_comes_with_the_package() -> None:
    try:
        model = NameModel.load(default_model())
    except ModelError as error:
        pytest.skip(f"the default model is made when dnsvigil is installed: {error}")
    known, made = model.scores(["wikipedia.org", "a5b01d1a82937f6c5e.net"])
    assert known < 0.9
    assert made > 0.99
    assert model.facts["figures"]["generated"]["auc"] > 0.97
