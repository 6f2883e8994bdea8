"""The engine of several machines: Spark runs steps in tasks, and brings what they give to where it belongs.

In each task DuckDB runs the queries, the same as on one machine. As Spark's SQL, made from the same expressions, the 25
tables of features took 112 jobs, most of their time to plan and compile: docs/scale.md has the figures.
"""

import errno
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import RDD, SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.storagelevel import StorageLevel

from dnsvigil.config.collector import Spark as Settings
from dnsvigil.engines.spark_tasks import (
    ByNumber,
    Function,
    Reports,
    Task,
    checked,
    checked_step,
    difference,
    is_for,
    nothing,
    number_of,
    versions,
)
from dnsvigil.engines.steps import COMMAND, Chunk, Step, table_of

T = TypeVar("T")
R = TypeVar("R")

STEP: Final = "step "
"""What the names of tables begin with that Spark shows of its stages; the name of the step follows."""


class SparkError(Exception):
    """Spark cannot be started, or a job of it has failed."""


_PROPERTIES: Final = {
    "spark.shuffle.compress": "false",  # the rows are compressed
    "spark.driver.maxResultSize": "0",  # results come partition by partition
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_QUICK: Final = dict.fromkeys(
    ("spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions"), "-XX:TieredStopAtLevel=1"
)
"""Of a driver and executors that are apart: they move bytes, for which the best machine code is not worth its time."""
_NO_SPACE: Final = "no space is left on the disk of spark.local.dir, where Spark keeps what does not fit memory"
_WAIT_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0


class Cluster:
    """What runs steps in the tasks of one Spark application. Raises :class:`SparkError`."""

    def __init__(self, context: SparkContext) -> None:
        self._context = context

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return int(self._context.defaultParallelism)

    def status(self) -> tuple[int, int]:
        """Return how many tasks of the stages that run now are done, and how many there are."""
        tracker = self._context.statusTracker()
        found = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage))]
        return sum(info.numCompletedTasks for info in found), sum(info.numTasks for info in found)

    def each(self, inputs: Sequence[T], function: Callable[[T], R]) -> list[R]:
        """Return what a function makes of each input, of which there is at least one, in tasks."""
        tasks = self._context.parallelize(inputs, len(inputs))
        found: list[R] = tasks.map(partial(checked, versions(), function)).collect()
        return found

    def read(
        self, inputs: Sequence[T], function: "Function[T, R]", step: Step, parts: int
    ) -> "tuple[Flow, Reports[R]]":
        """Run the first step on the tables that a function makes of each input, of which there is at least one.

        The steps after it have so many ``parts``. What the function reports is there once these have run.
        """
        reports = Reports[R](self._context.accumulator({}, ByNumber()))
        numbered = self._context.parallelize([*enumerate(inputs)], len(inputs)).setName(f"{STEP}read")
        task = partial(checked, versions(), Task(function, step, parts, reports))
        return Flow(numbered.flatMap(task), parts), reports


