"""The engine `openai`: a synchronous image API of that kind, behind the asynchronous five.

The rule for whoever edits it: such an API gives its answer once, to a request that may take
minutes, and knows no id to ask for it again. So a request is made once, it is waited for while this
process is told to stop, and where its answer was lost that is what the task says.
See docs/engines/openai.md.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from safelight.engines import (
    Engine,
    Event,
    Failed,
    File,
    Given,
    Job,
    Log,
    Remember,
    RemoteJob,
    Started,
    Traits,
    Unfetched,
)
from safelight.engines.kit.accounts import account_of
from safelight.engines.kit.asked import Asked
from safelight.engines.kit.asking import ASKING, Ask, Question, Refused, Taken, Unsure, ask_once
from safelight.engines.kit.results import read_media_type
from safelight.errors import InvalidValue, MissingParameter, Unsupported
from safelight.media_types import media_type_of, suffix_of
from safelight.pauses import Pauses
from safelight.sizes import pixels
from safelight.task import FailureCode, Kind, ModelCard, Role, Submit

if TYPE_CHECKING:
    import openai

_CARD = ModelCard(
    name="openai",
    kind=Kind.IMAGE,
    description="Makes and edits pictures through an API of OpenAI's kind.",
    max_sources=16,
)
_URL = "https://api.openai.com/v1"
_SIZES = ("1024x1024", "1536x1024", "1024x1536")  # of the gpt-image models
_QUALITIES = ("auto", "high", "medium", "low")
_PAUSES = 1.0, 60.0  # seconds, before a picture is fetched again: the first, and the longest
_CONNECT_SECONDS = 30.0
_FETCH_TRIES, _FETCH_SECONDS = 5, 300.0  # for each picture
_MOST_PICTURES = 32  # of one answer
# What a request that was never sent raises below the library's own exception.
_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
# By these it refuses for now, where it says so itself: a proxy before it has the same ones for a
# connection that broke when the request was there already.
_REFUSED_FOR_NOW = frozenset({408, 409, 425, 429, 503, 521, 523})
# Words of codes and types. Messages are no guide to quotas: that of a mere rate limit speaks of
# billing too.
_QUOTA = ("insufficient_quota", "billing")
_POLICY = ("moderation", "content_policy", "content_filter", "contentfilter", "safety")
_POLICY_SENTENCES = ("safety system", "content policy", "content_policy", "content management")

_Origin = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$")]
_Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]


class Options(BaseModel):
    """The options of a model that runs behind such an API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default=_URL, pattern=r"^https?://[^\s/]")  # of the API
    model: str | None = None  # its name there, when it is another
    key: str = "env:OPENAI_API_KEY"  # a kept key's name, or env:VARIABLE
    concurrency: int = Field(default=20, ge=1)  # requests that are under way at once, here
    per_second: float = Field(default=5, gt=0)  # requests, of all workers together
    timeout: float = Field(default=900, gt=0)  # seconds that an answer may take, to its last byte
    max_answer: int = Field(default=128 * 2**20, gt=0)  # bytes that it may have
    deadline: float = Field(default=3600, gt=0)  # seconds that a task waits to be taken at all
    sizes: tuple[_Size, ...] = _SIZES  # that it makes; none: whatever is asked for
    # Fields that it has no words for, and that do not matter.
    ignore: tuple[Literal["negative", "seed", "quality", "format"], ...] = ()
    result_origins: tuple[_Origin, ...] = ()  # private ones, besides its own, where results may lie
    extra: dict[str, Any] = Field(default_factory=dict)  # further parameters of each request

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if "stream" in extra:
            raise ValueError("stream: answers are taken whole")
        return extra


class _Unread(Exception):
    """The answer was not read to its end."""


