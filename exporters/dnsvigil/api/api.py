"""The collector's HTTP API: flows, findings and what is to be learned, as JSON. docs/api.md lists what there is."""

import json
import logging
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TypeVar
from wsgiref.types import WSGIEnvironment

from dnsvigil.config.collector import Config
from dnsvigil.features.popular import own_popular_domains
from dnsvigil.httpd.routes import RETRY_AFTER, Handler, Response
from dnsvigil.httpd.server import BodyError
from dnsvigil.records import (
    FLOW_MEASURES,
    FLOW_SLOT_SECONDS,
    RESOLVER_MEASURES,
    SEVERITIES,
    SUBJECT_TYPES,
    TALKER_ELEMENTS,
    utc_now,
)
from dnsvigil.store.findings import (
    KEPT,
    LISTED,
    STATES,
    Finding,
    Findings,
    Wanted,
    count_findings,
    dismissed_domains,
    finding_with,
    is_text,
    list_findings,
)
from dnsvigil.store.flow_series import series, talkers, verdicts
from dnsvigil.store.set_aside import entries
from dnsvigil.store.store import Store, StoreError
from dnsvigil.store.zones import ZoneCounts, zone_state

log = logging.getLogger(__name__)

OPEN_PATHS: Final = (
    "/",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/runbooks*",
    "/api/flows/series",
    "/api/flows/verdicts",
    "/api/zones",
)
"""What everybody may ask for. All else needs the token, a password or a client certificate."""

CLIENT_PATHS: Final = ("/api/findings", "/api/flows/talkers", "/api/training", "/api/set-aside")
"""What holds addresses of clients, or names that they asked for: open only where the configuration says so."""

WAIT_SECONDS: Final = 3.0
"""So long an answer waits until a change is in the store; what is not by then is made later."""

_ZONE_STATES: Final = ("failing", "ok", "few_queries")  # the worst first

TOTAL: Final = "X-Total-Count"
"""The header with the number of all findings that were asked for, of which the answer may have the first only."""

MAX_HOURS: Final = 35 * 24
MAX_FILES: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1)
_EARLY: Final = timedelta(hours=1)  # by which another machine's clock may be ahead

_T = TypeVar("_T")


