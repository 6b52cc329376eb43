"""The demonstration: it runs from its first line to its last, and its files are what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from end_to_end.running import environment
from end_to_end.words import film, picture

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
SECONDS = 90


def test_the_demonstration_runs_and_leaves_its_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**environment(), "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = re.search(r"the files lie in (\S+)", done.stdout)
    assert folder
    files = sorted(Path(folder[1]).iterdir())
    assert sorted(path.suffix for path in files) == [".jpg", ".mp4", *[".png"] * 4]
    sizes = []
    for path in files:
        if path.suffix == ".mp4":
            assert film(path) == ((854, 480), 2.0)
        else:
            sizes.append(picture(path))
    assert ("PNG", (1024, 576)) in sizes
    assert ("PNG", (768, 768)) in sizes
    assert ("JPEG", (2048, 1152)) in sizes
    for dialect in ("tensorslab", "aigptimage", "aitoearn", "tencent"):
        assert f"\n{dialect}\n" in done.stdout
