"""Links to files: made, read, and not to be guessed."""

from __future__ import annotations

import msgspec
import pytest

from doubles import ID, task
from safelight.links import Links, Target
from safelight.secrets import Vault
from safelight.task import Artifact, Source

BASE = "https://pictures.example"
TARGET = Target(ID, "a", 0)


@pytest.fixture
def links() -> Links:
    return Links(Vault(b"a secret"))


@pytest.mark.parametrize("media_type", ["image/png", "video/mp4", "audio/mpeg", None, "x/y"])
@pytest.mark.parametrize("target", [TARGET, Target(ID, "s", 15), Target(ID, "a", 123)])
def test_a_link_reads_back(links: Links, target: Target, media_type: str | None) -> None:
    url = links.write(BASE, target, media_type)

    assert url.startswith(f"{BASE}/files/{ID}-")
    assert links.read_url(url) == target
    assert links.read(url.rpartition("/")[2]) == target


def test_a_link_says_what_it_leads_to_by_its_suffix(links: Links) -> None:
    assert links.write(BASE, TARGET, "image/png").endswith(".png")
    assert links.write(BASE, TARGET, "video/mp4").endswith(".mp4")
    assert "." not in links.write("", TARGET, None)


def test_a_link_of_another_installation_is_none(links: Links) -> None:
    theirs = Links(Vault(b"another secret")).write(BASE, TARGET, "image/png")

    assert links.read_url(theirs) is None


def test_every_part_of_a_link_is_signed(links: Links) -> None:
    name = links.write("", TARGET, None).rpartition("/")[2]
    signature = name.rpartition("-")[2]
    other = ("0" if ID[-1] != "0" else "1").join((ID[:-1], ""))

    assert links.read(name) == TARGET
    for forged in (
        f"{other}-a0-{signature}",
        f"{ID}-s0-{signature}",
        f"{ID}-a1-{signature}",
        f"{ID}-a00-{signature}",
        f"{ID}-a0-{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
        f"{ID}-a0-{'0' * 32}",
    ):
        assert links.read(forged) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        ID,
        f"{ID}-a0-",
        f"{ID.upper()}-a0-{'0' * 32}",
        "../../etc/passwd",
        "a\x00b",
        "é" * 9,
    ],
)
def test_what_is_no_link_is_none(links: Links, name: str) -> None:
    assert links.read(name) is None
    assert links.read_url(f"{BASE}/files/{name}") is None
    assert links.read_url(name) is None


def test_a_link_with_something_after_it_is_none_of_ours(links: Links) -> None:
    url = links.write(BASE, TARGET, "image/png")

    assert links.read_url(f"{url}?x=1") is None
    assert links.read_url(f"{url}/..") is None
    assert links.read_url(f"{url}\n") is None


def test_a_task_is_dressed_with_links_to_its_files(links: Links) -> None:
    given = msgspec.structs.replace(
        task(
            sources=[
                Source(url="https://example.com/a.png"),
                Source(blob="x", media_type="image/png"),
            ]
        ),
        artifacts=(
            Artifact(blob="y", media_type="video/mp4"),
            Artifact(blob="z", media_type="image/png"),
        ),
    )

    dressed = links.dress(given, BASE)

    urls = [artifact.url or "" for artifact in dressed.artifacts]
    assert [links.read_url(url) for url in urls] == [Target(ID, "a", 0), Target(ID, "a", 1)]
    assert urls[0].endswith(".mp4")
    theirs, ours = dressed.submit.sources
    assert theirs.url == "https://example.com/a.png"
    assert links.read_url(ours.url or "") == Target(ID, "s", 1)


def test_a_task_without_files_stays_the_same(links: Links) -> None:
    assert links.dress(task(), BASE) == task()


def test_where_a_bucket_answers_itself_its_own_links_are_given_out() -> None:
    links = Links(Vault(b"a secret"), lambda blob: f"https://bucket.example/{blob}?signed")
    theirs = Source(url="https://example.com/a.png")
    given = msgspec.structs.replace(
        task(sources=[theirs, Source(blob="x", media_type="image/png")]),
        artifacts=(Artifact(blob="y", media_type="video/mp4"),),
    )

    dressed = links.dress(given, BASE)

    assert dressed.artifacts[0].url == "https://bucket.example/y?signed"
    assert [source.url for source in dressed.submit.sources] == [
        theirs.url,
        "https://bucket.example/x?signed",
    ]
