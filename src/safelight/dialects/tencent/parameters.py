"""The parameters of Tencent MPS: every action's, with their types, as one table.

Types are strict and unknown names are refused, as the service does [doc]. The steps of image
processing stand in the same table with the names that our engines know them by, so that a fault
about `denoise.type` can be told as one about `ImageTask.EnhanceConfig.Denoise.Type`. Parameters
marked mainland are on the mainland site's pages alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from safelight.errors import InvalidValue, Malformed, Unsupported
from safelight.task import Operation
from safelight.wire import FLAG, INTEGER, NUMBER, TEXT, Sort, pairs

# ----------------------------------------------------------------------------------------- shapes

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_INDEX = re.compile(r"[0-9]{1,4}")


def snake(name: str) -> str:
    """`LongSide` as `long_side`."""
    return _WORD.sub("_", name).lower()


class Manner(NamedTuple):
    """How to read: `text` where values arrive as text, `strict` where unknown names are refused."""

    text: bool = False
    strict: bool = True


class Object:
    """An object with these members. Null is absent [client]."""

    def __init__(self, **members: Shape) -> None:
        self.members = members
        self.required: tuple[str, ...] = ()
        self.names = {snake(name): name for name in members}

    def needing(self, *names: str) -> Object:
        """This object, where these members may not be absent."""
        needy = Object(**self.members)
        needy.required = names
        return needy

    def read(self, value: Any, path: str, manner: Manner) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Malformed(path, "not an object", "type")
        read = {}
        for name, member in value.items():
            at = _at(path, str(name))
            shape = self.members.get(name)
            if shape is not None and member is not None:
                read[name] = read_shape(shape, member, at, manner)
            elif shape is None and manner.strict:
                raise Malformed(at, "not defined here", "unknown")
        for name in self.required:
            if name not in read and manner.strict:
                raise Malformed(_at(path, name), "required", "missing")
        return read

    def ours(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {snake(name): to_ours(self.members[name], member) for name, member in value.items()}

    def theirs(self, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        written = {}
        for ours, member in value.items():
            at = _at(path, ours)
            if ours not in self.names:
                raise Unsupported(f"{at}: Tencent has no such option", parameter=at)
            name = self.names[ours]
            written[name] = to_theirs(self.members[name], member, at)
        return written


class Items(NamedTuple):
    """A list of these."""

    of: Shape

    def read(self, value: Any, path: str, manner: Manner) -> list[Any]:
        if manner.text and isinstance(value, Mapping):
            value = _in_order(value, path)
        if not isinstance(value, list):
            raise Malformed(path, "not a list", "type")
        return [
            read_shape(self.of, item, f"{path}.{index}", manner) for index, item in enumerate(value)
        ]


Shape = Sort | Object | Items


def read_shape(shape: Shape, value: Any, path: str, manner: Manner) -> Any:
    """`value` in the wire's words, checked, and parsed where it came as text."""
    if not isinstance(shape, Sort):
        return shape.read(value, path, manner)
    if manner.text and shape.parse is not None and isinstance(value, str):
        value = shape.parse(value.strip(), path)
    return shape.read(value, path)


def to_ours(shape: Shape, value: Any) -> Any:
    """A value that was read, with the names in our spelling."""
    if isinstance(shape, Object):
        return shape.ours(value)
    if isinstance(shape, Items):
        return [to_ours(shape.of, item) for item in value]
    return value


def to_theirs(shape: Shape, value: Any, path: str) -> Any:
    """The reverse of `to_ours`. Raises `Unsupported` for a name that the wire does not know."""
    if isinstance(shape, Object) and isinstance(value, Mapping):
        return shape.theirs(value, path)
    if isinstance(shape, Items) and isinstance(value, list | tuple):
        return [to_theirs(shape.of, item, f"{path}.{index}") for index, item in enumerate(value)]
    return value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _in_order(value: Mapping[str, Any], path: str) -> list[Any]:
    """The list that `{"0": .., "1": ..}` says, which is how a query string says one."""
    if not all(_INDEX.fullmatch(name) for name in value):
        raise Malformed(path, "not a list", "type")
    return [value[name] for name in sorted(value, key=int)]


