"""The engine of several machines: the same expressions as Spark's SQL, and functions that run in Spark's tasks.

Ibis writes the SQL in the driver, once for each command: beside Spark's own start that is little.
"""

import errno
import importlib
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import ibis.expr.operations as ops
import pyarrow as pa
import sqlglot.expressions as sge
from ibis.backends.pyspark import Backend
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from ibis.backends.sql.dialects import PySpark
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.storagelevel import StorageLevel

from dnsvigil.config.collector import Spark as Settings
from dnsvigil.engines.engine import Columns, SparkError
from dnsvigil.engines.spark_tasks import (
    ByNumber,
    Function,
    Reports,
    Task,
    checked,
    derived,
    difference,
    packed,
    versions,
)
from dnsvigil.store.archive_file import SCHEMAS
from dnsvigil.store.tuple_file import SCHEMA

T = TypeVar("T")
R = TypeVar("R")

FUNCTIONS: Final = {
    "domain_number(name STRING) RETURNS STRING": "name",
    "list_reverse(texts ARRAY<STRING>) RETURNS ARRAY<STRING>": "reverse(texts)",
}
"""The functions of :mod:`dnsvigil.features.functions` that the features of domains need, in Spark's SQL."""

TYPES: Final = {"VARCHAR": pa.string(), "BIGINT": pa.int64()}
"""Arrow's types of the columns of look-up tables."""

_PROPERTIES: Final = {
    "spark.sql.ansi.enabled": "false",  # as in DuckDB, a number over 0 is NULL
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.driver.maxResultSize": "0",  # results come partition by partition
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_PLANNER: Final = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
"""Of a driver beside which others run the tasks: it plans for seconds, which the best machine code takes to make."""
_SIGNED: Final = {
    "count": pa.decimal128(20),  # sums do not end at the largest number of 64 bits
    **dict.fromkeys(("bailiwick", "time_first", "time_last", "ttl_min", "ttl_max", "sensors", "seen_in"), pa.int64()),
}
_NO_SPACE: Final = "no space is left on the disk of spark.local.dir, where Spark keeps what does not fit memory"
_WAIT_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0


READ: Final = {
    "domain_hours": SCHEMAS["domain_hours"],
    "tuples": pa.schema([(each.name, _SIGNED.get(each.name, each.type)) for each in SCHEMA]),
}
"""The columns of what is read from files; all numbers have signs."""


class Cluster:
    """The :class:`dnsvigil.engines.engine.Engine` of one Spark session. Raises :class:`SparkError`.

    A table that several queries read is kept, on disks where memory does not do.
    """

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        for function, value in FUNCTIONS.items():
            session.sql(f"CREATE OR REPLACE TEMPORARY FUNCTION {function} RETURN {value}")

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return int(self._session.sparkContext.defaultParallelism)

    def status(self) -> tuple[int, int]:
        """Return how many tasks of the stages that run now are done, and how many there are."""
        tracker = self._session.sparkContext.statusTracker()
        found = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage))]
        return sum(info.numCompletedTasks for info in found), sum(info.numTasks for info in found)

    def lookup(self, name: str, types: Mapping[str, str], *columns: Sequence[object]) -> None:
        """Make a small table to join with."""
        arrays = [pa.array(column, TYPES[kind]) for kind, column in zip(types.values(), columns, strict=True)]
        table = pa.table(arrays, names=list(types))
        self._view(name, self._session.createDataFrame(table))

    def run(self, subject: str, *names: str) -> None:
        """Have the tables of these names made when they are needed."""
        for name in names:
            self._view(name, self._session.sql(query(subject, name)), keep=_uses(subject)[name] > 1)

    def derive(self, name: str, types: Mapping[str, str], query: str, function: Columns) -> None:
        """Make a table of texts and of what a function says of them, which runs in tasks."""
        schema = pa.schema([(column, TYPES[kind]) for column, kind in types.items()])
        texts = self._session.sql(query)
        self._view(name, texts.mapInArrow(partial(derived, function, schema), from_arrow_schema(schema)))

    def read(self, inputs: Sequence[T], function: "Function[T, R]") -> "Reports[R]":
        """Make the tables ``domain_hours`` and ``tuples`` of what a function makes of each input, which runs in tasks.

        Of ``tuples`` there is then each one once.
        """
        context = self._session.sparkContext
        reports = Reports[R](context.accumulator({}, ByNumber()))
        schema = pa.schema([("of", pa.string()), *(each for table in READ.values() for each in table)])
        numbers = self._session.range(0, len(inputs), 1, max(len(inputs), 1))
        task = Task([*inputs], function, schema, reports, versions())
        self._view("read", numbers.mapInArrow(task, from_arrow_schema(schema)), keep=True)
        for name, columns in READ.items():
            rows = self._session.table("read").where(f"of = '{name}'")
            self._view(name, rows.select(*columns.names))
        self._view("tuples", self._session.sql(query("passive_dns", "merged")), keep=True)
        return reports

    def each(self, inputs: Sequence[T], function: Callable[[T], R]) -> list[R]:
        """Return what a function makes of each input, of which there is at least one, in tasks."""
        tasks = self._session.sparkContext.parallelize(inputs, len(inputs))
        found: list[R] = tasks.map(partial(checked, versions(), function)).collect()
        return found

    def fetch(self, query: str) -> Iterator[pa.Table]:
        """Yield what a query returns in pieces, of which the first has no rows."""
        frame = self._session.sql(query)
        schema = to_arrow_schema(frame.schema)
        yield schema.empty_table()
        for (piece,) in frame.mapInArrow(packed, "piece binary").toLocalIterator(prefetchPartitions=True):
            yield pa.ipc.open_stream(piece).read_all()

    def _view(self, name: str, frame: DataFrame, *, keep: bool = False) -> None:
        frame.createOrReplaceTempView(name)
        if keep:
            frame.persist(StorageLevel.MEMORY_AND_DISK)
            # A plan has those of all kept tables in it, and so has its text: it doubles with each step. As rows whose
            # origin Spark knows, but not their plan, they still are made again where a worker is lost.
            rows = self._session.table(name)._jdf.queryExecution().toRdd()
            java = self._session._jsparkSession.internalCreateDataFrame(rows, frame._jdf.schema(), False)
            DataFrame(java, self._session).createOrReplaceTempView(name)


