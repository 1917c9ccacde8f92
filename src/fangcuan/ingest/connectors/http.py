"""JSON over HTTP: an API's pages, staged as JSON lines."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urljoin, urlsplit

import httpx
import tenacity
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fangcuan.ingest.base import FetchContext, RawChunk, RawDocument, Refused, SourceUnavailable
from fangcuan.ingest.connectors._guard import GuardedTransport, PrivateAddress
from fangcuan.ingest.connectors._text import NumberText, json_cell, parse_json, read_jsonl
from fangcuan.ingest.secrets import SecretMissing, scrub

_MIB = 1024 * 1024
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED_CREDENTIALS = frozenset({401, 403, 407})
_PATH = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")
_MAX_REDIRECTS = 5
_LONGEST_WAIT = 300.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paging(_Strict):
    """How an API says where its next page is.

    `link`: the response header `Link: <...>; rel="next"`, or the field `field`, holds the next URL; `page`: the parameter `param`
    counts from `first` until a page has no items; `cursor`: the field `field` goes into the parameter `param` until it is empty;
    `none`: one page.
    """

    style: Literal["none", "link", "page", "cursor"] = "none"
    param: str | None = None
    field: str | None = None
    first: int = 1
    size_param: str | None = None
    size: Annotated[int, Field(ge=1)] | None = None

    def model_post_init(self, context: Any) -> None:
        if self.style in ("page", "cursor") and not self.param:
            raise ValueError(f"style {self.style} needs param")
        if self.style == "cursor" and not self.field:
            raise ValueError("style cursor needs field")


class Auth(_Strict):
    """Credentials by the name of a secret: a bearer token, a header of your own, or a user and password."""

    kind: Literal["bearer", "header", "basic"]
    secret: str
    header: str = "X-API-Key"
    user: str = ""


class HttpOptions(_Strict):
    """Options of the `http` connector.

    `items` is the dotted path of the list in a response (empty: the response is the list). Texts in `url` and `params` may
    contain `{night}`, the night's date. Requests go to the URL's own host only. Private and loopback addresses are refused unless
    `allow_private` is true. Sizes are bytes after decompression.
    """

    url: str
    params: dict[str, str | int] = {}
    headers: dict[str, str] = {}
    items: str = ""
    paging: Paging = Paging()
    auth: Auth | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 30
    deadline_seconds: Annotated[float, Field(gt=0)] = 3600
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    backoff_seconds: Annotated[float, Field(ge=0)] = 1.0
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    max_bytes: Annotated[int, Field(ge=1)] = 2048 * _MIB
    max_page_bytes: Annotated[int, Field(ge=1)] = 64 * _MIB
    allow_private: bool = False

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address that begins with http:// or https://")
        if parts.username or parts.password:
            raise ValueError("credentials in the address; name a secret in `auth` instead")
        return value

    @field_validator("items")
    @classmethod
    def _items_path(cls, value: str) -> str:
        if value and not _PATH.fullmatch(value):
            raise ValueError("expected a dotted path such as data.items")
        return value


class _Retry(Exception):
    """Worth another attempt, after `wait` seconds where the server said so."""

    def __init__(self, message: str, wait: float | None = None, *, truncated: bool = False):
        super().__init__(message)
        self.wait = wait
        self.truncated = truncated


class HttpConnector:
    """See HttpOptions. Every fetch gives one document with the items of all pages; loading knows rows it has seen."""

    kind: ClassVar[str] = "http"
    Options: ClassVar[type[BaseModel]] = HttpOptions

    def fetch(self, options: HttpOptions, context: FetchContext) -> Iterator[RawDocument]:
        """One document. Raises SourceUnavailable where the API does not answer, Refused where what it answers cannot be used
        (cut short, not JSON, too large, no list at `items`); nothing of a fetch that fails is kept."""
        secret = ""
        if options.auth is not None:
            try:
                secret = context.secrets(options.auth.secret)
            except SecretMissing as error:
                raise SourceUnavailable(str(error)) from error
        try:
            path, sha256, size = context.stage(_Pages(options, context, secret).lines())
        except SourceUnavailable as error:
            raise SourceUnavailable(scrub(str(error), secret)) from None
        name = f"{urlsplit(options.url).hostname}-{context.night.isoformat()}.jsonl"
        yield RawDocument(context.source_id, name, path, sha256, size, context.night)

    def read(self, document: RawDocument, options: HttpOptions, chunk_rows: int) -> Iterator[RawChunk]:
        """Items of the staged pages, one row each; lists and objects inside an item are JSON text."""
        if document.size > options.max_bytes:
            raise Refused("too_large", f"more than {options.max_bytes} bytes; raise max_bytes if that is right")
        for table in read_jsonl(
            document.path,
            "items.jsonl",
            encoding="utf-8",
            limit=options.max_bytes,
            max_line=options.max_page_bytes,
            chunk_rows=chunk_rows,
        ):
            yield RawChunk(table)


class _Pages:
    """The pages of one fetch."""

    def __init__(self, options: HttpOptions, context: FetchContext, secret: str):
        self._options = options
        self._night = context.night.isoformat()
        self._progress = context.progress
        self._secret = secret
        self._deadline = time.monotonic() + options.deadline_seconds
        self._last_request = 0.0
        self._total = 0

    def lines(self) -> Iterator[bytes]:
        """Items as JSON lines, page by page."""
        url: str | None = self._options.url.replace("{night}", self._night)
        params: dict[str, str | int] | None = self._first_params()
        origin = _origin(str(url))
        with self._client() as client:
            for number in range(1, self._options.max_pages + 1):
                body, headers = self._page(client, str(url), params)
                page = _parsed(body, number)
                items = _items(page, self._options.items, number)
                for item in items:
                    line = json.dumps({key: json_cell(value) for key, value in item.items()}, ensure_ascii=False)
                    yield line.encode() + b"\n"
                self._progress(f"page {number}: {len(items)} items")
                url, params = self._next(str(url), params, page, headers, bool(items), number)
                if url is None:
                    return
                if _origin(url) != origin:
                    raise SourceUnavailable(f"page {number} points to another host; only {origin} is asked")
        raise Refused("too_large", f"more than {self._options.max_pages} pages; raise max_pages if that is right")

    def _client(self) -> httpx.Client:
        headers = {"User-Agent": "fangcuan", "Accept": "application/json", **self._options.headers}
        auth: httpx.Auth | None = None
        wanted = self._options.auth
        if wanted is not None and wanted.kind == "bearer":
            headers["Authorization"] = f"Bearer {self._secret}"
        elif wanted is not None and wanted.kind == "header":
            headers[wanted.header] = self._secret
        elif wanted is not None:
            auth = httpx.BasicAuth(wanted.user, self._secret)
        return httpx.Client(
            transport=GuardedTransport(allow_private=self._options.allow_private),
            timeout=self._options.timeout_seconds,
            headers=headers,
            auth=auth,
            follow_redirects=False,
            trust_env=False,
        )

    def _first_params(self) -> dict[str, str | int]:
        options, paging = self._options, self._options.paging
        params = {
            key: value.replace("{night}", self._night) if isinstance(value, str) else value
            for key, value in options.params.items()
        }
        if paging.size_param and paging.size:
            params[paging.size_param] = paging.size
        if paging.style == "page":
            params[str(paging.param)] = paging.first
        return params

    def _next(
        self,
        url: str,
        params: dict[str, str | int] | None,
        page: Any,
        headers: httpx.Headers,
        any_items: bool,
        number: int,
    ) -> tuple[str | None, dict[str, str | int] | None]:
        paging = self._options.paging
        if paging.style == "page":
            counted: dict[str, str | int] = {**(params or {}), str(paging.param): paging.first + number}
            return (url, counted) if any_items else (None, None)
        if paging.style == "cursor":
            cursor = _at(page, str(paging.field))
            if cursor in (None, "", False):
                return None, None
            if str(cursor) == str((params or {}).get(str(paging.param))):
                raise Refused("endless", f"page {number} gives its own cursor as the next one")
            return url, {**(params or {}), str(paging.param): str(cursor)}
        if paging.style == "link":
            link = _at(page, paging.field) if paging.field else _link_header(headers)
            if link in (None, ""):
                return None, None
            following = urljoin(url, str(link))
            if following == url:
                raise Refused("endless", f"page {number} names itself as the next page")
            # The link carries its own parameters.
            return following, None
        return None, None

    def _page(
        self, client: httpx.Client, url: str, params: Mapping[str, str | int] | None
    ) -> tuple[bytes, httpx.Headers]:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Retry),
            stop=tenacity.stop_after_attempt(self._options.attempts),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._once, client, url, params)
        except _Retry as error:
            if error.truncated:
                raise Refused("truncated", f"{url}: {error}") from error
            raise SourceUnavailable(f"{url}: {error} (after {self._options.attempts} attempts)") from error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _Retry) and error.wait is not None:
            return error.wait
        return float(min(self._options.backoff_seconds * 2 ** (state.attempt_number - 1), 60))

    def _sleep(self, seconds: float) -> None:
        if time.monotonic() + seconds > self._deadline:
            raise SourceUnavailable(f"not finished within {self._options.deadline_seconds:g} s")
        time.sleep(seconds)

    def _once(
        self, client: httpx.Client, url: str, params: Mapping[str, str | int] | None
    ) -> tuple[bytes, httpx.Headers]:
        for _ in range(_MAX_REDIRECTS + 1):
            self._pace()
            try:
                with client.stream("GET", url, params=params) as response:
                    if response.is_redirect:
                        target = urljoin(str(response.url), response.headers.get("location", ""))
                        if _origin(target) != _origin(url):
                            raise SourceUnavailable(f"{url} redirects to another host; only its own is asked")
                        url, params = target, None
                        continue
                    self._check_status(response)
                    return self._body(response), response.headers
            except PrivateAddress as error:
                raise SourceUnavailable(str(error)) from error
            except httpx.RemoteProtocolError as error:
                raise _Retry(f"the answer was cut short ({error})", truncated=True) from error
            except httpx.DecodingError as error:
                raise Refused("unreadable", f"{url}: the answer cannot be decompressed ({error})") from error
            except httpx.TransportError as error:
                raise _Retry(str(error) or type(error).__name__) from error
        raise SourceUnavailable(f"more than {_MAX_REDIRECTS} redirects")

    def _pace(self) -> None:
        if self._options.requests_per_second is not None:
            due = self._last_request + 1 / self._options.requests_per_second
            now = time.monotonic()
            if due > now:
                self._sleep(due - now)
        if time.monotonic() > self._deadline:
            raise SourceUnavailable(f"not finished within {self._options.deadline_seconds:g} s")
        self._last_request = time.monotonic()

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _RETRIED:
            raise _Retry(f"HTTP {status}", _retry_after(response.headers))
        if status in _REFUSED_CREDENTIALS:
            raise SourceUnavailable(f"HTTP {status}: the credentials were refused")
        if status != 200:
            raise SourceUnavailable(f"HTTP {status}")

    def _body(self, response: httpx.Response) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_bytes():  # as it comes: a full buffer may be long in coming
            size += len(piece)
            if size > self._options.max_page_bytes:
                raise Refused("too_large", f"a page of more than {self._options.max_page_bytes} bytes")
            if time.monotonic() > self._deadline:
                raise SourceUnavailable(f"not finished within {self._options.deadline_seconds:g} s")
            pieces.append(piece)
        self._total += size
        if self._total > self._options.max_bytes:
            raise Refused("too_large", f"more than {self._options.max_bytes} bytes in all pages")
        return b"".join(pieces)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds of a Retry-After header, at most five minutes; None for a missing one or a date."""
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), _LONGEST_WAIT)
    except ValueError:
        return None


def _link_header(headers: httpx.Headers) -> str | None:
    for part in headers.get("link", "").split(","):
        match = re.match(r'\s*<([^>]*)>\s*;.*\brel="?next"?', part)
        if match:
            return match.group(1)
    return None


def _origin(url: str) -> str:
    """Scheme, host and port; ports are written out so that https://a and https://a:443 are the same."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _parsed(body: bytes, number: int) -> Any:
    try:
        return parse_json(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refused("wrong_encoding", "not UTF-8 text", position=f"page {number}, byte {error.start}") from error
    except ValueError as error:
        raise Refused("unreadable", f"not JSON: {error}", position=f"page {number}") from error


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _items(page: Any, path: str, number: int) -> list[dict[str, Any]]:
    found = _at(page, path) if path else page
    if not isinstance(found, list):
        raise Refused("schema", f"no list at {path or 'the top'} of the answer", position=f"page {number}")
    for at, item in enumerate(found, start=1):
        if not isinstance(item, dict) or isinstance(item, NumberText):
            raise Refused("schema", "an item is not a JSON object", position=f"page {number} item {at}")
    return found
