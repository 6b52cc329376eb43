"""The one secret of an installation, and what is made of it.

It encrypts the secrets of keys (Tencent's signature needs the secret itself, so a hash would not
do), finds a key by a keyed hash of its secret, and signs the links to files and the webhooks of
tasks. It comes from
`SAFELIGHT_SECRET`, or is made once and kept in the data folder, readable by its owner alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

VARIABLE = "SAFELIGHT_SECRET"


class WrongSecret(Exception):
    """The keys were encrypted with another secret than this installation's, or it has none."""


class Vault:
    """What the secret is good for; each use has a secret of its own, derived from it."""

    def __init__(self, secret: bytes) -> None:
        self._lookup = _derive(secret, b"key lookup")
        self._links = _derive(secret, b"links")
        self._webhooks = _derive(secret, b"webhooks")
        self._fernet = Fernet(base64.urlsafe_b64encode(_derive(secret, b"key secrets")))
        self._decrypt = lru_cache(maxsize=4096)(self._decrypt_once)

    @classmethod
    def open(cls, folder: Path) -> Vault:
        """The vault whose secret is in the environment, or in `folder`, made if need be.

        Raises `WrongSecret` where that file is empty.
        """
        if given := os.environ.get(VARIABLE):
            return cls(given.encode())
        return cls(_read_or_make(folder / "secret"))

    def lookup(self, secret: str) -> str:
        """The keyed hash by which a key is found; of no use without this installation's secret."""
        return hashlib.blake2b(secret.encode(), digest_size=32, key=self._lookup).hexdigest()

    def encrypt(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, encrypted: str) -> str:
        """Raises `WrongSecret`."""
        return self._decrypt(encrypted)

    def _decrypt_once(self, encrypted: str) -> str:
        try:
            return self._fernet.decrypt(encrypted).decode()
        except InvalidToken:
            raise WrongSecret(
                "the keys in this data folder were made with another secret; "
                f"set {VARIABLE}, or put back the file `secret`"
            ) from None

    def webhook_secret(self, owner: str) -> str:
        """What signs what that key's tasks tell where they were given no secret of their own."""
        made = hmac.digest(self._webhooks, owner.encode(), hashlib.sha256)
        return f"whsec_{base64.b64encode(made).decode()}"

    def sign_link(self, text: str) -> str:
        """128 bits, as 32 hex digits, that nobody can guess for `text`."""
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._links).hexdigest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"safelight " + purpose, hashlib.sha256)


def _read_or_make(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    secret = path.read_bytes().strip()
    if not secret:
        raise WrongSecret(f"{path} is empty; put back the file that was there, or remove it")
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(made, path)  # fails where another process was first, and then that one counts
    except FileExistsError:
        pass
    finally:
        made.unlink()
    # The keys would be lost with it: its name is to be on the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
