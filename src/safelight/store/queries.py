"""The text of `queries.sql`, with what its queries share put in its places."""

from __future__ import annotations

from importlib import resources

# In this order `scripts.read_task` reads them.
TASK = """id, revision, owner, dialect, status, attempt, deaths, progress, seed,
       credits, submit, artifacts, failure, created, started, finished, updated, previews"""
UNFINISHED = "status in ('queued', 'running', 'uploading')"


def query_text() -> str:
    """All queries, as both databases take them."""
    text = resources.files(__package__).joinpath("queries.sql").read_text()
    return text.replace("{task}", TASK).replace("{unfinished}", UNFINISHED)
