"""Sends what callers are to be told: to each endpoint in turn, until it has arrived or is given up.

Endpoints are taken, and not deliveries: by a lease that other processes respect, and that ends by
itself where this one dies. What was sent and not written down is sent again, by the same id. The
rule for whoever edits it: a place that does not answer costs the others nothing but the few places
that it holds for as long as one try may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import structlog

from safelight.callbacks import DISABLED, PROGRESS
from safelight.errors import Fault
from safelight.secrets import WrongSecret
from safelight.server.metrics import Metrics
from safelight.server.posting import Post
from safelight.server.schedule import FAILING, Answer, Verdict, judge
from safelight.server.telling import Telling, write_event
from safelight.store import Store, StoreClosed, StoreUnavailable, hooks
from safelight.store.hooks import Due, Taken, Try
from safelight.store.scripts import DELIVERY

_log = structlog.get_logger("safelight.webhooks")

_MOST_SENT, _MOST_OF_ONE = 64, 16  # at once in this process, and of one caller
_MOST_TO_ONE = 4  # at once to one endpoint
_MOST_SERVED = 500  # endpoints that are seen to at once
_BATCH = 32  # deliveries that are sent before an endpoint is looked at anew
_CLOCK_SECONDS = 5.0  # between two looks at the clock
_LEASE = 30_000  # ms that an endpoint is this process's; it is renewed three times in that
_LONGEST_PAUSE, _AWAY_PAUSE, _ELSEWHERE_PAUSE = 60.0, 1.0, 2.0  # seconds between two looks
_LEAVE_SECONDS = 2.0  # for a database to hear that endpoints are left


class Sender:
    """Sends from this process. `clock` says the time that all share, in milliseconds."""

    def __init__(
        self,
        store: Store,
        telling: Telling,
        post: Post,
        metrics: Metrics,
        clock: Callable[[], Awaitable[int]] | None = None,
        spread: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311 - no secret
        lease: int = _LEASE,
    ) -> None:
        self._store = store
        self._telling = telling
        self._post = post
        self._metrics = metrics
        self._clock = clock or self._read_clock
        self._spread = spread
        self._lease = lease
        self._name = secrets.token_hex(8)
        self._woken = asyncio.Event()
        self._named: set[str] = set()  # endpoints of which something was heard since
        self._served: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_MOST_SENT)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._looking = self._stopping = False
        self._all = True  # whether to look for all that is due
        self._read = (0, -math.inf)  # a time, and when by the loop's clock it was read
        store.listen(DELIVERY, self._hear)
        store.on_return(self.look)

    async def _read_clock(self) -> int:
        now, (said, read) = asyncio.get_running_loop().time(), self._read
        if now - read > _CLOCK_SECONDS:
            said, read = self._read = await self._store.now() // 1000, now
        return said + int((now - read) * 1000)

    def _hear(self, endpoint: str) -> None:
        self._named.add(endpoint)
        self._woken.set()

    def look(self) -> None:
        """Look for all that is due, now."""
        self._all = True
        self._woken.set()

    @property
    def busy(self) -> bool:
        """Whether anything is being sent, or about to be looked for."""
        return bool(self._served or self._woken.is_set() or self._looking)

    async def run(self) -> None:
        """Send what is due, whenever it is, until cancelled."""
        renewing = asyncio.create_task(self._renew())
        try:
            while not self._stopping:
                self._looking = True
                pause = await self._see()
                self._looking = False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
                        pause = 0.0
                self._all = self._all or pause > 0
                self._woken.clear()
        finally:
            renewing.cancel()
            await self._end()

    async def stop(self, seconds: float) -> None:
        """Take nothing more, and wait so long for what is on its way, which others send else."""
        self._stopping = True
        self._woken.set()
        if self._served:
            await asyncio.wait(list(self._served.values()), timeout=seconds)
        await self._end()
        await self._post.close()

    async def _end(self) -> None:
        left = list(self._served.values())
        for serving in left:
            serving.cancel()
        if left:
            await asyncio.wait(left, timeout=_LEAVE_SECONDS)

    # ------------------------------------------------------------------------------- endpoints

    async def _see(self) -> float:
        """Take what is due; returns for how many seconds nothing else will be."""
        try:
            if self._all:
                return await self._see_all()
            return await self._see_named()
        except StoreUnavailable:
            self._all = True
            return _AWAY_PAUSE
        except Exception:
            _log.exception("webhooks_failed")
            self._all = True
            return _AWAY_PAUSE

    async def _see_all(self) -> float:
        self._all = False
        self._named.clear()
        now, pause = await self._clock(), _LONGEST_PAUSE
        for each in await self._store.read(hooks.waiting(_MOST_SERVED)):
            if each.id in self._served:
                continue
            if each.due > now:
                return min(pause, (each.due - now) / 1000)
            if not await self._take(each.id, now):
                pause = min(pause, _ELSEWHERE_PAUSE)
        return pause

    async def _see_named(self) -> float:
        """Those of which something was heard: there is no need to look for more than these.

        When the next one else is due was known at the last look, which is not long ago.
        """
        named, self._named = self._named, set()
        now = await self._clock()
        for id in named:
            if id not in self._served:  # else it is looked at when its turn is over
                await self._take(id, now)
        return _ELSEWHERE_PAUSE

    async def _take(self, id: str, now: int) -> bool:
        if len(self._served) >= _MOST_SERVED or self._stopping:
            return False
        taken = await self._store.write(hooks.take(id, self._name, now, now + self._lease))
        if taken is not None:
            self._served[id] = asyncio.create_task(self._serve(taken))
        return taken is not None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3000)
            with contextlib.suppress(StoreUnavailable):
                until = await self._clock() + self._lease
                for id, serving in list(self._served.items()):
                    if not await self._store.write(hooks.keep(id, self._name, until)):
                        serving.cancel()  # another has it by now

    async def _serve(self, taken: Taken) -> None:
        """Send what is due at an endpoint, as much as is sent at a time, unless it fails.

        After a failure one delivery goes first, to see whether it does yet.
        """
        try:
            now = await self._clock()
            due = deque(await self._store.read(hooks.due(taken.id, now, _BATCH)))
            if taken.failures and due:
                if not await self._send(taken, due.popleft()):
                    return
                taken = taken._replace(failures=0, failing_since=None)
            await self._send_all(taken, due)
        except (StoreUnavailable, StoreClosed) as problem:
            _log.warning("webhooks_wait", endpoint=taken.id, problem=str(problem))
        except Exception:
            _log.exception("webhook_failed", endpoint=taken.id)
        finally:
            await self._leave(taken.id)

    async def _leave(self, id: str) -> None:
        with contextlib.suppress(StoreUnavailable, StoreClosed):
            await self._store.write(hooks.leave(id, self._name))
        self._served.pop(id, None)
        # What was added at the end of its turn, and when it is to be tried again.
        self.look()

    # -------------------------------------------------------------------------------- deliveries

    async def _send_all(self, taken: Taken, due: deque[Due]) -> None:
        """Send deliveries, some at once; once one has failed the rest is left."""
        failed = False

        async def send() -> None:
            nonlocal failed
            while due and not failed and not self._stopping:
                try:
                    failed = not await self._send(taken, due.popleft()) or failed
                except BaseException:
                    failed = True
                    raise

        sending = [asyncio.create_task(send()) for _ in range(min(_MOST_TO_ONE, len(due)))]
        try:
            for each in sending:
                await each
        finally:
            for each in sending:
                each.cancel()
            if sending:
                await asyncio.wait(sending)

    async def _send(self, taken: Taken, due: Due) -> bool:
        """One try; False where it says that the endpoint is not to be sent to just now."""
        if due.type == PROGRESS and due.over:
            await self._store.write(hooks.drop(due.id))
            return True
        share = self._shares.setdefault(taken.owner, asyncio.Semaphore(_MOST_OF_ONE))
        async with share, self._places:
            now = await self._clock()
            answer = await self._try(taken, due, now)
        return await self._note(taken, due, answer, now)

    async def _try(self, taken: Taken, due: Due, now: int) -> Answer:
        try:
            letter = self._telling.write(taken, due, now)
        except (WrongSecret, Fault) as problem:
            return Answer(None, f"not written: {problem}", None, None, 0)
        return await self._post.send(taken.owner, letter)

    async def _note(self, taken: Taken, due: Due, answer: Answer, at: int) -> bool:
        now = await self._clock()
        verdict = judge(due, answer, taken.failures, now, self._spread())
        if due.type == PROGRESS and verdict.state == "pending":
            verdict = verdict._replace(state="failed")  # the next one is newer
        tried = Try(
            delivery=due.id,
            number=due.tries + 1,
            step=verdict.step,
            at=at,
            millis=answer.millis,
            status=answer.status,
            problem=answer.problem,
            answer=answer.text,
            state=verdict.state,
            next=verdict.next,
        )
        result = "again" if verdict.state == "pending" else verdict.state
        self._metrics.webhook(result, answer.millis / 1000)
        if answer.good:
            await self._store.write(hooks.note_success(tried, taken.id, taken.failures))
            return True
        if verdict.state == "failed" and due.type != PROGRESS:
            _log.warning("webhook_exhausted", delivery=due.id, endpoint=taken.id, tries=due.tries)
        return await self._note_failure(taken, tried, verdict, now)

    async def _note_failure(self, taken: Taken, tried: Try, verdict: Verdict, now: int) -> bool:
        if verdict.gone:
            await self._store.write(hooks.note(tried))
            if taken.origin is None:
                await self._disable(taken, "it answered 410 Gone", now)
                return False
            return True  # that one address is gone, and no others there
        failing = await self._store.write(
            hooks.note_failure(tried, taken.id, taken.failures + 1, verdict.held, now)
        )
        since = failing if failing is not None else taken.failing_since
        if since is not None and since <= now - FAILING:
            days = FAILING // 86_400_000
            await self._disable(taken, f"nothing arrived there for {days} days", now)
        return False

    async def _disable(self, taken: Taken, reason: str, now: int) -> None:
        """Send no more to an endpoint; its owner is told at the others."""
        if taken.origin is not None:
            await self._store.write(hooks.give_up(taken.id, now))
            return
        said = {"id": taken.id, "url": taken.url, "reason": reason}
        told = DISABLED, write_event(DISABLED, now, said).decode()
        stamp = f"{taken.id}-{now}"
        given_up = await self._store.write(hooks.disable(taken.id, reason, now, told, stamp))
        if given_up is not None:
            self._metrics.endpoint_off()
            _log.warning("endpoint_off", endpoint=taken.id, reason=reason, given_up=given_up)
