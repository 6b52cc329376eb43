"""What the models of the jobs wire make, take and need, as far as their names tell.

The wire has several names for nearly everything, and a field that a model does not know is ignored
without a word [live]: what a model goes by is said here and nowhere else, and read in both
directions. Rows add up, the later over the earlier. The marks of where facts come from are
those of `safelight.dialects.aigptimage.dialect`; a row without a mark is [K], the
tables of its models' pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from safelight.task import Kind, Operation, Role

# Fields of plain pictures: one list by many names, which relatives read for each other.
PLAIN = ("input_urls", "image_urls", "image_input", "image_url", "image")
SOURCES: Mapping[str, Role] = {
    "first_frame_url": Role.FIRST_FRAME,
    "first_frame_image_url": Role.FIRST_FRAME,
    "first_frame": Role.FIRST_FRAME,
    **dict.fromkeys(PLAIN, Role.IMAGE),
    "reference_image_urls": Role.IMAGE,
    "reference_image": Role.IMAGE,
    "last_frame_url": Role.LAST_FRAME,
    "last_frame_image_url": Role.LAST_FRAME,
    "end_image_url": Role.LAST_FRAME,
    "tail_image_url": Role.LAST_FRAME,
    "mask_url": Role.MASK,
    "video_url": Role.VIDEO,
    "video_urls": Role.VIDEO,
    "reference_video_urls": Role.VIDEO,
    "reference_video": Role.VIDEO,
    "audio_url": Role.AUDIO,
    "audio_urls": Role.AUDIO,
    "reference_audio_urls": Role.AUDIO,
}


class Model(NamedTuple):
    """What a model makes, takes and needs, and by which names.

    Of the fields that it takes, those with `[]` are lists.
    """

    kind: Kind | None = None  # None: what it is asked for tells
    foreign: bool = False  # it answers with neither a picture nor a film
    named: bool = False  # it does something that no engine does unless a rule names it
    operation: Operation | None = None  # what it does to its picture
    factor: str = ""  # the field that says how many times as long its sides become
    prompt: bool = True  # whether it needs one
    sourced: bool = False  # whether it works on sources
    takes: tuple[str, ...] = ()  # its fields of sources, the first to be filled first
    needs: tuple[str, ...] | None = None  # None: the first that it takes, where it is `sourced`
    demands: tuple[str, ...] = ()  # fields that mean another thing here than elsewhere
    nothing: Mapping[str, Any] = {}  # values that ask for nothing
    images: str = "image_urls[]"  # its pictures, where `takes` does not say
    pair: bool = False  # a first and a last frame are its first two pictures
    ratio: str = "aspect_ratio"
    ratio_words: str = ""  # which of `RATIO_WORDS`
    resolution: str = "resolution"
    lines: str = "p"  # as in 720p
    number: str = "num_images"
    duration: str = "duration"
    fps: str = "fps"
    audio: str = "generate_audio"
    quality: str = "quality"
    jpeg: str = "jpeg"
    texts: tuple[str, ...] = ()  # the fields whose numbers are said as text


class Usual(NamedTuple):
    """The models of a service that no row names, by what they make."""

    images: Model
    videos: Model


RATIO_WORDS: Mapping[str, Mapping[str, str]] = {
    "": {},
    "adaptive": {"auto": "adaptive"},
    "named": {
        "1:1": "square_hd",
        "3:4": "portrait_4_3",
        "9:16": "portrait_16_9",
        "4:3": "landscape_4_3",
        "16:9": "landscape_16_9",
    },
    "turned": {"9:16": "portrait", "16:9": "landscape"},
}

_IMAGE, _VIDEO = {"kind": Kind.IMAGE}, {"kind": Kind.VIDEO}
# What is done to a source by itself; the prompt says nothing, and is not needed.
_DOING = {"prompt": False, "sourced": True}
_REFERENCES = ("reference_image_urls[]", "reference_video_urls[]", "reference_audio_urls[]")

ROWS: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...] = tuple(
    (re.compile(pattern), row)
    for pattern, row in (
        # --- what a name means, whoever's it is; nobody documents it
        (r"gpt-image|flux-2|nano-banana|imagen|seedream|qwen|ideogram|z-image", _IMAGE),
        (r"^(?:grok-imagine|topaz/|recraft/)", _IMAGE),
        (
            r"video|(?:^|[^a-z])(?:seedance|kling|veo|sora|hailuo|happyhorse|runway|animate"
            r"|omnihuman|infinitalk|pixverse)",
            _VIDEO,
        ),
        (r"^minimax-h3/|^wan/(?!2-7-image(?:-pro)?$)|^grok-imagine/(?:extend|upscale)$", _VIDEO),
        (r"(?:image|video)-to-(?:image|video)|videoedit$", {"sourced": True}),
        (r"(?:^|[-_/])(?:i2i|i2v|edit|remix)(?:$|[-_/])", {"sourced": True}),
        (
            r"upscale",
            {
                **_DOING,
                "operation": Operation(name="super_resolution"),
                "factor": "upscale_factor",
            },
        ),
        (
            r"remove-background|background-remov|remove-bg",
            {**_DOING, "operation": Operation(name="ai_cutout")},
        ),
        (r"reframe|watermark|layer-decomposition", {**_DOING, "named": True}),
        (
            r"^elevenlabs/|(?:^|[-_/])tts(?:$|[-_/])|text-to-(?:speech|dialogue|sound|music|audio)"
            r"|speech-to-text|sound-effect|audio-isolation",
            {"foreign": True},
        ),
        (r"human-identification|subject-detection|segment-map", {"foreign": True}),
        # --- pictures
        (r"gpt-image|flux-2|wan/2-7-image(?:-pro)?$", {"takes": ("input_urls[]",)}),
        (r"nano-banana-(?:2|pro)", {"takes": ("image_input[]",), "jpeg": "jpg"}),
        (r"nano-banana-2-lite", {"takes": ("image_urls[]",)}),
        (r"nano-banana(?:-edit)?$", {"takes": ("image_urls[]",), "ratio": "image_size"}),
        (r"recraft/", {"takes": ("image",)}),
        # How many times "crisp" enlarges is not documented: twice, unless a rule says more.
        (
            r"recraft/crisp-upscale",
            {"factor": "", "operation": Operation(name="super_resolution", options={"type": "hq"})},
        ),
        (r"topaz/", {"takes": ("image_url",)}),
        (r"ideogram|qwen", {"takes": ("image_url",), "ratio": "image_size"}),
        (r"ideogram|qwen(?![23])|seedream-v4|bytedance/seedream$", {"ratio_words": "named"}),
        (r"seedream", {"takes": ("image_urls[]",), "number": "max_images"}),
        (r"seedream-v4", {"resolution": "image_resolution"}),
        (r"seedream-v4|bytedance/seedream$", {"ratio": "image_size"}),
        (
            r"layer-decomposition",
            {"takes": ("image_url",), "ratio": "size", "resolution": "size"},
        ),
        (r"qwen3/", {"takes": ("image_urls[]",)}),
        (
            r"ideogram/v3-edit",
            {"takes": ("image_url", "mask_url"), "needs": ("image_url", "mask_url")},
        ),
        (r"ideogram/character", {"takes": ("reference_image_urls[]",), "sourced": True}),
        (
            r"ideogram/character-edit",
            {
                "takes": ("image_url", "mask_url", "reference_image_urls[]"),
                "needs": ("image_url", "mask_url", "reference_image_urls"),
            },
        ),
        # Beside the picture and the character: pictures of a style, and masks of the characters.
        (
            r"ideogram/character-remix",
            {
                "takes": ("image_url", "reference_image_urls[]"),
                "needs": ("image_url", "reference_image_urls"),
                "demands": ("image_urls", "reference_mask_urls"),
            },
        ),
        (r"imagen4(?:-ultra)?$", {"texts": ("seed", "num_images")}),
        (r"wan/", {"number": "n"}),
        (r"grok-imagine/image-to-image", {"prompt": False}),
        (r"grok-imagine-image-2-0/image-edit", {"needs": ("task_id",)}),
        # --- films
        (r"grok-imagine/image-to-video", {"prompt": False, "needs": ()}),
        (r"grok-imagine-video", {"prompt": False}),
        (r"grok-imagine/(?:extend|upscale)$", {"needs": ("task_id",)}),
        (r"topaz/video|lip-sync", {"takes": ("video_url",)}),
        (r"hailuo|bytedance/v1|wan/2-[25]", {"takes": ("image_url", "end_image_url")}),
        (r"hailuo|minimax-h3", {"lines": "P"}),
        (r"kling", {"takes": ("image_url", "tail_image_url"), "audio": "sound"}),
        (r"kling/v2-1-(?:pro|standard)$", {"sourced": True}),
        (r"kling-2\.6|kling/v3|wan/2-6", {"takes": ("image_urls[]",)}),
        (r"wan/2-6[^/]{0,40}video-to-video", {"takes": ("video_urls[]",)}),
        (r"wan/2-6-flash", {"audio": "audio"}),
        (r"kling-3", {"takes": ("image_urls[]",), "pair": True}),
        (r"kling-3\.0-omni", {"audio": "audio"}),
        (
            r"kling-3\.0-omni/(?:transformation|(?:image|reference)-to-video)",
            {"takes": ("image_urls[]", "video_urls[]"), "prompt": False},
        ),
        # Of two its pages say nothing but that they are there.
        (r"kling-3\.0-omni/reference-to-video|pixverse-v6/extend", {"sourced": True}),
        (
            r"motion-control",
            {
                "takes": ("input_urls[]", "video_urls[]"),
                "needs": ("input_urls", "video_urls"),
                "prompt": False,
                "resolution": "mode",
                "pair": False,
            },
        ),
        (
            r"infinitalk|ai-avatar|omnihuman|speech-to-video",
            {"takes": ("image_url", "audio_url"), "needs": ("image_url", "audio_url")},
        ),
        # Its masks choose who of those in the picture speaks.
        (
            r"omnihuman",
            {
                "prompt": False,
                "demands": ("mask_url",),
                "resolution": "output_resolution",
                "lines": "",
            },
        ),
        (r"speech-to-video", {"fps": "frames_per_second"}),
        (r"lip-sync", {"takes": ("video_url", "audio_url"), "needs": ("video_url", "audio_url")}),
        (r"lip-sync", {"prompt": False}),
        (
            r"animate-(?:move|replace)",
            {
                "takes": ("image_url", "video_url"),
                "needs": ("image_url", "video_url"),
                "prompt": False,
            },
        ),
        (r"pixverse", {"resolution": "quality", "audio": "generate_audio_switch"}),
        (r"pixverse-v6/image-to-video", {"takes": ("image_urls[]",)}),
        (r"pixverse-v6/reference-to-video", {"needs": ("image_references",)}),
        (r"pixverse-v6/extend", {"takes": ("video_url",), "prompt": False}),
        (
            r"pixverse-v6/transition",
            {
                "takes": ("first_frame_image_url", "last_frame_image_url"),
                "needs": ("first_frame_image_url", "last_frame_image_url"),
            },
        ),
        (r"minimax-h3", {"ratio_words": "adaptive"}),
        (r"minimax-h3/image", {"takes": ("first_frame_url", "last_frame_url"), "needs": ()}),
        (r"minimax-h3/reference", {"takes": _REFERENCES}),
        (r"happyhorse[^/]{0,40}/image-to-video", {"takes": ("image_urls[]",), "prompt": False}),
        (
            r"happyhorse[^/]{0,40}/reference-to-video",
            {"takes": ("reference_image[]",), "needs": ("reference_image",)},
        ),
        (r"happyhorse/video-edit", {"takes": ("video_url", "reference_image[]")}),
        (
            r"sora",
            {
                "ratio_words": "turned",
                "duration": "n_frames",
                "quality": "size",
                "texts": ("n_frames",),
            },
        ),
        (r"seedance-1\.5", {"takes": ("input_urls[]",), "pair": True}),
        (r"seedance-2\.0", {"takes": ("image_urls[]", "last_frame_url")}),  # [A]
        (
            r"seedance-2(?!\.0)",
            {
                "takes": ("first_frame_url", "last_frame_url", *_REFERENCES),
                "prompt": False,
                "ratio_words": "adaptive",
            },
        ),
        (
            r"wan/2-7-image-to-video",
            {
                "takes": ("first_frame_url", "last_frame_url"),
                "needs": (),
                # A film to go on with, and a sound to move by: neither is a reference.
                "demands": ("first_clip_url", "driving_audio_url"),
            },
        ),
        (r"wan/2-7-text-to-video", {"takes": ("audio_url",), "ratio": "ratio"}),
        (
            r"wan/2-7-r2v",
            {
                "takes": ("first_frame", "reference_image[]", "reference_video[]"),
                "demands": ("reference_voice",),
            },
        ),
        (
            r"wan/2-7-videoedit",
            {
                "takes": ("video_url", "reference_image"),
                "prompt": False,
                "nothing": {"duration": 0},
            },
        ),
        # Numbers that are numbers, and not text as with most of its models.
        (r"wan/2-7|seedance-(?:2|1\.5)|happyhorse|minimax-h3|pixverse", {"texts": ()}),
        (r"kling-3\.0-omni/text|grok-imagine/text-to-video|grok-imagine-video", {"texts": ()}),
    )
)


def model_of(usual: Usual, name: str, kind: Kind | None = None) -> Model:
    """The model of that name. `kind` is what it makes where the name does not tell."""
    said = _said(name.lower())
    kind = said.get("kind") or kind or Kind.IMAGE
    model = (usual.videos if kind is Kind.VIDEO else usual.images)._replace(
        **{**said, "kind": kind}
    )
    if kind is Kind.VIDEO and model.operation is not None:  # what engines do, they do to pictures
        return model._replace(operation=None, named=True)
    return model


def kind_said(name: str) -> Kind | None:
    """What the model of that name makes; None where the name does not tell."""
    kind: Kind | None = _said(name.lower()).get("kind")
    return kind


@lru_cache(maxsize=1024)
def _said(name: str) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for pattern, row in ROWS:
        if pattern.search(name):
            said |= row
    return said
