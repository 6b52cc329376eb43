"""Keys at other services: kept encrypted, or taken from the environment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doubles import OpenStores, names_in
from safelight.clock import now_millis
from safelight.secrets import Vault, WrongSecret
from safelight.server.provider_keys import ProviderKeys
from safelight.store import Store, scripts
from safelight.store.postgres import PostgresStore
from safelight.store.sqlite import SQLiteStore, connect

SECRET = "sk-of-another-service-0123456789"


@pytest.fixture
async def store(open_stores: OpenStores) -> AsyncIterator[Store]:
    yield await open_stores()


@pytest.fixture
def keys(store: Store) -> ProviderKeys:
    return ProviderKeys(store, Vault(b"secret"))


async def everything(store: Store, tmp_path: Path) -> str:
    """All that the table has, as text."""
    if isinstance(store, PostgresStore):
        rows = await store.database.fetch("select provider_keys::text from provider_keys")
        return "".join(row[0] for row in rows)
    connection = connect(tmp_path / "stores.db")
    try:
        return str(connection.execute("select * from provider_keys").fetchall())
    finally:
        connection.close()


async def test_a_key_is_kept_and_found_by_its_name(keys: ProviderKeys) -> None:
    await keys.keep("kie", SECRET)
    await keys.keep("azure", "another")

    assert await keys.get("kie") == SECRET
    assert await keys.get("azure") == "another"


async def test_a_key_is_encrypted_where_it_is_kept(
    keys: ProviderKeys, store: Store, tmp_path: Path
) -> None:
    await keys.keep("kie", SECRET)

    kept = await everything(store, tmp_path)

    assert "kie" in kept
    assert SECRET not in kept
    assert SECRET[3:] not in kept
    if isinstance(store, SQLiteStore):  # nor anywhere else in its files
        for name in names_in(tmp_path):
            assert SECRET.encode() not in (tmp_path / name).read_bytes()


async def test_another_installation_cannot_read_it(keys: ProviderKeys, store: Store) -> None:
    await keys.keep("kie", SECRET)

    with pytest.raises(WrongSecret):
        await ProviderKeys(store, Vault(b"another")).get("kie")


async def test_every_process_of_the_installation_reads_it(open_stores: OpenStores) -> None:
    here, there = [ProviderKeys(await open_stores(), Vault(b"secret")) for _ in range(2)]
    await here.keep("kie", SECRET)

    assert await there.get("kie") == SECRET
    await there.keep("kie", "a newer one")
    assert await here.get("kie") == "a newer one"


async def test_keys_are_listed_by_name_without_their_secrets(keys: ProviderKeys) -> None:
    began = now_millis()
    for name in ("kie", "azure", "kie"):
        await keys.keep(name, SECRET)

    listed = await keys.list()

    assert [name for name, _ in listed] == ["azure", "kie"]
    assert all(began <= at <= now_millis() for _, at in listed)


async def test_a_removed_key_is_gone(keys: ProviderKeys) -> None:
    await keys.keep("kie", SECRET)

    assert await keys.remove("kie")

    assert not await keys.remove("kie")
    assert await keys.list() == ()
    assert await keys.get("kie") is None


async def test_a_key_of_the_environment_is_not_kept(
    keys: ProviderKeys, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SERVICE", SECRET)

    assert await keys.get("env:OTHER_SERVICE") == SECRET

    assert await keys.list() == ()
    monkeypatch.setenv("OTHER_SERVICE", "changed")
    assert await keys.get("env:OTHER_SERVICE") == "changed"


async def test_a_key_that_is_missing_is_none(
    keys: ProviderKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")

    for name in ("kie", "env:NOWHERE", "env:EMPTY", "env:", ""):
        assert await keys.get(name) is None


@pytest.mark.parametrize("name", ["", "env:", "env:KIE"])
async def test_a_name_that_would_not_be_found_is_refused(keys: ProviderKeys, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await keys.keep(name, SECRET)

    assert await keys.list() == ()


async def test_a_kept_key_is_not_one_of_our_own(keys: ProviderKeys, store: Store) -> None:
    await keys.keep("kie", SECRET)

    assert await store.read(scripts.list_keys()) == ()
