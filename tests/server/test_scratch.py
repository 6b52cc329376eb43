"""The folder for the files of running tasks: kept while its process lives, removed after that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from doubles import names_in
from safelight.server.scratch import Scratch

# A process that opens folders when it is told to, and then lives until it is told to end.
CHILD = """
import sys
from pathlib import Path
from safelight.server.scratch import Scratch

root, *names = sys.argv[1:]
print("here", flush=True)
sys.stdin.readline()
opened = [Scratch(Path(root), name) for name in names]
for scratch in opened:
    scratch.open()
    (scratch.folder / "file").write_text("x")
print("open", flush=True)
sys.stdin.readline()
for scratch in opened:
    scratch.close()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Starts processes that are about to open these folders."""
    with ExitStack() as stack:

        def start_one(*names: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CHILD, str(root), *names],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert read(process) == "here"
            return process

        yield start_one


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def opened(start: Start, name: str) -> subprocess.Popen[str]:
    process = start(name)
    tell(process)
    assert read(process) == "open"
    return process


def folders(root: Path) -> list[str]:
    return [name for name in names_in(root) if not name.startswith(".")]


def test_a_folder_is_there_until_it_is_closed(root: Path) -> None:
    scratch = Scratch(root, "mine")
    scratch.open()
    (scratch.folder / "task-1").mkdir()
    (scratch.folder / "task-1" / "file").write_text("x")
    assert folders(root) == ["mine"]

    scratch.close()
    assert folders(root) == []
    scratch.close()  # once more does no harm


def test_what_a_living_process_has_stays(root: Path, start: Start) -> None:
    opened(start, "theirs")
    for _ in range(2):
        scratch = Scratch(root, "mine")
        scratch.open()
        assert folders(root) == ["mine", "theirs"]
        assert (root / "theirs" / "file").read_text() == "x"
        scratch.close()


def test_what_a_dead_process_had_goes(root: Path, start: Start) -> None:
    dead, living = opened(start, "dead"), opened(start, "living")
    dead.kill()
    dead.wait()
    assert folders(root) == ["dead", "living"]
    scratch = Scratch(root, "mine")
    scratch.open()

    assert folders(root) == ["living", "mine"]
    tell(living)
    living.wait()
    assert folders(root) == ["mine"]
    scratch.close()


def test_what_was_left_without_a_lock_goes_and_other_files_stay(root: Path) -> None:
    (root / "0190-1").mkdir(parents=True)  # as a version before this one left it
    (root / "0190-1" / "out.png").write_bytes(b"x")
    (root / "note").write_text("not ours")
    scratch = Scratch(root, "mine")
    scratch.open()

    assert folders(root) == ["mine", "note"]
    scratch.close()


def test_processes_that_start_at_once_leave_each_others_folders(root: Path, start: Start) -> None:
    names = [f"{n:03}" for n in range(120)]
    processes = [start(*names[n::3]) for n in range(3)]
    for process in processes:
        tell(process)
    for process in processes:
        assert read(process) == "open"

    assert folders(root) == names
    assert all((root / name / "file").exists() for name in names)
    scratch = Scratch(root, "late")
    scratch.open()
    assert len(folders(root)) == 121
    scratch.close()
