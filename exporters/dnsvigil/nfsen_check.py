"""Finds what would keep NfSen from working with its plugin of dnsvigil, before it is started.

It reads nfsen.conf as far as that can be read without running it, and what that names: NfSen's folders, the plugin,
the alerts, and nfdump's programs, which are asked whether they take the options that NfSen gives them.
"""

import http.client
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsvigil.perlfile import Node, PerlError, Unknown, Value, read_assignments
from dnsvigil.system.files import read_file
from dnsvigil.system.programs import ProgramError, environment, find, is_program
from dnsvigil.system.terminal import printable_lines

PLUGIN: Final = "DnsVigil"
VERSION: Final = "130"
"""What ``$VERSION`` the plugin must have, for NfSen to call it in the way of 1.3."""

SLOT_SECONDS: Final = 300
DEFAULT_URL: Final = "http://127.0.0.1:9953"
DEFAULT_TOKEN: Final = "/var/lib/dnsvigil/api-token"  # noqa: S105 (a path)
MODULES: Final = {
    "RRDs": "librrds-perl",
    "Mail::Header": "libmailtools-perl",
    "Mail::Internet": "libmailtools-perl",
    "Date::Format": "libtimedate-perl",
    "Socket6": "libsocket6-perl",
    "IPC::SysV": "perl",
    "Storable": "perl",
    "Sys::Syslog": "perl",
    "Time::Local": "perl",
}
"""What NfSen loads that is not in every Perl, and the Debian packages that have it."""

_DEFAULTS: Final[dict[str, str | None]] = {  # of NfConf.pm
    "$PREFIX": "/usr/local/bin",
    "$CYCLETIME": str(SLOT_SECONDS),
    "$ZIPcollected": "-z=lz4",
    "$ZIPprofiles": "-z=lz4",
    "$NFPROFILEOPTS": "",
    "$USER": "nobody",
    "$WWWUSER": "nobody",
}
_COLLECTORS: Final = {"netflow": "nfcapd", "sflow": "sfcapd", "pcap": "nfpcapd"}
_COMPRESSIONS: Final = ("-z=lz4", "-y", "-z", "")
_SECONDS: Final = 10
_MAX_BYTES: Final = 64 << 20  # of a file
_OF_NFSEN: Final = re.compile(r"Nf\w*|NfSen\w*|Log|Lookup|Notification|AbuseWhois")
_NUMBER: Final = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*|0 but true")


@dataclass(frozen=True)
class Problem:
    """What is wrong, in which file and on which line if there is one, and what to do.

    One that is no more than ``remark`` does not keep NfSen and the plugin from working.
    """

    path: Path
    line: int | None
    what: str
    remedy: str
    remark: bool = False

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {'remark: ' if self.remark else ''}{self.what}\n    {self.remedy}"


