"""Finds the records on which ingestion fails, so that they are set aside and all others of their batch count.

A batch that fails is tried in halves, and these in halves, each without any effect on the store, until the records are
found that fail by themselves. The rest then goes into the store as one batch, in one transaction with the cursor.
"""

import io
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

from dnsvigil.ingest.intake import Ingested, Intake
from dnsvigil.sources.zeek.lines import Chunk
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.store import Store, StoreError

MAX_RECORDS: Final = 20
"""Where more records of one batch fail, it is not the records that are to blame."""

_MAX_SHOWN: Final = 200  # bytes of a record

_Line = tuple[int, bytes]  # of which chunk
_Try = Callable[[Sequence[_Line]], Exception | None]


def ingest_apart(store: Store, make: Callable[[], Intake], batch: Batch) -> Ingested:
    """Ingest a batch of a round that failed, but for the records that make it fail; see :func:`ingest_rest`."""
    try:
        with closing(make()) as intake:
            (found,) = intake.put([batch])
    except StoreError:
        raise
    except Exception as error:
        return ingest_rest(store, make, batch, error)
    return found


def ingest_rest(store: Store, make: Callable[[], Intake], batch: Batch, error: Exception) -> Ingested:
    """Ingest a batch that failed with ``error``, but for the records that make it fail.

    These are set aside and counted as skipped. ``make`` makes an intake of the store; others must be made anew
    afterwards. Raises the error again where the records are not to blame, and
    :class:`dnsvigil.store.store.StoreError`.
    """
    lines = [(number, line) for number, chunk in enumerate(batch.chunks) for line in _lines(chunk)]

    def parse(some: Sequence[_Line]) -> None:
        with store.errors(), closing(Parser(store.connection)) as parser:
            if some:
                parser.load([_with(batch, some)])

    def put(some: Sequence[_Line]) -> None:
        with store.rehearsal(), closing(make()) as intake:
            intake.put([_with(batch, some)])

    # Parsing is where records differ most, and to try it costs a hundredth.
    attempt = _attempt(parse)
    if attempt(lines) is None:
        attempt = _attempt(put)
    if attempt([]) is not None:
        raise error
    failing = _failing(lines, attempt)
    if not failing:
        raise error
    rest = _with(batch, [line for number, line in enumerate(lines) if number not in failing])
    rest = replace(rest, skipped=batch.skipped + Counter(set_aside=len(failing)))
    with closing(make()) as intake:
        (found,) = intake.put([rest])
    for number, failure in failing.items():
        text = lines[number][1][:_MAX_SHOWN].decode("utf-8", "backslashreplace").rstrip("\n")
        where = f"{batch.cursor.sensor}, {batch.log_type.path}.log"
        store.set_aside.put("record", f"{where}: {text}", failure)
    return found


def _attempt(work: Callable[[Sequence[_Line]], None]) -> _Try:
    """Return what does the work on some lines, and returns what it fails of."""

    def attempt(some: Sequence[_Line]) -> Exception | None:
        try:
            work(some)
        except StoreError:
            raise
        except Exception as failure:
            return failure
        return None

    return attempt


def _failing(lines: Sequence[_Line], attempt: _Try) -> dict[int, Exception]:
    """Return the lines that fail by themselves, by their number, with what they fail of; none where they are many."""
    found: dict[int, Exception] = {}
    parts = [range(len(lines))]
    while parts:
        part = parts.pop()
        failure = attempt([lines[number] for number in part])
        if failure is None:
            continue
        if len(part) == 1:
            found[part[0]] = failure
            if len(found) > MAX_RECORDS:
                return {}
        else:
            middle = len(part) // 2
            parts += [part[middle:], part[:middle]]
    return found


def _with(batch: Batch, lines: Collection[_Line]) -> Batch:
    """Return the batch with these of its lines alone."""
    bodies: dict[int, list[bytes]] = {}
    for number, line in lines:
        bodies.setdefault(number, []).append(line)
    return replace(
        batch, chunks=[replace(batch.chunks[number], body=b"".join(body)) for number, body in bodies.items()]
    )


def _lines(chunk: Chunk) -> list[bytes]:
    """Return the lines with their ends; nothing but a line feed ends one."""
    return list(io.BytesIO(chunk.body))
