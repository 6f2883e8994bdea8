"""What ``check-nfsen`` reports about an installation of NfSen, made here with the nfdump that is installed."""

import http.server
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins" / "nfsen"
MODULES = {
    *("RRDs", "Mail::Header", "Mail::Internet", "Date::Format", "Socket6", "IPC::SysV", "Storable", "Sys::Syslog"),
    "Time::Local",
}
NFPROFILE = shutil.which("nfprofile")
USER = pwd.getpwuid(os.getuid()).pw_name
PERL = shutil.which("perl")
HAS_PPI = PERL and subprocess.run([PERL, "-MPPI", "-e1"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not HAS_PPI, reason="perl is not installed, or without PPI (Debian: libppi-perl)")
CONF = """
# NfSen's configuration
$BASEDIR = "BASE";
$BINDIR="${BASEDIR}/bin";
$LIBEXECDIR="${BASEDIR}/libexec";
$HTMLDIR    = "$BASEDIR/www/";
$PROFILESTATDIR="${BASEDIR}/profiles-stat";
$BACKEND_PLUGINDIR="${BASEDIR}/plugins";
$FRONTEND_PLUGINDIR="${HTMLDIR}/plugins";
$PREFIX  = 'TOOLS';
$USER    = "WHO"; $WWWUSER = 'WHO';
$ZIPcollected	 = "-z";
$ZIPprofiles	 = "-z";
%sources = (
    'upstream1'    => { 'port' => '9995', 'col' => '#0000ff', 'type' => 'netflow' }, # the first
);
@plugins = (
    # [ '*',     'demoplugin' ],
    [ 'live',     'DnsVigil' ],
);
%PluginConf = (
    demoplugin => { param2 => 42, param1 => { 'key' => 'value' }, },
    DnsVigil => {
        url => 'URL',
        timeout => 5,
    },
);
$MAIL_BODY	 = q{
Alert '@alert@' triggered at timeslot @timeslot@
};
1;
"""


@dataclass(frozen=True)
class Problem:
    path: Path
    line: int | None
    what: str
    remedy: str
    remark: bool


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PLUGINS / "check-nfsen", *arguments], capture_output=True, text=True, check=False)


def check(path: Path) -> list[Problem]:
    ended = run(path)
    assert ended.stderr == ""
    *lines, last = ended.stdout.splitlines()
    problems = []
    for what, remedy in zip(lines[::2], lines[1::2], strict=True):
        found = re.fullmatch(r"(/[^:]+)(?::(\d+))?: (remark: )?(.*)", what)
        assert found
        assert remedy.startswith("    ")
        line = int(found[2]) if found[2] else None
        problems.append(Problem(Path(found[1]), line, found[4], remedy.strip(), bool(found[3])))
    wrong = sum(not problem.remark for problem in problems)
    assert ended.returncode == (1 if wrong else 0)
    assert last.startswith(f"{path}: {wrong or 'no'} problem")
    return problems


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {"/-/healthy": 200}
        self.send_response(answers.get(self.path, 404))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Installation:
    """NfSen's folders with nothing wrong in them."""

    def __init__(self, base: Path, collector: str) -> None:
        self.base = base
        for folder in ("bin", "libexec", "plugins", "profiles-stat", "www/plugins"):
            (base / folder).mkdir(parents=True)
        shutil.copy(PLUGINS / "DnsVigil.pm", base / "plugins")
        shutil.copy(PLUGINS / "DnsVigil.php", base / "www" / "plugins")
        self.perl("")
        self.path = base / "nfsen.conf"
        self.tools = Path(NFPROFILE).parent if NFPROFILE else base / "bin"
        changes = {"BASE": base, "TOOLS": self.tools, "WHO": USER, "URL": collector}
        self.text = CONF
        for name, value in changes.items():
            self.text = self.text.replace(f'"{name}"', f'"{value}"').replace(f"'{name}'", f"'{value}'")

    def check(self, old: str = "", new: str = "") -> list[Problem]:
        """Return what is said when ``old`` is ``new`` in the configuration."""
        assert old in self.text
        self.path.write_text(self.text.replace(old, new) if old else self.text)
        return check(self.path)

    def line(self, text: str) -> int:
        return self.path.read_text().split(text)[0].count("\n") + 1

    def perl(self, lacks: str, nfsen: str = "1.3.11") -> Path:
        """Have NfSen installed with a perl that says it lacks these modules, so that not each test asks a real one."""
        self.program("perl", lacks)
        nfsend = f'#!{self.base}/bin/perl -w\n# A daemon\nmy $nfsen_version = "{nfsen}";\n'
        (self.base / "bin" / "nfsend").write_text(nfsend)
        return self.base / "bin" / "perl"

    def program(self, name: str, says: str) -> None:
        """Put a program of nfdump in place that says this, whatever it is asked."""
        path = self.base / "bin" / name
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)


