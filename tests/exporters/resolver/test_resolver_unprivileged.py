"""With little privilege, and where things are missing: what cannot be had is said once, and the rest is served."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporters.resolver.exporting import PROGRAM, Exporter, labelled, one, watching
from exporters.running import Samples, eventually
from lab.resolvers import LISTEN, Resolver, installed

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs/resolver-exporter.md"
HIDE_PROCESSES = "mount -t proc -o hidepid=2 proc /proc"
HIDE_SYS = "mount -t tmpfs none /sys"
PROBE_OFF = {"enabled": False}


def can_mount() -> bool:
    """Whether there can be mounts of the test's own; not so in a chroot that is no mount point."""
    if os.geteuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


needs_root = pytest.mark.skipif(
    not can_mount(), reason="needs root, to become nobody, util-linux, and mount namespaces"
)


def as_nobody(folder: Path, *capabilities: str, first: str = "true") -> list[str]:
    """Return the command that runs the exporter as nobody with these capabilities alone, after ``first`` as root.

    Mounted below ``folder``, where nobody may read them wherever they lie, are Python, its packages and the code.
    """
    places = {"base": sys.base_prefix, "packages": sysconfig.get_path("purelib"), "code": str(REPOSITORY / "exporters")}
    script = [first]
    for name, place in places.items():
        (folder / name).mkdir()
        script.append(shlex.join(["mount", "--bind", place, str(folder / name)]))
    wanted = "".join(f",+{capability}" for capability in capabilities)
    python = folder / "base" / Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    return [
        *("unshare", "--mount", "sh", "-ec", "; ".join([*script, 'exec "$@"']), "sh"),
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
        *(f"--{kind}=-all{wanted}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
        *(
            "env",
            f"LD_LIBRARY_PATH={folder}/base/lib",
            f"PYTHONPATH={folder}/packages:{folder}/code",
            "PYTHONDONTWRITEBYTECODE=1",
        ),
        *(str(python), *PROGRAM),
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="dnsvigil-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def resolver(folder: Path) -> Iterator[Resolver]:
    if not installed("unbound"):
        pytest.skip("unbound is not installed")
    with Resolver("unbound", folder / "unbound") as resolver:
        yield resolver


@needs_root
def test_without_any_capability(resolver: Resolver, folder: Path) -> None:
    """What another user's process reads and writes is all that is missing; descriptors too before Linux 6.2."""
    with Exporter(folder, watching(resolver, probe=PROBE_OFF), as_nobody(folder)) as exporter:
        shown = served(exporter)
        missing = {key for key, works in labelled(shown, "part_available").items() if not works}
        assert ("process", "io") in missing
        assert missing <= {("process", "io"), ("process", "fds"), ("host", "conntrack"), ("host", "clock")}
        assert one(shown, "up") == 1
        assert not labelled(shown, "read_bytes_total")
        assert one(shown, "resident_memory_bytes") > 0
        assert one(shown, "sockets", protocol="udp", family="ipv4", state="unconnected") > 0
        assert one(shown, "accept_queue_limit", address=LISTEN[0]) > 0
        assert one(shown, "udp_drops_total", address=LISTEN[0]) == 0
        said = [line for line in exporter.log().splitlines() if "process: io not available: " in line]
        assert len(said) == 1
        assert "CAP_SYS_PTRACE" in said[0]


@needs_root
def test_with_the_capabilities_of_the_page(resolver: Resolver, folder: Path) -> None:
    """These are enough for all that the machine has."""
    capabilities = capabilities_of(PAGE)
    with Exporter(folder, watching(resolver, probe=PROBE_OFF), as_nobody(folder, *capabilities)) as exporter:
        shown = served(exporter)
        missing = {key for key, works in labelled(shown, "part_available").items() if not works}
        assert missing <= {("host", "conntrack"), ("host", "clock")}, exporter.log()
        (pid,) = resolver.pids
        assert one(shown, "open_fds") == len(list(Path(f"/proc/{pid}/fd").iterdir()))
        assert one(shown, "write_bytes_total") >= 0


@needs_root
def test_hidepid(resolver: Resolver, folder: Path) -> None:
    """A resolver that cannot be seen is not said to be down."""
    with Exporter(folder, watching(resolver, probe=PROBE_OFF), as_nobody(folder, first=HIDE_PROCESSES)) as exporter:
        shown = served(exporter)
        assert not labelled(shown, "up")
        assert one(shown, "part_available", part="processes") == 0
        assert len([line for line in exporter.log().splitlines() if "process: processes not available: " in line]) == 1
        assert one(shown, "sockets", protocol="udp", family="ipv4", state="unconnected") > 0
        assert one(shown, "host_memory_total_bytes") > 0


@needs_root
def test_hidepid_with_the_capabilities_of_the_page(resolver: Resolver, folder: Path) -> None:
    command = as_nobody(folder, *capabilities_of(PAGE), first=HIDE_PROCESSES)
    with Exporter(folder, watching(resolver, probe=PROBE_OFF), command) as exporter:
        shown = served(exporter)
        assert one(shown, "up") == 1
        assert one(shown, "part_available", part="processes") == 1


@needs_root
def test_container_without_sys(resolver: Resolver, folder: Path) -> None:
    with Exporter(folder, watching(resolver, probe=PROBE_OFF), as_nobody(folder, first=HIDE_SYS)) as exporter:
        shown = served(exporter)
        assert one(shown, "up") == 1
        memory = one(shown, "host_memory_total_bytes")
        assert one(shown, "memory_limit_bytes") == memory
        assert labelled(shown, "host_disk_io_time_seconds_total") or Path("/proc/diskstats").read_text() == ""


def test_no_such_process(tmp_path: Path) -> None:
    """Neither a name, a unit, nor a pidfile: missing, empty, of nobody, or of no number."""
    pidfiles = {"empty": "", "text": "seven\n", "gone": f"{dead_pid()}\n", "huge": f"{10**30}\n", "negative": "-1\n"}
    for name, content in pidfiles.items():
        (tmp_path / name).write_text(content)
    resolvers = [{"name": name, "pidfile": str(tmp_path / name)} for name in [*pidfiles, "missing"]]
    resolvers += [{"name": "process", "process": "no-such-program"}, {"name": "unit", "unit": "no-such.service"}]
    config = {"resolvers": resolvers, "collectors": {"probe": PROBE_OFF, "host": {"enabled": False}}}
    with Exporter(tmp_path / "exporter", config) as exporter:
        shown = served(exporter)
        assert labelled(shown, "up") == {(resolver["name"],): 0 for resolver in resolvers}
        assert set(labelled(shown, "processes").values()) == {0}
        assert not labelled(shown, "start_time_seconds")


def test_processes_that_end_during_the_scrape(tmp_path: Path) -> None:
    name = "ending-resolver"
    (tmp_path / name).symlink_to(shutil.which("sleep") or "sleep")
    churn = (
        f'while :; do pids=; for i in 1 2 3 4 5 6 7 8; do {tmp_path}/{name} 60 & pids="$pids $!"; done;'
        " sleep 0.02; kill -9 $pids; wait; done"
    )
    config = {"resolvers": [{"name": name, "process": name}], "collectors": {"probe": PROBE_OFF}}
    with Exporter(tmp_path / "exporter", config) as exporter:
        served(exporter)
        churning = subprocess.Popen(["sh", "-c", churn], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            seen = set()
            counters: dict[tuple[str, ...], float] = {}
            for _ in range(60):
                shown = exporter.scrape()
                assert set(labelled(shown, "collector_success").values()) == {1}, exporter.log()
                seen.add(one(shown, "processes"))
                for key, value in labelled(shown, "context_switches_total", resolver=name).items():
                    assert value >= counters.get(key, 0)
                    counters[key] = value
        finally:
            os.killpg(churning.pid, signal.SIGKILL)
            churning.wait()
        assert len(seen) > 1, seen
        assert "Traceback" not in exporter.log()
        eventually(lambda: one(exporter.scrape(), "processes") == 0)


def served(exporter: Exporter) -> Samples:
    """Scrape a few times; no collector fails."""
    for _ in range(3):
        shown = exporter.scrape()
        assert set(labelled(shown, "collector_success").values()) == {1}, exporter.log()
    assert "Traceback" not in exporter.log()
    return shown


def capabilities_of(page: Path) -> Sequence[str]:
    """Return the capabilities that a page adds to the systemd unit, as setpriv names them."""
    (line,) = (line for line in page.read_text().splitlines() if line.strip().startswith("AmbientCapabilities="))
    return [name.removeprefix("CAP_").lower() for name in line.partition("=")[2].split()]


def dead_pid() -> int:
    """Return the id of a process that has just ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
