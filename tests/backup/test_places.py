"""Folders and buckets that keep archives: which is the newest, and which are removed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.backup.archive import ArchiveNotFound
from palaver.backup.making import Backup, make_name
from palaver.backup.places import Owner, Place, SeveralWorkspaces, is_name, parse_place
from palaver.config import Config, ConfigError
from palaver.ids import new_id
from tests.backup.conftest import MakeStorage
from tests.backup.workspace import Storage
from tests.servers import S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for all of these tests: it outlives their event loops."""
    with asyncio.Runner() as runner:
        running = s3_server()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.needs_servers)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(kind: str, request: pytest.FixtureRequest) -> Config:
    if kind == "folder":
        return Config()
    server: S3Server = request.getfixturevalue("server")
    return Config(
        backup_s3_endpoint=server.endpoint,
        backup_s3_access_key=server.access_key,
        backup_s3_secret_key=server.secret_key,
        s3_region=server.region,
    )


@pytest.fixture
def place(kind: str, config: Config, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """An empty one."""
    if kind == "folder":
        return parse_place(str(tmp_path / "backups"), config)
    bucket = f"bucket-{new_id().lower()}"
    request.getfixturevalue("server").make_bucket(bucket)
    return parse_place(f"s3://{bucket}/of/palaver/", config)


@pytest.fixture
async def storage(make_storage: MakeStorage) -> Storage:
    """An empty workspace is one, too."""
    return await make_storage("sqlite")


CHAT = Owner("chat", "11aa")
ELSEWHERE = Owner("chat", "22bb")  # a workspace of the same name, in another cluster
OF_OLD = Owner("chat", "")


async def keep(place: Place, storage: Storage, name: str, owner: Owner = CHAT, *, whole: bool = True) -> None:
    archive = place.blobs(name)
    await archive.open()
    await place.announce(name, owner)
    backup = Backup(storage.database, storage.uploads, archive, workspace=owner.workspace)
    await backup.make(name)
    if not whole:
        await archive.delete("parts/manifest")
    await archive.close()


async def test_nothing_is_no_archive(place: Place) -> None:
    with pytest.raises(ArchiveNotFound, match="is no archive"):
        await place.find_archive()


async def test_the_newest_whole_archive_is_found(place: Place, storage: Storage) -> None:
    for name in ("20260101", "20260103", "20260102"):
        await keep(place, storage, name)
    await keep(place, storage, "20260104", whole=False)
    assert (await place.find_archive()).manifest.name == "20260103"
    assert place.show("20260103").endswith("/20260103")


async def test_an_archive_has_an_address_of_its_own(place: Place, config: Config, storage: Storage) -> None:
    for name in ("20260101", "20260102"):
        await keep(place, storage, name)
    own = parse_place(place.show("20260101"), config)
    assert (await own.find_archive()).manifest.name == "20260101"


async def test_the_oldest_are_removed(place: Place, storage: Storage) -> None:
    for name in ("20260101", "20260102", "20260103"):
        await keep(place, storage, name)
    await keep(place, storage, "20260100", whole=False)
    await keep(place, storage, "20260104", whole=False)
    await keep(place, storage, "20260099", Owner("another", "11aa"))
    await keep(place, storage, "20260098", ELSEWHERE)
    await keep(place, storage, "20260097", OF_OLD)
    others = ["20260097", "20260098", "20260099"]
    assert await place.prune(CHAT, 2) == ["20260101", "20260100"]
    assert await place.prune(CHAT, 2) == []
    assert sorted([name async for name in place._list_names()]) == [*others, "20260102", "20260103", "20260104"]
    assert [blob async for blob in place.blobs("20260101").list("parts")] == []
    assert await place.prune(CHAT, 0) == ["20260104", "20260103", "20260102"]
    assert sorted([name async for name in place._list_names()]) == others


@pytest.mark.parametrize("other", [ELSEWHERE, Owner("another", "22bb"), OF_OLD])
async def test_of_several_workspaces_the_newest_is_nobodys(
    place: Place, config: Config, storage: Storage, other: Owner
) -> None:
    await keep(place, storage, "20260101")
    await keep(place, storage, "20260102", other, whole=False)
    assert (await place.find_archive()).manifest.name == "20260101", "there is one only that can be meant"
    await keep(place, storage, "20260103", other)
    with pytest.raises(SeveralWorkspaces) as raised:
        await place.find_archive()
    for name, owner in (("20260101", CHAT), ("20260103", other)):
        assert f"{place.show(name)} of {owner.workspace}" in str(raised.value)
        own = parse_place(place.show(name), config)
        assert (await own.find_archive()).manifest.name == name


async def test_of_several_workspaces_one_is_chosen_by_its_name(place: Place, config: Config, storage: Storage) -> None:
    await keep(place, storage, "20260101")
    await keep(place, storage, "20260102")
    await keep(place, storage, "20260103", Owner("another", "22bb"))
    assert (await place.find_archive("chat")).manifest.name == "20260102"
    assert (await place.find_archive("another")).manifest.name == "20260103"
    with pytest.raises(ArchiveNotFound, match="of nobody"):
        await place.find_archive("nobody")
    own = parse_place(place.show("20260101"), config)
    assert (await own.find_archive("chat")).manifest.name == "20260101"
    with pytest.raises(ArchiveNotFound, match="not of another"):
        await own.find_archive("another")
    await keep(place, storage, "20260104", ELSEWHERE)
    with pytest.raises(SeveralWorkspaces):
        await place.find_archive("chat")


def test_names_sort_by_time() -> None:
    first, second = make_name(1_000_000_000), make_name(1_500_000_000)
    assert first < second < make_name()
    assert is_name(first)
    assert first.startswith("20010909T014640Z")


@pytest.mark.parametrize("address", ["http://example.org/x", "s3://", "s3://bucket/x", "gs://bucket"])
def test_what_is_no_place_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        parse_place(address, Config())


def test_uploads_keys_are_those_of_backups_unless_they_have_their_own() -> None:
    config = Config(s3_endpoint="http://a", s3_bucket="b", s3_access_key="k", s3_secret_key="s")
    assert parse_place("s3://backups", config).shown == "s3://backups"
    with pytest.raises(ConfigError, match="PALAVER_BACKUP_S3_SECRET_KEY"):
        parse_place("s3://backups/x", Config(backup_s3_endpoint="http://a", backup_s3_access_key="k"))
