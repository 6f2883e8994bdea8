"""A standalone Spark cluster on loopback."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Standalone:
    """A master with its workers, each of one core."""

    master: str
    workers: Sequence["subprocess.Popen[bytes]"]


def home() -> Path:
    """Return where Spark is. Skip where there is none, or no Java."""
    pyspark = pytest.importorskip("pyspark", reason="needs dnsvigil[spark]")
    if not shutil.which("java"):
        pytest.skip("needs a JRE, Debian's openjdk-17-jre-headless")
    return Path(pyspark.__file__).parent


@contextmanager
def standalone(folder: Path, workers: int = 2) -> Iterator[Standalone]:
    """Start a master and some workers. Skip where there is no Spark, or no Java."""
    spark = home()
    environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "128m", "SPARK_HOME": str(spark)}

    def start(stack: ExitStack, kind: str, log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [str(spark / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--port", "0", "--webui-port", "0", *arguments], env=environment, stdout=file, stderr=file
            )
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        return process

    with ExitStack() as stack:
        log = folder / "master.log"
        start(stack, "master.Master", log)
        (master,) = _eventually(log, r"Starting Spark master at (spark://\S+)", 1)
        own = ("--cores", "1", "--memory", "1g", "--work-dir")
        started = [
            start(stack, "worker.Worker", folder / f"{number}.log", *own, str(folder / f"{number}"), master)
            for number in range(workers)
        ]
        _eventually(log, "(Registering worker)", workers)
        yield Standalone(master, started)


def _eventually(log: Path, pattern: str, times: int) -> list[str]:
    deadline = time.monotonic() + 120
    while len(found := re.findall(pattern, log.read_text())) < times:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found
