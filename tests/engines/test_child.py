"""Work in child processes: what it yields arrives, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from safelight.engines import Failed
from safelight.engines.kit.children import NICENESS, STOP_SIGNAL, Children, Crashed
from safelight.task import FailureCode


@pytest.fixture
def children() -> Iterator[Children]:
    pool = Children(2)
    yield pool
    pool.close()


async def collect(events: AsyncGenerator[object]) -> list[object]:
    async with aclosing(events):
        return [event async for event in events]


def count(number: int, prefix: str = "") -> Iterator[str]:
    for index in range(number):
        yield f"{prefix}{index}"


def tell_about_itself() -> Iterator[int]:
    print("a print does not disturb the frames")
    yield os.getpid()
    yield os.nice(0)
    yield len(sys.stdin.read())


def say(thing: object) -> Iterator[object]:
    yield thing


def tell_its_environment() -> Iterator[dict[str, str]]:
    yield dict(os.environ)


def fail() -> Iterator[int]:
    yield 1
    raise Failed(FailureCode.INVALID_INPUT, "The picture is upside down.", "E42")


def err() -> Iterator[int]:
    yield 1
    raise ZeroDivisionError("a secret of the work")


def kill_itself(number: int) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), number)


def leave(code: int) -> Iterator[int]:
    yield 1
    os._exit(code)


def take_all_memory() -> Iterator[int]:
    limit = 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    yield len(bytearray(4 * limit))


def go_on_for_ever(folder: Path) -> Iterator[int]:
    yield os.getpid()
    while True:
        (folder / "still-here").write_text("x")


def wait_for(path: Path) -> Iterator[int]:
    yield os.getpid()
    while not path.exists():
        time.sleep(0.001)


def alive(process: int) -> bool:
    """Whether the process runs, or lies there unreaped."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def gone(process: int, seconds: float = 10) -> bool:
    """Whether the process, which is nobody's child here, ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(process) or _is_zombie(process):
            return True
        time.sleep(0.01)
    return False


def _is_zombie(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "Z"


async def test_what_the_work_yields_arrives_in_order(children: Children) -> None:
    got = await collect(children.run(count, 300, prefix="n"))
    assert got == [f"n{index}" for index in range(300)]


async def test_values_arrive_while_the_work_goes_on(children: Children, tmp_path: Path) -> None:
    async with aclosing(children.run(wait_for, tmp_path / "go")) as events:
        assert await anext(events) > 0  # and the work cannot end before the next line
        (tmp_path / "go").touch()
        assert [event async for event in events] == []


async def test_a_large_value_crosses_both_ways(children: Children) -> None:
    large = bytes(range(256)) * 20_000
    assert await collect(children.run(say, large)) == [large]


async def test_the_child_is_another_process_of_low_priority_and_used_again(
    children: Children,
) -> None:
    first = await collect(children.run(tell_about_itself))
    assert await collect(children.run(tell_about_itself)) == first
    assert first[0] != os.getpid()
    assert first[1:] == [min(19, os.nice(0) + NICENESS), 0]


async def test_failed_arrives_as_it_was_raised(children: Children) -> None:
    with pytest.raises(Failed, match="upside down") as caught:
        await collect(children.run(fail))
    assert caught.value.failure.code is FailureCode.INVALID_INPUT
    assert caught.value.failure.provider_code == "E42"
    assert await collect(children.run(count, 1)) == ["0"]


async def test_a_bug_of_the_work_brings_its_traceback(children: Children) -> None:
    with pytest.raises(Crashed, match=r"(?s)in err.*ZeroDivisionError: a secret of the work"):
        await collect(children.run(err))


async def test_what_cannot_be_pickled_is_a_bug(children: Children) -> None:
    with pytest.raises((AttributeError, TypeError)):
        await collect(children.run(say, lambda: None))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, FailureCode.OUT_OF_MEMORY), (signal.SIGSEGV, FailureCode.INTERNAL)],
)
async def test_a_child_that_dies_is_a_failure(
    children: Children, number: int, code: FailureCode
) -> None:
    with pytest.raises(Failed, match="process doing the work") as caught:
        await collect(children.run(kill_itself, number))
    assert caught.value.failure.code is code
    assert await collect(children.run(count, 1)) == ["0"]


async def test_a_child_that_leaves_is_a_failure(children: Children) -> None:
    with pytest.raises(Failed, match="exit code 3"):
        await collect(children.run(leave, 3))


async def test_memory_that_does_not_suffice_is_told(children: Children) -> None:
    with pytest.raises(Failed, match="memory") as caught:
        await collect(children.run(take_all_memory))
    assert caught.value.failure.code is FailureCode.OUT_OF_MEMORY


async def test_an_idle_child_that_died_is_replaced(children: Children) -> None:
    [process, *_] = await collect(children.run(tell_about_itself))
    assert isinstance(process, int)
    os.kill(process, signal.SIGKILL)
    [other, *_] = await collect(children.run(tell_about_itself))
    assert other != process
    assert not alive(process)


async def test_an_idle_child_ends_by_itself() -> None:
    children = Children(1, idle_seconds=0)
    [process, *_] = await collect(children.run(tell_about_itself))
    assert isinstance(process, int)
    assert gone(process)
    children.close()


async def test_cancelling_kills_the_child_at_once(children: Children, tmp_path: Path) -> None:
    began: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with aclosing(children.run(go_on_for_ever, tmp_path)) as events:
            async for event in events:
                began.set_result(event)

    task = asyncio.create_task(work())
    process = await began
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 1
    assert not alive(process)  # dead and reaped


async def test_leaving_early_kills_the_child(children: Children, tmp_path: Path) -> None:
    async with aclosing(children.run(go_on_for_ever, tmp_path)) as events:
        process = await anext(events)
    assert not alive(process)


async def test_no_more_children_than_places(tmp_path: Path) -> None:
    children = Children(1)
    async with aclosing(children.run(go_on_for_ever, tmp_path)) as events:
        await anext(events)
        second = asyncio.create_task(collect(children.run(count, 1)))
        await asyncio.wait({second}, timeout=0.3)
        assert not second.done()
    assert await second == ["0"]
    children.close()


async def test_no_file_stays_open(children: Children, tmp_path: Path) -> None:
    await collect(children.run(count, 1))
    children.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await collect(children.run(count, 1))
        async with aclosing(children.run(go_on_for_ever, tmp_path)) as events:
            await anext(events)
        with pytest.raises(Failed):
            await collect(children.run(leave, 1))
    children.close()
    assert len(os.listdir("/proc/self/fd")) == before


SERVER = """
import asyncio, sys
from pathlib import Path
from contextlib import aclosing, suppress
from safelight.engines.kit.children import Children
from @MODULE@ import go_on_for_ever, tell_about_itself

