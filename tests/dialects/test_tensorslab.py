"""TensorsLab: the traps of its two services, beside the cases in tests/wires/tensorslab."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from safelight.dialects import named
from safelight.dialects.tensorslab import IMAGE_MODELS, VIDEO_MODELS
from safelight.errors import (
    BadRequest,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidValue,
    Malformed,
    MissingParameter,
    NotFound,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
)
from safelight.sizes import pixels
from safelight.task import (
    Artifact,
    Cancel,
    Catalogue,
    Command,
    Delete,
    Deleted,
    Fetch,
    Kind,
    List,
    Models,
    Operation,
    Role,
    Source,
    Status,
    Submit,
    Task,
)
from safelight.wire import (
    Context,
    Key,
    Part,
    Request,
    Response,
    json_request,
    json_response,
    write_form,
)

WIRE = named("tensorslab")
ID = "0190a1b2c3d4e5f60718293a"
PICTURE = "https://a.example/1.png"


def create(path: str, *parts: Part, **texts: str) -> Request:
    said = [Part(name=name, data=text.encode()) for name, text in texts.items()]
    content_type, body = write_form([*said, *parts])
    headers = (("content-type", content_type),)
    return Request(method="POST", path=path, headers=headers, body=body)


def read(request: Request) -> Command:
    match = WIRE.match(request)
    return WIRE.read_request(match.op, match.params, request)


def image(*parts: Part, model: str = "seedreamv5", **texts: str) -> Submit:
    command = read(create(f"/v1/images/{model}", *parts, **({"prompt": "a"} | texts)))
    assert isinstance(command, Submit)
    return command


def video(*parts: Part, **texts: str) -> Submit:
    command = read(create("/v1/video/seedancev2", *parts, **({"prompt": "a"} | texts)))
    assert isinstance(command, Submit)
    return command


def file(data: bytes, filename: str = "a.png") -> Part:
    return Part(name="sourceImage", data=data, filename=filename)


def query(kind: Kind, data: Any) -> Task:
    reply = WIRE.read_reply(
        Fetch(id=ID, kind=kind), json_response({"code": 1000, "msg": "OK", "data": data})
    )
    assert isinstance(reply, Task)
    return reply


def context(body: dict[str, Any] | None = None) -> Context:
    return Context(request=json_request("POST", "/v1/video/infobytaskid", body or {}))


# -------------------------------------------------------------------------------------------- key


@pytest.mark.parametrize("value", ["k-1", "Bearer k-1", "bearer k-1", "BEARER  k-1 "])
def test_the_key_stands_bare_or_as_a_bearer(value: str) -> None:
    request = Request(method="POST", path="/v1", headers=(("authorization", value),))

    assert WIRE.read_key(request, 0).secret == "k-1"


@pytest.mark.parametrize("headers", [(), (("authorization", ""),), (("authorization", "Bearer "),)])
def test_a_request_without_a_key_is_told_so(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthenticated) as told:
        WIRE.read_key(Request(method="POST", path="/v1", headers=headers), 0)

    assert told.value.reason == "missing"


def test_the_client_sends_its_key_as_a_bearer() -> None:
    request = WIRE.write_key(Request(method="POST", path="/v1"), Key(secret="k-1"), 0)

    assert request.header("authorization") == "Bearer k-1"


# ----------------------------------------------------------------------------------------- routes


def test_every_model_has_a_path() -> None:
    for service, models in (("images", IMAGE_MODELS), ("video", VIDEO_MODELS)):
        for model in models:
            request = Request(method="POST", path=f"/v1/{service}/{model}")
            assert WIRE.match(request).op == f"{service}.{model}"


@pytest.mark.parametrize("path", ["/v1/images/other", "/v1/images/seedancev2", "/v1/videos/zimage"])
def test_a_model_without_a_path_is_an_unknown_operation(path: str) -> None:
    with pytest.raises(UnknownOperation):
        WIRE.match(Request(method="POST", path=path))


# ------------------------------------------------------------------------------------------ image


@pytest.mark.parametrize(
    ("resolution", "size"),
    [
        ("1024*768", {"width": 1024, "height": 768}),
        ("1024x768", {"width": 1024, "height": 768}),
        ("2560x1440", {"width": 2560, "height": 1440}),
        ("2K", {"resolution": "2K"}),
        ("4k", {"resolution": "4K"}),
        ("16:9", {"ratio": "16:9"}),
    ],
)
def test_a_resolution_is_a_ratio_a_level_or_pixels(resolution: str, size: dict[str, Any]) -> None:
    for model in ("seedreamv4", "zimage"):
        assert image(model=model, resolution=resolution) == Submit(model=model, prompt="a", **size)


LEAST, MOST = 3_686_400, 16_777_216  # the pixels that seedreamv45 and seedreamv5 take [doc]


@pytest.mark.parametrize("model", ["seedreamv45", "seedreamv5"])
@pytest.mark.parametrize(
    "text", ["", " ", "9:16", "16:9", "3:4", "4:3", "1:1", "2:3", "3:2", "2K", "4K"]
)
def test_what_these_models_make_is_as_large_as_their_pages_say(model: str, text: str) -> None:
    asked = image(model=model, resolution=text)

    width, height = pixels(asked)
    assert LEAST <= width * height <= MOST
    if ":" in text:
        across, down = map(int, text.split(":"))
        assert width * down == height * across
        assert asked.resolution == "2K"
        assert {part.name: part.text for part in WIRE.write_request(asked).form()}[
            "resolution"
        ] == text
    assert read(WIRE.write_request(asked)) == asked


@pytest.mark.parametrize("text", ["", "  "])
def test_a_picture_has_the_size_of_its_page_where_none_is_asked_for(text: str) -> None:
    for model, size in (
        ("seedreamv4", {}),
        ("quickedit", {}),
        ("seedreamv45", {"resolution": "2K"}),
        ("zimage", {"width": 1024, "height": 1024}),
    ):
        asked = image(file(b"1"), model=model, resolution=text)
        assert asked == Submit(model=model, prompt="a", sources=asked.sources, **size)
    # Of another size than a page takes: that is the provider's to refuse.
    assert image(resolution="1500x1500").width == 1500


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("https://a/1.png", ["https://a/1.png"]),
        ("https://a/1.png,https://a/2.png", ["https://a/1.png", "https://a/2.png"]),
        ("https://a/1.png, http://a/2.png ", ["https://a/1.png", "http://a/2.png"]),
        ("https://a/w_1,h_2/1.png,https://a/2.png", ["https://a/w_1,h_2/1.png", "https://a/2.png"]),
        ("https://a/1.png,HTTPS://a/2.png", ["https://a/1.png", "HTTPS://a/2.png"]),
        ("data:image/png;base64,AAAA", [None]),
        ("https://a/1.png,data:image/png;base64,AAAA", ["https://a/1.png", None]),
        ("", []),
        (" ", []),
    ],
)
def test_addresses_are_joined_by_commas(text: str, urls: list[str | None]) -> None:
    for field in ("imageUrl", "sourceImage"):
        assert [source.url for source in image(**{field: text}).sources] == urls


def test_a_file_needs_no_content_type_and_may_have_a_wrong_one() -> None:
    (first, second) = image(
        file(b"1"), Part(name="sourceImage", data=b"2", filename="b", media_type="image/png")
    ).sources

    assert first == Source(data=b"1", name="a.png")
    assert second == Source(data=b"2", name="b")


def test_a_file_that_nobody_chose_is_none() -> None:
    assert image(file(b"", filename="")).sources == ()
    assert image(file(b"x", filename="")).sources == (Source(data=b"x"),)
    assert image(file(b"", filename="a.png")).sources == (Source(data=b"", name="a.png"),)


def test_a_file_of_another_name_is_none() -> None:
    other = Part(name="other", data=b"\xff", filename="o")

    assert image(other).sources == ()


def text(name: str, value: str) -> Part:
    return Part(name=name, data=value.encode())


@pytest.mark.parametrize("name", ["sourceImage", "imageUrl"])
def test_a_source_may_be_text(name: str) -> None:
    for said, source in (
        (PICTURE, Source(url=PICTURE)),
        ("data:image/png;base64,AAAA", Source(data=b"\0\0\0", media_type="image/png")),
        ("AA\nAA", Source(data=b"\0\0\0")),
    ):
        assert image(text(name, said)).sources == (source,)
        assert image(text(name, "")).sources == ()


@pytest.mark.parametrize("said", ["/tmp/1.png", "picture.png", "é", "data:,a", "data:;base64,"])
@pytest.mark.parametrize("name", ["sourceImage", "imageUrl"])
def test_a_source_that_is_none_is_refused_by_its_field(name: str, said: str) -> None:
    with pytest.raises(Malformed) as told:
        image(text(name, said))
    assert told.value.path == name


def test_every_source_is_read_in_the_order_of_its_field() -> None:
    asked = image(
        text("imageUrl", "https://a/1.png"),
        file(b"2"),
        text("imageUrl", "https://a/3.png,https://a/4.png"),
        text("sourceImage", "https://a/5.png"),
    )

    found = [source.url or source.data for source in asked.sources]
    assert found == [
        b"2",
        "https://a/5.png",
        "https://a/1.png",
        "https://a/3.png",
        "https://a/4.png",
    ]
    names = [WIRE.parameter_name("images.x", f"sources.{index}", asked) for index in range(6)]
    assert names == ["sourceImage"] * 2 + ["imageUrl"] * 3 + ["sourceImage"]


def test_no_more_sources_are_read_than_a_task_could_ever_have() -> None:
    assert len(image(imageUrl=",".join([PICTURE] * 64)).sources) == 64
    for parts in ([",".join([PICTURE] * 30_000)], [PICTURE] * 65):
        with pytest.raises(Malformed, match="imageUrl: more than 64 sources"):
            image(*(text("imageUrl", said) for said in parts))


@pytest.mark.parametrize(
    ("asked", "name", "theirs"),
    [
        (Submit(), "count", "batchsize"),
        (Submit(), "width", "resolution"),
        (Submit(ratio="1:1"), "ratio", "resolution"),
        (Submit(), "sources", "sourceImage"),
        (Submit(sources=(Source(url=PICTURE),)), "sources", "imageUrl"),
        (Submit(kind=Kind.VIDEO, ratio="1:1"), "ratio", "ratio"),
        (Submit(kind=Kind.VIDEO, width=2, height=2), "ratio", "resolution"),
        (Submit(kind=Kind.VIDEO), "audio", "generate_audio"),
        (Submit(kind=Kind.VIDEO), "duration", "duration"),
        (Submit(extra={"category": "a", "prompt_extend": "aa"}), "extra", "prompt_extend"),
        (Submit(), "extra", "extra"),
    ],
)
def test_a_fault_names_the_field_of_the_form(asked: Submit, name: str, theirs: str) -> None:
    assert WIRE.parameter_name("images.zimage", name, asked) == theirs


def test_of_a_repeated_field_the_last_counts() -> None:
    assert image(Part(name="prompt", data=b"b")).prompt == "b"


def test_a_prompt_keeps_its_blanks() -> None:
    assert image(prompt=" a\nb ").prompt == " a\nb "


@pytest.mark.parametrize(
    ("texts", "parameter"),
    [({}, "prompt"), ({"prompt": " "}, "prompt"), ({"prompt": "a"}, "sourceImage")],
)
def test_what_is_required_is_missed(texts: dict[str, str], parameter: str) -> None:
    with pytest.raises(MissingParameter) as told:
        read(create("/v1/images/quickedit", **texts))

    assert told.value.parameter == parameter


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ({"batchsize": "0"}, InvalidValue),
        ({"batchsize": "16"}, InvalidValue),
        ({"batchsize": "-3"}, InvalidValue),
        ({"batchsize": "two"}, Malformed),
        ({"batchsize": "1.5"}, Malformed),
        ({"seed": "9" * 30}, Malformed),
        ({"resolution": "large"}, Malformed),
        ({"resolution": "0x0"}, Malformed),
    ],
)
def test_what_an_image_cannot_be_is_refused(texts: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind) as told:
        image(**texts)

    assert next(iter(texts)) in str(told.value)


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(Malformed, match="prompt: not UTF-8"):
        image(Part(name="prompt", data=b"\xff"))


def test_an_urlencoded_form_is_read_too() -> None:
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    request = Request(method="POST", path="/v1/images/zimage", headers=headers, body=b"prompt=a+b")

    assert read(request) == Submit(model="zimage", prompt="a b", width=1024, height=1024)


# ------------------------------------------------------------------------------------------ video


def test_the_order_of_the_parts_is_first_frame_last_frame() -> None:
    frames = video(file(b"1", "first_frame_0.png"), file(b"2", "last_frame_1.png")).sources

    assert [(frame.role, frame.data) for frame in frames] == [
        (Role.FIRST_FRAME, b"1"),
        (Role.LAST_FRAME, b"2"),
    ]
    roles = [frame.role for frame in video(imageUrl="https://a/1,https://a/2").sources]
    assert roles == [Role.FIRST_FRAME, Role.LAST_FRAME]


@pytest.mark.parametrize(
    ("texts", "size"),
    [
        ({}, {"ratio": "9:16", "resolution": "1080p"}),
        ({"ratio": "21:9"}, {"ratio": "21:9", "resolution": "1080p"}),
        ({"ratio": "adaptive"}, {"ratio": "auto", "resolution": "1080p"}),
        ({"resolution": "1440p"}, {"ratio": "9:16", "resolution": "1440p"}),
        ({"resolution": "1280x720"}, {"width": 1280, "height": 720}),
        (
            {"resolution": "1280x720", "ratio": "16:9"},
            {"width": 1280, "height": 720, "ratio": "16:9"},
        ),
    ],
)
def test_a_film_has_a_ratio_and_a_resolution(texts: dict[str, str], size: dict[str, Any]) -> None:
    assert video(**texts) == Submit(
        kind=Kind.VIDEO, model="seedancev2", prompt="a", duration=5, fps=24, **size
    )


def test_seconds_are_whole() -> None:
    assert video(duration="5.0").duration == 5
    submit = Submit(kind=Kind.VIDEO, duration=2.5)
    for seconds, told in ((2.5, 2.5), (3.0, 3)):
        task = Task(
            id=ID, status=Status.QUEUED, submit=msgspec.structs.replace(submit, duration=seconds)
        )
        data = WIRE.write_reply("video.infobytaskid", task, context()).json()["data"]
        assert (data["duration"], type(data["duration"])) == (told, type(told))


@pytest.mark.parametrize("name", ["return_last_frame", "camerafixed"])
def test_what_changes_the_film_is_demanded_where_its_flag_is_set(name: str) -> None:
    for said in ("", "0", "false"):
        assert video(**{name: said}).demands == {}
    asked = video(**{name: "1"})
    assert asked.demands == {name: "1"}
    assert {part.name: part.text for part in WIRE.write_request(asked).form()}[name] == "1"
    with pytest.raises(Unsupported, match="logo"):
        WIRE.write_request(msgspec.structs.replace(asked, demands={"logo": 1}))


@pytest.mark.parametrize("text", ["1", "true"])
def test_a_flag_is_a_one(text: str) -> None:
    assert video(generate_audio=text).audio is True


@pytest.mark.parametrize(("text", "flag"), [("0", False), ("", None)])
def test_a_flag_is_off_or_not_said(text: str, flag: bool | None) -> None:
    assert video(generate_audio=text).audio is flag


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ({"duration": "0"}, InvalidValue),
        ({"duration": "16"}, InvalidValue),
        ({"duration": "2.5"}, Malformed),
        ({"return_last_frame": "perhaps"}, Malformed),
        ({"fps": "0"}, InvalidValue),
        ({"fps": "fast"}, Malformed),
        ({"generate_audio": "maybe"}, Malformed),
        ({"resolution": "16:9"}, Malformed),
        ({"ratio": "720p"}, Malformed),
        ({"ratio": "wide"}, Malformed),
        ({"imageUrl": "https://a/1,https://a/2,https://a/3"}, Malformed),
    ],
)
def test_what_a_film_cannot_be_is_refused(texts: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        video(**texts)


# -------------------------------------------------------------------------- query, delete: reading


@pytest.mark.parametrize(
    "body",
    [{}, {"taskid": None}, {"taskid": ""}, {"taskid": " "}, {"taskid": 5}, {"taskid": [ID]}, [], 1],
)
@pytest.mark.parametrize("service", ["images", "video"])
def test_a_query_names_a_task(service: str, body: Any) -> None:
    with pytest.raises(Malformed):
        read(json_request("POST", f"/v1/{service}/infobytaskid", body))


def test_the_blanks_around_an_id_do_not_count() -> None:
    command = read(json_request("POST", "/v1/images/infobytaskid", {"taskid": f" {ID}\n"}))

    assert command == Fetch(id=ID, kind=Kind.IMAGE, detail=False)


@pytest.mark.parametrize("body", [{}, {"taskids": ID}, {"taskids": [1]}, {"taskids": [None]}])
def test_a_delete_names_tasks(body: Any) -> None:
    with pytest.raises(Malformed, match="taskids"):
        read(json_request("POST", "/v1/video/deletevideotask", body))


# ----------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    "command",
    [
        Cancel(id=ID),
        List(),
        Models(),
        Submit(model="zimage", prompt="a", negative="b"),
        Submit(model="zimage", prompt="a", format="png"),
        Submit(model="zimage", prompt="a", quality="high"),
        Submit(model="zimage", prompt="a", operations=(Operation(name="crop"),)),
        Submit(model="zimage", prompt="a", ratio="auto"),
        Submit(model="zimage", prompt="a", duration=5),
        Submit(model="zimage", prompt="a", fps=24),
        Submit(model="zimage", prompt="a", audio=False),
        Submit(model="zimage", prompt="a", sources=(Source(role=Role.MASK, url=PICTURE),)),
        Submit(model="zimage", prompt="a", sources=(Source(role=Role.FIRST_FRAME, url=PICTURE),)),
        Submit(model="zimage", prompt="a", sources=(Source(blob="sources/1"),)),
        Submit(model="zimage", prompt="a", sources=(Source(url="https://a/?b=1,https://c"),)),
        Submit(model="seedancev2", kind=Kind.VIDEO, prompt="a", count=2),
        Submit(model="seedancev2", kind=Kind.VIDEO, prompt="a", duration=4.5),
        Submit(
            model="seedancev2",
            kind=Kind.VIDEO,
            sources=(Source(role=Role.AUDIO, url="https://a.example/1.mp3"),),
        ),
        Submit(
            model="seedancev2",
            kind=Kind.VIDEO,
            sources=(Source(role=Role.LAST_FRAME, url=PICTURE),),
        ),
        Submit(
            model="seedancev2",
            kind=Kind.VIDEO,
            sources=(
                Source(role=Role.FIRST_FRAME, url=PICTURE),
                Source(role=Role.LAST_FRAME, data=b"1"),
            ),
        ),
        Submit(model="seedancev2", kind=Kind.VIDEO, sources=(Source(url=PICTURE),) * 3),
    ],
)
def test_what_the_wire_cannot_say_is_refused(command: Command) -> None:
    with pytest.raises(Unsupported):
        WIRE.write_request(command)


@pytest.mark.parametrize(
    "submit", [Submit(model="seedancev2"), Submit(model="zimage", kind=Kind.VIDEO), Submit()]
)
def test_a_model_without_a_path_cannot_be_asked_for(submit: Submit) -> None:
    with pytest.raises(UnknownModel):
        WIRE.write_request(submit)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ratio": "16:9", "resolution": "2K"}, "2720*1530"),
        ({"ratio": "16:9"}, "16:9"),
        ({"resolution": "2K"}, "2K"),
        ({"width": 640, "height": 480, "ratio": "1:1"}, "640*480"),
        ({}, None),
    ],
)
def test_a_size_is_said_in_one_field(asked: dict[str, Any], said: str | None) -> None:
    form = WIRE.write_request(Submit(model="zimage", prompt="a", **asked)).form()

    assert {part.name: part.text for part in form}.get("resolution") == said


def test_the_frames_are_sent_in_their_order() -> None:
    last = Source(role=Role.LAST_FRAME, data=b"2")
    first = Source(role=Role.FIRST_FRAME, data=b"1", name="f.png")
    submit = Submit(kind=Kind.VIDEO, model="seedancev2", prompt="a", sources=(last, first))

    files = [part for part in WIRE.write_request(submit).form() if part.filename]

    assert [(part.filename, part.data) for part in files] == [("f.png", b"1"), ("source_1", b"2")]
    assert all(part.media_type is None for part in files)


def test_a_picture_for_a_film_is_its_first_frame() -> None:
    submit = Submit(kind=Kind.VIDEO, model="seedancev2", prompt="a", sources=(Source(url=PICTURE),))

    command = read(WIRE.write_request(submit))

    assert isinstance(command, Submit)
    assert command.sources == (Source(role=Role.FIRST_FRAME, url=PICTURE),)


def test_a_query_that_names_no_kind_is_one_for_images() -> None:
    request = WIRE.write_request(Fetch(id=ID))

    assert (request.path, request.json()) == ("/v1/images/infobytaskid", {"taskid": ID})
    assert WIRE.write_request(Delete(ids=(ID,))).path == "/v1/images/deleteimagestask"


# ----------------------------------------------------------------------------------------- answers


def test_a_create_answer_has_no_url_even_when_the_picture_is_there() -> None:
    task = Task(id=ID, status=Status.SUCCEEDED, artifacts=(Artifact(url=PICTURE),))

    for op in ("images.zimage", "video.seedancev2"):
        answer = WIRE.write_reply(op, task, context()).json()
        assert answer == {"code": 1000, "msg": "OK", "data": {"taskid": ID}}


def test_more_is_told_only_where_it_was_asked_for() -> None:
    task = Task(id=ID, status=Status.RUNNING, progress=40, started=1769774400000)

    def told(body: dict[str, Any]) -> dict[str, Any]:
        answer = WIRE.write_reply(
            "video.infobytaskid", task, context({"taskid": ID, **body})
        ).json()
        return dict(answer["data"])

    assert told({}) == told({"moreTaskInfo": False}) == told({"moreTaskInfo": None})
    assert told({"moreTaskInfo": True}) == {
        **told({}),
        "progress": 40,
        "starttime": "2026-01-30 12:00:00",
    }


def test_the_addresses_of_sources_are_told_as_far_as_there_are_any() -> None:
    sources = (Source(blob="sources/1"), Source(url=PICTURE))
    asked = Submit(prompt="a", sources=sources)
    film = Submit(kind=Kind.VIDEO, prompt="a", sources=sources[:1])

    def told(op: str, submit: Submit) -> dict[str, Any]:
        task = Task(id=ID, status=Status.QUEUED, submit=submit)
        return dict(WIRE.write_reply(op, task, context()).json()["data"])

    assert told("images.infobytaskid", asked)["images"] == [PICTURE]
    assert "imageurl" not in told("video.infobytaskid", film)


def test_an_answer_of_another_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        WIRE.write_reply("images.infobytaskid", Catalogue(models=()), context())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    "data",
    [None, {}, {"taskid": ID}, {"url": []}, {"image_status": None, "task_status": None}],
)
def test_an_answer_without_a_status_reads_as_still_running(kind: Kind, data: Any) -> None:
    task = query(kind, data)

    assert (task.id, task.status, task.kind, task.status_word) == (ID, Status.RUNNING, kind, None)


@pytest.mark.parametrize("word", [0, 5, 6, 99, -1, "3", True, 3.5, [3], {"a": 3}])
def test_an_unknown_status_reads_as_still_running(word: Any) -> None:
    task = query(Kind.IMAGE, {"image_status": word})

    assert (task.status, task.status_word) == (Status.RUNNING, str(word))


def test_only_the_video_service_tells_uploading_apart() -> None:
    assert query(Kind.VIDEO, {"task_status": 5}).status is Status.UPLOADING
    assert query(Kind.VIDEO, {"image_status": 3}).status is Status.RUNNING


def test_a_failure_without_a_reason_has_one() -> None:
    for kind, name in ((Kind.IMAGE, "image_status"), (Kind.VIDEO, "task_status")):
        failure = query(kind, {name: 4}).failure
        assert failure is not None
        assert failure.message == "The task failed"


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        {"url": "https://a.example/1.png"},
        {"url": [5]},
    ],
)
def test_an_answer_that_is_nonsense_is_malformed(data: Any) -> None:
    with pytest.raises(Malformed):
        query(Kind.IMAGE, data)


@pytest.mark.parametrize(
    "echo",
    [
        {"starttime": "soon"},
        {"starttime": 5},
        {"width": "wide"},
        {"prompt": 5},
        {"images": [None]},
        {"category": 5},
    ],
)
def test_no_picture_is_lost_to_an_echo_that_is_nonsense(echo: dict[str, Any]) -> None:
    task = query(Kind.IMAGE, {"image_status": 3, "url": ["https://a.example/1.png"], **echo})
    assert task.status is Status.SUCCEEDED
    assert [artifact.url for artifact in task.artifacts] == ["https://a.example/1.png"]


def test_a_create_answer_without_an_id_is_malformed() -> None:
    for data in ({}, {"taskid": None}, {"taskid": 5}):
        with pytest.raises(Malformed, match=r"data\.taskid"):
            WIRE.read_reply(
                Submit(model="zimage"), json_response({"code": 1000, "msg": "OK", "data": data})
            )


def test_a_command_that_was_never_sent_has_no_answer() -> None:
    with pytest.raises(Unsupported):
        WIRE.read_reply(List(), json_response({"code": 1000, "msg": "OK"}))


def test_a_delete_answer_may_have_any_data() -> None:
    answer = json_response({"code": 1000, "msg": "Successfully", "data": 5})

    assert WIRE.read_reply(Delete(ids=(ID,)), answer) == Deleted(ids=(ID,))


# ------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (json_response({"code": 9999, "msg": "no"}), BadRequest),
        (json_response({"code": 9000, "msg": "no"}), InsufficientCredits),
        (json_response({"code": 9000, "msg": "no"}, 400), InsufficientCredits),
        (json_response({"code": 123, "msg": "no"}), BadRequest),
        (json_response({"code": 9999, "msg": "no"}, 404), NotFound),
        (json_response({"code": 1000, "msg": "no"}, 500), Internal),
        (Response(status=502, body=b"<html>"), Unavailable),
        (Response(status=401, body=b""), Unauthenticated),
        (json_response(["no"], 503), Unavailable),
    ],
)
def test_an_answer_tells_a_fault(response: Response, fault: type[Fault]) -> None:
    with pytest.raises(fault):
        WIRE.read_reply(Fetch(id=ID, kind=Kind.IMAGE), response)


@pytest.mark.parametrize(
    "response",
    [
        Response(body=b"<html>"),
        json_response([]),
        json_response({}),
        json_response({"code": "1000"}),
    ],
)
def test_an_envelope_that_is_nonsense_is_malformed(response: Response) -> None:
    with pytest.raises(Malformed):
        WIRE.read_reply(Fetch(id=ID, kind=Kind.IMAGE), response)


@pytest.mark.parametrize("op", ["images.zimage", "video.seedancev2"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (MissingParameter(), 200),
        (Unsupported(), 200),
        (UnknownModel(), 200),
        (InsufficientCredits(), 200),
        (Unauthenticated(), 401),
        (Internal(), 500),
    ],
)
def test_a_create_that_is_refused_is_answered_with_200(op: str, fault: Fault, status: int) -> None:
    assert WIRE.write_fault(op, fault, context()).status == status


def test_a_path_that_nobody_knows_is_told_in_the_envelope() -> None:
    answer = WIRE.write_fault(None, UnknownOperation("GET /v1/moon"), context())

    assert (answer.status, answer.json()) == (404, {"code": 9999, "msg": "GET /v1/moon"})