def report(path: Path) -> int:
    """Print what is wrong with NfSen's configuration in ``path``.

    Return 0 where nothing or there are only remarks, 1 where something is, 2 where ``path`` cannot be read.
    """
    try:
        problems = check(path)
    except OSError as error:
        print(f"{path}: cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    for problem in problems:
        print(printable_lines(str(problem)))
    wrong = sum(not problem.remark for problem in problems)
    counts = {"problem": wrong, "remark": len(problems) - wrong}
    print(f"{path}: " + ", ".join(f"{n or 'no'} {word}{'s' * (n != 1)}" for word, n in counts.items()))
    return 1 if wrong else 0


def check(path: Path) -> list[Problem]:
    """Return what is wrong with NfSen's configuration in ``path``, and with what it names. Raises ``OSError``."""
    text = read_file(path, _MAX_BYTES).decode("utf-8", "surrogateescape")
    try:
        found = read_assignments(text, _DEFAULTS)
    except PerlError as error:
        return [Problem(path, error.line, str(error), "close it; NfSen cannot read the file either")]
    return [*_Check(path, found).problems()]


class _Check:
    def __init__(self, path: Path, found: dict[str, Node]) -> None:
        self._path = path
        self._found = found
        self._unknown: list[Problem] = []
        self._tools = self._folder("$PREFIX")
        self._plugins = self._folder("$BACKEND_PLUGINDIR")

    def problems(self) -> Iterator[Problem]:
        yield from self._folders()
        yield from self._cycle_time()
        yield from self._programs()
        yield from self._compression()
        yield from self._alerts()
        yield from self._plugin_file()
        yield from self._plugin_entry()
        yield from self._plugin_settings()
        yield from self._page()
        yield from self._modules()
        yield from self._unknown

    # What the configuration says

    def _node(self, name: str) -> Node:
        node = self._found.get(name, Node(None, None))
        if isinstance(node.value, Unknown) and not any(
            problem.what.startswith(f"{name} ") for problem in self._unknown
        ):
            what = f"{name} is computed by Perl, so what depends on it is not checked"
            self._unknown.append(self._problem(node, what, "nothing, if the value is right", remark=True))
        return node

    def _text(self, name: str) -> str | None:
        value = self._node(name).value
        return value if isinstance(value, str) else None

    def _folder(self, name: str) -> Path | None:
        text = self._text(name)
        return Path(os.fsdecode(os.fsencode(text))) if text else None

    def _problem(self, node: Node | None, what: str, remedy: str, *, remark: bool = False) -> Problem:
        return Problem(self._path, node.line if node else None, what, remedy, remark)

    # NfSen itself

    def _folders(self) -> Iterator[Problem]:
        for name in ("$BASEDIR", "$LIBEXECDIR", "$BACKEND_PLUGINDIR", "$FRONTEND_PLUGINDIR", "$PROFILESTATDIR"):
            node = self._node(name)
            folder = self._folder(name)
            if node.value is None:
                yield self._problem(None, f"{name} is not set", f"set {name} as nfsen-dist.conf does")
            elif folder and not folder.is_dir():
                yield self._problem(
                    node, f"{name}: there is no folder {folder}", "correct it, or run NfSen's install.pl"
                )

    def _cycle_time(self) -> Iterator[Problem]:
        node = self._node("$CYCLETIME")
        if isinstance(node.value, str) and node.value != str(SLOT_SECONDS):
            what = f"$CYCLETIME is {node.value} s; the collector and NfSen's RRDs use slots of {SLOT_SECONDS} s"
            yield self._problem(node, what, "remove the line")

    def _programs(self) -> Iterator[Problem]:
        if self._tools is None:
            return
        for name in ("nfdump", *self._collectors(), "nfprofile", "nfexpire"):
            if not is_program(self._tools / name):
                what = f"$PREFIX is {self._tools}, but it has no program {name}"
                elsewhere = _found(name)
                remedy = f'set $PREFIX = "{elsewhere.parent}";' if elsewhere else f"install {name} there"
                yield self._problem(self._node("$PREFIX"), what, remedy)

    def _collectors(self) -> list[str]:
        """Return the programs that NfSen starts for its sources."""
        sources = self._node("%sources").value
        types = set()
        for source in sources.values() if isinstance(sources, dict) else ():
            given = source.value if isinstance(source.value, dict) else {}
            port = given.get("port", Node(None, None)).value
            kind = given.get("type", Node("netflow", None)).value
            if port != "0" and isinstance(kind, str):
                types.add(kind)
        return [_COLLECTORS[kind] for kind in sorted(types & _COLLECTORS.keys())]

    def _compression(self) -> Iterator[Problem]:
        """From 1.3.11 on NfSen gives these words, ``-z=lz4`` without any, to nfdump's programs as they are."""
        version = self._nfsen_version()
        if version and version < (1, 3, 11):
            what = f"NfSen {'.'.join(map(str, version))} has other options for compression, which are not checked"
            remedy = "check that nfcapd and nfprofile run, or install NfSen 1.3.11 or newer"
            yield self._problem(None, what, remedy, remark=True)
            return
        users = [("$ZIPcollected", collector, "") for collector in self._collectors()]
        for name, program, more in [*users, ("$ZIPprofiles", "nfprofile", self._text("$NFPROFILEOPTS") or "")]:
            node = self._node(name)
            if isinstance(node.value, Unknown) or not self._tools or not is_program(self._tools / program):
                continue
            given = node.value if isinstance(node.value, str) else ""
            # As looks_like_number has it, and 0 looks like one.
            passed = "-z=lz4" if _NUMBER.fullmatch(given) else given
            refusal = _refusal(self._tools / program, f"{passed} {more}")
            if refusal is None:
                continue
            means = "" if node.line and passed == given else f", which NfSen makes {passed}" if node.line else ""
            set_to = f'{name} is "{given}"{means}' if node.line else f"{name} is not set, so NfSen takes {passed}"
            what = f"{set_to}; {self._tools / program} rejects it: {refusal}"
            good = [word for word in _COMPRESSIONS if _refusal(self._tools / program, f"{word} {more}") is None]
            remedy = f'set {name} = "{good[0]}";' if good else f"check the options in {name} and $NFPROFILEOPTS"
            yield self._problem(node, what, remedy)

    def _alerts(self) -> Iterator[Problem]:
        """Type 1 takes nfdump's ``-o pipe`` apart by place, and from nfdump 1.7 it has two columns less."""
        folder = self._folder("$PROFILESTATDIR")
        version = _version(self._tools / "nfdump") if self._tools else None
        if folder is None or version is None or version < (1, 7):
            return
        for alert in sorted(folder.glob("~*/alert.dat")):
            try:
                lines = read_file(alert, _MAX_BYTES).decode("utf-8", "surrogateescape").splitlines()
            except OSError as error:
                yield Problem(
                    alert, None, f"cannot be read: {error.strerror}", "run this as a user who can read it", True
                )
                continue
            keys = {}
            for number, line in enumerate(lines, start=1):
                key, _, value = line.partition("=")
                keys[key.strip()] = (number, value.strip())
            number, kind = keys.get("type", (0, ""))
            if kind == "1":
                name = alert.parent.name.removeprefix("~")
                shown = ".".join(map(str, version))
                effect = "takes bytes for flows" if version < (1, 7, 5) else "gets no figures at all"
                what = f"the alert {name} is on top statistics (type 1): with nfdump {shown} NfSen {effect}"
                off = keys.get("status", (0, ""))[1] != "enabled"
                remedy = f"make it an alert on the total, or one with {PLUGIN} as its condition"
                yield Problem(alert, number, what, remedy, remark=off)

    # The plugin

    def _plugin_file(self) -> Iterator[Problem]:
        if self._plugins is None:
            return
        path = self._plugins / f"{PLUGIN}.pm"
        node = self._node("$BACKEND_PLUGINDIR")
        if not path.is_file():
            what = f"$BACKEND_PLUGINDIR is {self._plugins}, but it has no {PLUGIN}.pm"
            yield self._problem(node, what, f"copy plugins/nfsen/{PLUGIN}.pm there")
            return
        yield from self._readable(path, "$USER")
        found = re.search(r"^\s*our\s+\$VERSION\s*=\s*['\"]?(\d+)", _content(path), re.MULTILINE)
        if not found or found[1] != VERSION:
            line = _content(path).count("\n", 0, found.start()) + 1 if found else None
            what = f"$VERSION is {found[1] if found else 'not set'}; NfSen 1.3 calls plugins with {VERSION}"
            yield Problem(path, line, what, f"copy plugins/nfsen/{PLUGIN}.pm there again")

    def _plugin_entry(self) -> Iterator[Problem]:
        node = self._node("@plugins")
        if isinstance(node.value, Unknown):
            return
        entries = node.value if isinstance(node.value, list) else []
        for entry in entries:
            words = [part.value for part in entry.value] if isinstance(entry.value, list) else []
            if len(words) < 2 or words[1] != PLUGIN:
                continue
            profiles = re.split(r"\s*,\s*", words[0]) if isinstance(words[0], str) else []
            if not {"*", "live", "./live"} & {*profiles}:
                what = f'@plugins: {PLUGIN} is for the profiles "{words[0]}", but it submits only flows of live'
                yield self._problem(entry, what, f"make it [ 'live', '{PLUGIN}' ]")
            return
        remedy = f"add [ 'live', '{PLUGIN}' ] to @plugins and run nfsen reload"
        hidden = any(isinstance(entry.value, Unknown) for entry in entries)
        what = f"@plugins has no entry for {PLUGIN}" + (" that can be read without running Perl" if hidden else "")
        yield self._problem(node, f"{what}, so NfSen does not load it", remedy, remark=hidden)

    def _plugin_settings(self) -> Iterator[Problem]:
        whole = self._node("%PluginConf")
        if isinstance(whole.value, Unknown):
            return
        given = whole.value.get(PLUGIN) if isinstance(whole.value, dict) else None
        if given is None:
            example = f"{PLUGIN} => {{ url => '{DEFAULT_URL}' }}"
            what = f"%PluginConf has no {PLUGIN}, so the plugin uses the collector at {DEFAULT_URL}"
            yield self._problem(whole if whole.line else None, what, f"add {example} to set it", remark=True)
        elif not isinstance(given.value, dict):
            if not isinstance(given.value, Unknown):
                yield self._problem(given, f"%PluginConf: {PLUGIN} is not a hash", f"write {PLUGIN} => {{ ... }}")
            return
        settings = given.value if given and isinstance(given.value, dict) else {}
        timeout = settings.get("timeout", Node("5", None))
        if not isinstance(timeout.value, Unknown) and not _seconds(timeout.value):
            what = f"{PLUGIN}: timeout is not a number of seconds from 1 to 10"
            yield self._problem(timeout, what, "make it 5: NfSen itself waits 30 s for an alert's condition")
        token_file = settings.get("token_file")
        if token_file and not isinstance(token_file.value, Unknown):
            path = Path(token_file.value) if isinstance(token_file.value, str) else None
            if path is None or not path.is_absolute():
                yield self._problem(
                    token_file, f"{PLUGIN}: token_file is not an absolute path", f"make it {DEFAULT_TOKEN}"
                )
            elif not path.is_file():
                what = f"{PLUGIN}: token_file is {path}, and there is no such file"
                remedy = "start dnsvigil-collector, which makes it, or give the path that api.token_file has"
                yield self._problem(token_file, what, remedy, remark=True)
            else:
                yield from self._readable(path, "$USER", secret=True)
        nfdump = settings.get("nfdump")
        if nfdump and not isinstance(nfdump.value, Unknown):
            program = Path(nfdump.value) if isinstance(nfdump.value, str) else None
            if program is None or not is_program(program):
                what = f"{PLUGIN}: nfdump is {program}, which is not a program"
                yield self._problem(nfdump, what, "set the path of nfdump, or remove it to use the one in $PREFIX")
        yield from self._collector(settings.get("url", Node(DEFAULT_URL, given.line if given else None)))

    def _collector(self, url: Node) -> Iterator[Problem]:
        if isinstance(url.value, Unknown):
            return
        address = url.value if isinstance(url.value, str) else ""
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.query:
            what = f"{PLUGIN}: url is {address!r}, not http://HOST:PORT or https://HOST:PORT"
            yield self._problem(url, what, f"make it {DEFAULT_URL}, or where the collector listens")
            return
        refusal = _unreachable(parts)
        if refusal:
            place = parts.netloc.rpartition("@")[2]  # no password of the collector's
            what = f"{PLUGIN}: the collector at {parts.scheme}://{place} does not answer: {refusal}"
            remedy = 'start dnsvigil-collector, or give the url that is "listen" in dnsvigil.yml'
            yield self._problem(url, what, remedy, remark=True)

    def _page(self) -> Iterator[Problem]:
        folder = self._folder("$FRONTEND_PLUGINDIR")
        if folder is None or not folder.is_dir():
            return
        path = folder / f"{PLUGIN}.php"
        if path.is_file():
            yield from self._readable(path, "$WWWUSER")
        else:
            what = f"$FRONTEND_PLUGINDIR is {folder}, but it has no {PLUGIN}.php, so NfSen does not have its page"
            remedy = f"copy plugins/nfsen/{PLUGIN}.php there"
            yield self._problem(self._node("$FRONTEND_PLUGINDIR"), what, remedy, remark=True)

    def _readable(self, path: Path, user_of: str, *, secret: bool = False) -> Iterator[Problem]:
        user = self._text(user_of)
        if user is None:
            return
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            yield self._problem(
                self._node(user_of), f"{user_of}: there is no user {user}", "correct it, or add the user"
            )
            return
        blocking = _unreadable(path.resolve(), entry.pw_uid, {entry.pw_gid, *os.getgrouplist(user, entry.pw_gid)})
        if blocking:
            wanted = "read" if blocking == path.resolve() else "enter"
            right = "r" if wanted == "read" else "x"
            remedy = f"chmod a+{right} {blocking}"
            if secret and wanted == "read":
                remedy = f"add {user} to the group of the file, and restart nfsend"
            yield Problem(path, None, f"the user {user} cannot {wanted} {blocking}", remedy)

    def _modules(self) -> Iterator[Problem]:
        perl = self._perl()
        if perl is None:
            yield self._problem(None, "there is no perl", "install Debian's package perl")
            return
        wanted: dict[str, Path] = dict.fromkeys(MODULES, self._path)
        if self._plugins and (plugin := self._plugins / f"{PLUGIN}.pm").is_file():
            used = re.findall(r"^\s*use\s+([A-Z]\w*(?:::\w+)*)", _content(plugin), re.MULTILINE)
            wanted |= {name: plugin for name in used if name not in wanted and not _OF_NFSEN.fullmatch(name)}
        script = 'for (@ARGV) { my $name = $_; eval "require $name; 1" or print "$name\\n" }'
        asked = _run([str(perl), "-e", script, *wanted])
        if asked is None:
            yield self._problem(None, f"{perl} does not run", "install Debian's package perl")
            return
        for name in asked.split():
            if name in wanted:
                package = MODULES.get(name, "perl")
                what = f"{perl} has no module {name}, which {'NfSen' if wanted[name] == self._path else PLUGIN} loads"
                yield Problem(wanted[name], None, what, f"install Debian's package {package}, or {name} from CPAN")

    def _perl(self) -> Path | None:
        """Return the perl that NfSen was installed with, or else the one in the path."""
        given = re.match(r"#!\s*(/\S+)", self._nfsend())
        if given and is_program(Path(given[1])):
            return Path(given[1])
        return _found("perl")

    def _nfsend(self) -> str:
        folder = self._folder("$BINDIR")
        return _content(folder / "nfsend") if folder else ""

    def _nfsen_version(self) -> tuple[int, ...] | None:
        found = re.search(r"^my \$nfsen_version\s*=\s*[\"'](\d+)\.(\d+)\.(\d+)", self._nfsend(), re.MULTILINE)
        return tuple(map(int, found.groups())) if found else None


def _content(path: Path) -> str:
    try:
        return read_file(path, _MAX_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _found(program: str) -> Path | None:
    try:
        return Path(find(program))
    except ProgramError:
        return None


def _run(command: Sequence[str]) -> str | None:
    """Return what a program prints on either output; ``None`` where it does not run, or does not end."""
    try:
        run = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
            env=environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.decode("utf-8", "replace")


def _refusal(program: Path, options: str) -> str | None:
    """Return the error of an nfdump program about these options; its exit status is not reliable."""
    try:
        words = shlex.split(options)
    except ValueError as error:
        return str(error)
    # With -V it ends as soon as it has read the options.
    said = _run([str(program), *words, "-V"])
    if said is None:
        return "it does not run"
    wrong = re.search(r"invalid option.*|usage.*|.*not compiled in.*|.*requires an argument.*", said, re.IGNORECASE)
    if wrong:
        return wrong[0]
    return None if "Version:" in said else said.partition("\n")[0] or "no error message"


def _version(nfdump: Path) -> tuple[int, ...] | None:
    said = _run([str(nfdump), "-V"]) if is_program(nfdump) else None
    found = re.search(r"Version:\s*\D*(\d+)\.(\d+)\.(\d+)", said or "")
    return tuple(map(int, found.groups())) if found else None


def _seconds(value: Value) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"\d+(\.\d+)?", value)) and 1 <= float(value) <= 10


def _unreadable(path: Path, user: int, groups: set[int]) -> Path | None:
    """Return which of a path's folders or the file itself its mode keeps from a user."""
    for part in [*reversed(path.parents), path]:
        found = part.stat()
        wanted = stat.S_IXOTH if part != path else stat.S_IROTH
        shift = 6 if found.st_uid == user else 3 if found.st_gid in groups else 0
        if user != 0 and not found.st_mode >> shift & wanted:
            return part
    return None


def _unreachable(url: urllib.parse.SplitResult) -> str | None:
    """Return why the collector at ``url`` does not answer; ``None`` where it does, be it to ask for a password."""
    plain = url._replace(netloc=url.netloc.rpartition("@")[2], path="/-/healthy").geturl()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(plain, timeout=_SECONDS) as answer:
            answer.read(1000)
    except urllib.error.HTTPError as error:
        with error:
            return None if error.code == http.client.UNAUTHORIZED else f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None
