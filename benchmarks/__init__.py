"""What is fast, and how fast: `python -m benchmarks` measures it all in one run."""
