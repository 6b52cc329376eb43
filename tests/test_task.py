"""The words: the steps of a task, its ids, and records that cannot be changed."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.task import (
    ENDS,
    STEPS,
    UNFINISHED,
    Callback,
    Kind,
    Outlook,
    Several,
    Source,
    Status,
    Submit,
    Task,
    bare_id,
    drop_data,
    drop_handling,
    new_id,
)

ID = "0190a1b2c3d4e5f60718293a"
TIMES = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=6, max_size=6)

# ------------------------------------------------------------------------------------------- steps


def test_every_status_has_its_steps() -> None:
    assert frozenset(STEPS) == frozenset(Status)


def test_nothing_leaves_an_end() -> None:
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELED} == ENDS
    assert frozenset(Status) == UNFINISHED | ENDS
    assert not UNFINISHED & ENDS
    assert all(not STEPS[status] for status in ENDS)


def test_the_way_to_success_leads_through_every_unfinished_status() -> None:
    way = [Status.QUEUED]
    while not STEPS[way[-1]] <= ENDS:
        (following,) = STEPS[way[-1]] & UNFINISHED
        way.append(following)

    assert way == [Status.QUEUED, Status.RUNNING, Status.UPLOADING]
    assert [status for status in Status if Status.SUCCEEDED in STEPS[status]] == way[1:]


@pytest.mark.parametrize("status", sorted(UNFINISHED))
def test_what_runs_may_fail_and_be_canceled(status: Status) -> None:
    assert {Status.FAILED, Status.CANCELED} <= STEPS[status]


@pytest.mark.parametrize("status", Status)
def test_a_task_knows_whether_it_ended(status: Status) -> None:
    assert Task(id=ID, status=status).ended is (status in ENDS)


@pytest.mark.parametrize("status", Status)
def test_several_tasks_know_whether_one_of_them_ended_or_is_not_there(status: Status) -> None:
    queued = Task(id="0" * 24, status=Status.QUEUED)
    other = Task(id="1" * 24, status=status)

    assert Several(tasks=(queued, other)).any_over == other.ended
    assert Several(tasks=(queued,), missing=("2" * 24,)).any_over
    assert not Several(tasks=()).any_over


def test_a_task_is_of_the_kind_that_was_asked_for() -> None:
    assert Task(id=ID, status=Status.QUEUED).kind is Kind.IMAGE
    assert Task(id=ID, status=Status.QUEUED, submit=Submit(kind=Kind.VIDEO)).kind is Kind.VIDEO


def test_a_record_cannot_be_changed() -> None:
    task = Task(id=ID, status=Status.QUEUED)

    with pytest.raises(AttributeError):
        task.status = Status.SUCCEEDED  # type: ignore[misc]


def test_a_task_crosses_storage_unchanged() -> None:
    task = Task(
        id=ID,
        status=Status.RUNNING,
        submit=Submit(prompt="a bridge", sources=(Source(url="https://a.example/1.png"),)),
        progress=40,
    )

    assert msgspec.json.decode(msgspec.json.encode(task), type=Task) == task


# --------------------------------------------------------------------------------------------- ids


@given(TIMES, RANDOM)
def test_an_id_is_24_hex_digits(now: int, random: bytes) -> None:
    assert re.fullmatch("[0-9a-f]{24}", new_id(now, random))


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_ids_sort_by_time(first: int, second: int, one: bytes, other: bytes) -> None:
    if first != second:
        assert (new_id(first, one) < new_id(second, other)) is (first < second)


@given(TIMES, RANDOM)
def test_an_id_says_when_it_was_made(now: int, random: bytes) -> None:
    assert int(new_id(now, random)[:12], 16) == now


def test_an_id_keeps_its_length_when_time_outgrows_it() -> None:
    assert new_id(2**48 + 5, b"\1" * 9) == "000000000005" + "01" * 6


WORDS = st.from_regex(r"[0-9A-Za-z]+[-_]", fullmatch=True)


@given(st.lists(WORDS, max_size=4), TIMES, RANDOM)
def test_every_decoration_is_stripped(words: list[str], now: int, random: bytes) -> None:
    id = new_id(now, random)

    assert bare_id("".join(words) + id) == id
    assert bare_id("".join(words) + id.upper()) == id


@pytest.mark.parametrize("decoration", ["", "2600-WorkflowTask-", "task_kie_", "abcd_", "0-"])
def test_the_decorations_of_the_wires(decoration: str) -> None:
    assert bare_id(decoration + ID) == ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID[:-1],
        ID + "0",
        ID[:-1] + "g",
        ID + "\n",
        f" {ID}",
        f"{ID}-image",
        f"../{ID}",
        f"-{ID}",
        f"task{ID}",
        "abcd_1234567890abcdef",
        "１" * 24,
    ],
)
def test_what_is_no_id_has_no_bare_one(text: str) -> None:
    assert bare_id(text) is None


@given(st.text(max_size=60))
def test_a_bare_id_is_always_an_id_that_stands_at_the_end(text: str) -> None:
    found = bare_id(text)

    assert found is None or (re.fullmatch("[0-9a-f]{24}", found) and text.lower().endswith(found))


# -------------------------------------------------------------------------------------------- data


def test_the_bytes_of_the_sources_are_no_part_of_a_row() -> None:
    sent = Source(data=b"png", name="a.png", blob="sources/1")
    linked = Source(url="https://a.example/1.png")

    kept = drop_data(Submit(prompt="a", sources=(sent, linked)))

    assert kept == Submit(prompt="a", sources=(Source(name="a.png", blob="sources/1"), linked))


def test_a_submit_without_bytes_is_kept_as_it_is() -> None:
    submit = Submit(prompt="a", sources=(Source(url="https://a.example/1.png"),))

    assert drop_data(submit) is submit
    told = Callback(url="https://a.example/hook", secret="s")
    with_secret = drop_data(Submit(prompt="a", callback=told))
    assert with_secret.callback == Callback(url="https://a.example/hook")


def test_how_a_task_is_handled_is_dropped() -> None:
    submit = Submit(prompt="a")

    assert drop_handling(submit) is submit
    assert drop_handling(Submit(prompt="a", labels=("b",), priority=3)) == submit


def test_an_outlook_is_no_part_of_what_is_kept() -> None:
    task = Task(id=new_id(1, b"abcdef"), status=Status.QUEUED)

    assert task.with_outlook(Outlook(ahead=1)).outlook == Outlook(ahead=1)
    assert task.outlook is None