@pytest.fixture
def nfsen(tmp_path: Path, collector: str) -> Installation:
    if NFPROFILE is None:
        pytest.skip("nfprofile is not installed (Debian: nfdump)")
    return Installation(tmp_path / "nfsen", collector)


def one(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_nothing_is_wrong_with_what_is_right(nfsen: Installation) -> None:
    assert nfsen.check() == []


def takes(program: Path, *options: str) -> bool:
    """Tell whether a program of nfdump takes these options; it ends with 0 in either case."""
    run = subprocess.run([program, *options, "-V"], capture_output=True, text=True, check=False)
    return "Version:" in run.stdout and "usage" not in (run.stdout + run.stderr).lower()


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        ('"-z=lz4"', ["-z=lz4"]),
        ("'-y'", ["-y"]),
        ("'-j'", ["-j"]),
        ("''", []),
        ("undef", []),
        ("1", ["-z=lz4"]),
        ("'0'", ["-z=lz4"]),
        ('"-z=zstd:5"', ["-z=zstd:5"]),
        ("'-' . 'z'", ["-z"]),
        ("<<'EOT'\n-z=nonsense\nEOT\n", ["-z=nonsense"]),
    ],
)
@pytest.mark.parametrize(("name", "program"), [("$ZIPcollected", "nfcapd"), ("$ZIPprofiles", "nfprofile")])
def test_options_that_the_programs_refuse(
    nfsen: Installation, name: str, program: str, value: str, passed: list[str]
) -> None:
    problems = nfsen.check(f'{name}\t = "-z";', f"{name}\t = {value};")
    if takes(nfsen.tools / program, *passed):
        assert problems == []
        return
    problem = one(problems)
    assert (problem.path, problem.line) == (nfsen.path, nfsen.line(name))
    assert problem.what.startswith(f"{name} is ")
    assert f"{nfsen.tools}/{program} rejects it: " in problem.what
    assert (", which NfSen makes -z=lz4;" in problem.what) == (value in {"1", "'0'"})
    set_to = problem.remedy.partition(" = ")[2].strip('";')
    assert takes(nfsen.tools / program, *set_to.split())


def test_the_default_counts_where_nothing_is_set(nfsen: Installation) -> None:
    problems = nfsen.check('$ZIPprofiles\t = "-z";', '# $ZIPprofiles = "-z";')
    if takes(nfsen.tools / "nfprofile", "-z=lz4"):
        assert problems == []
    else:
        assert one(problems).what.startswith("$ZIPprofiles is not set, so NfSen takes -z=lz4; ")


def test_an_older_nfsen_gives_options_of_its_own(nfsen: Installation) -> None:
    nfsen.perl("", nfsen="1.3.9")
    problem = one(nfsen.check('$ZIPprofiles\t = "-z";', '$ZIPprofiles = "-z=lz4";'))
    assert problem.remark
    assert problem.what.startswith("NfSen 1.3.9 has other options for compression")


def test_a_collector_that_is_not_started_is_not_asked(nfsen: Installation) -> None:
    wrong = nfsen.text.replace('$ZIPcollected\t = "-z";', '$ZIPcollected\t = "-Q";')
    nfsen.text = wrong
    assert one(nfsen.check()).what.startswith("$ZIPcollected")
    assert nfsen.check("'port' => '9995'", "'port' => '0'") == []
    assert "sfcapd" in one(nfsen.check("'netflow'", "'sflow'")).what


def test_programs_that_are_not_there(nfsen: Installation) -> None:
    problems = nfsen.check(f"'{nfsen.tools}'", f"'{nfsen.base}/nowhere'")
    assert [problem.what.rpartition("program ")[2] for problem in problems] == [
        *("nfdump", "nfcapd", "nfprofile", "nfexpire")
    ]
    assert {problem.remedy for problem in problems} == {f'set $PREFIX = "{nfsen.tools}";'}
    assert {problem.line for problem in problems} == {nfsen.line("$PREFIX")}