class _Order(NamedTuple):
    """A task, and whom it is put to."""

    client: openai.AsyncOpenAI
    job: RemoteJob
    options: Options
    asked: Asked

    async def ready(self) -> Ask[list[Log | File]]:
        """What asks for it, with its sources."""
        job = msgspec.structs.replace(self.job, sources=await self.job.fetch_sources())
        return self._replace(job=job).ask

    async def ask(self) -> list[Log | File]:
        """Ask, and keep the pictures. Raises `Refused`, `Unsure`, `Failed`."""
        try:
            return await _make(self)
        except Exception as problem:
            raise _meaning(problem, self) from None

    def unknown(self, why: str) -> Failed:
        """What is known of one whose answer was lost."""
        return Failed(
            FailureCode.SUBMISSION_UNKNOWN,
            f"{self.options.url} may have made this, and may charge for it: {why}. It was asked "
            f"once, for task {self.job.task.id}, and is not asked again by itself",
        )


class OpenAI(Engine):
    """Makes pictures through such APIs. One for all of them: each model's options say which."""

    name = "openai"
    models = (_CARD,)

    def __init__(self, concurrency: int) -> None:
        self.traits = Traits(waits=True, concurrency=concurrency)
        self._clients: dict[tuple[str, str, float, int], openai.AsyncOpenAI] = {}
        self._places: dict[tuple[str, str], asyncio.Semaphore] = {}
        self._asked = Asked()

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests for pictures, by outcome."""
        return self._asked.counts

    def check(self, submit: Submit, options: Mapping[str, Any]) -> None:
        """Raise the `BadRequest` that names what such an API has no words for."""
        chosen = read_options(options)
        given = {
            "kind": submit.kind is not Kind.IMAGE,
            "operations": bool(submit.operations),
            "negative": bool(submit.negative) and "negative" not in chosen.ignore,
            "seed": submit.seed is not None and "seed" not in chosen.ignore,
        }
        for parameter, said in given.items():
            if said:
                raise Unsupported(f"{parameter}: this model cannot be told so", parameter=parameter)
        if not submit.prompt:
            raise MissingParameter("A prompt is missing.", parameter="prompt")
        _check_sources(submit)
        _size(submit, chosen)

    def cards(self, options: Mapping[str, Any]) -> tuple[ModelCard, ...]:
        """What a model with these options is. Raises `ValueError`."""
        chosen = read_options(options)
        qualities = () if "quality" in chosen.ignore else _QUALITIES
        return (msgspec.structs.replace(_CARD, sizes=chosen.sizes, qualities=qualities),)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` where they are none."""
        read_options(options)

    def prepare(self) -> None:
        """Raise `ModuleNotFoundError` where the library is not installed."""
        try:
            import_module("openai")  # now: it takes seconds, for which all tasks would stand still
        except ModuleNotFoundError:
            sentence = 'it needs a library: pip install "safelight[openai]"'
            raise ModuleNotFoundError(sentence) from None

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Ask once, wait for the answer whatever happens here, and keep the pictures."""
        assert isinstance(job, RemoteJob)  # as its traits say
        options = read_options(job.options)
        key = await job.secret(options.key)
        order = _Order(self._client(options, key), job, options, self._asked)
        account = account_of(f"openai {options.url}", key)
        question: Question[list[Log | File]] = Question(
            service=options.url,
            place=self._place(options),
            ready=order.ready,
            turn=lambda: job.take_turn(account, options.per_second, True),
            unknown=order.unknown,
            deadline=options.deadline,
            since=job.memory.get(ASKING),
            give_up=job.ended,
        )
        async with aclosing(ask_once(question)) as told:
            async for event in told:
                if isinstance(event, Taken):
                    for made in event.value:
                        yield made
                    continue
                if isinstance(event, Remember) and event.memory:
                    yield Started()  # it works from now on, for what anybody can see
                yield event

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _client(self, options: Options, key: str) -> openai.AsyncOpenAI:
        import openai

        name = (options.url, key, options.timeout, options.max_answer)
        if name not in self._clients:
            # The time for a connection, and for its handshake, leaves some of the whole: what was
            # not sent is not to be taken for an answer that was lost.
            connect = min(_CONNECT_SECONDS, options.timeout / 3)
            # The library's own may be a fork of httpx by now; it takes this one too.
            http: Any = httpx.AsyncClient(
                follow_redirects=True,
                limits=httpx.Limits(max_connections=None),
                event_hooks={"response": [partial(_bound, options.max_answer)]},
            )
            self._clients[name] = openai.AsyncOpenAI(
                base_url=options.url,
                api_key=key,
                timeout=openai.Timeout(options.timeout, connect=connect),
                max_retries=0,
                # Else an old connection that ends just now looks like an answer that was lost.
                default_headers={"Connection": "close", "Accept-Encoding": "identity"},
                http_client=http,
            )
        return self._clients[name]

    def _place(self, options: Options) -> asyncio.Semaphore:
        name = (options.url, options.key)
        return self._places.setdefault(name, asyncio.Semaphore(options.concurrency))


def _check_sources(submit: Submit) -> None:
    roles = [source.role for source in submit.sources]
    if other := sorted({*roles} - {Role.IMAGE, Role.MASK}):
        raise Unsupported(f"sources: this model takes no {other[0]}", parameter="sources")
    if roles.count(Role.MASK) > 1:
        raise InvalidValue("sources: there is more than one mask", parameter="sources")
    if Role.MASK in roles and Role.IMAGE not in roles:
        raise InvalidValue("sources: a mask needs a picture", parameter="sources")


# ------------------------------------------------------------------------------------ the question


async def _make(order: _Order) -> list[Log | File]:
    """Ask, and save the pictures of the answer in the job's folder."""
    return await _save_all(order, await order.asked.count("openai", _ask(order)))