@contextmanager
def cluster(settings: Settings) -> Iterator[Cluster]:
    """Start Spark, or a session on a cluster, for as long as the context lasts. Raises :class:`SparkError`."""
    _check_java()
    _check_master(settings.master)
    with tempfile.NamedTemporaryFile("w+", prefix="dnsvigil-spark-", suffix=".log") as log:
        with _failures(), _standard_error(log.fileno()):
            session = _start(settings)
        try:
            with _failures():
                _check_workers(session)
                yield Cluster(session)
        finally:
            with suppress(Exception):  # where the cluster is gone
                session.stop()


@cache
def query(subject: str, name: str) -> str:
    """Return Spark's SQL of a subject for the table of a name."""
    Backend.register_options()  # which the compiler looks at
    return str(_Compiler().to_sqlglot(_expressions(subject)[name].unbind()).sql(dialect=PySpark))


@cache
def _expressions(subject: str) -> Mapping[str, Any]:
    return dict(importlib.import_module(f"dnsvigil.features.{subject}").expressions())


class _Compiler(PySparkCompiler):  # type: ignore[misc]
    """Ibis's compiler, with what it lacks."""

    SIMPLE_OPS: Final = {ops.BitOr: "bit_or"}

    def visit_StringSplit(self, op: Any, *, arg: Any, delimiter: Any) -> Any:
        """Split by a text, where Spark takes a regular expression."""
        return self.f.split(arg, sge.convert(re.escape(delimiter.this)))


@cache
def _uses(subject: str) -> Counter[str]:
    """Count the queries of a subject that read each table."""
    found: Counter[str] = Counter()
    for expression in _expressions(subject).values():
        found.update({table.name for table in expression.op().find(ops.UnboundTable)})
    return found


# Start


def _start(settings: Settings) -> SparkSession:
    os.environ["PYSPARK_PYTHON"] = str(settings.python or sys.executable)  # Spark's property is that of spark-submit
    logging.getLogger("py4j").setLevel(logging.WARNING)
    builder = SparkSession.builder.appName("dnsvigil").master(settings.master)
    own = _PROPERTIES if settings.master.startswith("local") else _PROPERTIES | _PLANNER
    for name, value in {**own, **settings.properties}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    slots = session.sparkContext.defaultParallelism
    if "spark.sql.shuffle.partitions" not in settings.properties and slots < 200:
        session.conf.set("spark.sql.shuffle.partitions", str(2 * slots))
    return session


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


def _check_workers(session: SparkSession) -> None:
    """Wait for a worker, and have all that are there compare their versions."""
    context = session.sparkContext
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
    if lacking := re.search(r"ModuleNotFoundError: No module named '(\w+)", text):
        return (
            f"a worker's Python has no {lacking[1]}: install dnsvigil[spark] there, in the version that is here, or"
            " name its Python in spark.python"
        )
    if "PYTHON_VERSION_MISMATCH" in text or "different version" in text:
        return next(line.strip() for line in text.splitlines() if "version" in line)
    if different := re.search(r"RuntimeError: (worker .*)", text):
        return different[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = [line for line in lines if re.match(r"(Caused by: )?[\w.]+(Exception|Error): ", line)]
    return (known or lines or [type(error).__name__])[-1]