@pytest.mark.parametrize(
    ("version", "effect"),
    [("NSEL-NEL1.7.1", "takes bytes for flows"), ("1.7.8-release", "gets no figures at all"), ("1.6.23", None)],
)
def test_alerts_on_top_statistics(nfsen: Installation, version: str, effect: str | None) -> None:
    for program in ("nfdump", "nfcapd", "nfprofile", "nfexpire"):
        nfsen.program(program, f"{program}: Version: {version}")
    for name, kind, status in [("total", 0, "enabled"), ("top", 1, "enabled"), ("off", 1, "disabled")]:
        folder = nfsen.base / "profiles-stat" / f"~{name}"
        folder.mkdir()
        (folder / "alert.dat").write_text(
            f"# about\nname = {name}\nstatus = {status}\ntype = {kind}\ncondition=0:0:0\n"
        )
    (nfsen.base / "profiles-stat" / "~odd").mkdir()
    (nfsen.base / "profiles-stat" / "~odd" / "alert.dat").write_bytes(b"\xff\n=\ntype")
    problems = nfsen.check(f"'{nfsen.tools}'", f"'{nfsen.base}/bin'")
    if effect is None:
        assert problems == []
        return
    assert [(p.path.parent.name, p.line, p.remark) for p in problems] == [("~off", 4, True), ("~top", 4, False)]
    assert effect in problems[1].what


@pytest.mark.parametrize("value", ["60", "'600'", "0x3c"])
def test_another_cycle_time(nfsen: Installation, value: str) -> None:
    problem = one(nfsen.check("$USER  ", f"$CYCLETIME = {value};\n$USER  "))
    assert "slots of 300 s" in problem.what
    assert problem.line == nfsen.line("$CYCLETIME")


def test_the_usual_cycle_time_may_be_written(nfsen: Installation) -> None:
    assert nfsen.check("$USER  ", "$CYCLETIME = '300';\n$USER  ") == []


def test_folders_that_are_not_there(nfsen: Installation) -> None:
    shutil.rmtree(nfsen.base / "profiles-stat")
    problem = one(nfsen.check())
    assert problem.what == f"$PROFILESTATDIR: there is no folder {nfsen.base}/profiles-stat"
    problems = nfsen.check('$BACKEND_PLUGINDIR="${BASEDIR}/plugins";', "")
    assert [p.what for p in problems if "BACKEND" in p.what] == ["$BACKEND_PLUGINDIR is not set"]


def test_the_plugin_is_not_there(nfsen: Installation) -> None:
    (nfsen.base / "plugins" / "DnsVigil.pm").unlink()
    assert "it has no DnsVigil.pm" in one(nfsen.check()).what
    (nfsen.base / "www" / "plugins" / "DnsVigil.php").unlink()
    assert [problem.remark for problem in nfsen.check()] == [False, True]


@pytest.mark.parametrize(("version", "said"), [("our $VERSION = 120;", "120"), ("", "not set")])
def test_another_version_of_the_plugin(nfsen: Installation, version: str, said: str) -> None:
    path = nfsen.base / "plugins" / "DnsVigil.pm"
    path.write_text(path.read_text().replace("our $VERSION = 130;", version))
    problem = one(nfsen.check())
    assert problem.path == path
    assert problem.what == f"$VERSION is {said}; NfSen 1.3 calls plugins with 130"


def test_what_another_user_may_not_read(nfsen: Installation, collector: str) -> None:
    # What pytest has made is closed to all others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _check_rights(Installation(Path(folder) / "nfsen", collector))


def _check_rights(nfsen: Installation) -> None:
    path = nfsen.base / "plugins" / "DnsVigil.pm"
    other = f'$USER    = "{"nobody" if USER != "nobody" else "daemon"}"'
    path.chmod(0o640)
    problem = one(nfsen.check(f'$USER    = "{USER}"', other))
    assert problem.what.endswith(f"cannot read {path}")
    path.chmod(0o644)
    path.parent.chmod(0o750)
    problem = one(nfsen.check(f'$USER    = "{USER}"', other))
    assert problem.what.endswith(f"cannot enter {path.parent}")
    path.parent.chmod(0o755)
    assert nfsen.check(f'$USER    = "{USER}"', other) == []
    # An owner's right counts for the owner, and no other's.
    if os.getuid() == 0:
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    path.chmod(0o600)
    assert nfsen.check(f'$USER    = "{USER}"', other if os.getuid() == 0 else f'$USER = "{USER}"') == []
    path.chmod(0o044)
    assert one(nfsen.check(f'$USER    = "{USER}"', other if os.getuid() == 0 else f'$USER = "{USER}"')).path == path
    path.chmod(0o644)
    assert "there is no user nosuchuser" in one(nfsen.check(f'$USER    = "{USER}"', '$USER = "nosuchuser"')).what


