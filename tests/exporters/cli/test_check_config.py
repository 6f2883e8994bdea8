"""``check-config``: all mistakes at once, each with its line, and what the configuration names that is not there."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest
import yaml

from dnsvigil.cli.main import main
from dnsvigil.config.collector import load_config
from dnsvigil.resolver.main import main as resolver_main
from dnsvigil.sources.availability import Availability, Place, problem_of
from exporters.httpd.support import hashed

NOBODY = 65534


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    status = main(["-c", str(path), "check-config"])
    said = capsys.readouterr()
    return status, said.out, said.err.splitlines()


def test_all_mistakes_are_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, web = tmp_path / "dnsvigil.yml", tmp_path / "web.yml"
    web.write_text("basic_auth_userz: {}\ntls_server_confg: {}\n")
    path.write_text(f"""\
lisen: 127.0.0.1:9953
web_config_file: {web}
zones:
  top: many
  failure_ratio_threshold: 20
  min_queriez: 3
  configured:
    - name: a..example
    - min_queries: 1
store:
  retention: 1m
  max_size: 1MB
detectors:
  disabled:
    - tunel
  thresholds:
    malwar: 0.5
  lists: {tmp_path}/none
""")
    status, out, err = check(path, capsys)
    assert (status, out) == (2, "")
    said = [line.split(": ")[1:3] for line in err if str(web) not in line]
    assert sorted((int(where.removeprefix(f"{path}:")), key) for where, key in said) == [
        (1, "lisen"),
        (4, "zones.top"),
        (5, "zones.failure_ratio_threshold"),
        (6, "zones.min_queriez"),
        (8, "zones.configured[0].name"),
        (9, "zones.configured[1].name"),
        (11, "store.retention"),
        (12, "store.max_size"),
        (15, "detectors.disabled"),
        (17, "detectors.thresholds"),
        (18, "detectors.lists"),
    ]
    assert [line.split(": ")[1] for line in err if str(web) in line] == [f"{web}:1", f"{web}:2"]


def test_a_file_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", str(tmp_path / "none.yml"), "check-config"]) == 2
    monkeypatch.setattr("dnsvigil.cli.check_config.DEFAULT_PATH", tmp_path / "usual.yml")
    assert main(["check-config"]) == 2
    monkeypatch.setattr("dnsvigil.resolver.main.DEFAULT_PATH", tmp_path / "resolver.yml")
    assert resolver_main(["--check-config"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("cannot be read: No such file or directory\n") == 3
    assert "Errno" not in said.err


def test_who_triages_is_a_user_that_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, web = tmp_path / "dnsvigil.yml", tmp_path / "web.yml"
    triage = "web:\n  triage:\n  - alice\n  - carol\n"
    config.write_text(triage)
    assert main(["-c", str(config), "check-config"]) == 2
    assert capsys.readouterr().err.count("is among the basic_auth_users of web_config_file") == 2
    web.write_text(f"basic_auth_users: {{alice: '{hashed('secret')}', bob: '{hashed('secret')}'}}\n")
    config.write_text(f"{triage}web_config_file: {web}\n")
    assert main(["-c", str(config), "check-config"]) == 2
    mistakes = [each for each in capsys.readouterr().err.splitlines() if "warning" not in each]
    text = "no user 'carol' is among the basic_auth_users of web_config_file"
    assert mistakes == [f"dnsvigil: {config}:4: web.triage: {text}"]
    config.write_text(f"web: {{triage: [alice]}}\nweb_config_file: {web}\n")
    assert main(["-c", str(config), "check-config"]) == 0


@pytest.mark.parametrize("content", [b"", b"zones:\n  top: 5\n"])
def test_a_configuration_without_sources_reads_nothing(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "dnsvigil.yml"
    path.write_bytes(content)
    status, _, err = check(path, capsys)
    said = "no folder of Zeek, nfcapd or a honeypot is configured, so nothing is read"
    assert (status, err) == (0, [f"dnsvigil: warning: {path}: sources: {said}"])
    Availability(load_config(path))
    assert caplog.messages == [said]


def test_secrets_that_every_user_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, token = tmp_path / "dnsvigil.yml", tmp_path / "token"
    token.write_text("t" * 30)
    path.write_text(f"sources: {{zeek: [{{path: {tmp_path}}}]}}\napi: {{token_file: {token}}}\n")
    for mode, said in (
        (0o644, [f"dnsvigil: warning: {path}:2: api.token_file: {token} is open to every user of this machine"]),
        (0o640, []),
    ):
        token.chmod(mode)
        status, _, err = check(path, capsys)
        assert (status, [line.partition(": chmod")[0] for line in err]) == (0, said)


def test_a_file_that_is_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dnsvigil.yml"
    path.write_bytes(b"zones:\n  top: 5\n# caf\xe9\n")
    assert check(path, capsys) == (2, "", [f"dnsvigil: {path}: cannot be read: line 3 is not UTF-8"])


def config_of(tmp_path: Path) -> Path:
    (tmp_path / "a-file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "good").mkdir()
    path = tmp_path / "dnsvigil.yml"
    zeek = [{"path": f"{tmp_path}/{name}"} for name in ("none", "a-file", "dangling", "*/current", "good")]
    zeek[-1]["archive"] = f"{tmp_path}/no-archive"
    client = {"ca_file": f"{tmp_path}/ca.pem", "token_file": f"{tmp_path}/token"}
    sources = {"zeek": zeek, "netflow": [{"path": f"{tmp_path}/flows"}]}
    sources["honeypots"] = [{"path": f"{tmp_path}/pots", "archive": f"{tmp_path}/old"}]
    sources["shadowserver"] = f"{tmp_path}/reports"
    archive = {"path": f"{tmp_path}/a-file/below", "pseudonym_key_file": f"{tmp_path}/key"}
    more = {"flows": {"nfdump": "/no/nfdump"}, "archive": archive, "client": client}
    path.write_text(yaml.safe_dump({"sources": sources} | more))
    return path


def test_what_is_not_there_is_a_warning_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_of(tmp_path)
    status, out, err = check(path, capsys)
    assert (status, out) == (0, f"{path}: no mistakes found\n")
    lines = path.read_text().splitlines()
    said = {}
    for line in err:
        _, warning, where, key, text = line.split(": ", 4)
        assert warning == "warning"
        assert key.rpartition(".")[2] in lines[int(where.rpartition(":")[2]) - 1]
        said[key] = text
    assert said == {
        "sources.zeek[0].path": f"{tmp_path}/none does not exist",
        "sources.zeek[1].path": f"{tmp_path}/a-file is not a folder",
        "sources.zeek[2].path": f"{tmp_path}/dangling is a symbolic link to nothing",
        "sources.zeek[3].path": f"{tmp_path}/*/current no folder matches",
        "sources.zeek[4].archive": f"{tmp_path}/no-archive does not exist",
        "sources.netflow[0].path": f"{tmp_path}/flows does not exist",
        "sources.honeypots[0].path": f"{tmp_path}/pots does not exist",
        "sources.honeypots[0].archive": f"{tmp_path}/old does not exist",
        "sources.shadowserver": f"{tmp_path}/reports does not exist",
        "flows.nfdump": "flow files cannot be read: /no/nfdump is not the absolute path of an executable file."
        " Is it installed?",
        "archive.path": f"{tmp_path}/a-file is not a folder that can be written to: it is no folder",
        "archive.pseudonym_key_file": f"{tmp_path}/key is not a file",
        "client.ca_file": f"{tmp_path}/ca.pem is not a file",
        "client.token_file": f"{tmp_path}/token is not a file",
    }


def test_a_key_that_is_none_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, key = tmp_path / "dnsvigil.yml", tmp_path / "key"
    key.write_text("too short")
    key.chmod(0o600)
    path.write_text(f"archive:\n  site: ams\n  pseudonym_key_file: {key}\n")
    status, _, err = check(path, capsys)
    assert status == 2
    assert f"{path}:3: archive.pseudonym_key_file: {key}: it holds no key, 20 to 200 printable" in err[0]
    assert "too short" not in "".join(err)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_another_user_may_not_read_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.parent.is_relative_to(gettempdir()):
            folder.chmod(0o755)
    for name in ("zeek", "lists"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "web.yml").write_text("wrong: 1\n")
    (tmp_path / "web.yml").chmod(0o600)
    path = tmp_path / "dnsvigil.yml"
    path.write_text(f"""\
