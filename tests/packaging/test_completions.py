"""What bash and zsh complete, in a terminal: commands, options, choices, files and folders."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "packaging/debian/completions"
PATIENCE = 30  # seconds

SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        "bind 'set enable-bracketed-paste off'; set -o emacs; source /usr/share/bash-completion/bash_completion; "
        "BASH_COMPLETION_USER_DIR={user}",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        "unset zle_bracketed_paste; bindkey -e; unsetopt prompt_sp prompt_cr list_ambiguous; fpath=({zsh} $fpath); "
        "autoload -Uz compinit && compinit -u -D",
    ),
}


class Shell:
    """A shell in a terminal of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        command, setup = SHELLS[name]
        (folder / "completions").symlink_to(COMPLETIONS / "bash")
        self._terminal, slave = pty.openpty()
        environment = {
            "PATH": os.environ["PATH"],
            "TERM": "dumb",
            "HOME": str(folder),
            "PS1": "$ ",
            "LC_ALL": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder, start_new_session=True
        )
        os.close(slave)
        self._said = ""
        self.says(f"{setup.format(user=folder, zsh=COMPLETIONS / 'zsh')}; echo rea''dy\r", r"\bready\r")

    def says(self, typed: str, pattern: str) -> str:
        """Type something, and return the first group of the pattern in what the shell then says."""
        os.write(self._terminal, typed.encode())
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self._said)):
            assert time.monotonic() < end, self._said
            if select.select([self._terminal], [], [], 1)[0]:
                self._said += os.read(self._terminal, 65536).decode(errors="replace")
        self._said = ""
        return found[1] if found.re.groups else ""

    def completes(self, line: str) -> str:
        """Return what a line becomes when TAB is pressed behind it."""
        # The completed line is made the argument of a command: Ctrl-A and Ctrl-E are its begin and its end.
        return self.says(f"{line}\t\x01printf '<%s>\\n' '\x05'\r", r"\n<([^%>]*)>\r")


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    needed = [request.param, *(["/usr/share/bash-completion/bash_completion"] if request.param == "bash" else [])]
    if not all(shutil.which(each) or Path(each).exists() for each in needed):
        pytest.skip(f"needs {' and '.join(needed)}")
    folder = tmp_path_factory.mktemp("shell")
    (folder / "dnsvigil.yml").touch()
    (folder / "families").mkdir()
    started = Shell(request.param, folder)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("dnsvigil fi", "dnsvigil findings"),
        ("dnsvigil --log-level w", "dnsvigil --log-level warning"),
        ("dnsvigil --config dns", "dnsvigil --config dnsvigil.yml"),
        ("dnsvigil --config dnsvigil.yml check", "dnsvigil --config dnsvigil.yml check-config"),
        ("dnsvigil findings --stat", "dnsvigil findings --status"),
        ("dnsvigil findings --status dis", "dnsvigil findings --status dismissed"),
        ("dnsvigil findings reo", "dnsvigil findings reopen"),
        ("dnsvigil flows top --by dstp", "dnsvigil flows top --by dstport"),
        ("dnsvigil ingest dnsv", "dnsvigil ingest dnsvigil.yml"),
        ("dnsvigil train --lists fam", "dnsvigil train --lists families"),
        ("dnsvigil-resolver-exporter --check", "dnsvigil-resolver-exporter --check-config"),
        ("dnsvigil-resolver-exporter --log-level e", "dnsvigil-resolver-exporter --log-level error"),
        ("check_dnsvigil fr", "check_dnsvigil freshness"),
        ("check_dnsvigil zone --prom", "check_dnsvigil zone --prometheus"),
        ("/usr/lib/nagios/plugins/check_dnsvigil res", "/usr/lib/nagios/plugins/check_dnsvigil resolver"),
    ],
)
def test_a_shell_completes(shell: Shell, line: str, completed: str) -> None:
    assert shell.completes(line).rstrip(" /") == completed  # zsh takes back what it adds when the cursor moves


def test_the_files_are_those_of_the_parsers(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    subprocess.run([sys.executable, ROOT / "packaging/debian/manpages/completions.py", tmp_path], check=True)
    kept = {path.relative_to(COMPLETIONS): path.read_text() for path in COMPLETIONS.rglob("*") if path.is_file()}
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == made, "run `make completions`"
