"""Reads objects of S3, and of stores with its API."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from dnsvigil.sources.remote.stores import Content, Entry, in_words
from dnsvigil.sources.remote.uri import Uri

_CONNECT_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 30.0
_TRIES: Final = 3
_REFUSED: Final = {"ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "MISSING_AUTHENTICATION_TOKEN"}


class S3:
    """All buckets that the credentials of the environment, or of this machine's role, are for.

    The variables are those of all programs of AWS; Arrow's own code reads all but those of the endpoint and of its
    certificate.
    """

    def __init__(self) -> None:
        """Raises ``OSError`` where Arrow is built without S3."""
        try:
            from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem
        except ImportError as error:
            reason = "this build of pyarrow has no S3, which that of the Python Package Index has"
            raise OSError(errno.ENOTSUP, reason) from error
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        self._files = S3FileSystem(
            endpoint_override=next((value for name in names if (value := os.environ.get(name))), None),
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_REQUEST_SECONDS,
            tls_ca_file_path=os.environ.get("AWS_CA_BUNDLE"),
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        )

    def list(self, uri: Uri) -> Iterator[Entry]:
        """Yield the objects below a folder, or an object itself."""
        from pyarrow.fs import FileSelector

        path = _path(uri)
        with _errors(uri):
            one = self._files.get_file_info(path)
            found = [one] if one.is_file else self._files.get_file_info(FileSelector(path, recursive=True))
        for each in found:
            if each.is_file:
                yield Entry(each.path.removeprefix(path).removeprefix("/"), each.size, each.mtime_ns)

    def entry(self, uri: Uri) -> Entry:
        """Return what there is to know of an object."""
        with _errors(uri):
            info = self._files.get_file_info(_path(uri))
            if not info.is_file:
                raise FileNotFoundError
        return Entry("", info.size, info.mtime_ns)

    @contextmanager
    def open(self, uri: Uri) -> Iterator[Content]:
        """Give an object, to read it."""
        with _errors(uri), self._files.open_input_file(_path(uri)) as file:
            yield file


def _path(uri: Uri) -> str:
    return "/".join([uri.authority, *uri.parts])


def _errors(uri: Uri) -> AbstractContextManager[None]:
    return in_words(uri, _reason)


def _reason(error: Exception) -> str:
    """Return what is wrong, of what Arrow says: which call of the API failed in which way, and what the store said."""
    text = str(error)
    found = re.search(r"AWS Error (\w+) during \w+ operation(?: \(HTTP status (\d+)\))?: (.*)", text, re.DOTALL)
    if not found:
        return text
    code, status, message = found.groups()
    said = re.sub(r"\s*\(Request ID: [^)]*\)|.*Details: ", "", message).strip()
    if code == "NO_SUCH_BUCKET":
        return "there is no such bucket"
    if code in _REFUSED or status == "403":
        return f"access is refused: {code}: {said}"
    if code == "NETWORK_CONNECTION":
        return f"the object store cannot be reached: {said}"
    return f"the object store answers {code}{f' ({status})' if status else ''}: {said}"
