"""Keys: made, listed, revoked, and found for a request."""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple

from safelight.clock import now_millis
from safelight.errors import Unauthenticated
from safelight.secrets import Vault
from safelight.store import Store, scripts
from safelight.store.scripts import KeyRow
from safelight.wire import Credential, Key, Request, read_bearer

_MOST_KNOWN = 10_000
_LOOK_SECONDS = 0.05


class NewKey(NamedTuple):
    """A key as it is shown once, when it is made."""

    id: str
    name: str
    secret: str


class Keyring:
    """The keys of an installation."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._known: dict[tuple[str | None, str | None], Key] = {}
        self._version: int | None = None
        self._looked = 0.0

    async def create(self, name: str) -> NewKey:
        """Make a key. Its secret is shown by nothing else, ever again."""
        made = self._draw(name)
        await self._store.write(scripts.add_key(*self._row(made)))
        return made

    async def create_first(self) -> NewKey | None:
        """Make a key where there never was one; None where there is, or another makes it now."""
        made = self._draw("first")
        return made if await self._store.write(scripts.add_first_key(*self._row(made))) else None

    def _draw(self, name: str) -> NewKey:
        # The forms that clients of the five services know: an id like Tencent's, a secret like
        # the others', both without characters that a shell or a header would mind.
        return NewKey(f"AKID{secrets.token_hex(12)}", name, f"sk-{secrets.token_hex(24)}")

    def _row(self, made: NewKey) -> tuple[str, str, str, str, int]:
        secret = made.secret
        lookup, encrypted = self._vault.lookup(secret), self._vault.encrypt(secret)
        return made.id, made.name, lookup, encrypted, now_millis()

    async def list(self) -> tuple[KeyRow, ...]:
        """All keys, without their secrets."""
        return await self._store.read(scripts.list_keys())

    async def name(self, id: str) -> str:
        """What the key of that id is called."""
        return await self._store.read(scripts.key_name(id))

    async def check(self) -> None:
        """Raise `WrongSecret` where the keys were made with another secret than this one."""
        for row in await self.list():
            found = await self._store.read(scripts.get_key(row.id))
            if found is not None:
                self._vault.decrypt(found[1])

    async def revoke(self, id: str) -> bool:
        """Revoke a key, at once; False where there is none to revoke."""
        revoked = await self._store.write(scripts.revoke_key(id, now_millis()))
        self._known.clear()
        return revoked

    async def identify(self, credential: Credential) -> Key:
        """The key that a request names. Raises `Unauthenticated`.

        Whether it was made with it, where it only names it, is for `Credential.check` to say.
        """
        self._forget()
        name = (credential.id, credential.secret)
        key = self._known.get(name)
        if key is None:
            version = self._version
            key = await self._find(credential)
            # What was forgotten meanwhile may have been this very key.
            if version == self._version and len(self._known) < _MOST_KNOWN:
                self._known[name] = key
        return key

    async def identify_bearer(self, request: Request) -> Key:
        """The key that `request` carries as a bearer, or bare. Raises `Unauthenticated`."""
        secret = read_bearer(request)
        if secret is None:
            raise Unauthenticated("The Authorization header carries no key", reason="missing")
        return await self.identify(Credential(secret=secret))

    def _forget(self) -> None:
        """Forget the keys once anything was written since, as a revocation may have been.

        That is looked at twenty times a second at most: the look alone costs as much as a query.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        version = self._store.version()
        if version is None or version != self._version:
            self._known.clear()
            self._version = version

    async def _find(self, credential: Credential) -> Key:
        if credential.id is not None:
            found = await self._store.read(scripts.get_key(credential.id))
        else:
            lookup = self._vault.lookup(credential.secret or "")
            found = await self._store.read(scripts.find_key(lookup))
        if found is None:
            raise Unauthenticated(reason="unknown")
        return Key(id=found[0], secret=self._vault.decrypt(found[1]))