class Flow:
    """Chunks of tables on their way from the tasks of a step. All is lazy but for what :meth:`take` needs."""

    def __init__(self, chunks: "RDD[tuple[int, Chunk]]", parts: int) -> None:
        self._chunks = chunks
        self._parts = parts

    def step(self, name: str, step: Step, *, keep: bool = False) -> "Flow":
        """Return what the tasks of the next step give. It is kept where several steps come after it.

        On the disk: Spark brings what it keeps in memory there as a whole, also where its heap has no room for it.
        """
        own = self._chunks.filter(partial(is_for, name)).partitionBy(self._parts, number_of).setName(f"{STEP}{name}")
        given = own.mapPartitionsWithIndex(partial(checked_step, versions(), step, self._parts))
        return Flow(given.persist(StorageLevel.DISK_ONLY) if keep else given, self._parts)

    def join(self, other: "Flow") -> "Flow":
        """Return the chunks of both."""
        return Flow(self._chunks.union(other._chunks), self._parts)

    def take(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows for the command, with the name of their table, of a step that is kept."""
        with _failures():
            self._chunks.foreachPartition(nothing)  # in all tasks at once, which those of an iterator would not be
            for _, chunk in self._chunks.filter(partial(is_for, COMMAND)).toLocalIterator(prefetchPartitions=True):
                yield table_of(chunk)


@contextmanager
def cluster(settings: Settings) -> Iterator[Cluster]:
    """Start Spark, or a session on a cluster, for as long as the context lasts. Raises :class:`SparkError`."""
    _check_java()
    _check_master(settings.master)
    with tempfile.NamedTemporaryFile("w+", prefix="dnsvigil-spark-", suffix=".log") as log:
        with _failures(), _standard_error(log.fileno()):
            context = _start(settings)
        try:
            with _failures():
                _check_workers(context)
                yield Cluster(context)
        finally:
            with suppress(Exception):  # where the cluster is gone
                context.stop()


# Start


def _start(settings: Settings) -> SparkContext:
    os.environ["PYSPARK_PYTHON"] = str(settings.python or sys.executable)  # Spark's property is that of spark-submit
    logging.getLogger("py4j").setLevel(logging.WARNING)
    own = _PROPERTIES if settings.master.startswith("local") else _PROPERTIES | _QUICK
    conf = SparkConf().setAppName("dnsvigil").setMaster(settings.master)
    # One chunk at a time: Spark puts as many into one array of bytes as small ones before have made it expect.
    return SparkContext(conf=conf.setAll([*{**own, **settings.properties}.items()]), batchSize=1)


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not (home and Path(home, "bin", "java").exists()) and not shutil.which("java"):
        raise SparkError("there is no Java: install a JRE of version 17 or later, or set JAVA_HOME")


def _check_master(master: str) -> None:
    """Connect to a standalone master: Spark itself would try for a minute."""
    if not master.startswith("spark://"):
        return
    problem = ""
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            problem = problem or getattr(error, "strerror", None) or str(error)
        else:
            return
    raise SparkError(f"there is no Spark master at {master}: {problem}")


def _check_workers(context: SparkContext) -> None:
    """Wait for a worker, and have all that are there compare their versions."""
    if context.master.startswith("local"):
        return
    deadline = time.monotonic() + _WAIT_SECONDS
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is one
        if time.monotonic() > deadline:
            raise SparkError(
                f"{context.master} has started no executor in {_WAIT_SECONDS:.0f} s: it has no worker, or none with the"
                " cores and the memory that spark.executor.cores and spark.executor.memory ask for"
            )
        time.sleep(0.2)
    slots = 2 * context.defaultParallelism
    found = context.parallelize([versions()] * slots, slots).map(difference).collect()
    if different := sorted({each for each in found if each}):
        raise SparkError("; ".join(different))


@contextmanager
def _standard_error(file: int) -> Iterator[None]:
    """Have what is started in the context write its standard error to a file."""
    sys.stderr.flush()
    own = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise :class:`SparkError` for what Spark raises."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise SparkError(reason_of(error)) from error
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        raise SparkError(_NO_SPACE) from error  # of what PySpark hands over in files


def reason_of(error: Exception) -> str:
    """Return in a line what is wrong."""
    text = str(error)
    if "No space left on device" in text:
        return _NO_SPACE
    where = re.search(r"\((\S+) executor \S+\): ", text)
    worker = f"worker {where[1]}" if where else "a worker"
    if lacking := re.search(r"ModuleNotFoundError: No module named '(\w+)", text):
        return (
            f"the Python of {worker} has no {lacking[1]}: install dnsvigil[spark] there, in the version that is here,"
            " or name its Python in spark.python"
        )
    if other := re.search(r"PYTHON_VERSION_MISMATCH\].* version: (\S+) than that in driver: ([\d.]*\d)", text):
        return f"{worker} has Python {other[1]} in place of {other[2]}: name one of this version in spark.python"
    if missing := re.search(r'Cannot run program "([^"]+)"', text):
        return f"{worker} has no {missing[1]}: name its Python in spark.python"
    if different := re.search(r"RuntimeError: (worker .*)", text):
        return different[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [line for line in lines if re.match(r"(Caused by: )?[\w.]+(Exception|Error): ", line)]
    return (known or lines or [type(error).__name__])[-1]
