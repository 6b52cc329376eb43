"""TensorsLab: the images and the video service, at https://docs.tensorslab.com.

The two services look alike and name nearly everything differently (`image_status`, `task_status`;
`error_message`, `message`; `origseed`, `seed`), so each has its own tables. Facts marked [doc] are
on the published pages, [client] are what its public clients put on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from safelight.errors import (
    BadRequest,
    Fault,
    InsufficientCredits,
    Malformed,
    MissingParameter,
    UnknownModel,
    Unsupported,
)
from safelight.sizes import pixels
from safelight.task import (
    Artifact,
    Command,
    Delete,
    Deleted,
    Failure,
    FailureCode,
    Fetch,
    Kind,
    Reply,
    Role,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import (
    ANYTHING,
    FLAG,
    INTEGER,
    NUMBER,
    SEED,
    TEXT,
    TEXTS,
    Context,
    Dialect,
    Field,
    Fields,
    Part,
    Reading,
    Request,
    Response,
    Route,
    Sort,
    States,
    build_task,
    deed,
    fault_of_status,
    is_address,
    json_request,
    json_response,
    merge_frames,
    read_base64,
    read_frame,
    read_ids,
    read_source,
    refuse_demands,
    require,
    retry_after_header,
    write_form,
)

IMAGE_MODELS = ("seedreamv4", "seedreamv45", "seedreamv5", "zimage", "quickedit")
VIDEO_MODELS = ("seedancev2", "seedancev15pro", "seedancev1profast", "seedancev1")

OK, FAILURE, NO_CREDITS = 1000, 9999, 9000  # the only three codes [doc]

IMAGE_STATES = States(
    (Status.QUEUED, 1),
    (Status.RUNNING, 2),
    (Status.UPLOADING, 2),  # only the video service tells uploading apart [doc]
    (Status.SUCCEEDED, 3),
    (Status.FAILED, 4),
    (Status.CANCELED, 4),
)
VIDEO_STATES = States(
    (Status.QUEUED, 1),
    (Status.RUNNING, 2),
    (Status.UPLOADING, 5),
    (Status.SUCCEEDED, 3),
    (Status.FAILED, 4),
    (Status.CANCELED, 4),
)


def _write_time(millis: int) -> str:
    return datetime.fromtimestamp(millis // 1000, UTC).isoformat(" ")[:19]


def _read_time(value: Any, path: str) -> int | None:
    text = TEXT.read(value, path)
    if not text:  # not started
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(path, "not a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def _write_ratio(ratio: str) -> str:
    return "adaptive" if ratio == "auto" else ratio


def _read_ratio(value: Any, path: str) -> str:
    text: str = TEXT.read(value, path)
    return "auto" if text == "adaptive" else text


# The schema says date-time, the example `2026-01-30 12:00:00`; the example is what is sent, and
# both are read [doc].
TIME = Sort("time", _read_time, _write_time)
# Seconds are whole on this wire; some clients send `5.0` [doc].
SECONDS = Sort("integer", INTEGER.read, round, NUMBER.parse)
# Another wire may ask for half a second, and is not told that it got less.
SECONDS_TOLD = Sort(
    "number", NUMBER.read, lambda seconds: int(seconds) if seconds % 1 == 0 else seconds
)
# A film in its source's own ratio is `adaptive` here [doc].
RATIO = Sort("string", _read_ratio, _write_ratio)
# A flag is the text 1 in the form; skill clients send "0" or nothing for off [client].
FLAG_TEXT = Sort("boolean", FLAG.read, lambda value: "1" if value else "0", FLAG.parse)

# What is asked, as the form says it.
IMAGE_FORM = Fields(
    Field("prompt", "prompt"),
    Field("count", "batchsize", INTEGER),
    Field("seed", "seed", SEED),
)
VIDEO_FORM = Fields(
    Field("prompt", "prompt"),
    Field("ratio", "ratio", RATIO),
    Field("duration", "duration", SECONDS),
    Field("resolution", "resolution"),
    Field("fps", "fps", INTEGER),
    Field("seed", "seed", SEED),
    Field("audio", "generate_audio", FLAG_TEXT),
)
# What changes no result here: a label, and whether a prompt may be made longer. Every client asks
# for that [client]; what is made of a prompt is an engine's own affair.
LABELS = ("category", "prompt_extend")
# What this wire alone can ask for, where its flag is set.
DEMANDS = ("return_last_frame", "camerafixed")
# In `Submit.extra`: where the sources were, if not files in one field and addresses in the other.
PLACES = "sources"
FILE, ADDRESS = "sourceImage", "imageUrl"

# What is answered of the task and of what was asked.
IMAGE_DATA = Fields(
    Field("id", "taskid"),
    Field("started", "starttime", TIME),
    Field("submit.prompt", "prompt"),
    Field("submit.negative", "negative"),
    Field("seed", "origseed", INTEGER),
)
VIDEO_DATA = Fields(
    Field("id", "taskid"),
    Field("submit.prompt", "prompt"),
    Field("submit.resolution", "resolution"),
    Field("submit.fps", "fps", INTEGER),
    Field("submit.model", "source"),
    Field("submit.duration", "duration", SECONDS_TOLD),
    Field("seed", "seed", INTEGER),
    Field("submit.ratio", "ratio", RATIO),
)

# Several addresses stand in one field, joined by commas; a comma may also be part of one [client].
_NEXT_URL = re.compile(r",\s*(?=https?://|data:)", re.IGNORECASE)
_MOST_SOURCES = 64  # that are read: far more than any task may have

# What the pages say is made where no size is asked for [doc]. Of a bare ratio they say nothing; the
# least that these two models take is 3,686,400 pixels, which 2K has in every ratio [doc].
_IMAGE_LEVELS = {"seedreamv45": "2K", "seedreamv5": "2K"}
_IMAGE_SIZES = {"zimage": "1024*1024"}
_VIDEO_DEFAULTS: dict[str, Any] = {"duration": 5, "fps": 24}
# The reference's defaults; its own command line sends 720p, and so asks for it [client].
_VIDEO_RATIO, _VIDEO_RESOLUTION = "9:16", "1080p"

# The most that any page of this wire allows [doc]; what a model takes, the configuration says.
_LIMITS = {"batchsize": ("count", 1, 15), "duration": ("duration", 1, 15), "fps": ("fps", 1, 120)}


class TensorsLab(Dialect):
    name = "tensorslab"
    title = "TensorsLab images and video"
    url = "https://api.tensorslab.com"
    docs = "https://docs.tensorslab.com"
    curl = (
        'curl {base}/v1/images/seedreamv4 -H "Authorization: Bearer $SAFELIGHT_KEY" '
        '-F prompt="a lighthouse at dusk" -F resolution=16:9'
    )
    # The page sends the key bare, every public client as a bearer [doc] [client].
    key_variables = ("TENSORSLAB_API_KEY",)
    prefixes = ("/v1",)
    states: Mapping[str, States] = {"images": IMAGE_STATES, "video": VIDEO_STATES}
    # No rate is published; its clients ask every 1 to 15 s [client].
    polls_per_second = 2.0
    uploads = True
    routes = (
        *(
            Route(f"images.{model}", "POST", f"/v1/images/{model}", files=True)
            for model in IMAGE_MODELS
        ),
        *(
            Route(f"video.{model}", "POST", f"/v1/video/{model}", files=True)
            for model in VIDEO_MODELS
        ),
        Route("images.infobytaskid", "POST", "/v1/images/infobytaskid"),
        Route("video.infobytaskid", "POST", "/v1/video/infobytaskid"),
        Route("images.delete", "POST", "/v1/images/deleteimagestask"),
        Route("video.delete", "POST", "/v1/video/deletevideotask"),
    )

    # ---------------------------------------------------------------------------------- request

    def read_request(self, op: str, params: Mapping[str, str], request: Request) -> Command:
        service, _, name = op.partition(".")
        kind = Kind.IMAGE if service == "images" else Kind.VIDEO
        if name == "infobytaskid":
            asked = Reading(request.json())
            return Fetch(
                id=_id(asked, "taskid"), kind=kind, detail=asked.flag("moreTaskInfo", False)
            )
        if name == "delete":
            return Delete(ids=read_ids(Reading(request.json()), "taskids"), kind=kind)
        return _read_submit(kind, name, request)

    def write_request(self, command: Command) -> Request:
        match command:
            case Submit():
                return self._write_submit(command)
            case Fetch(id=id, kind=Kind.VIDEO, detail=detail):
                body = {"taskid": id, "moreTaskInfo": detail}
                return json_request("POST", self.path("video.infobytaskid"), body)
            case Fetch(id=id):
                return json_request("POST", self.path("images.infobytaskid"), {"taskid": id})
            case Delete(ids=ids, kind=kind):
                op = "video.delete" if kind is Kind.VIDEO else "images.delete"
                return json_request("POST", self.path(op), {"taskids": list(ids)})
            case _:
                raise Unsupported(f"TensorsLab has no operation to {deed(command)}")

    def _write_submit(self, submit: Submit) -> Request:
        service = "images" if submit.kind is Kind.IMAGE else "video"
        models = IMAGE_MODELS if submit.kind is Kind.IMAGE else VIDEO_MODELS
        if submit.model not in models:
            raise UnknownModel(f"TensorsLab {service}: {submit.model!r} is not among its models")
        content_type, body = write_form(_parts(submit))
        path = self.path(f"{service}.{submit.model}")
        return Request(
            method="POST", path=path, headers=(("content-type", content_type),), body=body
        )

    # ------------------------------------------------------------------------------------ reply

    def write_reply(self, op: str, reply: Reply, context: Context) -> Response:
        match reply:
            case Task() if op.endswith("infobytaskid"):
                data = _image_data(reply) if op.startswith("images") else _video_data(reply)
                if b'"moreTaskInfo"' in context.request.body:
                    data |= _more(reply, context)
                return _answer("OK", data)
            case Task():
                # Without `url`: a client takes one in this answer for the finished result [client].
                return _answer("OK", {"taskid": reply.id})
            case Deleted():
                return _answer("Successfully", {"status": "Success"})
            case _:
                raise TypeError(f"{op} does not answer {type(reply).__name__}")

    def read_reply(self, command: Command, response: Response) -> Reply:
        envelope = _open(response)
        match command:
            case Delete(ids=ids):
                return Deleted(ids=ids)
            case Submit():
                data = envelope.object("data")
                return Task(id=data.text("taskid"), status=Status.QUEUED, submit=command)
            case Fetch(kind=Kind.VIDEO):
                return _read_video(envelope.object("data"), command)
            case Fetch():
                return _read_image(envelope.object("data"), command)
            case _:
                raise Unsupported("TensorsLab has no such operation")

    # ------------------------------------------------------------------------------------ fault

    def parameter_name(self, op: str, name: str, submit: Submit) -> str:
        return _parameter_name(name, submit)

    def write_fault(self, op: str | None, fault: Fault, context: Context) -> Response:
        code = NO_CREDITS if isinstance(fault, InsufficientCredits) else FAILURE
        status = fault.status
        creating = op is not None and op.partition(".")[2] in IMAGE_MODELS + VIDEO_MODELS
        if creating and (status in (402, 409, 422) or isinstance(fault, BadRequest)):
            # Create documents 200 alone, and three of four public clients lose the body of others.
            status = 200
        elif isinstance(fault, UnknownModel):
            status = 400
        return json_response(
            {"code": code, "msg": fault.message}, status, headers=retry_after_header(fault)
        )


_NAMES = {"count": "batchsize", "audio": "generate_audio"}
_SIZES = frozenset({"width", "height", "ratio", "resolution"})


def _parameter_name(name: str, submit: Submit) -> str:
    what, _, number = name.partition(".")
    if what == "sources":
        places = _places(submit)
        index = int(number) if number.isdecimal() else 0
        return places[index] if index < len(places) else FILE
    if name == "extra":  # of which only what is told back may be long
        labels = [label for label in LABELS if label in submit.extra]
        return max(labels, key=lambda label: len(submit.extra[label]), default=name)
    if what in _SIZES:
        own = what == "ratio" and submit.kind is Kind.VIDEO and submit.ratio is not None
        return "ratio" if own else "resolution"
    return _NAMES.get(name, name)


def _places(submit: Submit) -> list[str]:
    """The field of each source: where it was, if it came on this wire."""
    kept = submit.extra.get(PLACES)
    if isinstance(kept, list) and len(kept) == len(submit.sources):
        return [ADDRESS if place == ADDRESS else FILE for place in kept]
    return _usual_places(submit.sources)


def _id(reading: Reading, name: str) -> str:
    value: str = reading.text(name)
    if not value.strip():
        raise Malformed(reading.at(name), "required", "missing")
    return value.strip()


# ---------------------------------------------------------------------------------------- submit


def _read_submit(kind: Kind, model: str, request: Request) -> Submit:
    parts = request.form()
    texts = {part.name: part.text for part in parts if part.filename is None}
    # An absent number is left out by some clients and sent empty by others.
    form = Reading({name: text for name, text in texts.items() if text.strip()}, text=True)
    table = IMAGE_FORM if kind is Kind.IMAGE else VIDEO_FORM
    values = table.read(form)
    if "prompt" not in values:
        raise MissingParameter("prompt: required", parameter="prompt")
    for theirs, (ours, least, most) in _LIMITS.items():
        require(theirs, values.get(ours), least, most)
    if kind is Kind.IMAGE:
        values |= _image_frame(model, form.text("resolution", None))
    else:
        asked = (values.pop("resolution", None), values.pop("ratio", None))
        values = {**_VIDEO_DEFAULTS, **values, **_video_frame(*asked)}
    found = _read_sources(kind, parts)
    sources = tuple(source for _, source in found)
    if model == "quickedit" and not sources:
        raise MissingParameter(
            "sourceImage: required, for quickedit edits a picture", parameter="sourceImage"
        )
    extra: dict[str, Any] = {name: texts[name] for name in LABELS if name in texts}
    places = [place for place, _ in found]
    if places != _usual_places(sources):
        extra[PLACES] = places
    demands = {name: texts[name] for name in DEMANDS if form.flag(name, False)}
    return Submit(kind=kind, model=model, sources=sources, extra=extra, demands=demands, **values)


def _image_frame(model: str, text: str | None) -> dict[str, Any]:
    """The size of a picture: as it was asked for, and as the page says where it was not."""
    text = text or _IMAGE_SIZES.get(model) or _IMAGE_LEVELS.get(model)
    if text is None:
        return {}
    frame = read_frame(text, "resolution")
    if frame.ratio not in (None, "auto"):
        frame = frame._replace(resolution=_IMAGE_LEVELS.get(model))
    return merge_frames([frame])


def _video_frame(resolution: str | None, ratio: str | None) -> dict[str, Any]:
    size = read_frame(resolution or _VIDEO_RESOLUTION, "resolution")
    if size.ratio is not None:
        raise Malformed("resolution", f"{resolution!r} is no resolution")
    if size.width is not None and ratio is None:
        return merge_frames([size])
    shape = read_frame(ratio or _VIDEO_RATIO, "ratio")
    if shape.ratio is None:
        raise Malformed("ratio", f"{ratio!r} is no ratio")
    return merge_frames([size, shape])


def _read_sources(kind: Kind, parts: tuple[Part, ...]) -> list[tuple[str, Source]]:
    """The sources, each with its field: what stands in `sourceImage`, then `imageUrl`.

    Either field may come several times, and holds a file, addresses or base64.
    """
    found: list[tuple[str, Source]] = []
    for name in (FILE, ADDRESS):
        for part in parts:
            if part.name == name:
                found += ((name, source) for source in _read_part(part))
            if len(found) > _MOST_SOURCES:
                raise Malformed(name, f"more than {_MOST_SOURCES} sources")
    if kind is Kind.IMAGE:
        return found
    # Part order is first frame, last frame; one or two of them [doc] [client].
    roles = (Role.FIRST_FRAME, Role.LAST_FRAME)
    if len(found) > len(roles):
        raise Malformed(found[0][0], "a video takes one or two")
    return [
        (place, msgspec.structs.replace(source, role=role))
        for (place, source), role in zip(found, roles, strict=False)
    ]


def _read_part(part: Part) -> Iterator[Source]:
    """The sources in a part of the form; none in an empty one."""
    if part.filename is not None:
        # A browser sends the file that nobody chose as one without a name and without bytes.
        if part.filename or part.data:
            yield Source(data=part.data, name=part.filename or None)
        return
    for text in map(str.strip, _NEXT_URL.split(part.text, _MOST_SOURCES)):
        if text and (is_address(text) or text[:5].lower() == "data:"):
            yield read_source(text, part.name)
        elif text:
            try:
                yield Source(data=read_base64(text, part.name))
            except Malformed:
                problem = "neither an http(s) address nor a file in base64"
                raise Malformed(part.name, problem) from None


def _usual_places(sources: tuple[Source, ...]) -> list[str]:
    """Where the sources stand if nobody says so; files are read before addresses."""
    return [ADDRESS if source.data is None else FILE for source in sources]


def _parts(submit: Submit) -> list[Part]:
    """The form that asks for `submit`. Raises `Unsupported` for what has no field in it."""
    _refuse_unsaid(submit)
    said: dict[str, Any] = {name: submit.extra[name] for name in LABELS if name in submit.extra}
    said |= submit.demands
    if submit.kind is Kind.IMAGE:
        values = IMAGE_FORM.write(submit)
        size = _size_text(submit)
        if size is not None:
            values["resolution"] = size
    else:
        values = VIDEO_FORM.write(submit)
        if submit.width and submit.height:
            values["resolution"] = f"{submit.width}x{submit.height}"
    values |= said
    parts = [Part(name=name, data=str(value).encode()) for name, value in values.items()]
    return parts + _source_parts(submit)


def _source_parts(submit: Submit) -> list[Part]:
    sources = submit.sources if submit.kind is Kind.IMAGE else _frames(submit.sources)
    files = [source for source in sources if source.data is not None]
    urls = [source.url or "" for source in sources if source.data is None]
    if "" in urls:
        raise Unsupported("TensorsLab takes a source by its address or with the request")
    together = ",".join(urls)
    if urls and _NEXT_URL.split(together) != urls:
        raise Unsupported("TensorsLab takes no such addresses together", parameter="sources")
    parts = [Part(name="imageUrl", data=together.encode())] if urls else []
    for index, source in enumerate(files):
        name = source.name or f"source_{index}"
        parts.append(Part(name="sourceImage", data=source.data or b"", filename=name))
    return parts


def _frames(sources: tuple[Source, ...]) -> list[Source]:
    """The frames of a video in the order that says which is which: the first, then the last."""
    frames = sorted(sources, key=lambda source: source.role is Role.LAST_FRAME)
    roles = [source.role is Role.LAST_FRAME for source in frames]
    if len(frames) > 2 or (True in roles and roles != [False, True]):
        raise Unsupported("TensorsLab takes a first frame, or a first and a last one")
    # Files are one field and addresses another: there is no order between the two.
    if len({source.data is None for source in frames}) > 1:
        raise Unsupported("TensorsLab takes both frames as files, or both by their addresses")
    return frames


def _refuse_unsaid(submit: Submit) -> None:
    refuse_demands(submit, "TensorsLab", DEMANDS)
    film = submit.kind is Kind.VIDEO
    unsaid = {
        "negative": submit.negative is not None,
        "format": submit.format is not None,
        "quality": submit.quality is not None,
        "operations": bool(submit.operations),
        "count": film and submit.count != 1,
        "duration": submit.duration is not None and not (film and submit.duration % 1 == 0),
        "fps": not film and submit.fps is not None,
        "audio": not film and submit.audio is not None,
        "ratio": not film and submit.ratio == "auto",
    }
    for name, given in unsaid.items():
        if given:
            raise Unsupported(f"TensorsLab cannot say this {name}", parameter=name)
    wanted = (Role.FIRST_FRAME, Role.LAST_FRAME) if film else ()
    for source in submit.sources:
        if source.role not in (*wanted, Role.IMAGE):
            raise Unsupported(f"TensorsLab takes no {source.role}", parameter="sources")


def _size_text(submit: Submit) -> str | None:
    """One field says a ratio, a level or pixels; a ratio at a level is said in pixels."""
    across = "*" if submit.model == "zimage" else "x"  # the page's own way for each [doc]
    if submit.width and submit.height:
        return f"{submit.width}{across}{submit.height}"
    if submit.ratio and submit.resolution == _IMAGE_LEVELS.get(submit.model):
        return submit.ratio  # which means that level there
    if submit.ratio and submit.resolution:
        width, height = pixels(submit)
        return f"{width}{across}{height}"
    return submit.ratio or submit.resolution


# ------------------------------------------------------------------------------------------ task


def _answer(message: str, data: dict[str, Any]) -> Response:
    return json_response({"code": OK, "msg": message, "data": data})


def _urls(task: Task) -> list[str]:
    return [artifact.url for artifact in task.artifacts if artifact.url]


def _said(table: Fields, task: Task) -> dict[str, Any]:
    return {name: value for name, value in table.write(task).items() if value != ""}


def _image_data(task: Task) -> dict[str, Any]:
    data = _said(IMAGE_DATA, task)
    own = task.submit.extra if task.dialect == TensorsLab.name else {}
    if category := own.get("category") or task.submit.model:
        data["category"] = category
    data["url"] = _urls(task)
    data["image_status"] = IMAGE_STATES.write(task.status)
    if task.submit.sources:
        data["images"] = [source.url for source in task.submit.sources if source.url]
    data |= _frame_of(task)
    if task.status in (Status.FAILED, Status.CANCELED):
        data["error_message"] = _reason(task)
    return data


def _video_data(task: Task) -> dict[str, Any]:
    data = _said(VIDEO_DATA, task)
    data["url"] = _urls(task)
    data["task_status"] = VIDEO_STATES.write(task.status)
    sources = [source.url for source in task.submit.sources if source.url]
    if sources:
        data["imageurl"] = sources[0]
    if task.submit.width and task.submit.height:
        data["resolution"] = f"{task.submit.width}x{task.submit.height}"
    if task.status in (Status.FAILED, Status.CANCELED):
        data["message"] = _reason(task)
    return data


def _frame_of(task: Task) -> dict[str, Any]:
    if not task.artifacts or task.artifacts[0].width is None:
        return {}
    return {"width": task.artifacts[0].width, "height": task.artifacts[0].height}


def _more(task: Task, context: Context) -> dict[str, Any]:
    """What `moreTaskInfo` adds. Nobody public says; every documented field comes without it."""
    if not Reading(context.request.json()).flag("moreTaskInfo", False):
        return {}
    more = _frame_of(task)
    if task.started is not None:
        more["starttime"] = _write_time(task.started)
    if task.progress is not None:
        more["progress"] = task.progress
    return more


def _reason(task: Task) -> str:
    # Status 4 always has a reason: clients show it, or nothing.
    if task.status is Status.CANCELED:
        return "The task was canceled"
    return task.failure.message if task.failure else "The task failed"


def _open(response: Response) -> Reading:
    """The envelope of a good answer. Raises the `Fault` that a bad one tells."""
    try:
        envelope = Reading(response.json())
        code, message = envelope.integer("code"), envelope.echo("msg", TEXT, "")
    except Malformed:
        if response.status >= 400:
            raise fault_of_status(response.status, "", response) from None
        raise
    if code == NO_CREDITS:
        raise InsufficientCredits(message)
    if response.status >= 400:
        raise fault_of_status(response.status, message, response)
    if code != OK:
        raise BadRequest(message or f"code {code}")
    return envelope


def _read_image(data: Reading, command: Fetch) -> Task:
    values = IMAGE_DATA.read_echo(data)
    values["artifacts"] = _artifacts(data)
    if category := data.echo("category", TEXT):
        values["submit.model"] = category
    values["submit.sources"] = tuple(Source(url=url) for url in data.echo("images", TEXTS, ()))
    return _read_task(
        data, values, IMAGE_STATES, "image_status", "error_message", command, Kind.IMAGE
    )


def _read_video(data: Reading, command: Fetch) -> Task:
    values = VIDEO_DATA.read_echo(data)
    values["artifacts"] = _artifacts(data)
    if first := data.echo("imageurl", TEXT):
        values["submit.sources"] = (Source(role=Role.FIRST_FRAME, url=first),)
    return _read_task(data, values, VIDEO_STATES, "task_status", "message", command, Kind.VIDEO)


def _read_task(
    data: Reading,
    values: dict[str, Any],
    states: States,
    state_name: str,
    reason_name: str,
    command: Fetch,
    kind: Kind,
) -> Task:
    # A missing status means ask again, to every public client [client].
    word = data.value(state_name, ANYTHING, None)
    status = states.read(word)
    values.setdefault("id", command.id)
    if status is Status.FAILED:
        reason = data.echo(reason_name, TEXT) or "The task failed"
        values["failure"] = Failure(code=FailureCode.PROVIDER_ERROR, message=reason)
    if word is not None and not states.knows(word):
        values["status_word"] = str(word)
    return build_task(values, status=status, submit=Submit(kind=kind))


def _artifacts(data: Reading) -> tuple[Artifact, ...]:
    width, height = data.echo("width", INTEGER), data.echo("height", INTEGER)
    return tuple(Artifact(url=url, width=width, height=height) for url in data.texts("url", ()))


DIALECTS = (TensorsLab(),)
