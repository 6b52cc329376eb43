"""What Tencent calls the things that go wrong: the errors of calls, and the failures of tasks.

An error has a code in two parts (`InvalidParameterValue.Format`) and a text. Clients act on the
code; the texts are as the service words them where that is publicly known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from safelight.dialects.chinese import in_chinese
from safelight.errors import (
    BadRequest,
    Conflict,
    Fault,
    InsufficientCredits,
    Internal,
    InvalidType,
    InvalidValue,
    Malformed,
    MissingParameter,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
    UnknownParameter,
    Unreachable,
    Unsupported,
    Upstream,
)
from safelight.task import Failure, FailureCode, Status, Task
from safelight.wire import Reading, Response, fault_of_status, read_retry_after

# ------------------------------------------------------------------------------- errors, writing

_CODES: Mapping[type[Fault], str] = {
    MissingParameter: "MissingParameter",
    InvalidType: "InvalidParameter",
    InvalidValue: "InvalidParameterValue",
    UnknownParameter: "UnknownParameter",
    Unsupported: "UnsupportedOperation",
    BadRequest: "InvalidParameter",
    InsufficientCredits: "FailedOperation.UserArrears",
    NotFound: "ResourceNotFound",
    Conflict: "FailedOperation",
    TooLarge: "RequestSizeLimitExceeded",
    UnknownModel: "InvalidParameter.ModelNotSupported",
    RateLimited: "RequestLimitExceeded",
    Unavailable: "ServiceUnavailable",
    Unreachable: "ServiceUnavailable",
    Fault: "InternalError",
}
_REASONS = {
    "missing": "MissingParameter",
    "malformed": "AuthFailure.InvalidAuthorization",
    "unknown": "AuthFailure.SecretIdNotFound",
    "expired": "AuthFailure.SignatureExpire",
    "signature": "AuthFailure.SignatureFailure",
}
_UNKNOWN = {
    "route": "InvalidAction",
    "action": "InvalidAction",
    "version": "NoSuchVersion",
    "protocol": "UnsupportedProtocol",
}
# The parameters whose wrong values have a code of their own [doc], by the last part of the name.
_VALUES = {
    name: f"InvalidParameterValue.{name}"
    for name in ("Definition", "Format", "Quality", "Width", "Height", "Limit", "InputInfo")
} | {"OperationType": "InvalidParameterValue.InvalidOperationType"}
_NOT_PROCESSING = "InvalidParameterValue.NotProcessingTask"
_NO_TEMPLATE = "ResourceNotFound.TemplateNotExist"

# What is said to a code, in English and in Chinese; without a line here, what the fault says.
_ENGLISH = {
    "MissingParameter": "The request is missing a required parameter `{name}`.",
    "type": "The value type of parameter `{name}` is not valid",
    "UnknownParameter": "The parameter `{name}` is not recognized.",
    "InvalidParameterValue": "The value of parameter `{name}` is not valid: {detail}",
    "UnsupportedOperation": "The parameter `{name}` asks for what cannot be done here: {detail}",
    "AuthFailure.SecretIdNotFound": (
        "The SecretId is not found, please ensure that your SecretId is correct."
    ),
    "AuthFailure.SignatureFailure": (
        "The provided credentials could not be validated. Please check your signature is correct."
    ),
    "InvalidAction": (
        "The request action=`{name}` is invalid or not found in service=`mps` and "
        "version=`2019-06-12`."
    ),
    "NoSuchVersion": "The specified api version=`{name}` does not exist in service=`mps`.",
    "UnsupportedProtocol": "The method `{name}` is not supported: use GET or POST.",
    "RequestLimitExceeded": (
        "Your current request times equals to `{used}` in {window}, which exceeds the frequency "
        "limit `{limit}` for {window}. Please reduce the frequency of calls."
    ),
}
_CHINESE = {
    "MissingParameter": "请求缺少必需的参数 `{name}`。",
    "type": "参数 `{name}` 的类型不正确。",
    "UnknownParameter": "参数 `{name}` 未定义。",
    "InvalidParameterValue": "参数 `{name}` 的取值不正确：{detail}",
    "UnsupportedOperation": "此处不支持参数 `{name}` 的要求：{detail}",
    "AuthFailure.InvalidAuthorization": "Authorization 请求头的格式不正确。",
    "AuthFailure.SecretIdNotFound": "找不到该 SecretId，请检查 SecretId 是否正确。",
    "AuthFailure.SignatureExpire": "签名已过期，请检查本地时间是否准确。",
    "AuthFailure.SignatureFailure": "签名校验失败，请检查签名是否正确。",
    "FailedOperation.UserArrears": "余额不足。",
    "InternalError": "服务内部错误：{detail}",
    "InvalidAction": "接口 `{name}` 不存在（service=`mps`，version=`2019-06-12`）。",
    "NoSuchVersion": "接口版本 `{name}` 不存在（service=`mps`）。",
    "UnsupportedProtocol": "不支持请求方法 `{name}`，请使用 GET 或 POST。",
    "RequestLimitExceeded": (
        "{window}内的请求次数为 `{used}`，超过了频率限制 `{limit}`，请降低调用频率。"
    ),
    "RequestSizeLimitExceeded": "请求体过大。",
    "ResourceNotFound": "任务不存在。",
    "ServiceUnavailable": "服务暂时不可用，请稍后再试。",
}
_NEEDED = ("name", "limit")  # a text is not told without these, where it has a place for them
_NAMED = 200  # characters of a name that is told back: callers may send any


def write(op: str | None, fault: Fault, name: str | None, *, chinese: bool) -> dict[str, str]:
    """The error that tells `fault`; `name` is the wire's name for the fault's parameter."""
    code = _code(op, fault, name)
    return {"Code": code, "Message": _message(code, fault, name, chinese=chinese)}


def _code(op: str | None, fault: Fault, name: str | None) -> str:
    match fault:
        case Unauthenticated(reason=reason):
            return _REASONS[reason]
        case UnknownOperation(what=what):
            return _UNKNOWN[what]
        case Conflict() if op == "ManageTask":
            return _NOT_PROCESSING
        case NotFound() if name == "Definition":
            return _NO_TEMPLATE
        case InvalidValue():
            last = (name or "").rpartition(".")[2]
            return _VALUES.get(last, "InvalidParameterValue")
    return next(_CODES[kind] for kind in type(fault).__mro__ if kind in _CODES)


def _message(code: str, fault: Fault, name: str | None, *, chinese: bool) -> str:
    tell = in_chinese if chinese else str
    words: dict[str, Any] = {
        "name": (_name(fault) or name or "")[:_NAMED],
        "detail": tell(fault.message.removeprefix(f"{fault.parameter}: ")),
    }
    if isinstance(fault, RateLimited):
        words |= _rate(fault, chinese=chinese)
    text = (_CHINESE if chinese else _ENGLISH).get(_key(code, fault))
    if text is None or any(f"{{{word}}}" in text and not words.get(word) for word in _NEEDED):
        return tell(fault.message)
    return text.format(**words)


def _key(code: str, fault: Fault) -> str:
    """Which text belongs to the code: wrong values share one, and a wrong type has its own."""
    if isinstance(fault, InvalidValue):
        return "InvalidParameterValue"
    return "type" if isinstance(fault, InvalidType) else code


def _name(fault: Fault) -> str:
    return fault.name if isinstance(fault, UnknownOperation) else ""


def _rate(fault: RateLimited, *, chinese: bool) -> dict[str, Any]:
    one, many = ("一秒", "{} 秒") if chinese else ("a second", "{} seconds")
    window = one if fault.window == 1 else many.format(fault.window)
    return {"limit": fault.limit, "used": fault.used, "window": window}


# ------------------------------------------------------------------------------- errors, reading

_FAULTS: Mapping[str, type[Fault]] = {
    "MissingParameter": MissingParameter,
    "InvalidParameter": BadRequest,
    "InvalidParameter.ModelNotSupported": UnknownModel,
    "InvalidParameterValue": InvalidValue,
    "InvalidParameterValue.TaskId": NotFound,  # the service's words: the id was not found [doc]
    _NOT_PROCESSING: Conflict,
    _NO_TEMPLATE: InvalidValue,  # no task is missing
    "UnknownParameter": UnknownParameter,
    "UnsupportedOperation": Unsupported,
    "UnsupportedRegion": InvalidValue,
    "UnauthorizedOperation": Unauthenticated,
    "AuthFailure": Unauthenticated,
    "IpInBlacklist": Unauthenticated,
    "IpNotInWhitelist": Unauthenticated,
    "FailedOperation": Conflict,
    "FailedOperation.InvalidMpsUser": Unauthenticated,
    "FailedOperation.UserArrears": InsufficientCredits,
    "FailedOperation.CreateAIGCTaskFailed": Unavailable,
    "FailedOperation.QueryAIGCTaskFailed": Unavailable,
    "ResourceNotFound": NotFound,
    "ResourceInUse": Conflict,
    "ResourceInsufficient": Unavailable,
    "ResourceUnavailable": Unavailable,
    "RequestSizeLimitExceeded": TooLarge,
    "RequestLimitExceeded": RateLimited,
    "LimitExceeded": RateLimited,
    "InternalError": Internal,
    "ServiceUnavailable": Unavailable,
    "InvalidAction": UnknownOperation,
    "ActionOffline": UnknownOperation,
    "NoSuchProduct": UnknownOperation,
    "NoSuchVersion": UnknownOperation,
    "UnsupportedProtocol": UnknownOperation,
}
_READ_REASONS: Mapping[str, Any] = {code: reason for reason, code in _REASONS.items()}
_READ_UNKNOWN: Mapping[str, Any] = {code: what for what, code in _UNKNOWN.items()}
# Without these a request is not signed at all.
_SIGNING = frozenset({"Authorization", "SecretId", "Signature", "Timestamp", "Nonce"})
_PARAMETER = re.compile(r"parameter `([^`]{1,200})`")


def open_answer(response: Response) -> Reading:
    """The `Response` in a good answer. Raises the `Fault` that a bad one tells."""
    try:
        answer = Reading(response.json()).object("Response")
        error = answer.object("Error")
        code, message = error.text("Code", ""), error.text("Message", "")
    except Malformed:
        if response.status >= 400:
            raise fault_of_status(response.status, "", response) from None
        raise
    if code:
        raise read(code, message, response)
    if response.status != 200:
        raise fault_of_status(response.status, message, response)
    if not answer.values:
        raise Upstream("Tencent's answer has no Response")
    return answer


def read(code: str, message: str, response: Response) -> Fault:
    """The fault that an error tells. Of a code that we do not know its first part decides."""
    kind = _FAULTS.get(code) or _FAULTS.get(code.partition(".")[0], BadRequest)
    text = message or code
    found = _PARAMETER.search(message)
    name = found[1] if found else None
    if kind is MissingParameter and name in _SIGNING:
        return Unauthenticated(text, reason="missing", parameter=name)
    if kind is BadRequest and "value type of parameter" in message:
        return InvalidType(text, parameter=name)
    if kind is Unauthenticated:
        return Unauthenticated(text, reason=_READ_REASONS.get(code, "unknown"))
    if kind is UnknownOperation:
        return UnknownOperation(text, what=_READ_UNKNOWN.get(code, "action"))
    if kind is RateLimited:
        return RateLimited(text, retry_after=read_retry_after(response))
    if kind is Unavailable:
        return Unavailable(text, retry_after=read_retry_after(response))
    return kind(text, parameter=name) if issubclass(kind, BadRequest) else kind(text)


# ----------------------------------------------------------------------------- failures of tasks

# ErrMsg is no message but a code in words, ErrCode a number; both are told [doc].
_INPUT, _SERVICE = 40000, 70000  # the numbers that are publicly known
FAILURES: Mapping[FailureCode, tuple[str, int]] = {
    FailureCode.INVALID_INPUT: ("InvalidInput", _INPUT),
    FailureCode.SOURCE_UNAVAILABLE: ("SourceFileError", _INPUT),
    FailureCode.CONTENT_POLICY: ("InvalidParameter.ViolationContent", _INPUT),
    FailureCode.INSUFFICIENT_CREDITS: ("FailedOperation.UserArrears", _SERVICE),
    FailureCode.RATE_LIMITED: ("RequestLimitExceeded", _SERVICE),
    FailureCode.PROVIDER_ERROR: ("FailedOperation", _SERVICE),
    FailureCode.TIMEOUT: ("InternalError.Timeout", _SERVICE),
    FailureCode.SUBMISSION_UNKNOWN: ("InternalError.SubmissionUnknown", _SERVICE),
    FailureCode.WORKER_DIED: ("InternalError.WorkerDied", _SERVICE),
    FailureCode.OUT_OF_MEMORY: ("InternalError.OutOfMemory", _SERVICE),
    FailureCode.CANCELED: ("FailedOperation.TaskAborted", _INPUT),
    FailureCode.INTERNAL: ("InternalError", _SERVICE),
}
_FAILURE_CODES = {word: code for code, (word, _) in FAILURES.items()} | {
    "InvalidParameter": FailureCode.INVALID_INPUT,
    "InvalidParameterValue": FailureCode.INVALID_INPUT,
}
_ABORTED = Failure(code=FailureCode.CANCELED, message="The task was canceled")
_FAILED = Failure(code=FailureCode.INTERNAL, message="The task failed")


def write_failure(task: Task) -> tuple[str, int, str]:
    """ErrMsg, ErrCode and Message: empty, zero and empty unless the task ended without success."""
    if task.status is Status.CANCELED:
        failure = _ABORTED
    elif task.status is Status.FAILED:
        failure = task.failure or _FAILED
    else:
        return "", 0, ""
    word, number = FAILURES[failure.code]
    return word, number, failure.message


def read_failure(word: str, number: int, message: str) -> Failure:
    """The failure that ErrMsg, ErrCode and Message tell."""
    code = _FAILURE_CODES.get(word) or _FAILURE_CODES.get(word.partition(".")[0])
    if code is None:
        wrong_input = number // 10000 == _INPUT // 10000
        code = FailureCode.INVALID_INPUT if wrong_input else FailureCode.PROVIDER_ERROR
    told = word or (str(number) if number else None)
    return Failure(code=code, message=message or told or _FAILED.message, provider_code=told)
