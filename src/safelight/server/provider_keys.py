"""Keys of ours at other services, kept encrypted; or in the environment, and not kept at all."""

from __future__ import annotations

import os

from safelight.clock import now_millis
from safelight.secrets import Vault
from safelight.store import Store, scripts

_ENVIRONMENT = "env:"


class ProviderKeys:
    """The keys of an installation at other services, by names of its own choice."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def keep(self, name: str, secret: str) -> None:
        """Keep a key, in the place of an earlier one of that name. Raises `ValueError`."""
        if not name or name.startswith(_ENVIRONMENT):
            raise ValueError(f"a name must not be empty, nor begin with {_ENVIRONMENT}")
        encrypted = self._vault.encrypt(secret)
        await self._store.write(scripts.keep_provider_key(name, encrypted, now_millis()))

    async def get(self, name: str) -> str | None:
        """The key of that name, or of the environment for `env:VARIABLE`; None: there is none."""
        if name.startswith(_ENVIRONMENT):
            secret = os.environ.get(name.removeprefix(_ENVIRONMENT))
        else:
            encrypted = await self._store.read(scripts.get_provider_key(name))
            secret = self._vault.decrypt(encrypted) if encrypted is not None else None
        return secret or None

    async def list(self) -> tuple[tuple[str, int], ...]:
        """The names of the keys that are kept, and when each was."""
        return await self._store.read(scripts.list_provider_keys())

    async def remove(self, name: str) -> bool:
        """Remove a key; False where there is none of that name."""
        return await self._store.write(scripts.remove_provider_key(name))
