"""What Tencent alone can say and what changes the result: found by what is left over, and put back.

The rule for whoever edits this: nothing is listed here. Whatever an action takes, and what is
neither read into our words nor kept as a label, is a demand, so that a parameter that is added to
the table of actions cannot be dropped in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from safelight.dialects.tencent.parameters import Items, Object, Shape, unflatten
from safelight.errors import Unsupported
from safelight.wire import Sort

# What is documented, or meant, where nothing is said; `*` is the number of an item.
_DEFAULTS: Mapping[str, Any] = {
    "Definition": 0,
    "ScheduleId": 0,
    "StdExtInfo": "{}",
    "EnhancePrompt": False,  # [doc]
    "ExtraParameters.LogoAdd": 0,  # [doc]
    "ExtraParameters.EnableBgm": False,  # [doc]
    "ExtraParameters.OffPeak": False,
    "VideoInfos.*.ReferType": "base",  # "the default being a video for editing" [doc]
}
SECRETS = ("S3SecretId", "S3SecretKey")
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def read(values: Mapping[str, Any], heeded: Collection[str]) -> dict[str, Any]:
    """What `values` say beside what is `heeded`, by its full name; a default says nothing.

    Raises `Unsupported` for a key to somebody's storage, which is not ours to keep.
    """
    return dict(_leaves(values, "", "", heeded))


def _leaves(
    value: Any, name: str, starred: str, heeded: Collection[str]
) -> Iterator[tuple[str, Any]]:
    if starred in heeded or value in _NOTHING:
        return
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from _leaves(inner, _at(name, member), _at(starred, member), heeded)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{index}", f"{starred}.*", heeded)
    elif starred.endswith(SECRETS):
        raise Unsupported(f"{name}: keys to somebody's storage are not kept here", parameter=name)
    elif starred not in _DEFAULTS or value != _DEFAULTS[starred]:
        yield name, value


def _at(name: str, member: str) -> str:
    return f"{name}.{member}" if name else member


def known(name: str, action: Object, heeded: Collection[str]) -> bool:
    """Whether a demand of that name is one of `action`'s."""
    shape: Shape = action
    starred = ""
    for word in name.split("."):
        if isinstance(shape, Items) and word.isdecimal():
            shape, starred = shape.of, f"{starred}.*"
        elif isinstance(shape, Object) and word in shape.members:
            shape, starred = shape.members[word], _at(starred, word)
        else:
            return False
        if starred in heeded:
            return False
    return isinstance(shape, Sort)


def write(demands: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that say `demands`."""
    tree: dict[str, Any] = _listed(unflatten(demands))
    return tree


def _listed(value: Any) -> Any:
    """`value` with lists where objects have numbers for names."""
    if not isinstance(value, dict):
        return value
    if value and all(name.isdecimal() for name in value):
        return [_listed(value[name]) for name in sorted(value, key=int)]
    return {name: _listed(member) for name, member in value.items()}