@pytest.mark.parametrize(
    "entries",
    [
        "[ '*', 'demoplugin' ],",
        "# [ 'live', 'DnsVigil' ],",
        "[ 'live', 'dnsvigil' ],",
        "[ 'DnsVigil' ],",
        "'live', 'DnsVigil',",
        "",
    ],
)
def test_the_plugin_is_not_loaded(nfsen: Installation, entries: str) -> None:
    problem = one(nfsen.check("    [ 'live',     'DnsVigil' ],", entries))
    assert (problem.what, problem.line) == (
        "@plugins has no entry for DnsVigil, so NfSen does not load it",
        nfsen.line("@plugins"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "@plugins = ( [ '*', 'DnsVigil' ], );",
        '@plugins = ( [ "./live", "DnsVigil" ] );',
        "@plugins = ( [ 'other , live', 'DnsVigil' ] );",
        "@plugins = (); push @plugins, [ 'live', 'DnsVigil' ];",
        "@plugins = ([ qw(live DnsVigil) ], [ 'live', 'other' ]);",
    ],
)
def test_ways_to_load_the_plugin(nfsen: Installation, text: str) -> None:
    assert nfsen.check("%PluginConf", f"{text}\n%PluginConf") == []


def test_the_plugin_is_loaded_for_other_profiles(nfsen: Installation) -> None:
    assert "it submits only flows of live" in one(nfsen.check("[ 'live', ", "[ 'dns,x/live', ")).what


@pytest.mark.parametrize(
    ("old", "new", "said", "remark"),
    [
        ("DnsVigil => {", "DnsVigi => {", "%PluginConf has no DnsVigil", True),
        ("timeout => 5,\n    },\n);", "},); $PluginConf{DnsVigil} = 3;", "DnsVigil is not a hash", False),
        ("timeout => 5", "timeout => '5s'", "timeout is not a number of seconds from 1 to 10", False),
        ("timeout => 5", "timeout => 30", "timeout is not a number of seconds from 1 to 10", False),
        ("timeout => 5", "nfdump => '/nowhere/nfdump'", "nfdump is /nowhere/nfdump, which is not a program", False),
        ("timeout => 5", "token_file => 'api-token'", "token_file is not an absolute path", False),
        ("timeout => 5", "token_file => '/nowhere/api-token'", "and there is no such file", True),
        ("url => ", "url => 'localhost:9953', #", "url is 'localhost:9953', not http://HOST:PORT", False),
        ("url => ", "url => [], #", "url is '', not http://HOST:PORT", False),
        ("url => ", "url => 'http://u:secret@127.0.0.1:1', #", "the collector at http://127.0.0.1:1 does not", True),
    ],
)
def test_settings_of_the_plugin(nfsen: Installation, old: str, new: str, said: str, remark: bool) -> None:
    problems = [p for p in nfsen.check(old, new) if "the collector at http://127.0.0.1:9953 does" not in p.what]
    problem = one(problems)
    assert said in problem.what
    assert "secret" not in str(problem)
    assert problem.remark == remark
    assert problem.line


def test_an_address_that_is_no_collectors(nfsen: Installation, collector: str) -> None:
    class Refusing(_Healthy):
        def do_GET(self) -> None:
            self.send_response(404 if self.headers["Host"].startswith("localhost") else 401)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert "does not answer: 404" in one(nfsen.check(collector, f"http://localhost:{port}/")).what
        assert nfsen.check(collector, f"http://127.0.0.1:{port}") == []
        server.shutdown()


def test_what_only_perl_can_tell_is_said_and_left(nfsen: Installation) -> None:
    problem = one(nfsen.check('$ZIPprofiles\t = "-z";', "$ZIPprofiles = `cat zip`;"))
    assert problem.remark
    assert problem.what == "$ZIPprofiles is computed by Perl, so what depends on it is not checked"
    assert problem.line == nfsen.line("$ZIPprofiles")
    problem = one(nfsen.check("@plugins = (", "@plugins = read_plugins();\n@others = ("))
    assert problem.remark
    assert problem.what.startswith("@plugins has no entry for DnsVigil that can be read without running Perl")
    assert nfsen.check("@plugins = (", "@plugins = (more(), ") == []


