"""Keys: made once, shown once, revoked at once, and never kept as they are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles import Serving
from safelight.errors import Unauthenticated
from safelight.secrets import Vault, WrongSecret
from safelight.server.keys import Keyring
from safelight.store.sqlite import SQLiteStore
from safelight.wire import Credential, Request


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    opened = SQLiteStore.open(tmp_path / "db")
    yield opened
    await opened.close()


@pytest.fixture
def keyring(store: SQLiteStore) -> Keyring:
    return Keyring(store, Vault(b"secret"))


async def refused(keyring: Keyring, credential: Credential) -> str:
    with pytest.raises(Unauthenticated) as told:
        await keyring.identify(credential)
    return told.value.reason


async def test_a_key_is_found_by_its_secret(keyring: Keyring) -> None:
    made, other = await keyring.create("laptop"), await keyring.create("phone")

    for key in (made, other, made):
        found = await keyring.identify(Credential(secret=key.secret))
        assert (found.id, found.secret) == (key.id, key.secret)


async def test_a_key_is_found_by_its_id_and_not_checked_yet(keyring: Keyring) -> None:
    made = await keyring.create("laptop")

    def check(secret: str, request: Request) -> None:
        raise Unauthenticated(reason="signature")

    for _ in range(2):
        found = await keyring.identify(Credential(id=made.id, check=check))
        assert (found.id, found.secret) == (made.id, made.secret)


async def test_what_is_no_key_is_refused(keyring: Keyring) -> None:
    made = await keyring.create("laptop")

    for credential in (
        Credential(secret=""),
        Credential(),
        Credential(secret=made.id),
        Credential(secret=made.secret[:-1]),
        Credential(secret=f"{made.secret}\x00"),
        Credential(secret=made.secret.upper()),
        Credential(secret="ключ"),
        Credential(id=made.secret),
        Credential(id=""),
    ):
        assert await refused(keyring, credential) == "unknown"


async def test_a_key_has_the_form_that_clients_know(keyring: Keyring) -> None:
    made, other = await keyring.create("a"), await keyring.create("a")

    assert re.fullmatch(r"AKID[0-9a-f]{24}", made.id)
    assert re.fullmatch(r"sk-[0-9a-f]{48}", made.secret)
    assert made.secret != other.secret


async def test_keys_are_listed_without_their_secrets(keyring: Keyring) -> None:
    made = await keyring.create("laptop")

    (row,) = await keyring.list()

    assert (row.id, row.name, row.revoked) == (made.id, "laptop", None)
    assert made.secret not in repr(row)


async def test_a_revoked_key_is_refused_at_once(keyring: Keyring) -> None:
    made = await keyring.create("laptop")
    await keyring.identify(Credential(secret=made.secret))
    await keyring.identify(Credential(id=made.id))

    assert await keyring.revoke(made.id)

    assert await refused(keyring, Credential(secret=made.secret)) == "unknown"
    assert await refused(keyring, Credential(id=made.id)) == "unknown"
    assert not await keyring.revoke(made.id)
    assert not await keyring.revoke("nobody's")


async def test_a_key_that_another_process_revoked_is_refused(
    keyring: Keyring, tmp_path: Path
) -> None:
    made = await keyring.create("laptop")
    await keyring.identify(Credential(secret=made.secret))
    elsewhere = SQLiteStore.open(tmp_path / "db")
    await Keyring(elsewhere, Vault(b"secret")).revoke(made.id)
    await elsewhere.close()

    # Looked at twenty times a second.
    await asyncio.sleep(0.06)

    assert await refused(keyring, Credential(secret=made.secret)) == "unknown"


async def test_a_key_that_another_process_made_is_found_at_once(
    keyring: Keyring, tmp_path: Path
) -> None:
    await keyring.create("laptop")
    elsewhere = SQLiteStore.open(tmp_path / "db")
    made = await Keyring(elsewhere, Vault(b"secret")).create("phone")

    assert (await keyring.identify(Credential(secret=made.secret))).id == made.id
    await elsewhere.close()


async def test_a_secret_is_nowhere_on_the_disk(serving: Serving) -> None:
    secret = serving.key.secret
    await serving.create()

    data = serving.app.settings.data
    files = [path for path in data.rglob("*") if path.is_file()]

    assert any(path.name.startswith("safelight.db") for path in files)
    for path in files:
        content = path.read_bytes()
        assert secret.encode() not in content
        assert secret.removeprefix("sk-").encode() not in content
        assert bytes.fromhex(secret.removeprefix("sk-")) not in content


async def test_the_keys_of_another_installation_are_told(store: SQLiteStore) -> None:
    made = await Keyring(store, Vault(b"secret")).create("laptop")

    with pytest.raises(WrongSecret):
        await Keyring(store, Vault(b"another")).identify(Credential(id=made.id))


async def test_the_keys_of_another_installation_are_told_at_the_start(store: SQLiteStore) -> None:
    ours, another = Keyring(store, Vault(b"secret")), Keyring(store, Vault(b"another"))
    await another.check()  # there is none yet
    made = await ours.create("laptop")

    await ours.check()
    with pytest.raises(WrongSecret):
        await another.check()
    await ours.revoke(made.id)
    await another.check()
