"""What is wrong with a request, in Chinese, for the wires that speak it.

Faults are said in English, here and in all that lies below. What is usual among them stands in one
table of pairs; what is not is left as it was said, for a sentence in another language says more
than none. The rule that binds whoever edits it: a pattern is tried over what strangers send, so it
is held at both ends and each of its holes has a length.
"""

from __future__ import annotations

import re

# What may stand in a hole: a number, a word, a text.
_HOLES = {"{n}": r"(-?[0-9][0-9.e+x]{0,30})", "{w}": r"(\S{1,80})", "{t}": r"(.{1,600})"}
_HOLE = re.compile(r"(\{[nwt]\})")
_LONGEST = 2000  # characters: what is longer is no sentence of ours

# A parameter before a sentence; dots and numbers lead into objects and lists.
_NAMED = re.compile(r"\A([A-Za-z_*][\w.*-]{0,199}): (.{1,2000})\Z", re.DOTALL)

_PAIRS = (
    # what readers say
    ("required", "必填"),
    ("required, for the model works on a source", "必填，该模型需要输入文件"),
    ("is needed", "必填"),
    ("must not be empty", "不能为空"),
    ("not a string", "不是字符串"),
    ("not an integer", "不是整数"),
    ("not a number", "不是数字"),
    ("not a boolean", "不是布尔值"),
    ("not a list of strings", "不是字符串列表"),
    ("not a list", "不是列表"),
    ("not an object", "不是对象"),
    ("not a time", "不是有效的时间"),
    ("not valid JSON", "不是有效的 JSON"),
    ("not a JSON object", "不是 JSON 对象"),
    ("not UTF-8 text", "不是 UTF-8 文本"),
    ("not base64", "不是 base64"),
    ("not 24 hexadecimal digits", "不是 24 位十六进制数字"),
    ("not defined here", "未定义"),
    ("out of range", "超出取值范围"),
    ("a negative number", "不能为负数"),
    ("both a value and an object", "不能既是值又是对象"),
    ("an empty file", "文件为空"),
    ("there is no such option", "没有这个选项"),
    ("given twice", "重复"),
    ("must be {n} to {n}", "必须为 {} 到 {}"),
    ("must be at least {n} and at most {n}", "必须为 {} 到 {}"),
    ("must be {n} or more", "不能小于 {}"),
    ("must be more than {n}", "必须大于 {}"),
    ("must be more than {n} seconds", "必须大于 {} 秒"),
    ("must be -1 (any) or more", "必须为 -1（任意）或不小于 0"),
    ("must be {n} to {n} characters long", "长度必须为 {} 到 {} 个字符"),
    ("must end in {t}", "必须以 {} 结尾"),
    ("longer than {n} characters", "长度超过 {} 个字符"),
    ("more than {n} ids", "超过 {} 个 ID"),
    ("not one of {t}", "不是以下取值之一：{}"),
    ("there is no placeholder {t}", "没有占位符 {}"),
    ("{t} is no size", "{} 不是有效的尺寸"),
    ("{t} is no ratio", "{} 不是有效的宽高比"),
    ("{t} is no ratio as 16:9", "{} 不是 16:9 这样的宽高比"),
    ("{t} is no resolution", "{} 不是有效的分辨率"),
    ("{t} is no format", "{} 不是有效的格式"),
    ("{t} is not known", "无法识别 {}"),
    # bodies
    ("the body is not valid JSON", "请求体不是有效的 JSON"),
    ("the body is not a JSON object", "请求体不是 JSON 对象"),
    ("the body is nested deeper than {n} levels", "请求体的嵌套超过 {} 层"),
    ("the body has more than {n} values", "请求体的值超过 {} 个"),
    ("the body is not multipart/form-data", "请求体不是 multipart/form-data"),
    ("the multipart form names no boundary", "multipart 表单没有 boundary"),
    ("the multipart form is broken: {t}", "multipart 表单格式错误：{}"),
    ("the form is not UTF-8 text", "表单不是 UTF-8 文本"),
    ("the form has more than {n} parts", "表单的字段超过 {} 个"),
    ("the form is longer than {n} bytes", "表单超过 {} 字节"),
    ("a part of the form has no name", "表单中有字段没有名称"),
    ("a field of the form is longer than {n} bytes", "表单中有字段超过 {} 字节"),
    ("the query string has more than {n} parts", "查询字符串的参数超过 {} 个"),
    ("The query string is longer than {n} characters", "查询字符串超过 {} 个字符"),
    ("The body is larger than {n} bytes", "请求体超过 {} 字节"),
    ("The body broke off", "请求体不完整"),
    # sources
    ("not a picture of a known format ({t})", "不是已知格式的图片（{}）"),
    ("the picture is too large", "图片过大"),
    ("{n} is more than {n} pixels", "{} 超过 {} 像素"),
    ("its header was not read within {n} seconds", "未能在 {} 秒内读取文件头"),
    ("larger than {n} bytes", "超过 {} 字节"),
    ("more than {n} sources", "输入文件超过 {} 个"),
    ("more than one {w}", "{} 超过一个"),
    ("not an address", "不是有效的地址"),
    ("not an http or https address", "不是 http 或 https 地址"),
    ("{t} is not a public http(s) URL", "{} 不是公开的 http(s) 地址"),
    (
        "neither an http(s) address nor a data URI in base64",
        "既不是 http(s) 地址，也不是 base64 的 data URI",
    ),
    ("the address leads to a private network", "该地址指向内部网络"),
    ("an address must not carry a password", "地址中不能带有密码"),
    ("files of {w} cannot be fetched here; give a URL", "此处无法获取 {} 的文件，请使用 URL"),
    ("a task is asked with at most {n} bytes", "任务的参数最多 {} 字节"),
    # models and engines
    ("model is not supported: {t}", "不支持的模型：{}"),
    ("this server cannot do that", "本服务不支持"),
    ("this engine cannot do that", "该引擎不支持"),
    ("this engine has no such operation", "该引擎没有这项处理"),
    ("this model cannot be told so", "该模型不支持"),
    ("{t} cannot say {w}", "{} 不支持 {}"),
    ("{w} takes no sources", "{} 不接受输入文件"),
    (
        "{w} takes one picture, which is no last frame, and nothing else",
        "{} 只接受一张图片，且不能是尾帧",
    ),
    (
        "{w} takes two pictures, the first frame and the last, and nothing else",
        "{} 只接受首帧和尾帧两张图片",
    ),
    ("{w} takes one picture, the last frame, and nothing else", "{} 只接受一张尾帧图片"),
    (
        "{w} takes two pictures or more, none of them a last frame, and nothing else",
        "{} 只接受两张或更多图片，且不能有尾帧",
    ),
    (
        "{w} takes pictures, videos or sounds, and no last frame",
        "{} 接受图片、视频或音频，且不能有尾帧",
    ),
    ("{w} takes a video, and no last frame", "{} 需要视频，且不能有尾帧"),
    ("{n} is not from {n} to {n}", "{} 不在 {} 到 {} 之间"),
    ("{n} is not a number from {n} to {n}", "{} 不是 {} 到 {} 之间的数字"),
    ("{n} is not a whole number from {n} to {n}", "{} 不是 {} 到 {} 之间的整数"),
    ("{n} is not more than {n} and at most {n} seconds", "{} 不在 {} 到 {} 秒之间"),
    ("{n} is larger than {n} pixels", "{} 超过 {} 像素"),
    ("{n} has a side that is not from {n} to {n}", "{} 的边长不在 {} 到 {} 之间"),
    ("{n} is odd, and a film's sides are even", "{} 是奇数，而视频的边长必须是偶数"),
    ("{n} are too many; at most {n} are taken", "{} 个过多，最多 {} 个"),
    ("'{w}' is not one of {t}", "“{}”不是以下取值之一：{}"),
    ("'{w}' is none of {t}", "“{}”不是以下取值之一：{}"),
    ("a word is expected", "应为文本"),
    ("a number is expected", "应为数字"),
    ("a list is expected", "应为列表"),
    ("an object is expected", "应为对象"),
    ("four numbers are expected", "应为四个数字"),
    ("four numbers are needed", "应为四个数字"),
    ("from {n} to {n} areas are expected", "应为 {} 到 {} 个区域"),
    ("a share is at most 1", "比例不能超过 1"),
    ("nothing can be done with a {w} here", "此处不支持 {}"),
    ("sketch takes pictures only", "只支持图片"),
    ("a mask needs a picture", "蒙版需要图片"),
    ("a mask needs a picture to edit", "蒙版需要待编辑的图片"),
    ("a {w} needs a picture too", "{} 还需要图片"),
    ("it makes no {w}", "不能生成 {}"),
    ("sketch draws, it does not process", "该引擎不处理图片"),
    ("diffusion makes pictures and films, it does not process them", "该引擎不处理图片和视频"),
    (
        "so many frames of that size are too much; ask for fewer, or smaller ones",
        "该尺寸的帧数过多，请减少帧数或缩小尺寸",
    ),
    ("{t} has no parameter for {w}", "{} 没有 {} 对应的参数"),
    ("{t} has no such option", "{} 没有这个选项"),
    ("A picture to process is missing.", "缺少待处理的图片。"),
    ("A prompt is missing.", "缺少提示词。"),
    ("This engine processes pictures, not films.", "该引擎处理图片，不处理视频。"),
    ("This engine makes one picture of one.", "该引擎由一张图片生成一张图片。"),
    ("This engine takes one picture at a time.", "该引擎一次只处理一张图片。"),
    # templates
    ("there are no templates here", "此处没有模板"),
    ("there is no template {n}", "没有编号为 {} 的模板"),
    ("keys to somebody's storage are not kept here", "此处不保存他人存储的密钥"),
    ("says another {w} than {w}", "{} 与 {} 不一致"),
    ("there is no such source", "没有对应的输入文件"),
    # tasks
    ("There is no such task.", "任务不存在。"),
    ("the task is at its end: {w}", "任务已结束：{}"),
    (
        "the idempotency key was used before, with another request",
        "该幂等键已用于另一个请求",
    ),
    ("The server is stopping", "服务正在停止"),
    (
        "The server is stopping; the task {w} goes on: ask for it",
        "服务正在停止，任务 {} 仍在进行，请查询",
    ),
    ("The task {w} still runs; wait for it again by its id.", "任务 {} 仍在进行，请用其 ID 查询。"),
    ("The task was canceled", "任务已取消"),
    (
        "The server's database or files do not answer just now; please try again",
        "服务的数据库或文件暂时无法访问，请稍后再试",
    ),
    (
        "Too many pictures are being looked at just now; please try again",
        "正在检查的图片过多，请稍后再试",
    ),
    (
        "so many tasks with such long texts are not told together; ask for fewer",
        "任务过多且内容过长，请减少数量",
    ),
    # what a fault says that says no more
    ("The request cannot be understood.", "无法理解该请求。"),
    ("A required parameter is missing.", "缺少必需的参数。"),
    ("A parameter is of the wrong type.", "参数类型不正确。"),
    ("A parameter's value is not valid.", "参数取值不正确。"),
    ("The operation does not define this parameter.", "该接口未定义这个参数。"),
    ("This cannot be done here.", "此处不支持。"),
    ("The key is missing or not valid.", "密钥缺失或无效。"),
    ("The credits do not suffice.", "余额不足。"),
    ("There is no such operation.", "没有这个接口。"),
    ("The state of the task forbids this.", "任务当前的状态不允许该操作。"),
    ("The request is too large.", "请求过大。"),
    ("There is no such model.", "没有这个模型。"),
    ("Too many requests.", "请求过于频繁。"),
    ("The server made a mistake.", "服务内部错误。"),
    ("The server cannot do this just now.", "服务暂时不可用。"),
)


def _compile(english: str) -> re.Pattern[str]:
    parts = (_HOLES.get(part) or re.escape(part) for part in _HOLE.split(english))
    return re.compile(rf"\A{''.join(parts)}\Z", re.DOTALL)


_TABLE = tuple((_compile(english), chinese) for english, chinese in _PAIRS)


def in_chinese(text: str) -> str:
    """What is wrong, in Chinese: `text` is a sentence, or a parameter's name with one after it.

    A sentence that is not in the table is left as it is, its name too.
    """
    if len(text) > _LONGEST:
        return text
    named = _NAMED.search(text)
    if named is not None and (said := _look_up(named[2])) is not None:
        return f"{named[1]}：{said}"
    return _look_up(text) or text


def _look_up(sentence: str) -> str | None:
    for english, chinese in _TABLE:
        if found := english.search(sentence):
            return chinese.format(*found.groups())
    return None
