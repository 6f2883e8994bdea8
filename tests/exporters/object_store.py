"""A server with S3's API on loopback."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dnsvigil.sources.remote import stores


@dataclass
class ObjectStore:
    """A server with one bucket."""

    client: Any
    bucket: str

    def put(self, folder: Path, below: str = "") -> str:
        """Upload the files of a folder, and return its URI."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.client.upload_file(str(path), self.bucket, f"{below}{folder.name}/{path.relative_to(folder)}")
        return f"s3a://{self.bucket}/{below}{folder.name}"

    def fill(self, bucket: str, keys: Iterable[str]) -> None:
        """Make a bucket with small objects, past HTTP, which takes 20 ms for each."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        self.client.create_bucket(Bucket=bucket)
        for key in keys:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, b"x")


@contextmanager
def object_store(bucket: str) -> Iterator[ObjectStore]:
    """Start a server, and name it in the environment, as a user does. Skip where there is none."""
    server = pytest.importorskip("moto.server", reason="needs moto[s3] and flask-cors")
    boto3 = pytest.importorskip("boto3")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "who")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "what")
            patch.setenv("AWS_REGION", "us-east-1")
            client = boto3.client("s3", region_name="us-east-1")
            client.create_bucket(Bucket=bucket)
            stores._s3.cache_clear()
            yield ObjectStore(client, bucket)
    finally:
        stores._s3.cache_clear()
        running.stop()


@contextmanager
def tls(certificate: Path, key: Path) -> Iterator[str]:
    """Serve what there is in this process over TLS as well, and give the URL."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app = DomainDispatcherApplication(create_backend_app)
    pair = (str(certificate), str(key))
    server = make_server("127.0.0.1", 0, app, True, request_handler=MotoRequestHandler, ssl_context=pair)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
