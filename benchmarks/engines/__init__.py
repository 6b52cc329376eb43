"""Engines of the benchmarks alone; `benchmarks.with_blank` has the server find them."""