_DEEPEST = 12  # no parameter lies deeper than eight names


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"A.B.0.C": value}` as objects in objects; lists are objects with numbers for names."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".", _DEEPEST)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise Malformed(name, "both a value and an object", "type")
        if leaf in node:
            raise Malformed(name, "both a value and an object", "type")
        node[leaf] = value
    return tree


def _read_unsigned(value: Any, path: str) -> int:
    number: int = INTEGER.read(value, path)
    if number < 0:  # told as a wrong type by the service [client]
        raise Malformed(path, "a negative number", "type")
    return number


def _read_count(value: Any, path: str) -> int:
    # A text in the page's own example of DescribeTasks [doc].
    text = isinstance(value, str) and _INDEX.fullmatch(value)
    return _read_unsigned(int(value) if text else value, path)


UNSIGNED = Sort("unsigned integer", _read_unsigned, INTEGER.write, INTEGER.parse)
COUNT = UNSIGNED._replace(read=_read_count)
SWITCH = pairs(TEXT, ("ON", "ON"), ("OFF", "OFF"))

# -------------------------------------------------------------------------- where files come from

INPUT = Object(
    Type=TEXT,
    CosInputInfo=Object(Bucket=TEXT, Region=TEXT, Object=TEXT),
    UrlInputInfo=Object(Url=TEXT),
    S3InputInfo=Object(
        S3Bucket=TEXT, S3Region=TEXT, S3Object=TEXT, S3SecretId=TEXT, S3SecretKey=TEXT
    ),
    VODInputInfo=Object(
        Bucket=TEXT, Region=TEXT, Object=TEXT, SubAppId=UNSIGNED, VodBasic=INTEGER, FileId=TEXT
    ),
).needing("Type")
STORAGE = Object(
    Type=TEXT,
    CosOutputStorage=Object(Bucket=TEXT, Region=TEXT),
    S3OutputStorage=Object(S3Bucket=TEXT, S3Region=TEXT, S3SecretId=TEXT, S3SecretKey=TEXT),
    VODOutputStorage=Object(Bucket=TEXT, Region=TEXT, SubAppId=UNSIGNED, VodBasic=INTEGER),
).needing("Type")

# ----------------------------------------------------------------------- steps of image processing


class Step(NamedTuple):
    """An operation: our name, where its parameters lie in ImageTask, and what they are.

    With `switched` the wire has a Switch beside the options, which is ON unless it says OFF.
    """

    name: str
    path: str
    options: Object
    switched: bool = True


_BOX = Object(
    Type=TEXT,
    AreaCoordSet=Items(INTEGER),
    BoundingBox=Items(NUMBER),
    BoundingBoxUnitType=INTEGER,
)
_SIDES: dict[str, Shape] = {
    "Width": INTEGER,
    "Height": INTEGER,
    "LongSide": INTEGER,
    "ShortSide": INTEGER,
}

_STEPS = (
    Step("encode", "EncodeConfig", Object(Format=TEXT, Quality=INTEGER), False),
    Step("super_resolution", "EnhanceConfig.SuperResolution", Object(Type=TEXT, Size=INTEGER)),
    Step(
        "advanced_super_resolution",
        "EnhanceConfig.AdvancedSuperResolutionConfig",
        Object(Type=TEXT, Mode=TEXT, Percent=NUMBER, **_SIDES),
    ),
    Step("denoise", "EnhanceConfig.Denoise", Object(Type=TEXT)),
    Step("image_quality_enhance", "EnhanceConfig.ImageQualityEnhance", Object(Type=TEXT)),
    Step("color_enhance", "EnhanceConfig.ColorEnhance", Object(Type=TEXT)),
    Step("sharp_enhance", "EnhanceConfig.SharpEnhance", Object(Intensity=NUMBER)),
    Step("face_enhance", "EnhanceConfig.FaceEnhance", Object(Intensity=NUMBER)),
    Step("low_light_enhance", "EnhanceConfig.LowLightEnhance", Object(Type=TEXT)),
    Step(
        "image_erase_logo",
        "EraseConfig.ImageEraseLogo",
        Object(
            ImageAreaBoxes=Items(_BOX),
            EraseStrength=TEXT,
            WatermarkType=TEXT,
            DetectTypes=Items(TEXT),  # mainland
        ),
    ),
    Step(
        "ai_poster_suite",
        "AiPosterSuiteConfig",
        Object(
            Mode=TEXT,
            Definition=INTEGER,
            Recipe=Items(Object(Theme=TEXT, Num=INTEGER)),
            Language=TEXT,
            PanelRatio=TEXT,
            PanelResolution=TEXT,
            CustomVariables=Items(Object(Type=TEXT, Description=TEXT)),
            Model=TEXT,
        ),
        False,
    ),
    Step(
        "ai_cutout",
        "AiCutoutConfig",
        Object(
            Type=TEXT,
            PatternConfig=Object(
                TransparencyThreshold=INTEGER,
                OpaqueThreshold=INTEGER,
                EdgeSamplingStep=INTEGER,
                EdgeExpansionStep=INTEGER,
                EdgeBlendingIntensity=NUMBER,
            ),
            Model=TEXT,
        ),
    ),
    Step(
        "ai_expansion", "AiExpansionConfig", Object(AspectRatio=TEXT, Width=INTEGER, Height=INTEGER)
    ),
    Step("ai_storyboard", "AiStoryboardConfig", Object(ProcessIndex=INTEGER)),
    Step(
        "understand_image",
        "UnderstandImageConfig",
        Object(Model=TEXT, Prompt=TEXT, Parameters=TEXT).needing("Model", "Prompt"),
        False,
    ),
    Step(
        "image_quality",
        "ImageQualityConfig",
        Object(Attributes=Items(TEXT)).needing("Attributes"),
        False,
    ),
    Step(
        "ai_compose",
        "AiComposeConfig",
        Object(
            Model=TEXT,
            Canvas=Object(Width=INTEGER, Height=INTEGER, Background=TEXT),
            Layers=Items(
                Object(
                    ZIndex=INTEGER,
                    InputInfo=INPUT,
                    BoundingBox=Items(NUMBER),
                    BoundingBoxUnitType=INTEGER,
                )
            ),
        ),
    ),
    Step("ai_decompose", "AiDecomposeConfig", Object(Layers=INTEGER, Prompt=TEXT, Model=TEXT)),
    # mainland from here on
    Step(
        "image_resize",
        "TransformConfig.ImageResize",
        Object(Mode=TEXT, Percent=NUMBER, **_SIDES),
    ),
    Step(
        "add_blind_watermark",
        "BlindWatermarkConfig.AddBlindWatermark",
        Object(EmbedInfo=Object(EmbedText=TEXT)),
    ),
    Step("extract_blind_watermark", "BlindWatermarkConfig.ExtractBlindWatermark", Object()),
    Step("remove_blind_watermark", "BlindWatermarkConfig.RemoveBlindWatermark", Object()),
    Step(
        "beauty",
        "BeautyConfig",
        Object(
            BeautyEffectItems=Items(
                Object(
                    Type=TEXT,
                    Switch=SWITCH,
                    Value=INTEGER,
                    ResourcePath=TEXT,
                    ExtInfo=TEXT,
                ).needing("Type")
            ),
            BeautyFilterItems=Items(
                Object(Type=TEXT, Switch=SWITCH, Value=INTEGER).needing("Type")
            ),
            Type=TEXT,
        ),
        False,
    ),
    Step(
        "ai_try_on",
        "AiTryOnConfig",
        Object(Model=TEXT, Prompt=TEXT, Resolution=TEXT).needing("Model"),
        False,
    ),
    Step(
        "create_image",
        "CreateImageConfig",
        Object(
            Model=TEXT,
            Prompt=TEXT,
            Resolution=TEXT,
            AspectRatio=TEXT,
            AdditionalParameters=TEXT,
        ).needing("Model", "Prompt"),
        False,
    ),
)
STEPS: Mapping[str, Step] = {step.name: step for step in _STEPS}


def _image_task() -> Object:
    """The shape of ImageTask, which is the table of steps seen from above."""
    groups: dict[str, dict[str, Shape]] = {}
    for step in _STEPS:
        switch: dict[str, Shape] = {"Switch": SWITCH} if step.switched else {}
        shape = Object(**switch, **step.options.members).needing(*step.options.required)
        group, _, member = step.path.partition(".")
        groups.setdefault(group, {})[member] = shape
    return Object(
        **{
            group: members[""] if "" in members else Object(**members)
            for group, members in groups.items()
        }
    )


IMAGE_TASK = _image_task()


def read_operations(image_task: Mapping[str, Any]) -> tuple[Operation, ...]:
    """What an ImageTask that was read asks for. A step that is switched off is not asked for."""
    operations = []
    for step in _STEPS:
        group, _, member = step.path.partition(".")
        asked = image_task.get(group)
        if asked is not None and member:
            asked = asked.get(member)
        if asked is None or (step.switched and asked.get("Switch") == "OFF"):
            continue
        said = {name: value for name, value in asked.items() if name in step.options.members}
        operations.append(Operation(name=step.name, options=step.options.ours(said)))
    return tuple(operations)


def write_operations(operations: Iterable[Operation]) -> dict[str, Any]:
    """The ImageTask that asks for `operations`. Raises `Unsupported` for one that it cannot say."""
    task: dict[str, Any] = {}
    for operation in operations:
        step = STEPS.get(operation.name)
        if step is None:
            raise Unsupported(
                f"Tencent has no operation {operation.name!r}", parameter=operation.name
            )
        switch = {"Switch": "ON"} if step.switched else {}
        written = {**switch, **step.options.theirs(operation.options, step.name)}
        group, _, member = step.path.partition(".")
        holder, name = (task.setdefault(group, {}), member) if member else (task, group)
        if name in holder:
            raise Unsupported(f"{step.name}: Tencent does it once a task", parameter=step.name)
        holder[name] = written
    return task


def parameter_of_step(name: str) -> str | None:
    """`denoise.type` as `ImageTask.EnhanceConfig.Denoise.Type`; None where it is no step's."""
    head, _, rest = name.partition(".")
    step = STEPS.get(head)
    if step is None:
        return None
    words = ["ImageTask", step.path]
    shape: Shape = step.options
    for word in rest.split(".") if rest else ():
        if isinstance(shape, Object) and word in shape.names:
            words.append(shape.names[word])
            shape = shape.members[words[-1]]
        else:
            words.append(word)
            shape = shape.of if isinstance(shape, Items) else shape
    return ".".join(words)


# --------------------------------------------------------------------------------------- actions

_COS = Object(CosBucketName=TEXT, CosBucketRegion=TEXT, CosBucketPath=TEXT)
_TASK = Object(TaskId=TEXT).needing("TaskId")
_LIST = Object(
    Status=TEXT,
    Limit=COUNT,
    ScrollToken=TEXT,
    StartTime=TEXT,
    EndTime=TEXT,
    SubTaskHasFailed=FLAG,
).needing("Status")
_GENERATION: dict[str, Shape] = {
    "ModelName": TEXT,
    "ModelVersion": TEXT,
    "SceneType": TEXT,
    "Prompt": TEXT,
    "NegativePrompt": TEXT,
    "EnhancePrompt": FLAG,
    "AdditionalParameters": TEXT,
    "StoreCosParam": _COS,
    "Operator": TEXT,
}
_REFERENCE = Object(ImageUrl=TEXT, ReferenceType=TEXT).needing("ImageUrl")

ACTIONS: Mapping[str, Object] = {
    "DescribeImageTaskDetail": _TASK,
    "ProcessImage": Object(
        InputInfo=INPUT,
        OutputStorage=STORAGE,
        OutputDir=TEXT,
        OutputPath=TEXT,
        Definition=UNSIGNED,
        ResourceId=TEXT,
        ImageTask=IMAGE_TASK,
        StdExtInfo=TEXT,
        ScheduleId=UNSIGNED,  # mainland
        AddOnParameter=Object(  # mainland
            ImageSet=Items(Object(Type=TEXT, Image=INPUT)),
            OutputConfig=Object(
                AspectRatio=TEXT,
                ImageHeight=INTEGER,
                ImageWidth=INTEGER,
                ImageSize=TEXT,
                Format=TEXT,
                Quality=INTEGER,
            ),
            ExtPrompt=Items(Object(Prompt=TEXT, Role=TEXT)),
        ),
    ),
    "DescribeImageTasks": _LIST,
    "ManageTask": Object(OperationType=TEXT, TaskId=TEXT).needing("OperationType", "TaskId"),
    "CreateAigcImageTask": Object(
        ImageInfos=Items(_REFERENCE),
        OutputImageCount=INTEGER,
        ExtraParameters=Object(
            AspectRatio=TEXT, Resolution=TEXT, LogoAdd=INTEGER, OutputFormat=TEXT
        ),
        **_GENERATION,
    ),
    "DescribeAigcImageTask": _TASK,
    "CreateAigcVideoTask": Object(
        ImageUrl=TEXT,
        LastImageUrl=TEXT,
        ImageInfos=Items(_REFERENCE),
        VideoInfos=Items(
            Object(VideoUrl=TEXT, ReferType=TEXT, KeepOriginalSound=TEXT).needing("VideoUrl")
        ),
        AudioInfos=Items(Object(AudioUrl=TEXT).needing("AudioUrl")),
        SubjectInfos=Items(
            Object(
                Id=TEXT,
                Name=TEXT,
                VoiceId=TEXT,
                ImageUrls=Items(TEXT),
                VideoUrls=Items(TEXT),
            )
        ),
        Duration=INTEGER,
        ExtraParameters=Object(
            Resolution=TEXT,
            AspectRatio=TEXT,
            LogoAdd=INTEGER,
            EnableAudio=FLAG,
            OffPeak=FLAG,
            EnableBgm=FLAG,
        ),
        **_GENERATION,
    ),
    "DescribeAigcVideoTask": _TASK,
    "DescribeProcessImageTemplates": Object(
        Definitions=Items(UNSIGNED),
        Offset=UNSIGNED,
        Limit=UNSIGNED,
        Name=TEXT,
        OrderType=INTEGER,
        OrderBy=TEXT,
        Type=TEXT,
    ),
    "DescribeTaskDetail": _TASK,
    "DescribeTasks": _LIST,
    "DescribeAigcTaskStatus": _TASK,
    "DescribeAigcTaskList": Object(
        PageNum=INTEGER,
        PageSize=INTEGER,
        QueryTaskFilter=Object(
            TaskId=TEXT,
            TaskType=TEXT,
            TaskStatus=TEXT,
            Resolution=TEXT,
            Ratio=TEXT,
            ExecuteMode=TEXT,
            VideoType=TEXT,
            ModelTier=TEXT,
        ),
    ),
}

# The common parameters where they are ordinary ones: GET, and the older signature [doc].
COMMON = frozenset(
    {
        "Action",
        "Version",
        "Region",
        "Timestamp",
        "Nonce",
        "SecretId",
        "Signature",
        "SignatureMethod",
        "Token",
        "Language",
        "RequestClient",
    }
)


def read_action(op: str, values: Any, *, text: bool) -> dict[str, Any]:
    """The parameters of action `op`, checked. Raises `Malformed`."""
    return ACTIONS[op].read(values, "", Manner(text=text))


def read_echo(values: Any) -> tuple[Operation, ...]:
    """The operations that the ImageTask in an answer says; what cannot be read says none."""
    try:
        return read_operations(IMAGE_TASK.read(values, "ImageTask", Manner(strict=False)))
    except Malformed:
        return ()


def write_echo(operations: Iterable[Operation]) -> dict[str, Any]:
    """The ImageTask of a task that was asked for elsewhere; empty where the wire cannot say it."""
    try:
        return write_operations(operations)
    except Unsupported:
        return {}


def choose(path: str, word: str, words: tuple[str, ...]) -> None:
    """Raise `InvalidValue` where `word`, at `path`, is not one of `words`."""
    if word not in words:
        raise InvalidValue(f"{path}: not one of {', '.join(words)}", parameter=path)
