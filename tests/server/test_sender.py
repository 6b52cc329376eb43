"""Sending webhooks: a real receiver, scripted by path, and outsiders who verify what came."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from doubles import NOW, OpenStores, task, until
from receiver import Letter, Receiver, bad_certificate, drip, hang, receiving, reset, status
from safelight.callbacks import Callbacks
from safelight.links import Links
from safelight.outgoing import Outgoing
from safelight.secrets import Vault
from safelight.server.metrics import Metrics
from safelight.server.posting import Post
from safelight.server.schedule import FAILING
from safelight.server.sender import Sender
from safelight.server.telling import Telling
from safelight.store import Store, hooks, scripts
from safelight.store.hooks import DeliveryRow, EndpointRow, TryRow
from safelight.task import Artifact, Callback, Task, new_id

DAY = 86_400_000
ARTIFACT = Artifact(blob="tasks/x/1-0.png", media_type="image/png", size=9)


def describe(told: Task) -> Any:
    return {"id": told.id, "status": told.status.value, "revision": told.revision} | {
        "outputs": [artifact.url for artifact in told.artifacts]
    }


@dataclass
class Hooks:
    """A store, what sends from it, and a clock that is moved by hand, or is the real one."""

    store: Store
    vault: Vault
    sender: Sender
    metrics: Metrics
    callbacks: Callbacks
    now: int | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    numbers: int = 0

    async def clock(self) -> int:
        return int(time.time() * 1000) if self.now is None else self.now

    async def endpoint(self, url: str, events: str = "task.ended", owner: str = "alice") -> str:
        id, secret = self.callbacks.new_id(), self.callbacks.new_secret()
        self.secrets[id] = secret
        sealed, now = self.vault.encrypt(secret), await self.clock()
        await self.store.write(hooks.add_endpoint(id, owner, url, events, "", sealed, now))
        return id

    async def end(self, owner: str = "alice", callback: Callback | None = None) -> str:
        """Have a task ended, which is to be told."""
        self.numbers += 1
        now = await self.clock()
        each = task(new_id(NOW, self.numbers.to_bytes(6, "big")), owner=owner)
        also = None
        if callback is not None:
            row, made = self.callbacks.row(callback), self.callbacks.new_id()
            also = hooks.add_callback(each.id, owner, row, made, now)
        await self.store.write(scripts.add(each, "", also=also))
        claimed = await self.store.write(scripts.claim(each.id, "w", now))
        assert claimed is not None
        await self.store.write(scripts.succeed(each.id, claimed.attempt, (ARTIFACT,), now))
        return each.id

    async def deliveries(self, owner: str = "alice") -> tuple[DeliveryRow, ...]:
        listed = hooks.list_deliveries(owner, None, None, None, None, 1000)
        return (await self.store.read(listed))[::-1]

    async def tries(self, delivery: str) -> tuple[TryRow, ...]:
        return await self.store.read(hooks.tries(delivery))

    async def row(self, id: str, owner: str = "alice") -> EndpointRow:
        found = await self.store.read(hooks.get_endpoint(id, owner))
        assert found is not None
        return found

    async def settled(self, tries: int, owner: str = "alice") -> tuple[DeliveryRow, ...]:
        """Wait until so many tries have been written down, in all."""
        async with asyncio.timeout(20):
            while True:
                found = await self.deliveries(owner)
                if sum(each.tries for each in found) >= tries and not self.sender.busy:
                    return found
                await asyncio.sleep(0.01)


Open = Callable[..., Any]


@pytest.fixture
async def open_hooks(open_stores: OpenStores) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_one(
            *, private: bool = True, now: int | None = None, seconds: float = 15, **more: Any
        ) -> Hooks:
            store, vault, metrics = await open_stores(), Vault(b"secret of tests"), Metrics()
            telling = Telling(vault, Links(vault), {}, "https://us.example", describe)
            outgoing = more.get("outgoing") or Outgoing(private)

            async def clock() -> int:
                return await made.clock()

            sender = Sender(store, telling, Post(outgoing, seconds), metrics, clock, lambda: 1.0)
            made = Hooks(store, vault, sender, metrics, Callbacks(outgoing, vault), now)
            running = asyncio.create_task(sender.run())

            async def stop() -> None:
                await sender.stop(5)
                await running

            stack.push_async_callback(stop)
            return made

        yield open_one


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def verify(letter: Letter, secret: str) -> Any:
    """What a letter says, for whom two outsiders vouch."""
    said = standardwebhooks.Webhook(secret).verify(letter.body, letter.headers)
    svix.webhooks.Webhook(secret).verify(letter.body, letter.headers)
    return said


# ------------------------------------------------------------------------------------ what arrives


async def test_an_end_arrives_signed_and_with_links(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks()
    endpoint = await made.endpoint(receiver.url("/hook?x=1"))
    id = await made.end()
    (letter,) = await receiver.until(1)

    said = verify(letter, made.secrets[endpoint])
    assert said["type"] == "task.succeeded"
    assert said["data"]["id"] == id
    assert said["data"]["outputs"][0].startswith("https://us.example/files/")
    assert letter.path == "/hook?x=1"
    assert letter.id == f"msg_{id}_3_{endpoint}" and "." not in letter.id
    assert letter.headers["content-type"] == "application/json"
    assert letter.headers["user-agent"].startswith("safelight/")
    assert letter.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert not {"authorization", "cookie"} & letter.headers.keys()
    (told,) = await made.settled(1)
    assert (told.state, told.tries) == ("delivered", 1)
    (tried,) = await made.tries(told.id)
    assert (tried.status, tried.answer, tried.problem) == (200, "ok", None)


async def test_a_changed_letter_is_refused(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks()
    endpoint = await made.endpoint(receiver.url())
    await made.end()
    (letter,) = await receiver.until(1)
    letter.body = letter.body.replace(b"succeeded", b"failed")

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(letter, made.secrets[endpoint])


async def test_a_task_is_told_at_its_own_address(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks()
    secret = made.callbacks.new_secret()
    await made.end(callback=Callback(url=receiver.url("/own"), secret=secret))
    await made.end(callback=Callback(url=receiver.url("/none")))
    await receiver.until(2)

    verify(receiver.at("/own")[0], secret)
    verify(receiver.at("/none")[0], made.vault.webhook_secret("alice"))
    assert made.vault.webhook_secret("alice") != made.vault.webhook_secret("bob")


async def test_both_secrets_sign_while_they_overlap_and_then_one(
    open_hooks: Open, receiver: Receiver
) -> None:
    # Verifiers look at the real clock.
    began = int(time.time() * 1000)
    made: Hooks = await open_hooks(now=began)
    endpoint = await made.endpoint(receiver.url())
    old, new = made.secrets[endpoint], made.callbacks.new_secret()
    sealed = made.vault.encrypt(new)
    await made.store.write(hooks.rotate_endpoint(endpoint, "alice", sealed, began + 5000))
    await made.end()
    await receiver.until(1)
    await made.settled(1)
    made.now = began + 5001
    await made.end()
    first, second = await receiver.until(2)

    verify(first, old)
    verify(first, new)
    verify(second, new)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify(second, old)


async def test_progress_that_is_overtaken_by_the_end_is_not_told(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks()
    await made.endpoint(receiver.url(), "task.progress task.ended")
    receiver.answers["/"] = [status(500), status(200)]
    each = task()
    await made.store.write(scripts.add(each, ""))
    claimed = await made.store.write(scripts.claim(each.id, "w", NOW))
    assert claimed is not None
    await made.store.write(scripts.progress(each.id, claimed.attempt, 40, NOW))
    (letter,) = await receiver.until(1)
    assert letter.said["data"] == {
        "id": each.id,
        "status": "running",
        "progress": 40,
        "revision": 3,
    }
    await made.settled(1)
    assert (await made.deliveries())[0].state == "failed"


# --------------------------------------------------------------------------------- what goes wrong


async def tick(made: Hooks, tries: int, owner: str = "alice") -> None:
    """Move the clock to when the next try is due, and wait until so many are written down."""
    waiting = await made.store.read(hooks.waiting(10))
    assert made.now is not None
    made.now = max(made.now, min(each.due for each in waiting))
    made.sender.look()
    await made.settled(tries, owner)


async def test_the_schedule_of_three_days(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks(now=NOW)
    endpoint = await made.endpoint(receiver.url())
    receiver.answers["/"] = [status(500, body=b"broken")]
    await made.end()
    await made.settled(1)
    for number in range(2, 11):
        await tick(made, number)

    (told,) = await made.deliveries()
    assert (told.state, told.tries) == ("failed", 10)
    times = [row.at - NOW for row in await made.tries(told.id)]
    pauses = [(after - before) // 1000 for before, after in pairwise(times)]
    assert pauses == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert {letter.id for letter in receiver.letters} == {told.id}
    assert len({letter.body for letter in receiver.letters}) == 1
    assert len({letter.headers["webhook-timestamp"] for letter in receiver.letters}) == 10
    assert (await made.row(endpoint)).failures == 10


async def test_what_fails_three_times_arrives(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks(now=NOW)
    endpoint = await made.endpoint(receiver.url())
    receiver.answers["/"] = [*(status(code) for code in (500, 404, 502)), status(204, body=b"")]
    await made.end()
    await made.settled(1)
    for number in (2, 3, 4):
        await tick(made, number)

    (told,) = await made.deliveries()
    assert (told.state, told.tries) == ("delivered", 4)
    assert [row.status for row in await made.tries(told.id)] == [500, 404, 502, 204]
    row = await made.row(endpoint)
    assert (row.failures, row.failing_since, row.held) == (0, None, 0)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(301, "Location: http://127.0.0.1:1/inside"), (301, None)),
        (hang, (None, "not answered within 0.5 seconds")),
        (drip, (None, "not answered within 0.5 seconds")),
        (reset, (None, "RemoteProtocolError: Server disconnected")),
        (status(503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), (503, None)),
        (status(200, "Content-Length: 1"), (None, "RemoteProtocolError")),
    ],
    ids=["redirect", "hang", "drip", "reset", "date", "nonsense"],
)
async def test_what_is_no_success_is_a_failure(
    open_hooks: Open, receiver: Receiver, answer: Any, said: tuple[int | None, str | None]
) -> None:
    made: Hooks = await open_hooks(now=NOW, seconds=0.5)
    endpoint = await made.endpoint(receiver.url())
    receiver.answers["/"] = [answer]
    await made.end()
    (told,) = await made.settled(1)

    assert (told.state, told.next) == ("pending", NOW + 5000)
    (tried,) = await made.tries(told.id)
    assert tried.status == said[0]
    assert (tried.problem is None) == (said[1] is None)
    assert (tried.problem or "").startswith(said[1] or "")
    assert len(receiver.letters) == 1
    assert (await made.row(endpoint)).failures == 1


async def test_a_long_answer_is_cut(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks()
    await made.endpoint(receiver.url())
    receiver.answers["/"] = [status(200, body=b"\xff\0x" * 350_000)]
    await made.end()
    (told,) = await made.settled(1)

    assert told.state == "delivered"
    (tried,) = await made.tries(told.id)
    assert len(tried.answer or "") == 4096 and "\0" not in (tried.answer or "")


async def test_an_answer_whose_rest_does_not_come_is_one(
    open_hooks: Open, receiver: Receiver
) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        await hang(writer)

    made: Hooks = await open_hooks()
    await made.endpoint(receiver.url())
    receiver.answers["/"] = [stall]
    await made.end()
    (told,) = await made.settled(1)

    assert told.state == "delivered"
    assert (await made.tries(told.id))[0].answer == "begun"


async def test_a_certificate_that_nobody_signed_is_refused(
    open_hooks: Open, tmp_path: Path
) -> None:
    made: Hooks = await open_hooks(now=NOW)
    async with receiving(bad_certificate(tmp_path)) as bad:
        await made.endpoint(bad.url(host="localhost"))
        await made.end()
        (told,) = await made.settled(1)

    assert told.state == "pending" and bad.letters == []
    assert "certificate" in str((await made.tries(told.id))[0].problem)


async def test_who_is_gone_is_told_nothing_more_and_the_others_hear_of_it(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks()
    gone = await made.endpoint(receiver.url("/gone"))
    other = await made.endpoint(receiver.url("/other"), "task.failed")
    receiver.answers["/gone"] = [status(410)]
    await made.end()
    (letter,) = await receiver.until(1, "/other")
    await made.end()
    await made.settled(2)

    assert len(receiver.at("/gone")) == 1
    row = await made.row(gone)
    assert (row.state, row.reason) == ("off", "it answered 410 Gone")
    said = verify(letter, made.secrets[other])
    assert said["type"] == "endpoint.disabled"
    assert said["data"] == {"id": gone, "url": row.url, "reason": row.reason}


async def test_a_task_whose_own_address_is_gone_is_alone_in_that(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks()
    receiver.answers["/gone"] = [status(410)]
    await made.end(callback=Callback(url=receiver.url("/gone")))
    await receiver.until(1)
    await made.end(callback=Callback(url=receiver.url("/here")))
    first, second = await made.settled(2)

    assert (first.state, second.state) == ("failed", "delivered")
    assert first.endpoint == second.endpoint


@pytest.mark.parametrize(("asked", "waits"), [("120", 120), ("0", 1), ("-5", 1), ("1e9", 86_400)])
async def test_who_asks_for_a_pause_gets_it_for_all(
    open_hooks: Open, receiver: Receiver, asked: str, waits: int
) -> None:
    made: Hooks = await open_hooks(now=NOW)
    endpoint = await made.endpoint(receiver.url())
    receiver.answers["/"] = [status(429, f"Retry-After: {asked}"), status(200)]
    await made.end()
    await made.settled(1)
    await made.end()
    row = await made.row(endpoint)
    assert row.held == NOW + waits * 1000
    made.now = row.held - 1
    made.sender.look()
    assert len(await made.settled(1)) == 2 and len(receiver.letters) == 1
    made.now = row.held
    made.sender.look()
    told = await made.settled(3)

    assert [each.state for each in told] == ["delivered", "delivered"]


async def test_a_place_that_is_dead_costs_one_try_a_pause(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks(now=NOW)
    await made.endpoint(receiver.url())
    receiver.answers["/"] = [status(500)]
    for _ in range(30):
        await made.end()
    await made.settled(1)
    begun = len(receiver.letters)
    assert begun <= 4
    for number in (1, 2, 3):
        await tick(made, begun + number)

    assert len(receiver.letters) == begun + 3
    # And once it is back all of them arrive.
    receiver.answers["/"] = [status(200)]
    await tick(made, begun + 3 + 30)
    told = await made.deliveries()
    assert {each.state for each in told} <= {"delivered", "pending"}
    assert sum(each.state == "delivered" for each in told) >= 26


async def test_after_five_days_without_a_success_it_is_turned_off(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks(now=NOW)
    endpoint = await made.endpoint(receiver.url())
    receiver.answers["/"] = [status(500)]
    number = 0
    while (await made.row(endpoint)).state == "on":
        if number % 4 == 0:
            await made.end()
        number += 1
        await tick(made, number)
        assert number < 40
    assert made.now is not None and NOW + FAILING <= made.now < NOW + FAILING + 2 * DAY

    assert {each.state for each in await made.deliveries()} == {"failed"}
    # Its owner turns it on again, and has what was missed.
    receiver.answers["/"] = [status(200)]
    await made.store.write(hooks.enable_endpoint(endpoint, "alice"))
    recovered = await made.store.write(hooks.recover(endpoint, "alice", 0))
    await made.settled(number + recovered)
    assert {each.state for each in await made.deliveries()} == {"delivered"}


async def test_one_that_hangs_does_not_delay_another(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks(seconds=5)
    receiver.answers["/dead"] = [hang]

    async def delays(count: int) -> list[float]:
        found = []
        for _ in range(count):
            before = len(receiver.at("/well"))
            began = time.perf_counter()
            await made.end()
            await receiver.until(before + 1, "/well")
            found.append(time.perf_counter() - began)
        return found

    await made.endpoint(receiver.url("/well"))
    alone = await delays(20)
    await made.endpoint(receiver.url("/dead"))
    beside = await delays(20)

    assert len(receiver.at("/dead")) >= 1
    assert statistics.quantiles(beside, n=20)[-1] < statistics.quantiles(alone, n=20)[-1] + 0.25


async def test_no_more_than_four_at_once_to_one(open_hooks: Open, receiver: Receiver) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await status(200)(writer)

    made: Hooks = await open_hooks()
    await made.endpoint(receiver.url())
    receiver.answers["/"] = [slowly]
    await asyncio.gather(*(made.end() for _ in range(40)))
    await made.settled(40)

    assert receiver.most_at_once == 4


# ---------------------------------------------------------------------------------- where it leads


class Fickle(Outgoing):
    """A name that is public when it is asked about first, and then leads to this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self._names = self  # type: ignore[assignment]

    async def look_up(self, host: str, port: int, **more: Any) -> list[Any]:
        self.asked += 1
        address = "8.8.8.8" if self.asked == 1 else "127.0.0.1"
        return [(2, 1, 6, "", (address, port))]

    def on_behalf(self, who: str) -> Outgoing:
        return self


