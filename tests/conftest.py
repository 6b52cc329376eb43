"""What every test has: the same examples each time, and none of this machine's keys or proxies."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# The examples are drawn from the test's own text, so that a run that passes passes again.
settings.register_profile(
    "safelight",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("safelight")

# Our settings, the keys of the five services, and proxies.
SETTINGS = ("SAFELIGHT_", "TENSORSLAB_", "AIGPTIMAGE_", "KIE_", "AITOEARN_", "TENCENTCLOUD_")
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Remove from the environment what would change the outcome; gives the removed prefixes."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    return SETTINGS


