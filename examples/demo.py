"""The main job, start to end: one server, a task through each published query, and its files.

Starts `safelight serve` on a free port with a new temporary data folder, runs a task in every
dialect, shows how its state changes, downloads the files, and shows one of the tasks as all the
other dialects answer it. With `--keep` the server goes on when the demonstration is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from safelight import AsyncClient, Key, Kind, Operation, Source, Status, Submit, Task
from safelight.dialects import named
from safelight.server.addresses import free_port
from safelight.task import Fetch
from safelight.wire import Dialect

_START_SECONDS, _TASK_SECONDS = 30, 120
_WIDTH = 600
_console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Step:
    """A task of the demonstration."""

    title: str
    dialect: str
    submit: Submit


STEPS = (
    Step(
        "TensorsLab images: POST /v1/images/infobytaskid",
        "tensorslab",
        Submit(model="seedreamv5", prompt="a lighthouse at dusk", width=1024, height=576, seed=7),
    ),
    Step(
        "TensorsLab video: POST /v1/video/infobytaskid",
        "tensorslab",
        Submit(
            kind=Kind.VIDEO,
            model="seedancev2",
            prompt="waves rolling under a full moon",
            duration=2,
            ratio="16:9",
            resolution="480p",
            seed=7,
        ),
    ),
    Step(
        "aigptimage: GET /api/v1/jobs/recordInfo",
        "aigptimage",
        Submit(model="gpt-image-2-text-to-image", prompt="a forest in morning mist", ratio="3:4"),
    ),
    Step(
        "AiToEarn: GET /api/ai/image/task/{logId}",
        "aitoearn",
        Submit(model="gpt-image-2", prompt="a golden city by the sea", width=768, height=768),
    ),
    Step(
        "Tencent Cloud MPS: DescribeAigcImageTask, signed with TC3-HMAC-SHA256",
        "tencent",
        Submit(model="Hunyuan", prompt="snowy mountains at night", ratio="16:9"),
    ),
)
PROCESSING = "Tencent Cloud MPS: ProcessImage and DescribeImageTaskDetail, on the first picture"


async def run_tasks(url: str, key: Key, folder: Path) -> None:
    """Run all tasks, and show the first one in every dialect."""
    first: Task | None = None
    for step in STEPS:
        task = await run_task(url, key, folder, step)
        first = first or task
    assert first is not None
    picture = Source(url=first.artifacts[0].url)
    operations = (
        Operation(name="super_resolution", options={"type": "lq", "size": 2}),
        Operation(name="sharp_enhance", options={"intensity": 0.4}),
        Operation(name="encode", options={"format": "JPEG", "quality": 85}),
    )
    submit = Submit(model="process-image", sources=(picture,), operations=operations)
    await run_task(url, key, folder, Step(PROCESSING, "tencent", submit))
    await show_everywhere(url, key, first)


async def run_task(url: str, key: Key, folder: Path, step: Step) -> Task:
    """Submit, wait with every change shown, and download. Exits where the task does not succeed."""
    _console.rule(step.title, align="left")
    async with AsyncClient(step.dialect, url, key, pace=0.15, per_second=15) as client:
        began = time.monotonic()
        task = await client.submit(step.submit)
        _console.print(f"  {'submitted':10} {task.id}")

        def note(state: Task) -> None:
            percent = f" {state.progress}%" if state.progress is not None else ""
            _console.print(f"  {state.status.value:10} {time.monotonic() - began:5.1f} s{percent}")

        ended = await client.wait(task, _TASK_SECONDS, note)
        if ended.status is not Status.SUCCEEDED:
            sys.exit(f"the task {task.id} ended as {ended.status.value}: {ended.failure}")
        for path in await client.download(ended, folder):
            _console.print(f"  {'file':10} {path}  ({path.stat().st_size:,} bytes)")
    return ended


async def show_everywhere(url: str, key: Key, task: Task) -> None:
    """One task, one id, every dialect: the plain answers."""
    _console.rule(f"The task {task.id}, as each dialect answers it", align="left")
    async with httpx.AsyncClient() as http:
        for name in ("tensorslab", "aigptimage", "aitoearn", "tencent"):
            dialect = named(name)
            body = await ask(http, dialect, url, key, Fetch(id=task.id, kind=Kind.IMAGE))
            shown = json.dumps(body, ensure_ascii=False)
            _console.print(f"[bold]{name}[/bold]")
            _console.print(
                f"  {shown[:_WIDTH]}{' ...' if len(shown) > _WIDTH else ''}", markup=False
            )


async def ask(
    http: httpx.AsyncClient, dialect: Dialect, url: str, key: Key, asked: Fetch
) -> object:
    """The JSON body of an answer, just as it comes."""
    request = dialect.write_request(asked).with_headers(("host", httpx.URL(url).netloc.decode()))
    signed = dialect.write_key(request, key, time.time_ns() // 1_000_000)
    answer = await http.request(
        signed.method,
        f"{url}{signed.target}",
        headers=list(signed.headers),
        content=signed.body,
    )
    body: object = answer.json()
    return body


# ---------------------------------------------------------------------------------- the server


def start_server(port: int, data: Path) -> subprocess.Popen[bytes]:
    """Start a server and wait until it answers."""
    log = (data.parent / "server.log").open("wb")
    command = [sys.executable, "-m", "safelight", "serve", "--port", str(port), "--data", str(data)]
    process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own program
    log.close()
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK:
                return process
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    sys.exit(f"the server did not start; its log: {data.parent / 'server.log'}")


def make_key(data: Path) -> Key:
    """A key of that data folder, made by the command line while the server runs."""
    command = [sys.executable, "-m", "safelight", "keys", "create", "demo", "--json"]
    made = subprocess.run(  # noqa: S603 - our own program
        [*command, "--data", str(data)], check=True, capture_output=True, timeout=_START_SECONDS
    )
    values = json.loads(made.stdout)
    return Key(id=values["id"], secret=values["secret"])


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="safelight-demo-"))
    data, files = folder / "data", folder / "files"
    url = f"http://127.0.0.1:{(port := free_port('127.0.0.1'))}"
    _console.print(f"starting a server on {url}, with its data in {data}")
    process = start_server(port, data)
    try:
        key = make_key(data)
        asyncio.run(run_tasks(url, key, files))
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            process.terminate()
            process.wait(timeout=_START_SECONDS)
    _console.rule(align="left")
    _console.print(f"the files lie in {files}")
    if keep:
        _console.print(f"the server runs on {url} (stop it with: kill {process.pid})")
        _console.print(f"  key id  {key.id}\n  secret  {key.secret}")


if __name__ == "__main__":
    main()
