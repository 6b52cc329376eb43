"""What a wire is made of: requests, forms, readings, sorts, fields, states, and the base class."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidValue,
    Malformed,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    Unsupported,
    Upstream,
)
from safelight.task import Command, Fetch, Kind, Reply, Status, Submit, Task
from safelight.wire import (
    ANYTHING,
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXTS,
    Context,
    Dialect,
    Field,
    Fields,
    Frame,
    Key,
    Part,
    Reading,
    Request,
    Response,
    Route,
    Sort,
    States,
    build_task,
    compact_json,
    fault_of_status,
    json_request,
    json_response,
    merge_frames,
    messages,
    pairs,
    query_string,
    read_bearer,
    read_form,
    read_frame,
    read_ids,
    read_json,
    read_retry_after,
    refuse_demands,
    require,
    retry_after_header,
    write_form,
)

ID = "0190a1b2c3d4e5f60718293a"
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)

# ------------------------------------------------------------------------------ request, response


def test_the_first_header_of_a_name_counts() -> None:
    headers = (("x-a", "1"), ("x-b", "2"), ("x-a", "3"))

    assert Request(method="GET", path="/", headers=headers).header("x-a") == "1"
    assert Request(method="GET", path="/", headers=headers).header("x-c") is None
    assert Response(headers=headers).header("x-b") == "2"
    assert Response(headers=headers).header("x-c") is None


def test_a_header_is_set_where_it_was_there_before() -> None:
    request = Request(method="GET", path="/", headers=(("x-a", "1"), ("x-b", "2"), ("x-a", "3")))

    assert request.with_headers(("x-a", "9")).headers == (("x-b", "2"), ("x-a", "9"))
    assert request.headers[0] == ("x-a", "1")


def test_the_target_of_a_request_is_its_path_and_its_query() -> None:
    assert Request(method="GET", path="/a").target == "/a"
    assert Request(method="GET", path="/a", query="b=1").target == "/a?b=1"


def test_of_a_repeated_argument_the_last_counts() -> None:
    request = Request(method="GET", path="/", query="a=1&b=&a=%C3%A9&c=x+y&d=%FF")

    assert request.arguments() == {"a": "é", "b": "", "c": "x y", "d": "\ufffd"}


def test_a_query_string_has_so_many_parts() -> None:
    request = Request(method="GET", path="/", query="&".join(f"a{n}=" for n in range(257)))
    with pytest.raises(Malformed, match="256 parts"):
        request.arguments()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'"\\ud83d"', "\ufffd"),
        (b'"a\\ude00b"', "a\ufffdb"),
        (b'"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b'{"\\uD83D": "\\n\\u00e9"}', {"\ufffd": "\n\u00e9"}),
    ],
)
def test_what_a_careless_client_writes_is_json_too(body: bytes, value: Any) -> None:
    assert Request(method="POST", path="/", body=body).json() == value


def test_not_everything_is_mended() -> None:
    for body in (b'{"\\ud83d":', b'"\\ud83d' + b"\\n" * 200_000 + b'"'):
        with pytest.raises(Malformed):
            Request(method="POST", path="/", body=body).json()


def test_a_path_means_the_same_with_a_slash_and_head_what_get_does() -> None:
    for method, path in (("GET", "/letters/5/"), ("HEAD", "/letters/5"), ("HEAD", "/letters/5/")):
        found = POST.match(Request(method=method, path=path))
        assert found == POST.match(Request(method="GET", path="/letters/5"))


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ("filename*=UTF-8''%E7%8C%AB.png", "猫.png"),
        ("filename*=utf-8'en'a%20b.png", "a b.png"),
        ("filename*=iso-8859-1''%e9.png", "é.png"),
        ("filename*=koi8-r''%d0.png", None),
        ("filename*=utf-8", None),
        ("filename=\"plain.png\"; filename*=UTF-8''%E7%8C%AB.png", "plain.png"),
    ],
)
def test_a_file_may_be_named_the_extended_way(disposition: str, filename: str | None) -> None:
    body = (
        f'--x\r\nContent-Disposition: form-data; name="a"; {disposition}\r\n\r\nb\r\n--x--\r\n'
    ).encode()
    (part,) = read_form("multipart/form-data; boundary=x", body)
    assert (part.name, part.filename, part.data) == ("a", filename, b"b")


def test_a_body_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def read_json(*_: object) -> str:
        read.append("json")
        return "a value"

    def read_form(*_: object) -> tuple[Part, ...]:
        read.append("form")
        return ()

    monkeypatch.setattr(messages, "read_json", read_json)
    monkeypatch.setattr(messages, "read_form", read_form)
    request = Request(method="POST", path="/", body=b"{}")

    for _ in range(2):
        assert (request.json(), request.form()) == ("a value", ())
    assert read == ["json", "form"]


@pytest.mark.parametrize("body", [b"{", b"nonsense"])
def test_what_is_wrong_with_a_body_is_told_each_time(body: bytes) -> None:
    request = Request(method="POST", path="/", body=body)
    for _ in range(2):
        with pytest.raises(Malformed, match="not valid JSON"):
            request.json()
        with pytest.raises(Malformed, match="not multipart"):
            request.form()


def test_a_body_has_so_many_values() -> None:
    most = b"[" + b"1," * 49_998 + b"1]"
    assert len(Request(method="POST", path="/", body=most).json()) == 49_999
    for body in (most[:-1] + b",1,1]", b"[" + b"[]," * 50_000 + b"[]]", b"[" * 60_000):
        with pytest.raises(Malformed, match="more than 50000 values"):
            Request(method="POST", path="/", body=body).json()
        if not body.endswith(b"["):
            Response(body=body).json()  # an answer may be a long list


def test_only_a_file_of_a_form_may_be_long() -> None:
    long = b"x" * (2**20 + 1)
    file = Part(name="a", data=long, filename="a.png")
    assert read_form(*write_form([file])) == (file,)
    assert read_form(*write_form([Part(name="a", data=long[1:])]))[0].data == long[1:]
    with pytest.raises(Malformed, match="a field of the form is longer than 1048576 bytes"):
        read_form(*write_form([Part(name="a", data=long)]))
    with pytest.raises(Malformed, match="the form is longer than 1048576 bytes"):
        read_form("application/x-www-form-urlencoded", b"a=" + long)


def test_a_list_of_ids_has_an_end() -> None:
    assert len(read_ids(Reading({"ids": ["a"] * 1000}), "ids")) == 1000
    with pytest.raises(Malformed, match="ids: more than 1000"):
        read_ids(Reading({"ids": ["a"] * 1001}), "ids")


@given(st.dictionaries(NAMES, st.text() | st.integers() | st.none()))
def test_a_query_string_is_read_as_it_was_written(values: dict[str, Any]) -> None:
    query = query_string(values)

    read = Request(method="GET", path="/", query=query).arguments()
    assert read == {name: str(value) for name, value in values.items() if value is not None}


@given(JSON)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    request, response = json_request("POST", "/a", value), json_response(value, 202)

    assert request.json() == response.json() == value
    assert read_json(compact_json(value).encode()) == value
    assert request.header("content-type") == response.header("content-type") == "application/json"
    assert (request.method, request.path, response.status) == ("POST", "/a", 202)


def test_an_answer_may_have_headers_of_its_own() -> None:
    response = json_response({}, content_type="text/json", headers=[("x-a", "1")])

    assert response.headers == (("content-type", "text/json"), ("x-a", "1"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b"NaN",
        b"[Infinity]",
        b"1e999",
        b"\xff",
        b'"\xff"',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":1}x',
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed) as malformed:
        Request(method="POST", path="/", body=body).json()

    assert malformed.value.kind == "syntax"
    assert type(malformed.value.as_fault()) is BadRequest


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        Response(body=body).json()
    except Malformed as malformed:
        assert malformed.kind == "syntax"


def test_whatever_json_holds_can_be_written_again() -> None:
    value = read_json(b'{"a": 123456789012345678901234567890, "b": -1e300, "c": "\\u0000"}')

    assert read_json(json_response(value).body) == value


# ------------------------------------------------------------------------------------------ forms

# What stands for a character of a name, and the controls that have no place in one, are not here.
LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20).filter(
    lambda label: "%" not in label
) | st.text(st.sampled_from('a"\\\r\n;= é'))
PARTS = st.builds(
    Part,
    name=LABELS.filter(bool),  # a part without a name is none
    data=st.binary(max_size=200),
    filename=st.none() | LABELS,
    media_type=st.sampled_from([None, "image/png", 'text/plain; charset="utf-8"']),
)


@given(st.lists(PARTS, max_size=6))
def test_a_form_is_read_as_it_was_written(parts: list[Part]) -> None:
    content_type, body = write_form(parts)

    assert read_form(content_type, body) == tuple(parts)


HOSTILE = st.text(st.sampled_from('a\r\n":;=\\%-\0 B'), max_size=30)


@given(HOSTILE.filter(bool), st.none() | HOSTILE, st.none() | HOSTILE)
def test_no_name_reaches_out_of_its_part(
    name: str, filename: str | None, media_type: str | None
) -> None:
    first = Part(name=name, data=b"\r\n--B", filename=filename, media_type=media_type)
    second = Part(name="second", data=b"2")

    read = read_form(*write_form([first, second]))

    assert [part.data for part in read] == [first.data, second.data]
    assert (read[0].filename is None) == (filename is None)
    assert read[1] == second


def test_the_escapes_of_browsers_are_read() -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="a%22%0D%0Ab"\r\n\r\nx\r\n--B--\r\n'

    (part,) = read_form("multipart/form-data; boundary=B", body)

    assert part.name == 'a"\r\nb'


def test_a_form_has_the_boundary_that_was_asked_for() -> None:
    content_type, body = write_form([Part(name="a", data=b"1")], boundary="B")

    assert content_type == "multipart/form-data; boundary=B"
    assert body == b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n'


def test_each_form_has_a_boundary_of_its_own() -> None:
    assert write_form([])[0] != write_form([])[0]


def test_a_repeated_name_is_kept_in_its_order() -> None:
    parts = tuple(Part(name="a", data=data) for data in (b"1", b"2", b"3"))

    assert read_form(*write_form(parts)) == parts


def test_a_form_may_be_urlencoded() -> None:
    parts = read_form("application/x-www-form-urlencoded; charset=utf-8", b"a=1&b=&a=x+%C3%A9")

    assert parts == (
        Part(name="a", data=b"1"),
        Part(name="b", data=b""),
        Part(name="a", data="x é".encode()),
    )


def test_a_file_without_a_content_type_has_none() -> None:
    body = (
        b"--B\r\ncontent-disposition: form-data; filename=a.png; name=f\r\n\r\n\x89PNG\r\n"
        b"--B\r\nContent-Type: image/png\r\nContent-Disposition: form-data; name=g\r\n\r\n\r\n--B--"
    )

    assert read_form("Multipart/Form-Data; Boundary=B", body) == (
        Part(name="f", data=b"\x89PNG", filename="a.png"),
        Part(name="g", data=b"", media_type="image/png"),
    )


def test_a_name_that_is_not_utf_8_is_read_as_far_as_it_is() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="a\xff"; filename="\xfe"\r\n'
        b"Content-Type: \xe9\r\n\r\nx\r\n--B--\r\n"
    )

    (part,) = read_form("multipart/form-data; boundary=B", body)

    assert (part.name, part.filename, part.media_type) == ("a\ufffd", "\ufffd", "é")


@pytest.mark.parametrize(
    ("content_type", "body", "problem"),
    [
        ("", b"", "not multipart"),
        ("application/json", b"{}", "not multipart"),
        ("text/plain; boundary=B", b"--B--\r\n", "not multipart"),
        ("multipart/form-data", b"--B--", "no boundary"),
        ("multipart/form-data; boundary=", b"--B--", "no boundary"),
        ("multipart/form-data; boundary=€", b"", "no boundary"),
        ("multipart/form-data; boundary=" + "B" * 300, b"", "broken"),
        ("multipart/form-data; boundary=B", b"", "broken"),
        ("multipart/form-data; boundary=B", b"hello", "broken"),
        ("multipart/form-data; boundary=B", b"--B\r\nContent-Dispo", "broken"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',
            "broken",
        ),
        ("multipart/form-data; boundary=B", b"--B\r\nX: y\r\n\r\nx\r\n--B--", "broken"),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--",
            "no name",
        ),
        ("multipart/form-data; boundary=B", b"--B\r\n" + b"X: y\r\n" * 99 + b"\r\n", "broken"),
        ("application/x-www-form-urlencoded", b"a=\xff", "UTF-8"),
        ("application/x-www-form-urlencoded", b"a=%ff", "UTF-8"),
        ("application/x-www-form-urlencoded", b"a=1&" * 300, "more than 256"),
    ],
)
def test_what_is_no_form_is_malformed(content_type: str, body: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem) as malformed:
        read_form(content_type, body)

    assert malformed.value.kind == "syntax"


def test_a_form_of_too_many_parts_is_malformed() -> None:
    content_type, body = write_form(Part(name="a", data=b"") for _ in range(257))

    with pytest.raises(Malformed, match="segment count"):
        Request(
            method="POST", path="/", headers=(("content-type", content_type),), body=body
        ).form()


@given(st.binary(max_size=300), st.integers(0, 300))
def test_arbitrary_bytes_are_a_form_or_malformed(noise: bytes, at: int) -> None:
    _, body = write_form([Part(name="a", data=b"1", filename="b")], boundary="B")
    content_type = "multipart/form-data; boundary=B"

    for damaged in (noise, body[:at] + noise + body[at:], body[:at]):
        try:
            read_form(content_type, damaged)
        except Malformed as malformed:
            assert malformed.kind == "syntax"


@given(st.text(max_size=40))
def test_arbitrary_content_types_are_malformed(content_type: str) -> None:
    for prefix in ("", "multipart/form-data;", "multipart/form-data; boundary="):
        with pytest.raises(Malformed):
            read_form(prefix + content_type, b"")


def test_a_part_that_is_not_utf_8_is_no_text() -> None:
    assert Part(name="prompt", data="é".encode()).text == "é"
    with pytest.raises(Malformed, match="prompt: not UTF-8") as malformed:
        _ = Part(name="prompt", data=b"\xff").text
    assert malformed.value.kind == "type"


# ---------------------------------------------------------------------------------------- reading


def refused(call: Any, *args: Any) -> tuple[str, str]:
    """The path and the kind of the `Malformed` that the call raises."""
    with pytest.raises(Malformed) as malformed:
        call(*args)
    return malformed.value.path, malformed.value.kind


def test_only_an_object_can_be_read_by_name() -> None:
    for value in (None, 1, "a", [], [("a", 1)]):
        assert refused(Reading, value, "input") == ("input", "type")


def test_a_value_is_read_by_name_and_kind() -> None:
    reading = Reading({"a": "x", "b": 7, "c": 1.5, "d": False, "e": ["x", "y"], "f": {"g": 1}})

    assert reading.text("a") == "x"
    assert reading.integer("b") == 7
    assert reading.number("c") == 1.5
    assert reading.flag("d") is False
    assert reading.texts("e") == ("x", "y")
    assert reading.object("f").integer("g") == 1
    assert reading.value("f", ANYTHING) == {"g": 1}


def test_an_absent_value_reads_as_its_default() -> None:
    reading = Reading({"null": None}, "input")

    for name in ("null", "absent"):
        assert reading.text(name, "x") == "x"
        assert reading.integer(name, None) is None
        assert not reading.has(name)
        assert refused(reading.text, name) == (f"input.{name}", "missing")
        assert reading.object(name).values == {}
        assert reading.objects(name) == []
    assert Reading({"a": 0}).has("a")


def test_what_is_wrong_is_told_with_its_path() -> None:
    reading = Reading({"a": {"b": [{"c": 1}, {"c": "x"}, 5]}, "d": [1], "e": {"f": 3}})
    first, *_ = Reading({"b": [{"c": 1}]}, "a").objects("b")

    assert first.at("c") == "a.b.0.c"
    assert refused(reading.object("a").objects, "b") == ("a.b.2", "type")
    assert refused(reading.objects, "a") == ("a", "type")
    assert refused(reading.object, "d") == ("d", "type")
    assert refused(reading.texts, "d") == ("d.0", "type")
    assert refused(reading.texts, "a") == ("a", "type")
    assert refused(reading.object("e").text, "f") == ("e.f", "type")


@pytest.mark.parametrize(
    ("sort", "good", "bad"),
    [
        (TEXT, ["", "x", "\0"], [1, True, 1.0, [], {}, b"x"]),
        (INTEGER, [0, -5, 2**63 - 1, -(2**63), 3.0], ["1", True, 1.5, [], {}, math.inf, math.nan]),
        (NUMBER, [0, -5, 1.5, 2**63 - 1, 1e300], ["1", True, [], {}]),
        (FLAG, [True, False], [0, 1, "true", [], {}]),
        (TEXTS, [[], ["x"], ("x", "y")], ["x", {"x": 1}, [1], [None], [["x"]], 5]),
        (ANYTHING, [1, "x", [], {}, True], []),
    ],
)
def test_a_value_is_of_its_sort(sort: Sort, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        read = sort.read(value, "a")
        assert sort.write(read) == (list(value) if sort is TEXTS else value)
    for value in bad:
        assert refused(sort.read, value, "a")[1] == "type"


def test_a_whole_number_reads_as_an_integer() -> None:
    assert repr(INTEGER.read(3.0, "a")) == "3"


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        (INTEGER, 2**63),
        (INTEGER, -(2**63) - 1),
        (INTEGER, 1e300),
        (NUMBER, 10**400),
        (NUMBER, -(2**64)),
        (NUMBER, math.inf),
        (NUMBER, math.nan),
    ],
)
def test_a_number_beyond_all_measure_is_out_of_range(sort: Sort, value: Any) -> None:
    assert refused(sort.read, value, "a") == ("a", "value")


TRUE, FALSE = ["1", "true", "YES", "On"], ["0", "False", "no", "OFF", "", "  "]


def test_text_is_parsed_where_all_values_are_text() -> None:
    reading = Reading({"a": " 7 ", "b": "-1.5e2", "c": ".5", "d": "+3", "e": "5."}, text=True)

    assert reading.integer("a") == 7
    assert reading.number("b") == -150
    assert reading.number("c") == 0.5
    assert reading.integer("d") == 3
    assert reading.number("e") == 5
    assert reading.text("a") == " 7 "
    for text in TRUE:
        assert Reading({"a": text}, text=True).flag("a") is True
    for text in FALSE:
        assert Reading({"a": text}, text=True).flag("a") is False


def test_text_is_not_parsed_where_values_have_sorts() -> None:
    assert refused(Reading({"a": "7"}).integer, "a") == ("a", "type")
    assert Reading({"a": 7}, text=True).integer("a") == 7


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("integer", "", "type"),
        ("integer", "1.5", "type"),
        ("integer", "1_000", "type"),
        ("integer", "٣", "type"),
        ("integer", "0x10", "type"),
        ("integer", "9" * 5000, "type"),
        ("integer", "9" * 19, "value"),
        ("number", "", "type"),
        ("number", "nan", "type"),
        ("number", "inf", "type"),
        ("number", ".", "type"),
        ("number", "1e9999", "type"),
        ("number", "1e999", "value"),
        ("number", "9" * 5000, "value"),
        ("flag", "maybe", "type"),
    ],
)
def test_text_that_is_no_such_value_is_malformed(name: str, text: str, kind: str) -> None:
    reading = Reading({"a": text}, text=True)

    assert refused(getattr(reading, name), "a") == ("a", kind)


@given(st.text(max_size=12))
def test_arbitrary_text_is_a_value_or_malformed(text: str) -> None:
    reading = Reading({"a": text}, text=True)

    for read in (reading.integer, reading.number, reading.flag):
        try:
            assert math.isfinite(read("a"))
        except Malformed as malformed:
            assert malformed.path == "a"


SPEEDS = pairs(TEXT, ("slow", "tortoise"), ("fast", "hare"))


def test_pairs_translate_one_for_one() -> None:
    assert SPEEDS.name == "string"
    assert SPEEDS.read("hare", "speed") == "fast"
    assert SPEEDS.write("fast") == "hare"
    assert refused(SPEEDS.read, "snail", "speed") == ("speed", "value")
    assert refused(SPEEDS.read, 5, "speed") == ("speed", "type")


def test_pairs_of_numbers_are_parsed_like_numbers() -> None:
    sort = pairs(INTEGER, ("one", 1), ("two", 2))

    assert Reading({"a": "2"}, text=True).value("a", sort) == "two"


# ------------------------------------------------------------------------------------------ fields

FIELDS = Fields(
    Field("id", "taskid"),
    Field("progress", "percent", INTEGER),
    Field("submit.prompt", "words"),
    Field("submit.seed", "seed", INTEGER),
)


def test_fields_are_written_and_read_with_one_table() -> None:
    task = Task(id=ID, status=Status.RUNNING, submit=Submit(prompt="a", seed=0))

    written = FIELDS.write(task)

    assert written == {"taskid": ID, "words": "a", "seed": 0}
    read = FIELDS.read(Reading(written))
    assert read == {"id": ID, "submit.prompt": "a", "submit.seed": 0}
    assert build_task(read, status=Status.RUNNING, submit=Submit()) == task


def test_fields_know_the_names_of_the_wire() -> None:
    assert FIELDS.names == {"taskid", "percent", "words", "seed"}


def test_a_field_that_is_wrong_is_malformed() -> None:
    assert refused(FIELDS.read, Reading({"percent": "x"}, "data")) == ("data.percent", "type")


def test_a_task_may_be_built_without_what_was_asked() -> None:
    assert build_task({"id": ID}, status=Status.QUEUED) == Task(id=ID, status=Status.QUEUED)


# ------------------------------------------------------------------------------------------ states

WORDS: dict[Status, Any] = {
    Status.QUEUED: "waiting",
    Status.RUNNING: "working",
    Status.UPLOADING: "working",
    Status.SUCCEEDED: "done",
    Status.FAILED: "broken",
    Status.CANCELED: "broken",
}


def test_statuses_cross_as_words() -> None:
    states = States(*WORDS.items())

    assert {status: states.write(status) for status in Status} == WORDS
    assert states.read("working") is Status.RUNNING
    assert states.read("broken") is Status.FAILED
    assert states.read("done") is Status.SUCCEEDED
    assert states.knows("done")


@pytest.mark.parametrize("missing", Status)
def test_states_without_a_word_cannot_be_built(missing: Status) -> None:
    words = [(status, word) for status, word in WORDS.items() if status is not missing]

    with pytest.raises(ValueError, match=f"no word for {missing}"):
        States(*words)


@pytest.mark.parametrize("other", [status for status in Status if status is not Status.SUCCEEDED])
def test_success_shares_its_word_with_nothing(other: Status) -> None:
    with pytest.raises(ValueError, match="'done' would read as success"):
        States(*(WORDS | {other: "done"}).items())


def test_a_status_may_be_read_from_several_words() -> None:
    states = States((Status.SUCCEEDED, "finished"), *WORDS.items())

    assert states.read("finished") is states.read("done") is Status.SUCCEEDED


@given(JSON)
def test_an_unknown_word_reads_as_still_running(word: Any) -> None:
    states = States(*WORDS.items())

    assert states.knows(word) is (isinstance(word, str) and word in WORDS.values())
    if not states.knows(word):
        assert states.read(word) is Status.RUNNING


def test_true_is_not_the_word_1() -> None:
    states = States(*((status, number) for number, status in enumerate(Status)))

    assert states.read(1) is Status.RUNNING
    assert states.read(0) is Status.QUEUED
    assert not states.knows(True)
    assert states.read(False) is Status.RUNNING


# ----------------------------------------------------------------------------------------- dialect


class Post(Dialect):
    name = "post"
    routes = (
        Route("letters", "GET", "/letters", open=True),
        Route("letter", "GET", "/letters/{id}"),
        Route("page", "GET", "/letters/{id}/pages/{page}", open=True),
        Route("burn", "DELETE", "/letters/{id}"),
        Route("odd", "GET", "/a.b/{id}"),
    )

    def write_request(self, command: Command) -> Request:
        assert isinstance(command, Fetch)
        return Request(method="GET", path=self.path("letter", id=command.id))

    def read_reply(self, command: Command, response: Response) -> Reply:
        return Task(id=response.json(), status=Status.SUCCEEDED)


POST = Post()


def asked(method: str, path: str) -> Request:
    return Request(method=method, path=path)


@pytest.mark.parametrize(
    ("method", "path", "op", "params", "open"),
    [
        ("GET", "/letters", "letters", {}, True),
        ("GET", "/letters/5", "letter", {"id": "5"}, False),
        ("DELETE", "/letters/5", "burn", {"id": "5"}, False),
        ("GET", "/letters/a%2Fb%C3%A9/pages/2", "page", {"id": "a/bé", "page": "2"}, True),
        ("GET", "/letters/%ff", "letter", {"id": "\ufffd"}, False),
    ],
)
def test_a_route_is_found(
    method: str, path: str, op: str, params: dict[str, str], open: bool
) -> None:
    match = POST.match(asked(method, path))

    assert (match.op, match.params, match.open) == (op, params, open)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/letters"),
        ("POST", "/letters/5"),
        ("GET", "/letters/5//6"),
        ("GET", "/letters/5/6"),
        ("GET", "/axb/5"),
        ("get", "/letters"),
        ("GET", ""),
    ],
)
def test_an_unknown_route_is_an_unknown_operation(method: str, path: str) -> None:
    with pytest.raises(UnknownOperation) as unknown:
        POST.match(asked(method, path))

    assert (unknown.value.what, unknown.value.name) == ("route", path)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_parameter_in_the_path_crosses(id: str) -> None:
    request = POST.write_request(Fetch(id=id))

    assert POST.match(request).params == {"id": id}


def test_a_route_is_known_by_its_operation() -> None:
    assert POST.route("burn") == Route("burn", "DELETE", "/letters/{id}")
    assert POST.path("page", id="a b", page="2") == "/letters/a%20b/pages/2"


def test_a_call_is_one_request_and_its_answer() -> None:
    call = POST.call(Fetch(id=ID))

    assert next(call).path == f"/letters/{ID}"
    with pytest.raises(StopIteration) as end:
        call.send(json_response(ID))
    assert end.value.value == Task(id=ID, status=Status.SUCCEEDED)


def test_a_dialect_without_words_says_nothing() -> None:
    silent, request, context = Dialect(), asked("GET", "/"), Context(request=asked("GET", "/"))
    task = Task(id=ID, status=Status.QUEUED)

    for say in (
        lambda: silent.read_request("a", {}, request),
        lambda: silent.write_request(Fetch(id=ID)),
        lambda: silent.write_reply("a", task, context),
        lambda: silent.read_reply(Fetch(id=ID), Response()),
        lambda: silent.write_fault(None, Fault(), context),
    ):
        with pytest.raises(NotImplementedError):
            say()
    with pytest.raises(UnknownOperation):
        silent.match(request)
    assert silent.claims(request)
    assert not silent.told_in_body(request)
    assert repr(POST) == "<dialect post>"


def test_a_key_is_a_bearer_unless_the_wire_says_otherwise() -> None:
    dialect, request = Dialect(), asked("GET", "/")

    signed = dialect.write_key(request, Key(secret="s"), 0)

    assert signed.header("authorization") == "Bearer s"
    assert dialect.read_key(signed, 0).secret == "s"
    with pytest.raises(Unauthenticated) as told:
        dialect.read_key(request, 0)
    assert told.value.reason == "missing"


# -------------------------------------------------------------------------- words shared by wires


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("1024x768", Frame(width=1024, height=768)),
        ("1024*768", Frame(width=1024, height=768)),
        (" 1024 X 768 ", Frame(width=1024, height=768)),
        ("1024×768", Frame(width=1024, height=768)),
        ("16:9", Frame(ratio="16:9")),
        ("2k", Frame(resolution="2K")),
        ("4K", Frame(resolution="4K")),
        ("720P", Frame(resolution="720p")),
        ("1080p", Frame(resolution="1080p")),
        ("auto", Frame(ratio="auto")),
        ("Adaptive", Frame(ratio="auto")),
        ("square_HD", Frame(width=1024, height=1024)),
        ("portrait_16_9", Frame(width=576, height=1024)),
    ],
)
def test_a_size_is_read(text: str, frame: Frame) -> None:
    assert read_frame(text, "size") == frame


@pytest.mark.parametrize(
    "text",
    ["", "big", "0x100", "100x0", "0:1", "1:0", "0K", "000p", "1024", "1x2x3", "123456x1", "²K"],
)
def test_what_is_no_size_is_malformed(text: str) -> None:
    assert refused(read_frame, text, "size") == ("size", "value")


def test_a_long_text_is_not_repeated() -> None:
    with pytest.raises(Malformed) as malformed:
        read_frame("x" * 9000, "size")

    assert len(str(malformed.value)) < 80


@given(st.text(max_size=20))
def test_arbitrary_text_is_a_size_or_malformed(text: str) -> None:
    try:
        frame = read_frame(text, "size")
    except Malformed:
        return
    assert any(frame)


def test_of_several_frames_the_first_that_says_something_counts() -> None:
    frames = [Frame(ratio="16:9"), Frame(ratio="1:1", resolution="2K"), Frame()]

    assert merge_frames(frames) == {"ratio": "16:9", "resolution": "2K"}
    assert merge_frames([]) == {}


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("Bearer k-1", "k-1"),
        ("bearer  k-1 ", "k-1"),
        ("BEARER k 1", "k 1"),
        ("k-1", "k-1"),
        (" k-1 ", "k-1"),
        ("Bearer", None),
        ("Bearer ", None),
        ("bearer   ", None),
        ("", None),
        ("bearerk-1", "bearerk-1"),
    ],
)
def test_a_secret_stands_with_or_without_bearer(value: str, secret: str | None) -> None:
    request = Request(method="GET", path="/", headers=(("authorization", value),))

    assert read_bearer(request) == secret
    assert read_bearer(Request(method="GET", path="/")) is None


@pytest.mark.parametrize(
    ("status", "message", "fault"),
    [
        (400, "", BadRequest),
        (401, "", Unauthenticated),
        (402, "", InsufficientCredits),
        (403, "", Unauthenticated),
        (404, "", NotFound),
        (405, "", BadRequest),
        (408, "", Unavailable),
        (409, "", Conflict),
        (413, "", TooLarge),
        (418, "", BadRequest),
        (422, "No Model of that name", UnknownModel),
        (422, "no such size", BadRequest),
        (425, "", Unavailable),
        (429, "", RateLimited),
        (500, "", Internal),
        (503, "", Unavailable),
        (599, "", Unavailable),
        (302, "", Upstream),
        (200, "", Upstream),
    ],
)
def test_a_status_tells_a_fault(status: int, message: str, fault: type[Fault]) -> None:
    response = Response(status=status, headers=(("retry-after", "7"),))

    told = fault_of_status(status, message, response)

    assert type(told) is fault
    assert told.message == (message or fault.default())
    if isinstance(told, RateLimited | Unavailable):
        assert told.retry_after == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_the_seconds_to_wait_are_read(text: str, seconds: float | None) -> None:
    assert read_retry_after(Response(headers=(("retry-after", text),))) == seconds


def test_no_seconds_to_wait_are_none() -> None:
    assert read_retry_after(Response()) is None


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        (RateLimited(retry_after=1.2), (("retry-after", "2"),)),
        (Unavailable(retry_after=0), (("retry-after", "1"),)),
        (RateLimited(), ()),
        (NotFound(), ()),
    ],
)
def test_the_seconds_to_wait_are_whole(fault: Fault, headers: tuple[tuple[str, str], ...]) -> None:
    assert retry_after_header(fault) == headers


def test_bounds_are_inclusive() -> None:
    for within in (None, 1, 15):
        require("count", within, 1, 15)
    for beyond in (0, 16, 15.5):
        with pytest.raises(InvalidValue) as told:
            require("count", beyond, 1, 15)
        assert told.value.parameter == "count"
        assert "1 to 15" in told.value.message


def test_parameters_are_called_as_we_call_them_where_a_dialect_says_nothing() -> None:
    assert Dialect().parameter_name("create", "width", Submit()) == "width"


def test_the_kinds_of_a_dialect_are_all_of_them() -> None:
    assert Dialect.kinds == frozenset(Kind)


# ---------------------------------------------------------------------------------------- demands


def test_a_demand_of_another_wire_is_refused_by_its_name() -> None:
    asked = Submit(demands={"logo": 1, "panorama": True})
    refuse_demands(asked, "It", ("logo", "panorama"))
    with pytest.raises(Unsupported, match="panorama") as told:
        refuse_demands(asked, "It", ("logo",))
    assert told.value.parameter == "panorama"


def test_a_wire_may_have_our_names_and_carries_no_files() -> None:
    wire = Dialect()
    assert wire.parameter_name("create", "sources.0", Submit()) == "sources.0"
    assert not wire.carries_files("create", Submit())


def test_headers_are_added_to_an_answer() -> None:
    answer = Response(headers=(("a", "1"),), body=b"x")

    assert answer.with_headers(("b", "2")).headers == (("a", "1"), ("b", "2"))
