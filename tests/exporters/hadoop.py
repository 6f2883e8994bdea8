"""An HDFS of one name node and one data node on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

JARS = "HADOOP_JARS"
"""The variable that names a folder with the jars of Hadoop: those that PySpark 2.4 has in its source are enough."""

_OPENED = [
    f"--add-opens=java.base/{name}=ALL-UNNAMED"
    for name in ("java.lang", "java.util", "java.io", "java.net", "java.nio", "sun.nio.ch")
]
_SERVER = "org.apache.hadoop.hdfs.server"
_LOCAL = (
    "dfs.namenode.http-address",
    "dfs.datanode.address",
    "dfs.datanode.ipc.address",
    "dfs.datanode.http.address",
)


@dataclass
class Hdfs:
    """The URI of an HDFS, and a client of it."""

    uri: str
    client: Any
    data_node: "subprocess.Popen[bytes]"

    def put(self, folder: Path) -> str:
        """Upload the files of a folder, and return its URI."""
        for path in folder.rglob("*"):
            if path.is_file():
                with self.client.create(f"/{folder.name}/{path.relative_to(folder)}") as file:
                    file.write(path.read_bytes())
        return f"{self.uri}/{folder.name}"


@contextmanager
def hdfs(folder: Path) -> Iterator[Hdfs]:
    """Start an HDFS. Skip where there are no jars of Hadoop, no Java, or no client."""
    native = pytest.importorskip("hdfs_native", reason="needs dnsvigil[hdfs]")
    if not (jars := os.environ.get(JARS)):
        pytest.skip(f"needs jars of Hadoop, in {JARS}")
    if not shutil.which("java"):
        pytest.skip("needs a JRE")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"hdfs://127.0.0.1:{server.getsockname()[1]}"
    _configure(folder, uri)
    java = ["java", "-Xmx300m", *_OPENED, "-cp", f"{folder}/conf:{folder}/conf/classes:{jars}/*"]
    subprocess.run([*java, f"{_SERVER}.namenode.NameNode", "-format"], check=True, capture_output=True)
    with ExitStack() as stack:
        started = []
        for name in ("namenode.NameNode", "datanode.DataNode"):
            with (folder / f"{name}.log").open("wb") as log:
                started.append(subprocess.Popen([*java, f"{_SERVER}.{name}"], stdout=log, stderr=log))
            stack.callback(started[-1].wait, 60)
            stack.callback(started[-1].terminate)
        registered = folder / "namenode.NameNode.log"
        deadline = time.monotonic() + 120
        while b"processReport: from storage" not in registered.read_bytes():
            assert time.monotonic() < deadline, registered.read_text()
            time.sleep(0.2)
        yield Hdfs(uri, native.Client(uri), started[1])


def _configure(folder: Path, uri: str) -> None:
    for name in ("hdfs", "datanode", "static"):  # of their pages, which Hadoop has beside its jars
        (folder / "conf" / "classes" / "webapps" / name).mkdir(parents=True)
    values = {"fs.defaultFS": uri, "hadoop.tmp.dir": f"{folder}/data"}
    more = {
        "dfs.replication": "1",
        "dfs.blocksize": "1048576",
        "dfs.webhdfs.enabled": "false",  # for which classes are missing
        "dfs.namenode.rpc-bind-host": "127.0.0.1",
        **dict.fromkeys(_LOCAL, "127.0.0.1:0"),
    }
    for name, properties in (("core", values), ("hdfs", more)):
        lines = (f"<property><name>{key}</name><value>{value}</value></property>" for key, value in properties.items())
        text = "\n".join(["<configuration>", *lines, "</configuration>"])
        (folder / "conf" / f"{name}-site.xml").write_text(text)
    (folder / "conf" / "log4j.properties").write_text(
        "log4j.rootLogger=INFO,a\nlog4j.appender.a=org.apache.log4j.ConsoleAppender\n"
        "log4j.appender.a.layout=org.apache.log4j.SimpleLayout\n"
    )