async def _ask(order: _Order) -> Any:
    words = await asyncio.to_thread(_words, order.job, order.options)
    files = await asyncio.to_thread(_files, order.job)
    images, seconds = order.client.images, order.options.timeout
    # Put into the body as they are: the library may know no parameters of these names.
    extra = order.options.extra or None
    try:
        async with asyncio.timeout(seconds):  # the library's is for each read alone
            if not files:
                return await images.generate(**words, extra_body=extra)
            return await images.edit(**files, **words, extra_body=extra)
    except TimeoutError:
        raise _Unread(f"its answer was not whole within {seconds:g} seconds") from None


def _files(job: RemoteJob) -> dict[str, Any]:
    """The pictures to send, by the names of that API."""
    images = [_file(given) for given in job.sources if given.role is not Role.MASK]
    masks = [_file(given) for given in job.sources if given.role is Role.MASK]
    found: dict[str, Any] = {"mask": masks[0]} if masks else {}
    if images:
        found["image"] = images if len(images) > 1 else images[0]
    return found


def _file(given: Given) -> tuple[str, bytes, str]:
    name = f"{given.path.name}{suffix_of(given.media_type)}"
    return name, given.path.read_bytes(), given.media_type


def _words(job: RemoteJob, options: Options) -> dict[str, Any]:
    """What is asked for, in that API's words."""
    submit = job.submit
    words: dict[str, Any] = {"prompt": submit.prompt, "model": options.model or submit.model}
    if submit.count > 1:
        words["n"] = submit.count
    if size := _size(submit, options, _first_size(job)):
        words["size"] = size
    if submit.quality and "quality" not in options.ignore:
        words["quality"] = submit.quality
    if submit.format and "format" not in options.ignore:
        words["output_format"] = submit.format
    return words


def _first_size(job: RemoteJob) -> tuple[int, int] | None:
    """The size of the first picture, which `auto` follows; None where it is not to be had."""
    from PIL import Image

    if job.submit.ratio != "auto":
        return None
    for given in job.sources:
        if given.role is Role.IMAGE:
            with contextlib.suppress(Exception), Image.open(given.path) as picture:
                return picture.size
    return None


def _size(submit: Submit, options: Options, source: tuple[int, int] | None = None) -> str | None:
    """The size to ask for: of those that it makes, the one of the nearest proportions.

    Raises `InvalidValue`.
    """
    if not (submit.width or submit.ratio or submit.resolution):
        return None
    width, height = pixels(submit, source)
    if not options.sizes:
        return f"{width}x{height}"
    return min(options.sizes, key=lambda size: _far(size, width / height))