class HasStore(Protocol):
    """What has a store; may be called from any thread."""

    def read(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query. Raises :class:`StoreError`."""

    def submit(self, task: Callable[[Store], _T]) -> Future[_T]:
        """Run ``task`` with the open store, outside of a transaction, when nothing else uses it."""


class Back(HasStore, Protocol):
    """The collector that runs behind the API; may be called from any thread."""

    def submit_files(self, files: list[tuple[Path, str | None]]) -> Future[None]:
        """Have flow files read, each with the exporter's name if that is known.

        Raises ``OSError`` for one that may not be.
        """


class _ProblemError(Exception):
    """What is wrong with a request."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class StoreApi:
    """Answers the requests that need a store alone."""

    def __init__(self, back: HasStore, config: Config) -> None:
        self._back = back
        self._config = config

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers, for :func:`dnsvigil.httpd.routes.routes`."""
        return {
            "/api/flows/series": _as_json(self._series),
            "/api/flows/verdicts": _as_json(self._verdicts),
            "/api/flows/talkers": _as_json(self._talkers),
            "/api/zones": _as_json(self._zones),
            "/api/findings": _as_json(self._findings),
            "/api/training": _as_json(self._training),
            "/api/set-aside": _as_json(self._set_aside),
            "POST /api/findings": _as_json(self._take_finding),
            "POST /api/findings/dismiss": _as_json(self._dismiss),
            "POST /api/findings/reopen": _as_json(self._reopen),
        }

    def _series(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        asked = _query(environ, "exporter", "protocol", "service", "resolver", "measure", "hours")
        hours = _number(asked.pop("hours", "24"), "hours", MAX_HOURS)
        measures = RESOLVER_MEASURES if "resolver" in asked else FLOW_MEASURES
        _one_of(asked, "measure", measures)
        if "resolver" in asked:
            if asked.keys() & {"protocol", "service"}:
                _refuse("resolver: not together with protocol or service")
            asked["resolver"] = self._label(asked["resolver"])
        try:
            found = series(self._back.read, timedelta(hours=hours), **asked)
        except ValueError as error:
            _refuse(str(error))
        return 200, {"slot_seconds": FLOW_SLOT_SECONDS, "series": found}

    def _verdicts(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        asked = _query(environ, "exporter", "slot")
        slot = None
        if "slot" in asked:
            seconds = _number(asked["slot"], "slot", 2**32)
            slot = datetime.fromtimestamp(seconds // FLOW_SLOT_SECONDS * FLOW_SLOT_SECONDS, UTC).replace(tzinfo=None)
        found = verdicts(self._back.read, asked.get("exporter"), slot)
        if found["complete"]:
            return 200, found
        return 404, {"error": "no series has been judged up to that slot yet", **found}

    def _talkers(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        asked = _query(environ, "exporter", "element")
        _one_of(asked, "element", TALKER_ELEMENTS)
        return 200, talkers(self._back.read, **asked)

    def _label(self, server: str) -> str:
        """Return the name of the server of an address that has one."""
        return self._config.servers.labels.get(server, server)

    def _zones(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        _query(environ)
        found = zone_state(self._back.read, self._config.servers.labels, _now())
        rows = [self._zone(*key, counts) for key, counts in found.counts.items()]
        rows.sort(key=lambda row: (_ZONE_STATES.index(row["state"]), -row["failure_ratio"], -row["queries"]))
        span = {"from": _text(found.begin), "to": _text(found.end), "current": found.current}
        return 200, {**span, "zones": rows}

    def _zone(self, server: str, zone: str, counts: ZoneCounts) -> dict[str, Any]:
        threshold, min_queries = self._config.zones.limits(zone)
        ratio = counts.failures / counts.queries if counts.queries else 0.0
        enough = counts.queries >= min_queries
        return {
            "server": server,
            "dns_zone": zone,
            "queries": counts.queries,
            "failures": counts.failures,
            "failure_ratio": ratio,
            "failure_ratio_threshold": threshold,
            "min_queries": min_queries,
            "state": "few_queries" if not enough else "failing" if ratio > threshold else "ok",
            "reasons": dict(counts.reasons.most_common()),
        }

    def _findings(self, environ: WSGIEnvironment) -> tuple[int, Any, dict[str, str]]:
        asked = _query(environ, "state", "id", "detector", "severity", "subject_type", "subject", "since", "limit")
        _one_of(asked, "state", (*STATES, "all"))
        _one_of(asked, "severity", SEVERITIES)
        _one_of(asked, "subject_type", SUBJECT_TYPES)
        if "id" in asked:
            unreadable: list[str] = []
            number = int(asked["id"]) if re.fullmatch("[0-9]{1,18}", asked["id"]) else 0
            if not number:
                _refuse("id: expected the number of a finding")
            found = finding_with(self._back.read, number, lambda _, reason: unreadable.append(reason))
            if unreadable:
                raise _ProblemError(
                    HTTPStatus.INTERNAL_SERVER_ERROR, f"finding {number} cannot be read: {unreadable[0]}"
                )
            if found is None:
                raise _ProblemError(HTTPStatus.NOT_FOUND, "there is no such finding")
            return 200, [found.record()], {TOTAL: "1"}
        most = int(_number(asked.pop("limit", str(LISTED)), "limit", KEPT))
        since = _time(asked.pop("since"), "since") if "since" in asked else None
        state = asked.pop("state", "open")
        wanted = Wanted(None if state == "all" else state, since=since, **asked)
        total = count_findings(self._back.read, wanted)
        return 200, [each.record() for each in list_findings(self._back.read, wanted, most)], {TOTAL: str(total)}

    def _training(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        _query(environ)
        return 200, {"popular": own_popular_domains(self._back.read), "dismissed": dismissed_domains(self._back.read)}

    def _set_aside(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        _query(environ)
        return 200, [entry.record() for entry in entries(self._back.read)]

    def _take_finding(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        finding = _finding(_body(environ))
        if finding.subject_type in ("server", "resolver"):
            finding = replace(finding, subject=self._label(finding.subject))

        def put(store: Store) -> tuple[int, Any]:
            findings = Findings(store)
            with store.transaction():
                number = findings.put(finding)
            return 200 if number is None else 201, {"id": number}

        return _wait(self._back.submit(put)) or (202, {"id": None})

    def _dismiss(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        content = _body(environ)
        if unknown := content.keys() - {"id", "why"}:
            _refuse(f"unknown key {min(unknown)!r}")
        number, why = _id(content), content.get("why")
        if not isinstance(why, str):
            _refuse("why: expected a text")

        def dismiss(store: Store) -> tuple[int, Any]:
            findings = Findings(store)
            with store.transaction():
                found = findings.dismiss(number, why, _now())
            return (200, [found.record()]) if found else (404, {"error": "there is no such finding"})

        try:
            return _wait(self._back.submit(dismiss)) or (202, [])
        except ValueError as error:
            _refuse(str(error))

    def _reopen(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        content = _body(environ)
        if unknown := content.keys() - {"id"}:
            _refuse(f"unknown key {min(unknown)!r}")
        number = _id(content)

        def reopen(store: Store) -> tuple[int, Any]:
            findings = Findings(store)
            with store.transaction():
                found = findings.reopen(number)
            return (200, [found.record()]) if found else (404, {"error": "there is no such finding"})

        try:
            return _wait(self._back.submit(reopen)) or (202, [])
        except ValueError as error:
            raise _ProblemError(HTTPStatus.CONFLICT, str(error)) from None


class Api:
    """Answers all requests."""

    def __init__(self, back: Back, config: Config) -> None:
        self._back = back
        self._config = config

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers, for :func:`dnsvigil.httpd.routes.routes`."""
        return {**StoreApi(self._back, self._config).handlers(), "POST /api/flows/files": _as_json(self._take_files)}

    def _take_files(self, environ: WSGIEnvironment) -> tuple[int, Any]:
        given = _body(environ).get("files")
        if not isinstance(given, list) or len(given) > MAX_FILES:
            _refuse(f"files: expected a list of at most {MAX_FILES:,}")
        files = [_file(each) for each in given]
        try:
            future = self._back.submit_files(files)
        except OSError as error:
            _refuse(f"files: {error}")
        _wait(future)
        return 202, {"accepted": len(files)}


def _as_json(answer: Callable[[WSGIEnvironment], tuple[int, Any] | tuple[int, Any, dict[str, str]]]) -> Handler:
    def handler(environ: WSGIEnvironment) -> Response:
        more: list[dict[str, str]] = []
        try:
            status, content, *more = answer(environ)
        except (_ProblemError, BodyError) as error:
            status, content = error.status.value, {"error": str(error)}
        except StoreError as error:
            log.error("%s: %s", environ["PATH_INFO"], error)
            status, content = 503, {"error": "the store cannot be read or written now"}
        return _response(status, content, *more)

    return handler


def _response(status: int, content: Any, more: Mapping[str, str] | None = None) -> Response:
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **(more or {}),
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError:  # of NaN and the infinities
        text = json.dumps(_finite(content), allow_nan=False)
    return Response(status, headers, text.encode() + b"\n")


def _finite(content: Any) -> Any:
    """Return content with None for each number that JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def once_ready(ready: Callable[[], bool], handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """Return handlers that answer 503 until the store is open."""

    def handled(handler: Handler) -> Handler:
        def handle(environ: WSGIEnvironment) -> Response:
            if not ready():
                return _response(503, {"error": "the collector is starting; ask again in a few seconds"})
            return handler(environ)

        return handle

    return {key: handled(handler) for key, handler in handlers.items()}


def _refuse(message: str) -> NoReturn:
    raise _ProblemError(HTTPStatus.BAD_REQUEST, message) from None


def _query(environ: WSGIEnvironment, *names: str) -> dict[str, str]:
    """Return the parameters that are given; an empty one is not."""
    try:
        pairs = urllib.parse.parse_qsl(environ["QUERY_STRING"], errors="strict", max_num_fields=20)
    except ValueError:
        _refuse("the query is no list of name=value in UTF-8")
    found = dict(pairs)
    if unknown := found.keys() - set(names):
        _refuse(f"unknown parameter {min(unknown)!r}; there are {', '.join(names)}")
    if len(found) < len(pairs):
        _refuse("a parameter is given twice")
    return found


def _number(text: str, name: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        _refuse(f"{name}: expected a number above 0, and at most {most:,}")
    return number


def _one_of(asked: Mapping[str, str], name: str, known: Iterable[str]) -> None:
    if name in asked and asked[name] not in known:
        _refuse(f"{name}: expected one of {', '.join(known)}")


def _body(environ: WSGIEnvironment) -> dict[str, Any]:
    # A page of another site can make a browser send a form or a text, but not this without asking first.
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise _ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
    try:
        content = json.loads(environ["wsgi.input"].read().decode())
    except (ValueError, RecursionError) as error:
        _refuse(f"the body is no JSON: {error}")
    if not isinstance(content, dict):
        _refuse("expected a JSON object")
    return content


def _id(content: Mapping[str, Any]) -> int:
    number = content.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**63:
        _refuse("id: expected the number of a finding")
    return number


def _finding(content: Mapping[str, Any]) -> Finding:
    kinds: dict[str, type | tuple[type, ...]] = {
        "detector": str,
        "subject_type": str,
        "subject": str,
        "score": (int, float),
        "severity": str,
        "evidence": dict,
    }
    if unknown := content.keys() - {*kinds, "time"}:
        _refuse(f"unknown key {min(unknown)!r}")
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind) or isinstance(content[name], bool):
            _refuse(f"{name}: missing, or of the wrong kind")
    now = _now()
    when = _time(content["time"], "time") if content.get("time") is not None else now
    if when > now + _EARLY:
        _refuse("time: it is still to come")
    if when < _EPOCH:
        _refuse("time: it is before 1970")
    try:
        return Finding(**{name: content[name] for name in kinds}, first_seen=when, last_seen=when)
    except ValueError as error:
        _refuse(str(error))


def _text(time: datetime | None) -> str | None:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else None


def _now() -> datetime:
    return utc_now().replace(microsecond=0)


def _time(text: Any, name: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
    except (TypeError, ValueError, OverflowError):
        _refuse(f"{name}: expected one such as 2026-01-31T12:00:00Z")


def _file(given: Any) -> tuple[Path, str | None]:
    path, exporter = (given.get(name) if isinstance(given, dict) else None for name in ("path", "exporter"))
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or not is_text(path):
        _refuse("files: expected the absolute path of each")
    if not (exporter is None or (isinstance(exporter, str) and exporter and is_text(exporter))):
        _refuse("files: an exporter is a name, or null")
    return Path(path), exporter


def _wait(future: "Future[_T]") -> _T | None:
    """Return the result; None where it takes too long, and the change is still to come."""
    try:
        return future.result(WAIT_SECONDS)
    except TimeoutError:
        future.add_done_callback(_tell)
        return None


def _tell(future: "Future[Any]") -> None:
    if future.cancelled() or future.exception():
        log.error("a change by the API was lost: %s", "stopped" if future.cancelled() else future.exception())
