"""The attacker: how he sends more than he holds, hears what he is told, and keeps to a pace.

He is a process that sticks to one core and gives way to everybody else on it, so that it is not
for want of a processor that others wait. What he sends is made while it is sent, out of a piece
that is sent again and again. Whatever a server does to his connections is an answer like another,
and he waits for none of them longer than a minute.
"""

from __future__ import annotations

import itertools
import os
import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from safelight.wire import Key

_PIECE = 2**18
_ANSWER_SECONDS = 60.0
_STUBBORN_SECONDS = 1.0  # for which he goes on to send what has been answered
_DRIP_SECONDS = 0.5
_HOLD_SECONDS = 10.0
_NICENESS = 10
_TURN_SECONDS = 0.05
_SHOWN = 4096  # bytes of an answer that are looked at


class Target(NamedTuple):
    """A server on this machine, and the attacker's own key there."""

    port: int
    key: Key


class Outcome(NamedTuple):
    """How often what was answered, and what that took the attacker."""

    answers: Mapping[str, int]
    cpu_seconds: float
    seconds: float


# One go of an attack: the target, the number of the go, and until when he may hold on to it.
Strike = Callable[[Target, int, float], str]


class Attack(NamedTuple):
    """An attack: so many do it at once, and begin it so often in a second, all together."""

    name: str
    sentence: str
    strike: Strike
    callers: int = 2
    per_second: float = 10.0


# ----------------------------------------------------------------------------- sending, hearing


class Body(NamedTuple):
    """A body that is too large to hold: `unit` again and again between two ends."""

    start: bytes
    unit: bytes = b""
    times: int = 0
    end: bytes = b""

    @classmethod
    def filled(cls, start: bytes, unit: bytes, size: int, end: bytes = b"") -> Body:
        """About `size` bytes."""
        return cls(start, unit, max(1, (size - len(start) - len(end)) // len(unit)), end)

    @property
    def size(self) -> int:
        return len(self.start) + len(self.unit) * self.times + len(self.end)

    def pieces(self) -> Iterator[bytes]:
        yield self.start
        count = max(1, _PIECE // max(1, len(self.unit)))
        piece = self.unit * count
        for _ in range(self.times // count):
            yield piece
        yield self.unit * (self.times % count)
        yield self.end


def in_chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


class Heard(NamedTuple):
    """What became of a request, in a word, and the beginning of what was answered."""

    word: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


_REFUSED = re.compile(rb'"Error":\{|"code":(?!0\b|1000\b|200\b)')


def exchange(port: int, head: bytes, pieces: Iterable[bytes] = ()) -> Heard:
    """Send all that the server takes, and hear what it answers, whenever that is."""
    try:
        with socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS) as connection:
            heard = _send_all(connection, itertools.chain((head,), pieces))
            return heard or _hear(connection)
    except OSError as problem:
        return Heard(_word_of(problem))


def _word_of(problem: OSError) -> str:
    if isinstance(problem, ConnectionRefusedError):
        return "no connection"
    return "no answer" if isinstance(problem, TimeoutError) else "broken off"


def _send_all(connection: socket.socket, pieces: Iterable[bytes]) -> Heard | None:
    """Send, for a moment also what has been answered already; that answer, if there was one."""
    heard = None
    until = time.monotonic() + _ANSWER_SECONDS
    for piece in pieces:
        left = memoryview(piece)
        while left:
            awaited = [] if heard else [connection]
            answered, _, _ = ready = select.select(
                awaited, [connection], [], max(0.0, until - time.monotonic())
            )
            if time.monotonic() > until or not any(ready):
                return heard
            if answered:
                heard = _hear(connection)
                until = time.monotonic() + _STUBBORN_SECONDS
                continue
            try:
                left = left[connection.send(left) :]
            except OSError:  # the server does not want it; it may have said why
                return heard
    return heard


def _hear(connection: socket.socket) -> Heard:
    """The answer, all of which is read and the beginning of which is kept."""
    data, size, whole = b"", 0, None
    while whole is None or size < whole:
        try:
            piece = connection.recv(_PIECE)
        except OSError as problem:
            return _read(data) or Heard(_word_of(problem))
        if not piece:
            break
        size += len(piece)
        data += piece[: max(0, _SHOWN - len(data))]
        if whole is None and (end := data.find(b"\r\n\r\n")) >= 0:
            whole = end + 4 + _length_of(data[:end])
    return _read(data) or Heard("broken off")


def _length_of(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return int(found[1]) if found else 0


def _read(data: bytes) -> Heard | None:
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"HTTP/1."):
        return None
    status = int(head[9:12])
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    # Some wires say 200 whatever they say.
    refused = status == 200 and _REFUSED.search(body) is not None
    word = "200, refused" if refused else str(status)
    return Heard(word, status, tuple((name.lower(), value) for name, _, value in lines), body)


def break_off(target: Target, start: Body) -> str:
    """Send the start of a request, and reset the connection."""
    try:
        with socket.create_connection(("127.0.0.1", target.port), _ANSWER_SECONDS) as connection:
            heard = _send_all(connection, start.pieces())
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    except OSError as problem:
        return _word_of(problem)
    return heard.word if heard else "broken off by him"


def drip(target: Target, start: Body, until: float, drop: bytes) -> str:
    """Hold a connection with a request that does not end, for as long as the server lets us."""
    until = min(until, time.monotonic() + _HOLD_SECONDS)
    try:
        with socket.create_connection(("127.0.0.1", target.port), _ANSWER_SECONDS) as connection:
            heard = _send_all(connection, start.pieces())
            while heard is None:
                if time.monotonic() > until:
                    return "held to the end"
                if select.select([connection], [], [], _DRIP_SECONDS)[0]:
                    heard = _hear(connection)
                else:
                    connection.sendall(drop)
            return heard.word
    except OSError as problem:
        return _word_of(problem)


# -------------------------------------------------------------------------------------- his pace


def settle() -> None:
    """Make this process the attacker: on one core, and after everybody else there."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(_NICENESS)


def carry_out(attack: Attack, target: Target, seconds: float) -> Outcome:
    """Attack for so long, and hear what is still to be answered then."""
    began, used = time.monotonic(), time.process_time()
    numbers = itertools.count()
    with ThreadPoolExecutor(attack.callers) as pool:
        work = [
            pool.submit(_strike_until, attack, target, numbers, began, began + seconds)
            for _ in range(attack.callers)
        ]
        answers = sum((one.result() for one in work), Counter[str]())
    return Outcome(answers, time.process_time() - used, time.monotonic() - began)


def _strike_until(
    attack: Attack, target: Target, numbers: Iterator[int], began: float, until: float
) -> Counter[str]:
    answers: Counter[str] = Counter()
    for number in numbers:
        due = began + number / attack.per_second
        if max(due, time.monotonic()) >= until:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        answers[attack.strike(target, number, until)] += 1
    return answers


def stay_busy(share: float, seconds: float) -> None:
    """Use that share of a core for so long, and harm nobody."""
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        while time.monotonic() - began < share * _TURN_SECONDS:
            pass
        time.sleep(max(0.0, began + _TURN_SECONDS - time.monotonic()))
