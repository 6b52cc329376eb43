"""What the models of kie's pages make, take and need; and that it goes back as it came.

The models and their fields are those of tests/parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from safelight.dialects import named
from safelight.dialects.aigptimage.bodies import parameter_name
from safelight.dialects.aigptimage.dialect import DIALECTS, KIE, Jobs
from safelight.dialects.aigptimage.input import names_media
from safelight.dialects.aigptimage.models import SOURCES
from safelight.errors import Malformed, UnknownModel, Unsupported
from safelight.task import Kind, Operation, Role, Source, Submit
from safelight.wire import json_request

DOCUMENTED = json.loads(
    (Path(__file__).parents[1] / "parameters" / "kie.json").read_text(encoding="utf-8")
)["operations"]
REQUIRED: Mapping[str, dict[str, Any]] = {
    one["of"]: one["request"]["json"]["input"] for one in DOCUMENTED
}
CREATE = "/api/v1/jobs/createTask"
URL, URL_2, URL_3 = (f"https://example.com/{name}.png" for name in "abc")
KIE_JOBS = named("kie")

every_model = pytest.mark.parametrize("model", REQUIRED)
both = pytest.mark.parametrize("jobs", DIALECTS, ids=lambda jobs: jobs.name)


def read(model: str, input: Mapping[str, Any], jobs: Any = KIE_JOBS) -> Submit:
    request = json_request("POST", CREATE, {"model": model, "input": input})
    submit = jobs.read_request("createTask", {}, request)
    assert isinstance(submit, Submit)
    return submit


def written(submit: Submit, jobs: Any = KIE_JOBS) -> dict[str, Any]:
    input: dict[str, Any] = json.loads(jobs.write_request(submit).body)["input"]
    return input


def meaning(submit: Submit) -> Submit:
    return msgspec.structs.replace(submit, extra={})


# --------------------------------------------------------------------------------- what they make

PICTURES = (
    *("bytedance/seedream", "flux-2/", "google/imagen4", "google/nano-banana", "gpt-image"),
    *("grok-imagine-image-2-0/", "grok-imagine/image-to-image", "grok-imagine/text-to-image"),
    *("ideogram/", "nano-banana", "qwen", "recraft/", "seedream/", "topaz/image-upscale"),
    *("wan/2-7-image-pro", "z-image"),
)


@every_model
def test_a_model_makes_what_it_is_documented_for(model: str) -> None:
    pictures = model.startswith(PICTURES) or model == "wan/2-7-image"

    submit = read(model, REQUIRED[model])

    assert submit.kind is (Kind.IMAGE if pictures else Kind.VIDEO)


@pytest.mark.parametrize(
    ("model", "input"),
    [
        ("kling-3.0-omni/image-to-video", {"image_urls": [URL]}),
        ("kling-3.0-omni/reference-to-video", {"elements": [{"name": "a"}]}),
        ("pixverse-v6/extend", {"video_url": URL}),
        ("pixverse-v6/extend", {"source_video_id": 7}),
    ],
)
def test_films_of_which_the_pages_say_nothing_are_films_all_the_same(
    model: str, input: dict[str, Any]
) -> None:
    assert read(model, input).kind is Kind.VIDEO
    with pytest.raises(Malformed, match="required"):
        read(model, {"prompt": "a", "watermark": True, "num_frames": 81})


@pytest.mark.parametrize(
    "model",
    [
        "elevenlabs/audio-isolation",
        "elevenlabs/text-to-dialogue-v3",
        "elevenlabs/text-to-speech-multilingual-v2",
        "elevenlabs/sound-effect-v2",
        "google/gemini-3-1-flash-tts",
        "grok-imagine-image-2-0/segment-map",
        "omnihuman-1-5/human-identification",
        "omnihuman-1-5/subject-detection",
        "somebody/speech-to-text",
        "x" * 100 + "/text-to-music",
    ],
)
@both
def test_what_makes_neither_is_no_model(jobs: Jobs, model: str) -> None:
    for input in (
        {},
        {"text": "hello"},
        {"prompt": "a", "image_url": URL},
        {"output_format": "mp3"},
    ):
        with pytest.raises(UnknownModel) as told:
            read(model, input, jobs)
        assert told.value.parameter == "model"
        assert len(told.value.message) < 200


@pytest.mark.parametrize(
    ("model", "input"),
    [
        ("topaz/video-upscale", {"video_url": URL}),
        ("somebody/upscale", {"video_url": URL, "duration": 5}),
        ("grok-imagine/upscale", {"task_id": "a"}),
        ("seedream/5-pro-layer-decomposition", {"image_url": URL}),
        ("ideogram/v3-reframe", {"image_url": URL}),
        ("sora-watermark-remover", {"video_url": URL}),
    ],
)
def test_what_no_engine_does_is_left_to_the_rules(model: str, input: dict[str, Any]) -> None:
    submit = read(model, input)

    assert submit.named
    assert submit.operations == ()


# --------------------------------------------------------------------------------- what they need


@every_model
def test_a_model_needs_what_its_page_requires_and_no_more(model: str) -> None:
    required = REQUIRED[model]
    for name in required:
        lacking = {key: value for key, value in required.items() if key != name}
        if name in (*SOURCES, "prompt", "task_id", "image_references"):
            with pytest.raises(Malformed) as told:
                read(model, lacking)
            assert told.value.path == f"input.{name}"
            assert told.value.kind == "missing"
        else:
            assert read(model, lacking).model == model


@pytest.mark.parametrize(
    "model",
    ["grok-imagine/image-to-video", "bytedance/seedance-2", "kling-3.0-omni/transformation"],
)
def test_what_says_nothing_at_all_is_refused(model: str) -> None:
    with pytest.raises(Malformed) as told:
        read(model, {"resolution": "720p"})
    assert told.value.path == "input.prompt"
    with pytest.raises(Malformed):
        read(model, {"watermark": True, "multi_shots": 1})
    for input in ({"prompt": "a"}, {"image_urls": [URL]}, {"task_id": "a"}):
        assert read(model, input).kind is Kind.VIDEO


@pytest.mark.parametrize(
    ("model", "input"),
    [
        ("gpt-image-2-image-to-image", {"image_urls": [URL]}),
        ("google/nano-banana-edit", {"image_input": [URL]}),
        ("happyhorse/reference-to-video", {"reference_image_urls": [URL]}),
        ("pixverse-v6/transition", {"first_frame_url": URL, "last_frame_url": URL_2}),
        ("pixverse-v6/transition", {"image_urls": [URL], "end_image_url": URL_2}),
        ("kling-2.6/image-to-video", {"first_frame_url": URL}),
        ("wan/2-6-video-to-video", {"video_url": URL}),
    ],
)
def test_a_relative_s_name_of_what_is_needed_will_do(model: str, input: dict[str, Any]) -> None:
    submit = read(model, {"prompt": "a", **input})

    assert {source.url for source in submit.sources} == {URL, URL_2} & set(
        json.dumps(input).split('"')
    )


@pytest.mark.parametrize(
    ("model", "input", "missing"),
    [
        ("hailuo/02-image-to-video-pro", {"end_image_url": URL}, "image_url"),
        ("ideogram/character-edit", {"image_url": URL, "mask_url": URL}, "reference_image_urls"),
        ("wan/2-2-animate-move", {"image_url": URL}, "video_url"),
        ("infinitalk/from-audio", {"audio_url": URL}, "image_url"),
    ],
)
def test_another_source_does_not_stand_in(model: str, input: dict[str, Any], missing: str) -> None:
    with pytest.raises(Malformed) as told:
        read(model, {"prompt": "a", **input})
    assert told.value.path == f"input.{missing}"


# ---------------------------------------------------------------------------------- what they take


@pytest.mark.parametrize(
    ("model", "input", "roles"),
    [
        (
            "wan/2-7-r2v",
            {"first_frame": URL, "reference_image": [URL_2], "reference_video": [URL_3]},
            [Role.FIRST_FRAME, Role.IMAGE, Role.VIDEO],
        ),
        (
            "ideogram/character-edit",
            {"image_url": URL, "mask_url": URL_2, "reference_image_urls": [URL]},
            [Role.IMAGE, Role.IMAGE, Role.MASK],
        ),
        (
            "infinitalk/from-audio",
            {"image_url": URL, "audio_url": URL_2},
            [Role.FIRST_FRAME, Role.AUDIO],
        ),
        (
            "kling-3.0/motion-control",
            {"input_urls": [URL, URL_2], "video_urls": [URL_3]},
            [Role.FIRST_FRAME, Role.IMAGE, Role.VIDEO],
        ),
    ],
)
def test_sources_have_the_roles_that_their_fields_say(
    model: str, input: dict[str, Any], roles: list[Role]
) -> None:
    submit = read(model, {"prompt": "a", **input})

    assert [source.role for source in submit.sources] == roles
    assert submit.demands == {}
    assert written(submit) == {"prompt": "a", **input}


@pytest.mark.parametrize(
    ("name", "text", "media"),
    [
        ("style_image", "https://example.com/a.png", True),
        ("style_image", "an id", True),
        ("startImage", "x", True),
        ("imageUrls", "x", True),
        ("imageurl", "x", True),
        ("ref", "HTTP://example.com", True),
        ("ref", "data:image/png;base64,AAAA", True),
        ("ref", "x", False),
        ("image_style", "anime", False),
        ("video_fps", "24", False),
        ("video_fps", "24.5", False),
        ("mask_blur", "true", False),
        ("image", "", False),
        ("", "x", False),
        ("1", "x", False),
    ],
)
def test_a_field_names_media_by_its_name_or_by_its_value(name: str, text: str, media: bool) -> None:
    assert names_media(name, text) is media


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("style_image", URL),
        ("controls", [1]),
        ("camera", {"pan": 1}),
        ("voiceId", "a"),
        ("effect_id", 7),
        ("watermark", "true"),
        ("watermark", "a name"),
        ("multi_shots", True),
        ("num_frames", "81"),
        ("mode", "4K"),
    ],
)
@both
def test_what_changes_a_result_is_demanded(jobs: Jobs, name: str, value: Any) -> None:
    submit = read("m", {"prompt": "a", name: value}, jobs)

    assert submit.demands == {f"input.{name}": value}
    assert written(submit, jobs) == {"prompt": "a", name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cfg_scale", 0.5),
        ("style", "anime"),
        ("mode", "pro"),
        ("watermark", False),
        ("watermark", "False"),
        ("watermark", 0),
        ("num_frames", 80),
        ("num_frames", 80.0),
        ("return_last_frame", None),
        ("elements", []),
    ],
)
def test_what_changes_none_is_kept(name: str, value: Any) -> None:
    submit = read("m", {"prompt": "a", name: value})

    assert submit.demands == {}
    assert submit.extra["body"]["input"][name] == value


def test_a_name_is_not_repeated_that_has_no_end() -> None:
    read("m", {"prompt": "a", "x" * 100: 1})
    with pytest.raises(Malformed) as told:
        read("m", {"prompt": "a", "x" * 101: [1]})
    assert told.value.path == "input"
    assert len(str(told.value)) < 100


def test_demands_of_another_wire_are_refused() -> None:
    for name in ("return_last_frame", "ExtraParameters.LogoAdd"):
        with pytest.raises(Unsupported) as told:
            written(Submit(model="m", prompt="a", demands={name: True}))
        assert told.value.parameter == name
    asked = Submit(model="m", prompt="a", demands={"input.task_id": "t"}, extra={"body": [1]})
    assert written(asked) == {"prompt": "a", "task_id": "t"}


# ------------------------------------------------------------------------- what is done to a source


@pytest.mark.parametrize(
    ("model", "input", "operation"),
    [
        ("topaz/image-upscale", {"image_url": URL}, Operation(name="super_resolution")),
        (
            "topaz/image-upscale",
            {"image_url": URL, "upscale_factor": "4"},
            Operation(name="super_resolution", options={"size": 4}),
        ),
        (
            "topaz/image-upscale",
            {"image_url": URL, "upscale_factor": "1"},
            Operation(name="advanced_super_resolution", options={"percent": 1.0}),
        ),
        (
            "recraft/crisp-upscale",
            {"image": URL},
            Operation(name="super_resolution", options={"type": "hq"}),
        ),
        ("recraft/remove-background", {"image": URL}, Operation(name="ai_cutout")),
        (
            "somebody/upscaler",
            {"image_url": URL, "scale": 3},
            Operation(name="super_resolution", options={"size": 3}),
        ),
        ("somebody/background-removal", {"image_url": URL}, Operation(name="ai_cutout")),
        (
            "somebody/background-removal",
            {"image_url": URL, "scale": 3},
            Operation(name="ai_cutout"),
        ),
    ],
)
@both
def test_a_name_means_an_operation(
    jobs: Jobs, model: str, input: dict[str, Any], operation: Operation
) -> None:
    submit = read(model, input, jobs)

    assert submit.operations == (operation,)
    assert not submit.named
    twice = Operation(name="super_resolution", options={"size": 2})  # which is the default
    assert read(model, written(submit, jobs), jobs).operations in ((operation,), (twice,))


@pytest.mark.parametrize("factor", [0, -1, "many", "1e999", [2]])
def test_a_factor_is_a_number(factor: Any) -> None:
    with pytest.raises(Malformed) as told:
        read("topaz/image-upscale", {"image_url": URL, "upscale_factor": factor})
    assert told.value.path == "input.upscale_factor"


def test_an_operation_is_said_where_the_model_is_one() -> None:
    def said(model: str, name: str, /, **options: Any) -> dict[str, Any]:
        asked = Operation(name=name, options=options)
        source = Source(url=URL)
        return written(Submit(model=model, sources=(source,), operations=(asked,)))

    assert said("topaz/image-upscale", "super_resolution") == {
        "image_url": URL,
        "upscale_factor": "2",
    }
    assert said("topaz/image-upscale", "advanced_super_resolution", percent=1.5) == {
        "image_url": URL,
        "upscale_factor": "1.5",
    }
    assert said("recraft/crisp-upscale", "super_resolution", type="hq") == {"image": URL}
    for model, name, options in (
        ("topaz/image-upscale", "denoise", {}),
        ("topaz/image-upscale", "super_resolution", {"type": "lq"}),
        ("topaz/image-upscale", "super_resolution", {"size": "2"}),
        ("recraft/crisp-upscale", "super_resolution", {"size": 2}),
        ("topaz/video-upscale", "super_resolution", {"size": 2}),
        ("gpt-image-2-image-to-image", "super_resolution", {"size": 2}),
    ):
        with pytest.raises(Unsupported) as told:
            said(model, name, **options)
        assert told.value.parameter == "operations"
    two = (Operation(name="super_resolution"), Operation(name="ai_cutout"))
    with pytest.raises(Unsupported):
        written(Submit(model="topaz/image-upscale", sources=(Source(url=URL),), operations=two))


# --------------------------------------------------------------------------------- and back again

# It has a name by which the model goes rather.
RENAMED = {"google/nano-banana": "aspect_ratio", "google/nano-banana-edit": "aspect_ratio"}


@pytest.mark.parametrize("said", DOCUMENTED, ids=lambda said: said["of"])
def test_what_was_read_is_written_by_its_own_names(said: dict[str, Any]) -> None:
    model = said["of"]
    for name, parameter in said["parameters"].items():
        _, _, field = name.removesuffix(".0").partition(".")
        if not field or field == RENAMED.get(model):
            continue
        value = [parameter["value"]] if name.endswith(".0") else parameter["value"]
        input = {**REQUIRED[model], field: value}
        submit = read(model, input)

        back = written(submit)

        assert back.keys() == input.keys()
        assert {key: type(value) for key, value in back.items() if key in SOURCES} == {
            key: type(value) for key, value in input.items() if key in SOURCES
        }
        assert meaning(read(model, back)) == meaning(submit)


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("model", "input", "names"),
    [
        ("m", {}, {"model": "model", "kind": "model", "operations": "model"}),
        ("m", {}, {"extra": "input", "demands": "input", "prompt": "input.prompt"}),
        ("m", {}, {"negative": "input.negative_prompt", "seed": "input.seed"}),
        ("m", {}, {"count": "input.num_images", "duration": "input.duration"}),
        ("m", {}, {"width": "input.aspect_ratio", "resolution": "input.resolution"}),
        ("m", {}, {"sources": "input.image_urls", "sources.4": "input.image_urls"}),
        ("m", {}, {"format": "input.output_format", "quality": "input.quality"}),
        ("m", {}, {"callBackUrl": "callBackUrl", "input.task_id": "input.task_id", "?": "?"}),
        ("m", {"n": 2, "max_images": 3}, {"count": "input.n"}),
        ("m", {"size": "high"}, {"quality": "input.size"}),
        ("m", {"size": "640x480"}, {"width": "input.size", "height": "input.size"}),
        ("m", {"ratio": "1:1", "aspect_ratio": "4:5"}, {"ratio": "input.ratio"}),
        ("m", {"quality": "720p"}, {"resolution": "input.quality"}),
        ("m", {"sound": True, "audio": True}, {"audio": "input.sound"}),
        ("wan/2-7-image", {}, {"count": "input.n", "sources": "input.input_urls"}),
        ("seedance-2", {}, {"audio": "input.generate_audio"}),
        ("sora-2", {"n_frames": "10"}, {"duration": "input.n_frames", "quality": "input.size"}),
        (
            "omnihuman-1-5",
            {"image_url": URL, "audio_url": URL_2},
            {"sources.1": "input.audio_url", "sources": "input.image_url"},
        ),
        (
            "topaz/image-upscale",
            {"image_url": URL, "upscale_factor": "9"},
            {
                "advanced_super_resolution.percent": "input.upscale_factor",
                "advanced_super_resolution": "model",
                "sources.0": "input.image_url",
            },
        ),
        (
            "recraft/crisp-upscale",
            {"image": URL},
            {"super_resolution.size": "model", "sources.0": "input.image"},
        ),
        (
            "m",
            {"image_url": URL, "input_urls": [URL_2, URL], "video_url": URL_3},
            {
                "sources": "input.input_urls",
                "sources.0": "input.input_urls.0",
                "sources.1": "input.input_urls.1",
                "sources.2": "input.video_url",
            },
        ),
    ],
)
def test_parameters_are_named_as_they_were_said(
    model: str, input: dict[str, Any], names: dict[str, str]
) -> None:
    submit = read(model, {"prompt": "a", **input})
    for ours, theirs in names.items():
        assert KIE_JOBS.parameter_name("createTask", ours, submit) == theirs


def test_parameters_of_another_wire_s_task_have_names_too() -> None:
    submit = Submit(model="qwen/image-edit", prompt="a", sources=(Source(url=URL),), ratio="1:1")

    assert parameter_name("sources.0", submit, KIE.usual) == "input.image_url"
    assert parameter_name("ratio", submit, KIE.usual) == "input.image_size"
