"""What is fast, and how fast: `python -m benchmarks` measures it all in one run."""

import sys
from pathlib import Path

# The real PostgreSQL of the tests (`backends`) is the one that is measured on.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
