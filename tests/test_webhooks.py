"""Whether a webhook is genuine: what outsiders signed is taken, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from safelight.webhooks import NotGenuine, sign, verify, verify_kie

NOW = 1_769_774_400
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = '{"type":"task.succeeded","timestamp":"2026-01-30T12:00:00.000Z","data":{"id":"ü"}}'.encode()


def headers(signature: str, stamp: str = str(NOW), id: str = "msg_1") -> dict[str, str]:
    return {"Webhook-Id": id, "Webhook-Timestamp": stamp, "WEBHOOK-SIGNATURE": signature}


def signed(secret: str = SECRET, id: str = "msg_1", body: bytes = BODY) -> str:
    at = datetime.fromtimestamp(NOW, UTC)
    return standardwebhooks.Webhook(secret).sign(id, at, body.decode())


def test_what_an_outsider_signed_is_taken() -> None:
    event = verify(BODY, headers(signed()), SECRET, now=NOW)

    assert (event.id, event.type, event.data) == ("msg_1", "task.succeeded", {"id": "ü"})
    by_svix = svix.webhooks.Webhook(SECRET).sign(
        "msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode()
    )
    assert verify(BODY.decode(), list(headers(by_svix).items()), SECRET, now=NOW) == event
    assert sign("msg_1", NOW, BODY, SECRET) == signed() == by_svix


def test_any_of_several_signatures_and_secrets_will_do() -> None:
    two = f"v1a,AAAA {signed(OTHER)} v1,nonsense {signed()}"

    for secrets in (SECRET, OTHER, [OTHER, SECRET], (SECRET,)):
        verify(BODY, headers(two), secrets, now=NOW)


@pytest.mark.parametrize(
    ("given", "body", "now"),
    [
        ({}, BODY, NOW),
        (headers(""), BODY, NOW),
        (headers("v1"), BODY, NOW),
        (headers("v1,"), BODY, NOW),
        (headers("v1,ü"), BODY, NOW),
        (headers(signed(OTHER)), BODY, NOW),
        (headers(signed().replace("v1,", "v1a,")), BODY, NOW),
        (headers(signed(), id="msg_2"), BODY, NOW),
        (headers(signed(), id=""), BODY, NOW),
        (headers(signed(), stamp=str(NOW + 1)), BODY, NOW),
        (headers(signed(), stamp="nan"), BODY, NOW),
        (headers(signed(), stamp=""), BODY, NOW),
        (headers(signed()), BODY + b" ", NOW),
        (headers(signed()), BODY, NOW + 301),
        (headers(signed()), BODY, NOW - 301),
        (headers(signed(body=b"[]")), b"[]", NOW),
    ],
)
def test_nothing_else_is(given: dict[str, str], body: bytes, now: int) -> None:
    with pytest.raises(NotGenuine):
        verify(body, given, SECRET, now=now)


@pytest.mark.parametrize("secret", ["", "whsec_", "a secret"])
def test_a_secret_that_is_none_is_no_fault_of_who_sends(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify(BODY, headers(signed()), secret, now=NOW)


@given(st.dictionaries(st.sampled_from([*headers("")]), st.text()), st.binary())
def test_nonsense_is_never_genuine(given: dict[str, str], body: bytes) -> None:
    with pytest.raises(NotGenuine):
        verify(body, given, SECRET, now=NOW)
    with pytest.raises(NotGenuine):
        verify_kie(body, given, SECRET, now=NOW)


def kie_signature(id: str, stamp: str, key: str) -> str:
    """Written from kie's page: Base64 of HMAC-SHA256 over `taskId.timestamp`."""
    mac = hmac.new(key.encode("utf-8"), f"{id}.{stamp}".encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode("utf-8")


@pytest.mark.parametrize("name", ["taskId", "task_id"])
def test_a_callback_of_kies_is_taken(name: str) -> None:
    body = f'{{"code":200,"data":{{"{name}":"abc"}}}}'
    given: dict[str, Any] = {"X-Webhook-Timestamp": str(NOW)}
    given["X-Webhook-Signature"] = kie_signature("abc", str(NOW), "key")

    assert verify_kie(body, given, "key", now=NOW)["code"] == 200
    for wrong in ({"data": {"taskId": "abd"}}, {"data": None}, {}):
        with pytest.raises(NotGenuine):
            verify_kie(json.dumps(wrong), given, "key", now=NOW)
    with pytest.raises(NotGenuine):
        verify_kie(body, given, "another", now=NOW)
    with pytest.raises(NotGenuine):
        verify_kie(body, given, "key", now=NOW + 301)