def test_modules_that_perl_has_not(nfsen: Installation) -> None:
    perl = nfsen.perl("RRDs JSON::PP Nothing::Asked")
    found = {p.what: p for p in nfsen.check()}
    assert list(found) == [
        f"{perl} has no module RRDs, which NfSen loads",
        f"{perl} has no module JSON::PP, which DnsVigil loads",
    ]
    rrds, json = found.values()
    assert (rrds.path, rrds.remedy) == (nfsen.path, "install Debian's package librrds-perl, or RRDs from CPAN")
    assert json.path == nfsen.base / "plugins" / "DnsVigil.pm"


def test_the_real_perl_is_asked(nfsen: Installation) -> None:
    plugin = nfsen.base / "plugins" / "DnsVigil.pm"
    plugin.write_text("our $VERSION = 130;\nuse strict;\nuse POSIX ();\nuse No::Such::Module;\nuse NfSen;\n1;\n")
    (nfsen.base / "bin" / "nfsend").unlink()
    missing = {p.what.split()[4].rstrip(",") for p in nfsen.check()}
    assert "No::Such::Module" in missing
    assert missing - {"No::Such::Module"} <= MODULES
    for name in MODULES:
        there = subprocess.run(["perl", f"-M{name}", "-e", "1"], capture_output=True, check=False).returncode == 0
        assert (name in missing) != there


def test_a_broken_file_is_one_problem(nfsen: Installation) -> None:
    problem = one(nfsen.check("q{", "q{ {"))
    assert (problem.line, problem.what) == (nfsen.line("q{"), "the { here has no } that ends it")


def test_the_report_ends_with_what_is_found(nfsen: Installation) -> None:
    nfsen.check("DnsVigil => {", "DnsVigi => {")
    ended = run(nfsen.path)
    assert ended.returncode == 0
    assert (
        f"{nfsen.path}:{nfsen.line('%PluginConf')}: remark: %PluginConf has no DnsVigil, so the plugin uses"
        in ended.stdout
    )
    assert "\n    add DnsVigil => { url => 'http://127.0.0.1:9953' } to set it\n" in ended.stdout
    nfsen.check("@plugins", "@others")
    ended = run(nfsen.path)
    assert ended.returncode == 1
    assert "@plugins has no entry" in ended.stdout
    for path in (nfsen.base / "nothing.conf", nfsen.base):
        ended = run(path)
        assert ended.returncode == 2
        assert "cannot be read: " in ended.stderr
    assert [run(*arguments).returncode for arguments in ((), ("a", "b"), ("--nothing",), ("--help",))] == [2, 2, 2, 0]


def test_nothing_of_the_configuration_acts_on_a_terminal(nfsen: Installation) -> None:
    nfsen.check('$BASEDIR = "', '$BASEDIR = "/z\u00fcrich\x1b[31m\t\u200b')
    printed = run(nfsen.path).stdout
    assert "there is no folder /z\u00fcrich\\x1b[31m\\t\\x{200b}/" in printed
    assert "\x1b" not in printed


def test_nothing_is_loaded_from_the_current_folder(nfsen: Installation, tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "bin").mkdir(parents=True)
    for module in ("PPI.pm", "ConfReader.pm", "strict.pm"):
        (here / module).write_text(f'open F, ">", "{tmp_path}/ran"; 1;')
    for name in ("perl", "id", "nfdump"):
        program = here / "bin" / name
        program.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/ran\n")
        program.chmod(0o755)
    nfsen.check(f"'{nfsen.tools}'", "'bin'")
    (nfsen.base / "bin" / "nfsend").unlink()
    environment = os.environ | {"PERL5LIB": ".", "PERL_USE_UNSAFE_INC": "1", "PATH": f":bin:{os.environ['PATH']}"}
    command = [PLUGINS / "check-nfsen", nfsen.path]
    ended = subprocess.run(command, cwd=here, env=environment, check=False, capture_output=True, text=True)
    assert "$PREFIX is bin, but it has no program nfdump" in ended.stdout
    assert not (tmp_path / "ran").exists()
