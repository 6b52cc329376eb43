"""A server of jobs, whosever it is: from asking to the result, and how many end a second."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks import ground, load
from safelight.wire import Request

_END_SECONDS = 120.0
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 0.005
_FIRST = 10
_CONNECTIONS = 32


class Subject(NamedTuple):
    """How a server is asked for a job, and how what it answers is read."""

    port: int
    submit: Request
    look: Callable[[str], Request]  # at the job of that id
    id_of: Callable[[bytes], str]
    ended: Callable[[bytes], bool]  # successfully; raises for a job that failed

    def alone(self, count: int, within: float = _END_SECONDS) -> float:
        """The median milliseconds from asking for a job until its result is told.

        Of `count` jobs, or of at least ten where they would take longer than `within` seconds.
        """
        seconds: list[float] = []
        until = time.monotonic() + within
        with _connected(self.port) as connection:
            for number in range(count + _FIRST):
                if len(seconds) >= _FIRST and time.monotonic() > until:
                    break
                began = time.perf_counter()
                id = self.id_of(_ask(connection, self.submit))
                self._wait(connection, id, 0)
                if number >= _FIRST:  # the first few are slower
                    seconds.append(time.perf_counter() - began)
        return statistics.median(seconds) * 1000

    def together(self, count: int) -> tuple[float, list[str]]:
        """Jobs a second, all asked for over 32 connections, and their ids."""
        began = time.perf_counter()
        accepted = load.run(
            self.port, [ground.raw(self.submit)], connections=_CONNECTIONS, count=count, keep=True
        )
        if accepted.refused:
            raise RuntimeError(f"{accepted.refused} jobs were not accepted")
        # Where ids are in the order of acceptance, the newest is the last to end. Otherwise the
        # time counts until the last one that had to be waited for: some milliseconds too little.
        ids = sorted(map(self.id_of, accepted.bodies), key=lambda id: (len(id), id))
        ended = time.perf_counter()
        with _connected(self.port) as connection:
            for id in reversed(ids):
                if self._wait(connection, id, _LOOK_SECONDS):
                    ended = time.perf_counter()
        return count / (ended - began), ids

    def looks(self, ids: list[str], count: int) -> float:
        """Looks at ended jobs a second, over 32 connections."""
        wire = [ground.raw(self.look(id)) for id in ids]
        load.run(self.port, wire, connections=_CONNECTIONS, count=count // 10)  # warm
        result = load.run(self.port, wire, connections=_CONNECTIONS, count=count)
        if result.refused:
            raise RuntimeError(f"{result.refused} looks were refused")
        return result.rate

    def _wait(self, connection: http.client.HTTPConnection, id: str, pause: float) -> bool:
        """Wait until a job has ended; whether there was anything to wait for."""
        until = time.monotonic() + _END_SECONDS
        waited = False
        asked = self.look(id)
        while not self.ended(_ask(connection, asked)):
            waited = True
            if time.monotonic() > until:
                raise RuntimeError(f"the job {id} does not end")
            time.sleep(pause)
        return waited


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, asked: Request) -> bytes:
    connection.request(asked.method, asked.target, asked.body or None, dict(asked.headers))
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{asked.method} {asked.target}: {answer.status} {body[:500]!r}")
    return body
