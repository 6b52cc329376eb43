"""The one secret: where it comes from, and what is made of it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.secrets import VARIABLE, Vault, WrongSecret


def test_the_secret_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = Vault.open(tmp_path / "data")
    again = Vault.open(tmp_path / "data")

    assert first.lookup("x") == again.lookup("x")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret"]
    file = tmp_path / "data" / "secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) == 64


def test_each_folder_has_its_own(tmp_path: Path) -> None:
    assert Vault.open(tmp_path / "a").lookup("x") != Vault.open(tmp_path / "b").lookup("x")


def test_the_environment_wins_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")

    vault = Vault.open(tmp_path)

    assert vault.lookup("x") == Vault(b"from the environment").lookup("x")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")

    with pytest.raises(WrongSecret, match="empty"):
        Vault.open(tmp_path)


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    made = Vault.open(tmp_path)
    before = tmp_path.stat().st_mtime_ns

    assert Vault.open(tmp_path).sign_link("x") == made.sign_link("x")
    assert tmp_path.stat().st_mtime_ns == before


MAKING = """
import sys
from pathlib import Path
from safelight.secrets import Vault

print("ready", flush=True)
sys.stdin.readline()
print(*(Vault.open(Path(sys.argv[1]) / str(n)).lookup("x") for n in range(50)))
"""


def test_processes_that_make_it_at_once_agree(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MAKING, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    told = [child.communicate(timeout=30)[0] for child in children]

    assert len(told[0].split()) == 50
    assert told[0] == told[1] == told[2]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"secret"}


def test_a_key_is_encrypted_and_decrypted() -> None:
    vault = Vault(b"a secret")

    encrypted = vault.encrypt("sk-very-secret")

    assert "very" not in encrypted
    assert encrypted != vault.encrypt("sk-very-secret")
    assert vault.decrypt(encrypted) == "sk-very-secret"
    assert Vault(b"a secret").decrypt(encrypted) == "sk-very-secret"


def test_another_installations_key_is_a_wrong_secret() -> None:
    encrypted = Vault(b"a secret").encrypt("sk-very-secret")

    with pytest.raises(WrongSecret) as told:
        Vault(b"another").decrypt(encrypted)

    assert VARIABLE in str(told.value)
    assert "very" not in str(told.value)


def test_each_use_has_a_secret_of_its_own() -> None:
    vault = Vault(b"a secret")

    assert vault.lookup("x")[:32] != vault.sign_link("x")
    assert vault.lookup("x") != vault.lookup("y")
    assert len(vault.sign_link("x")) == 32
    assert vault.lookup("日本") == vault.lookup("日本")
