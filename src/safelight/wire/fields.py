"""Tables of pairs: our names and the wire's, our statuses and the wire's words."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from safelight.task import Status, Task
from safelight.wire.reading import Reading
from safelight.wire.sorts import TEXT, Sort


class Field(NamedTuple):
    """One line of a table: our name (a path of attributes), the wire's, and the sort of value."""

    ours: str
    theirs: str
    sort: Sort = TEXT


class Fields:
    """A table of fields that is read in both directions. None, on our side, is absent on theirs."""

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self._writers = [(attrgetter(f.ours), f.theirs, f.sort.write) for f in fields]

    @property
    def names(self) -> frozenset[str]:
        """The wire's names."""
        return frozenset(f.theirs for f in self.fields)

    def write(self, record: Any) -> dict[str, Any]:
        """What the wire says of `record`; values that are None are left out."""
        written = {}
        for get, theirs, write in self._writers:
            value = get(record)
            if value is not None:
                written[theirs] = write(value)
        return written

    def read(self, reading: Reading) -> dict[str, Any]:
        """Our values by our names; what is absent is left out. Raises `Malformed`."""
        values = {}
        for ours, theirs, sort in self.fields:
            value = reading.value(theirs, sort, None)
            if value is not None:
                values[ours] = value
        return values

    def read_echo(self, reading: Reading) -> dict[str, Any]:
        """As `read`, but that what cannot be read is left out too."""
        values = {ours: reading.echo(theirs, sort) for ours, theirs, sort in self.fields}
        return {ours: value for ours, value in values.items() if value is not None}


class States:
    """Our statuses and a wire's words for them; total, or it cannot be built.

    Several of our statuses may share one word: it is read back as the first that was given with
    it. A word that we do not know reads as still running and never as an end, because only an
    end that was said is one.
    """

    def __init__(self, *words: tuple[Status, Any]) -> None:
        self._words = dict(words)
        missing = frozenset(Status) - frozenset(self._words)
        if missing:
            raise ValueError(f"no word for {', '.join(sorted(missing))}")
        self._statuses: dict[Any, Status] = {}
        for status, word in words:
            self._statuses.setdefault(word, status)
        for word in self._statuses:
            sharing = {ours for ours, theirs in words if theirs == word}
            if Status.SUCCEEDED in sharing and sharing != {Status.SUCCEEDED}:
                raise ValueError(f"{word!r} would read as success and mean {sorted(sharing)}")

    def write(self, status: Status) -> Any:
        """The wire's word for `status`."""
        return self._words[status]

    def read(self, word: Any) -> Status:
        """The status that `word` means; RUNNING where it is a word that we do not know."""
        return self._statuses[word] if self.knows(word) else Status.RUNNING

    def knows(self, word: Any) -> bool:
        """Whether `word` is one of this wire's."""
        try:
            return word in self._statuses and not isinstance(word, bool)  # true is not the word 1
        except TypeError:  # not even a word: a list, an object
            return False


def build_task(values: Mapping[str, Any], **more: Any) -> Task:
    """A task out of our values by our names; `submit.` begins the names of what was asked."""
    own, asked = dict(more), {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head == "submit" and rest:
            asked[rest] = value
        else:
            own[name] = value
    if asked:
        own["submit"] = msgspec.structs.replace(own["submit"], **asked)
    return Task(**own)