web_config_file: {tmp_path}/web.yml
sources:
  zeek:
    - path: {tmp_path}/zeek
detectors:
  lists: {tmp_path}/lists
""")
    code = "import os; import dnsvigil.cli.check_config; from dnsvigil.cli.main import main"
    code += f"; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    code += f"; raise SystemExit(main(['-c', {str(path)!r}, 'check-config']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "no mistakes found, but not everything could be read" in done.stdout
    assert [line.split(": ")[3] for line in done.stderr.splitlines()] == [
        "sources.zeek[0].path",
        "detectors.lists",
        "web_config_file",
    ]


def test_the_resolver_exporters_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "resolver.yml"
    path.write_text(
        f"listen: x\nresolvers:\n  - name: a\n    process: a\n    folders:\n      - {tmp_path}/none\nx: 1\n"
    )
    assert resolver_main(["-c", str(path), "--check-config"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[1:3] for line in said.err.splitlines()] == [
        [f"{path}:1", "listen"],
        [f"{path}:7", "x"],
        [f"{path}:6", "resolvers[0].folders[0]"],
    ]


@pytest.mark.parametrize("log_file", ["dns.log", "dnsvigil_pdns.log"])
def test_a_log_that_is_a_link_to_nothing(tmp_path: Path, log_file: str) -> None:
    place = Place("zeek", tmp_path, "")
    (tmp_path / "conn.log").symlink_to("nowhere")
    assert problem_of(place) == ""
    (tmp_path / log_file).symlink_to("nowhere")
    assert problem_of(place) == f"{tmp_path / log_file}: {log_file} is a symbolic link to nothing"


def test_a_glob_that_matches_files_beside_folders(tmp_path: Path) -> None:
    place = Place("zeek", tmp_path / "*", "")
    (tmp_path / "notes.txt").touch()
    assert "is not a folder" in problem_of(place)
    (tmp_path / "zeek").mkdir()
    assert problem_of(place) == ""
