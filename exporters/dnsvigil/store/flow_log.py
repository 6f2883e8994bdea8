"""DNS flow records as a log in Zeek's TSV form: a file for each exporter and slot, named as Zeek's archives are."""

import hashlib
import os
import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dnsvigil.records import DNS_FLOW, FLOW_SLOT_SECONDS
from dnsvigil.store.store import Store
from dnsvigil.system.files import naming
from dnsvigil.system.sql import literal

_TYPES: Final = {"TIMESTAMP": "time", "BIGINT": "count", "DOUBLE": "double", "USMALLINT": "port"}
_ZEEK: Final = {name: _TYPES.get(kind, "string") for name, kind in DNS_FLOW.items()} | {
    "client": "addr",
    "server": "addr",
    "proto": "enum",
}
_MAX_PART: Final = 180  # bytes; a file's name may have 255 in all
_KEY: Final = ("ts", "exporter", "client", "server", "server_port", "proto")
_SUMMED: Final = [name for name in DNS_FLOW if name not in (*_KEY, "amplification")]
# As Zeek writes it, so that no quotes are needed.
_ESCAPED: Final = r"regexp_replace(replace(exporter, '\', '\x5c'), '^-$', '\x2d')"


def log_path(folder: Path, exporter: str, slot: datetime, part: str = "") -> Path:
    """Return where the records of a slot go, or a part of them. Times are UTC, so no hour comes twice."""
    end = slot + timedelta(seconds=FLOW_SLOT_SECONDS)
    name = f"dns_flow.{_file_part(exporter)}.{slot:%H:%M:%S}-{end:%H:%M:%S}{part and f'.{part}'}.log"
    return folder / f"{slot:%Y-%m-%d}" / name


def _file_part(exporter: str) -> str:
    """Return the exporter's name for use in a file's: escaped, and where that is too long cut, with a hash."""
    name = quote(exporter, safe="")
    if len(name) <= _MAX_PART:
        return name
    digest = hashlib.sha256(exporter.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: _MAX_PART - 17]}-{digest}"


def write_flow_log(store: Store, rows: str, path: Path, slot: datetime) -> None:
    """Write the rows of a query with the columns ``DNS_FLOW``, all of one exporter and ``slot``, as the log ``path``.

    The file is there, whole, or not at all; without a row it is not. Raises ``OSError``, and
    :class:`dnsvigil.store.store.StoreError`.
    """
    new, body = path.with_suffix(".new"), path.with_suffix(".body")
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in _SUMMED)
    amplification = "printf('%.6f', sum(response_bytes) / nullif(sum(query_bytes), 0)) AS amplification"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        body.touch()  # for the reason why it cannot be written
        store.rows(
            f"COPY (SELECT printf('%.6f', epoch(ts)) AS ts, {_ESCAPED} AS exporter, {', '.join(_KEY[2:])}, {sums},"
            f" {amplification} FROM ({rows}) GROUP BY {', '.join(_KEY)} ORDER BY ALL) TO {literal(str(body))}"
            " (FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '', ESCAPE '', NULLSTR '-')"
        )
        if not body.stat().st_size:
            return
        with naming(path), new.open("wb") as file:
            file.write(_header(slot))
            with body.open("rb") as lines:
                shutil.copyfileobj(lines, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    finally:
        with suppress(OSError):
            body.unlink(missing_ok=True)


def _header(slot: datetime) -> bytes:
    lines = [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        "#path\tdns_flow",
        f"#open\t{slot:%Y-%m-%d-%H-%M-%S}",
        "\t".join(("#fields", *_ZEEK)),
        "\t".join(("#types", *_ZEEK.values())),
    ]
    return "".join(f"{line}\n" for line in lines).encode()
