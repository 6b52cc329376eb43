"""What Safelight costs a local model: `python -m benchmarks.diffusion [--pipeline FOLDER] ...`.

The same pipeline makes the same number of pictures, and writes each as a file: first called in a
loop by a program that does nothing else, then as tasks of a server, over HTTP. Both take turns.
The processor's time is told too, of all processes together: it says more on a machine that others
use than the clock does.
Without a folder a small pipeline with random weights is built. Needs the extra `diffusion`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ground, load
from benchmarks.ground import Server
from benchmarks.report import markdown, progress, verdict
from safelight.engines.kit.children import NICENESS
from safelight.task import Submit

_PROMPT = "a lighthouse at dusk"
_LEAST, _MOST = 0.9, 1.25  # of the bare rate, and of the bare processor time, that we claim


def main() -> int:
    """Measure; 1 where it costs more than is claimed."""
    said = _arguments()
    if said.bare:
        return _be_bare(said)
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as name:
        folder = Path(name)
        if said.pipeline is None:
            said.pipeline = folder / "model"
            _build(said.pipeline)
        return 0 if _measure(said, folder) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.diffusion", description=__doc__)
    parser.add_argument("--pipeline", type=Path, help="a folder; none: a small one is built")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--side", type=int, default=256, help="of the pictures, in pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--count", type=int, default=5, help="pictures in a round")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="of the processor, for PyTorch")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _build(folder: Path) -> None:
    """In another process: this one is to stay small."""
    call = "pipelines.save_pictures(pathlib.Path(sys.argv[1]), 0, (64, 128))"
    code = f"import pathlib, pipelines, sys; {call}"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, folder], check=True, env=paths,
                   stderr=subprocess.DEVNULL)  # fmt: skip


def _measure(said: argparse.Namespace, folder: Path) -> bool:
    bare: list[Pace] = []
    ours: list[Pace] = []
    with _bare(said) as other, ground.server(folder / "data", _settings(said)) as server:
        done = _run(server, 1, said, 0)  # warm
        _ask(other)
        for number in range(said.rounds):
            progress(f"round {number + 1} of {said.rounds}")
            with _paced(bare, other.pid, said.count):
                _ask(other)
            with _paced(ours, server.process.pid, said.count):
                done = _run(server, said.count, said, done)
    ratios = [one.rate / base.rate for one, base in zip(ours, bare, strict=True)]
    markdown(
        f"{said.side} x {said.side}, {said.steps} steps, {said.device}, {said.rounds} rounds of "
        f"{said.count} pictures, medians",
        ("", "pictures/s", "ms a picture", "CPU ms a picture"),
        [_row("bare pipeline in a loop", bare), _row("tasks of a server", ours)],
    )
    print("ratio by round:", " ".join(f"{ratio:.2f}" for ratio in ratios))
    ratio = statistics.median(ratios)
    cost = statistics.median(one.cpu / base.cpu for one, base in zip(ours, bare, strict=True))
    if said.device == "cpu":  # which others may use too, so that the clock says little
        sentence = f"at most {_MOST} times the processor time of the bare pipeline ({cost:.2f})"
        return verdict(sentence, cost <= _MOST)
    return verdict(f"at least {_LEAST} of the bare rate ({ratio:.2f})", ratio >= _LEAST)


class Pace(NamedTuple):
    """Of a round: pictures a second, and seconds of the processor for each."""

    rate: float
    cpu: float


@contextmanager
def _paced(paces: list[Pace], process: int, count: int) -> Iterator[None]:
    began, spent = time.perf_counter(), _cpu_seconds(process)
    yield
    seconds = time.perf_counter() - began
    paces.append(Pace(count / seconds, (_cpu_seconds(process) - spent) / count))


def _cpu_seconds(process: int) -> float:
    """The processor's time that a process and its children have used."""
    root = Path(f"/proc/{process}")
    fields = (root / "stat").read_text().rpartition(")")[2].split()
    children = (path.read_text().split() for path in root.glob("task/*/children"))
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_cpu_seconds(int(child)) for some in children for child in some)


def _row(name: str, paces: list[Pace]) -> tuple[str, ...]:
    rate = statistics.median(pace.rate for pace in paces)
    cpu = statistics.median(pace.cpu for pace in paces)
    return name, f"{rate:.2f}", f"{1000 / rate:.0f}", f"{1000 * cpu:.0f}"


# --- the server


def _settings(said: argparse.Namespace) -> str:
    options = {"pipeline": str(said.pipeline), "kind": "image", "steps": said.steps,
               "dtype": said.dtype, "max_pixels": said.side**2}  # fmt: skip
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(
        (
            "concurrency = 8",
            f'[[models]]\nname = "*"\nengine = "diffusion"\noptions = {{ {", ".join(lines)} }}',
            f'[engines.diffusion]\ndevices = ["{said.device}"]\nthreads = {said.threads}',
            "offline = true",
        )
    )


def _run(server: Server, count: int, said: argparse.Namespace, before: int) -> int:
    """Run that many tasks to their ends; how many have ended by then in all."""
    submit = Submit(model="seedreamv4", prompt=_PROMPT, width=said.side, height=said.side)
    wire = [ground.prepare("tensorslab", submit, server)]
    if load.run(server.port, wire, connections=min(count, 4), count=count).refused:
        sys.exit("tasks were refused")
    while _ended(server) < before + count:
        time.sleep(0.1)  # each look costs the server something too
    return before + count


def _ended(server: Server) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text = answer.read().decode()
    counts = {line.split('"')[1]: float(line.rpartition(" ")[2])
              for line in text.splitlines() if line.startswith("safelight_tasks{")}  # fmt: skip
    if counts["failed"]:
        sys.exit("a task failed")
    return int(counts["succeeded"])


# --- the bare pipeline


@contextmanager
def _bare(said: argparse.Namespace) -> Iterator[subprocess.Popen[str]]:
    """A program that makes a round of pictures for each line it gets, and says when it is done."""
    named = {name: value for name, value in vars(said).items() if name != "bare"}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.diffusion", "--bare", *words]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(process: subprocess.Popen[str]) -> None:
    """Have it make a round."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    if not process.stdout.readline():
        sys.exit("the bare pipeline broke")


def _be_bare(said: argparse.Namespace) -> int:
    import diffusers
    import torch

    if said.device == "cpu":
        os.nice(NICENESS)  # as the process of the engine
    torch.set_num_threads(said.threads)
    diffusers.utils.logging.set_verbosity_error()
    options = {} if said.dtype == "auto" else {"dtype": getattr(torch, said.dtype)}
    if said.dtype == "auto" and said.device != "cpu":
        options = {"dtype": torch.bfloat16}
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(
        said.pipeline, local_files_only=True, **options
    ).to(said.device)
    pipe.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory(prefix="safelight-bench-") as folder:
        _make(pipe, said, Path(folder), 1)  # warm
        for _ in sys.stdin:
            _make(pipe, said, Path(folder), said.count)
            print("done", flush=True)
    return 0


def _make(pipe: Any, said: argparse.Namespace, folder: Path, count: int) -> None:
    import torch

    for number in range(count):
        made = pipe(
            prompt=_PROMPT,
            width=said.side,
            height=said.side,
            num_inference_steps=said.steps,
            generator=torch.Generator("cpu").manual_seed(number),
        )
        made.images[0].save(folder / f"{number}.png", compress_level=1)


if __name__ == "__main__":
    sys.exit(main())