async def main():
    children = Children(2)
    async with aclosing(children.run(go_on_for_ever, Path(sys.argv[1]))) as busy:
        async with aclosing(children.run(tell_about_itself)) as idle:
            said = [event async for event in idle]
        print(said[0], await anext(busy), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
""".replace("@MODULE@", __name__)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_children_do_not_outlive_the_server(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    found_here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=found_here
    ) as server:
        assert server.stdout
        processes = [int(word) for word in server.stdout.readline().split()]
        server.send_signal(number)
        server.wait(10)
        assert len(processes) == 2
        assert all(gone(process) for process in processes)


# --- what it is told of the environment

SECRETS = {
    "SAFELIGHT_SECRET": "a",
    "SAFELIGHT_KEY": "a",
    "SAFELIGHT_DATABASE": "postgresql://a:b@c/d",
    "SAFELIGHT_FILES_OPTIONS__SECRET_ACCESS_KEY": "a",
    "OPENAI_API_KEY": "a",
    "KIE_API_KEY": "a",
    "TENCENTCLOUD_SECRET_KEY": "a",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "a",
    "AWS_SESSION_TOKEN": "a",
    "GOOGLE_APPLICATION_CREDENTIALS": "/a",
    "AZURE_STORAGE_KEY": "a",
    "PGPASSWORD": "a",
    "HF_TOKEN": "a",
    "HUGGING_FACE_HUB_TOKEN": "a",
    "HF_ENDPOINT": "https://me:password@mirror.example",
    "HTTPS_PROXY": "http://me:password@proxy.example:3128",
    "NVIDIA_API_KEY": "a",
    "WHATEVER_ELSE": "a",
}
NEEDED = {
    "HOME": "/home/me",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp",
    "CUDA_VISIBLE_DEVICES": "0",
    "HIP_VISIBLE_DEVICES": "0",
    "OMP_NUM_THREADS": "3",
    "HF_HOME": "/models/hub",
    "HF_HUB_OFFLINE": "1",
    "VK_ICD_FILENAMES": "/etc/vulkan/icd.json",
    "SSL_CERT_FILE": "/etc/ssl/certs.pem",
    "HTTP_PROXY": "http://proxy.example:3128",
}


def test_a_server_that_dies_with_words_unread_leaves_no_traceback() -> None:
    """Its end of the socket is then reset, and not merely at an end."""
    ours, theirs = socket.socketpair()
    with ours:
        code = "from safelight.engines.kit import children; children._read(children._own_socket())"
        theirs.sendall(b"a word that nobody reads any more")
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=theirs.fileno(), stderr=subprocess.PIPE
        ) as child:
            theirs.close()
            ours.close()
            _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (0, b"")


async def test_a_child_gets_what_its_libraries_need_and_no_key_of_ours(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SECRETS, **NEEDED}.items():
        monkeypatch.setenv(name, value)

    (told,) = await collect(children.run(tell_its_environment))

    assert isinstance(told, dict)
    assert SECRETS.keys() & told.keys() == set()
    assert {name: told.get(name) for name in NEEDED} == NEEDED
    assert told["PATH"] == os.environ["PATH"]


# --- stopped, not killed


def go_on_until_told(how: str) -> Iterator[int]:
    """Work that keeps something dear in its process."""
    told: list[int] = []
    if how != "deaf":
        signal.signal(STOP_SIGNAL, lambda *_: told.append(1))
    yield os.getpid()
    while not told:
        time.sleep(0.001)
    if how == "talking":
        yield from range(1000)
    raise Failed(FailureCode.CANCELED, "The work was stopped.")


@pytest.mark.parametrize(("how", "stays"), [("quiet", True), ("talking", True), ("deaf", False)])
async def test_work_that_stops_in_time_keeps_its_process(how: str, stays: bool) -> None:
    pool = Children(1, stop_seconds=10 if stays else 0.2)
    async with aclosing(pool.run(go_on_until_told, how)) as events:
        process = await anext(events)

    assert alive(process) is stays
    [again, *_] = await collect(pool.run(tell_about_itself))
    assert (again == process) is stays
    pool.close()


@pytest.mark.parametrize("work", [err, take_all_memory, leave])
async def test_work_that_ended_by_itself_is_not_waited_for(work: Any) -> None:
    pool = Children(1, stop_seconds=60)
    async with asyncio.timeout(10):
        with pytest.raises((Crashed, Failed)):
            await collect(pool.run(work, *((3,) if work is leave else ())))
        assert await collect(pool.run(count, 2)) == ["0", "1"]
    pool.close()


async def test_cancellation_takes_no_part_of_a_frame_along() -> None:
    pool = Children(1, stop_seconds=10)
    for delay in range(0, 20, 2):  # wherever in the stream of frames it falls
        with suppress(TimeoutError):
            async with asyncio.timeout((5 + delay) / 1000):
                await collect(pool.run(say_for_ever))
        assert await collect(pool.run(count, 3)) == ["0", "1", "2"]
    pool.close()


def say_for_ever() -> Iterator[bytes]:
    told: list[int] = []
    signal.signal(STOP_SIGNAL, lambda *_: told.append(1))
    while not told:
        yield b"x" * 100_000


async def test_a_niceness_of_its_own() -> None:
    pool = Children(1, niceness=3)
    assert (await collect(pool.run(tell_about_itself)))[1] == os.nice(0) + 3
    pool.close()