async def test_a_name_that_changes_its_mind_gains_nothing(
    open_hooks: Open, receiver: Receiver
) -> None:
    fickle = Fickle()
    made: Hooks = await open_hooks(now=NOW, outgoing=fickle)
    url = receiver.url(host="fickle.example")
    await made.callbacks.check_url("alice", url, "url")
    assert fickle.asked == 1
    await made.endpoint(url)
    await made.end()
    (told,) = await made.settled(1)

    assert told.state == "pending" and receiver.letters == []
    problem = (await made.tries(told.id))[0].problem
    assert problem == "the address leads to a private network"


async def test_a_private_address_is_not_told(open_hooks: Open, receiver: Receiver) -> None:
    made: Hooks = await open_hooks(private=False, now=NOW)
    await made.endpoint(receiver.url())
    await made.end()
    (told,) = await made.settled(1)

    assert told.state == "pending" and receiver.letters == []


# ---------------------------------------------------------------------------- more than one process


async def test_two_processes_send_each_once(open_hooks: Open, receiver: Receiver) -> None:
    one: Hooks = await open_hooks()
    two: Hooks = await open_hooks()
    await one.endpoint(receiver.url())
    for _ in range(50):
        await one.end()
    await one.settled(50)
    await until(lambda: not two.sender.busy)  # it looks, and finds that all is done

    assert len(receiver.letters) == 50 == len({letter.id for letter in receiver.letters})


async def test_what_a_process_that_died_had_is_sent_by_another(
    open_hooks: Open, receiver: Receiver
) -> None:
    made: Hooks = await open_hooks(now=NOW)
    endpoint = await made.endpoint(receiver.url())
    assert await made.store.write(hooks.take(endpoint, "the dead", NOW, NOW + 60_000))
    await made.end()
    made.sender.look()
    await made.settled(0)
    assert receiver.letters == []
    await tick(made, 1)

    assert made.now == NOW + 60_000 and len(receiver.letters) == 1