def _far(size: str, ratio: float) -> float:
    width, _, height = size.partition("x")
    own = int(width) / int(height)
    return max(own / ratio, ratio / own)


# -------------------------------------------------------------------------------------- the answer


async def _bound(most: int, answer: httpx.Response) -> None:
    """Have an answer read no further than it may go."""
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding != "identity":  # not asked for, and a few bytes may unpack to anything
        raise _Unread(f"its answer has the content encoding {encoding[:100]!r}")
    answer.stream = _Bounded(answer.stream, most)


class _Bounded(httpx.AsyncByteStream):
    """A body of at most so many bytes. Raises `_Unread`."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream: httpx.AsyncByteStream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                raise _Unread(f"its answer has more than {self._most} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _save_all(order: _Order, answer: Any) -> list[Log | File]:
    """The pictures of an answer, which has them in itself or says where they are, as files.

    They are paid for: where some are not to be had, these are logged. Raises `Failed` where none
    is.
    """
    items = [
        (getattr(item, "b64_json", None), getattr(item, "url", None))
        for item in getattr(answer, "data", None) or ()
    ]
    items = [(text, url) for text, url in items if text or url]
    if not items:
        raise Failed(FailureCode.PROVIDER_ERROR, f"{order.options.url} answered without a picture")
    if len(items) > _MOST_PICTURES:
        raise Failed(FailureCode.PROVIDER_ERROR, f"More than {_MOST_PICTURES} pictures were made")
    files: list[File] = []
    lost: dict[int, Failed] = {}
    for number, (text, url) in enumerate(items):
        path = order.job.folder / f"made-{number}"
        save: Callable[[], Awaitable[None]] = (
            partial(asyncio.to_thread, _decode, text, path)
            if text
            else partial(_fetch, order, str(url), path)
        )
        try:
            await _insist(order, save)
            files.append(await asyncio.to_thread(_name, path))
        except Failed as problem:
            lost[number] = problem
    if not files:
        raise next(iter(lost.values()))
    logs = [Log(text=f"Picture {number + 1} is lost: {why}") for number, why in lost.items()]
    return [*logs, *files]


async def _insist(order: _Order, save: Callable[[], Awaitable[None]]) -> None:
    """Save a picture, and while a disk that is full keeps it from being written, again."""
    loop, pauses = asyncio.get_running_loop(), Pauses(*_PAUSES)
    until = loop.time() + order.options.deadline
    while True:
        try:
            return await save()
        except OSError as problem:
            wait, why = pauses.next(), str(problem)
        if loop.time() + wait > until:
            raise Failed(FailureCode.INTERNAL, f"Made, but not to be written: {why}")
        await asyncio.sleep(wait)


def _decode(text: str, path: Path) -> None:
    try:
        path.write_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        raise _no_picture() from None


async def _fetch(order: _Order, url: str, path: Path) -> None:
    """Fetch a picture, if need be several times: it is made. Raises `Failed`, `OSError`."""
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            await _fetch_patiently(order, url, path)
    except TimeoutError:
        raise _unfetched(f"not within {_FETCH_SECONDS:g} seconds") from None


async def _fetch_patiently(order: _Order, url: str, path: Path) -> None:
    home = (order.options.url, *order.options.result_origins)
    why, pauses = "", Pauses(*_PAUSES)
    for tries in range(_FETCH_TRIES):
        if tries:
            await asyncio.sleep(pauses.next())
        try:
            # Without the key: the address may lead to somebody else's storage.
            await order.job.fetch(url, path, home)
            await asyncio.to_thread(read_media_type, path, Kind.IMAGE)
            return
        except Unfetched as problem:
            why = str(problem)
            if not problem.passing:
                break
    raise _unfetched(f"{url.partition('?')[0][:200]}: {why}")


def _name(path: Path) -> File:
    """A picture that was saved at `path`, with the suffix of what it is."""
    from PIL import Image

    with path.open("rb") as file:
        media_type = media_type_of(file.read(32))
    path = path.replace(path.with_suffix(suffix_of(media_type)))
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except Exception:  # whatever a broken file makes Pillow's readers raise
        raise _no_picture() from None
    return File(path=path, media_type=media_type, width=width, height=height)


def _unfetched(why: str) -> Failed:
    return Failed(FailureCode.PROVIDER_ERROR, f"Made, but not to be fetched: {why}")


def _no_picture() -> Failed:
    return Failed(FailureCode.PROVIDER_ERROR, "The answer held a picture that is none")


# --------------------------------------------------------------------------------------- mistakes


def _meaning(problem: Exception, order: _Order) -> Exception:
    """What a problem means for what was asked: `Refused`, `Unsure`, `Failed`, or itself."""
    import openai

    for said in (problem, problem.__cause__):  # the library may put it into its own
        if isinstance(said, _Unread):
            return Unsure(str(said))
    if isinstance(problem, openai.APIStatusError):
        return _meaning_of_status(problem, order)
    if isinstance(problem, openai.APIConnectionError):
        sort = Refused if _unsent(problem) else Unsure
        return sort(_said(problem, order))
    if isinstance(problem, openai.APIError | ValueError):  # 200, and no JSON
        return Unsure("its answer is not to be read")
    return problem


def _meaning_of_status(problem: openai.APIStatusError, order: _Order) -> Exception:
    status, code, said = problem.status_code, problem.code or None, _said(problem, order)
    words = f"{code} {problem.type}".lower()
    if status == 402 or any(word in words for word in _QUOTA):
        return Failed(FailureCode.INSUFFICIENT_CREDITS, said, code)
    if status in _REFUSED_FOR_NOW:
        wait = _retry_after(problem)
        certain = status == 429 or wait is not None or _is_own(problem)
        return Refused(said, wait) if certain else Unsure(said)
    if status >= 500 and status != 501:
        return Unsure(said)
    if status == 401:  # some repeat the key that they do not take
        sentence = f"{order.options.url} does not take the key of this server"
        return Failed(FailureCode.PROVIDER_ERROR, sentence, code or "401")
    if any(word in words for word in _POLICY) or any(
        sentence in said.lower() for sentence in _POLICY_SENTENCES
    ):
        return Failed(FailureCode.CONTENT_POLICY, said, code)
    if status in (400, 404, 413, 422):
        return Failed(FailureCode.INVALID_INPUT, said, code)
    return Failed(FailureCode.PROVIDER_ERROR, said, code or str(status))


def _is_own(problem: openai.APIStatusError) -> bool:
    """Whether the API itself says so: in the form of its errors, or of those of its copies."""
    try:
        body = problem.response.json()
    except ValueError:
        return False
    return isinstance(body, dict) and any(body.get(name) for name in ("error", "detail"))


def _unsent(problem: Exception) -> bool:
    return type(problem.__cause__).__name__ in _UNSENT


def _retry_after(problem: Exception) -> float | None:
    """The seconds that the answer asks for; None where it does not, or by a date."""
    response = getattr(problem, "response", None)
    said = response.headers.get("retry-after", "") if response is not None else ""
    return float(said) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", said) else None


def _said(problem: Exception, order: _Order) -> str:
    """What the API said in its own words, without our key."""
    body = getattr(problem, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = str(message or getattr(problem, "message", "") or problem)
    return text.replace(order.client.api_key, "(the key)")[:300]


def read_options(options: Mapping[str, Any]) -> Options:
    """The options of a model. Raises `ValueError`."""
    try:
        return Options(**options)
    except ValidationError as problem:
        raise ValueError(str(problem)) from None


def build(settings: Mapping[str, Any]) -> OpenAI:
    """The engine. Its setting `concurrency`: how many tasks wait in one process at most."""
    return OpenAI(int(settings.get("concurrency", 200)))
