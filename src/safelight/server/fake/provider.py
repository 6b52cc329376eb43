"""What a fake provider answers: its dialect's words, and what its script makes of them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import msgspec

from safelight.errors import Conflict, Fault, Malformed, Unauthenticated
from safelight.server.bridge import called_url, new_request_id, with_token
from safelight.server.fake.counts import Counts, Tally
from safelight.server.fake.files import FILES, Files
from safelight.server.fake.listener import Cut
from safelight.server.fake.rules import Rules
from safelight.server.fake.script import (
    GARBAGE,
    LOST,
    OK,
    REFUSED,
    AnswerRule,
    Script,
    SubmissionRule,
    TaskRule,
    draw,
)
from safelight.server.fake.tasks import Made, Note, Tasks
from safelight.service import digest
from safelight.task import (
    Balance,
    Cancel,
    Catalogue,
    Command,
    Confirm,
    Credits,
    Delete,
    Fetch,
    Kind,
    List,
    Locate,
    Located,
    ModelCard,
    Models,
    Reply,
    Role,
    Status,
    Submit,
    Task,
    TemplatePage,
    Templates,
    Upload,
    Uploaded,
    bare_id,
    new_id,
)
from safelight.wire import Context, Dialect, Key, Request, Response, json_response

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>\n"
_CARDS = tuple(
    ModelCard(
        name=f"fake-{kind.value}",
        kind=kind,
        description="Draws nothing.",
        max_sources=16,
        roles=tuple(Role) if kind is Kind.VIDEO else (),
    )
    for kind in Kind
)
_TOLD: dict[type[Command], Reply] = {
    Models: Catalogue(models=_CARDS),
    Templates: TemplatePage(templates=(), total=0),
    Balance: Credits(),
}
# Words that no dialect has, one for each sort that states are told in.
STRANGE_WORD, STRANGE_NUMBER = "pondering", 77


class Garbled(Exception):
    """The answer is to be what nobody can read."""


class Provider:
    """Answers for a provider that speaks `dialect` and does what `script` says.

    It takes any key, or `key` alone. `url` is its address.
    """

    def __init__(self, dialect: Dialect, script: Script, key: Key | None) -> None:
        self.url = ""
        self._dialect, self._script, self._key = dialect, script, key
        self._chance = random.Random(script.seed)  # noqa: S311 - the same script, the same times
        self._tasks = Tasks()
        self._ways = Rules(script.tasks)
        self._submissions = Rules(script.submissions)
        self._queries = Rules(script.queries)
        self._known: dict[str, tuple[str, Made]] = {}  # by idempotency key, with the digest
        self._tally = Tally()
        self._files = Files(script.files, self._tasks, self._chance, self._tally.downloads)
        self._zero = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970, by a clock that never goes back."""
        return self._zero + time.monotonic()

    def counts(self) -> Counts:
        """What it was asked, and what it did."""
        return self._tally.counts()

    def notes(self) -> list[Note]:
        """All tasks, the oldest first."""
        now = self.now()
        return [made.note(now) for made in self._tasks.all()]

    async def answer(self, request: Request) -> Response:
        """The answer to a request. Raises `Cut`."""
        if request.path == "/fake/counts":
            return json_response(self.counts())
        if request.path == "/fake/tasks":
            return json_response(self.notes())
        if request.path.startswith(FILES):
            return await self._files.send(request, self.now())
        return await self._speak(request)

    # ------------------------------------------------------------------------- in its dialect

    async def _speak(self, request: Request) -> Response:
        now = int(self.now() * 1000)
        context = Context(request=request, request_id=new_request_id(), now=now)
        op: str | None = None
        try:
            match = self._dialect.match(request)
            op = match.op
            if not match.open:
                self._check_key(request, now)
            command = self._dialect.read_request(op, match.params, request)
            reply = await self._carry_out(command, request)
            response = self._write(op, reply, context)
        except (Fault, Malformed) as problem:
            fault = problem.as_fault() if isinstance(problem, Malformed) else problem
            self._tally.answers[fault.code] += 1
            return self._dialect.write_fault(op, fault, context)
        except Garbled:
            self._tally.answers[GARBAGE] += 1
            return Response(headers=(("content-type", "text/html"),), body=_HTML)
        self._tally.answers[OK] += 1
        return response

    def _check_key(self, request: Request, now: int) -> None:
        credential = self._dialect.read_key(request, now)
        if self._key is None:
            return
        if credential.check is not None:
            if self._key.id and credential.id != self._key.id:
                raise Unauthenticated(reason="unknown")
            credential.check(self._key.secret, request)
        elif credential.secret != self._key.secret:
            raise Unauthenticated(reason="unknown")

    async def _carry_out(self, command: Command, request: Request) -> Reply:
        base = called_url(request) or self.url
        match command:
            case Submit():
                if self._script.idempotency:
                    command = with_token(self._dialect, command, request)
                return await self._submit(command)
            case Fetch():
                return await self._fetch(command, base)
            case Cancel():
                self._tally.cancels[bare_id(command.id) or command.id] += 1
                now = self.now()
                return self._tasks.cancel(command, now).tell(now, base)
            case Delete():
                return self._tasks.delete(command.ids, command.kind)
            case List():
                return self._tasks.list(command, self.now(), base)
            case Upload() | Confirm() | Locate():
                return self._keep_file(command, base)
            case _:
                return _TOLD[type(command)]

    def _keep_file(self, command: Upload | Confirm | Locate, base: str) -> Reply:
        """A link: nothing is kept, for no source is ever looked at here."""
        if isinstance(command, Locate):
            return Located(url=command.url)
        now = int(self.now() * 1000)
        id = new_id(now, random.randbytes(6))  # noqa: S311 - no secret
        if isinstance(command, Confirm):
            return Uploaded(id=command.id, url=f"{base}{FILES}{command.id}", created=now)
        link = f"{base}{FILES}{id}"
        size = command.size if command.data is None else len(command.data)
        return Uploaded(
            id=id, name=command.name, folder=command.folder, url=link, size=size, created=now
        )

    # ----------------------------------------------------------------------------- submitting

    async def _submit(self, submit: Submit) -> Task:
        self._tally.received += 1
        if submit.idempotency_key:
            self._tally.keys[submit.idempotency_key] += 1
        rule = self._submissions.find(submit, self.now()) or SubmissionRule()
        made = self._accept(submit, rule) if rule.accepted else None
        await self._do(rule)
        assert made is not None  # or there would have been no good answer
        return made.tell(self.now(), self.url)

    def _accept(self, submit: Submit, rule: SubmissionRule) -> Made:
        made = self._accept_again(submit) or (self._other() if rule.duplicate else None)
        if made is None:
            made = self._make(submit)
            if submit.idempotency_key:
                said = digest(self._dialect.name, submit)
                self._known[submit.idempotency_key] = (said, made)
        self._tally.accepted += 1
        return made

    def _accept_again(self, submit: Submit) -> Made | None:
        """The task of that idempotency key. Raises `Conflict` where it was asked differently."""
        known = self._known.get(submit.idempotency_key or "")
        if known is None:
            return None
        said, made = known
        if said != digest(self._dialect.name, submit):
            raise Conflict("the idempotency key was used before, with another request")
        self._tally.repeated += 1
        made.submissions += 1
        return made

    def _other(self) -> Made | None:
        """The newest task there is, to be taken for another."""
        made = next(reversed(self._tasks.all()), None)
        if made is not None:
            self._tally.duplicated += 1
            made.submissions += 1
        return made

    def _make(self, submit: Submit) -> Made:
        now = self.now()
        rule = self._ways.find(submit, now) or TaskRule()
        seed = submit.seed if submit.seed is not None else self._chance.getrandbits(31)
        made = Made(
            # Ids are drawn anew each time, so that two fakes of one script do not share them.
            id=new_id(int(now * 1000), random.randbytes(6)),  # noqa: S311 - no secret
            submit=submit,
            dialect=self._dialect.name,
            seed=seed,
            rule=rule,
            now=now,
            queued=draw(rule.queued, self._chance),
            running=draw(rule.running, self._chance),
        )
        self._tasks.add(made)
        return made

    # ---------------------------------------------------------------------------------- asking

    async def _fetch(self, asked: Fetch, base: str) -> Task:
        self._tally.queries[bare_id(asked.id) or asked.id] += 1
        made = self._tasks.find(asked.id, asked.kind)
        made.queries += 1
        now = self.now()
        age = now - made.submitted
        rule = self._queries.find(made.submit, now, made.queries, age)
        if rule is not None:
            await self._do(rule)
            now = self.now()
        task = made.tell(now, base)
        if task.ended and made.told is None:
            made.told = now
        if made.strange(now):
            return msgspec.structs.replace(task, status_word=STRANGE_WORD)
        return task

    async def _do(self, rule: AnswerRule) -> None:
        """What the rule wants before an answer, or instead of one. Raises it."""
        if rule.seconds:
            await asyncio.sleep(rule.seconds)
        if rule.deed in (LOST, REFUSED):
            self._tally.answers[rule.deed] += 1
            raise Cut
        if rule.deed == GARBAGE:
            raise Garbled
        if rule.deed != OK:
            raise rule.fault()

    # -------------------------------------------------------------------------- strange states

    def _write(self, op: str, reply: Reply, context: Context) -> Response:
        response = self._dialect.write_reply(op, reply, context)
        if not isinstance(reply, Task) or reply.status_word is None:
            return response
        # Where a wire tells the state is what differs when nothing but the state does.
        ended = msgspec.structs.replace(reply, status=Status.SUCCEEDED)
        other = self._dialect.write_reply(op, ended, context)
        body = _estrange(response.json(), other.json())
        return msgspec.structs.replace(response, body=msgspec.json.encode(body))


def _estrange(value: Any, other: Any) -> Any:
    """`value` with what differs in `other` put into words that no dialect has."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {
            name: _estrange(inner, other[name]) if name in other else inner
            for name, inner in value.items()
        }
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return [_estrange(one, two) for one, two in zip(value, other, strict=True)]
    if value == other or not value or type(value) is not type(other):
        return value
    if isinstance(value, str):
        return STRANGE_WORD
    return STRANGE_NUMBER if type(value) is int else value
