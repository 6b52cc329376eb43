"""Whose rates and pauses are whose: a service counts by key, and not by address."""

from __future__ import annotations

import hashlib

_DIGITS = 12


def account_of(service: str, secret: str) -> str:
    """The name of a key's account at a service, the same in all processes; no secret is in it."""
    digest = hashlib.sha256(f"{service}\n{secret}".encode()).hexdigest()
    return f"{service} {digest[:_DIGITS]}"
