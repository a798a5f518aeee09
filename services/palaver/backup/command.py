"""The commands `palaver backup` and `palaver restore`, for administrators and for the jobs that do it by the clock.

A backup runs beside its workspace, whose processes know nothing of it. A restore has the database for itself. Each ends
with a line in the log that says what was done, how much it was and how long it took.
"""

import argparse
import asyncio
import contextlib
import logging
import tempfile
import time
from pathlib import Path

import orjson

from palaver import failpoints
from palaver.backup.archive import ArchiveReader, Manifest
from palaver.backup.making import Backup, make_name
from palaver.backup.places import Owner, Place, is_name, parse_place
from palaver.backup.restoring import NotEmpty, Restore, Restored, check_empty
from palaver.config import Config
from palaver.database import Database
from palaver.ports import build_blobs, hold_embedded, opened_database

logger = logging.getLogger(__name__)

_PLACE = "a folder, or s3://bucket/prefix (PALAVER_BACKUP_S3_…)"


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `palaver backup` takes."""
    parser.usage = "palaver backup [options] TO\n       palaver backup verify FROM"
    parser.add_argument("place", nargs="+", metavar="TO", help=f"where archives are kept: {_PLACE}")
    parser.add_argument("--verify", action="store_true", help="verify the archive when it is made")
    parser.add_argument("--keep", type=int, default=0, metavar="N", help="then remove all but the N newest; 0: none")
    parser.add_argument(
        "--name", default="", help="the archive's name, letters and digits; one that is whole already is left as it is"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was done to this file, as JSON")


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `palaver restore` takes."""
    parser.add_argument(
        "place", metavar="FROM", help=f"an archive, or where those of one workspace are kept, for the newest: {_PLACE}"
    )
    parser.add_argument("--workspace", default="", metavar="NAME", help="of which workspace, where several are kept")
    parser.add_argument("--if-empty", action="store_true", help="do nothing where there is a workspace already")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was done to this file, as JSON")


def run_backup(config: Config, parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Makes or verifies an archive. Raises ConfigError, Unavailable, and what is said of archives."""
    failpoints.arm_from_environment(config.failpoints)
    if parsed.place[0] == "verify" and len(parsed.place) == 2:
        report = asyncio.run(_verify_archive(config, parsed.place[1]))
    elif len(parsed.place) > 1:
        parser.error(f"unrecognized arguments: {' '.join(parsed.place[1:])}")
    elif parsed.name and not is_name(parsed.name):
        parser.error("argument --name: letters and digits, 64 at most")
    elif parsed.keep < 0:
        parser.error("argument --keep: a number of archives, or 0")
    else:
        place = parse_place(parsed.place[0], config)
        report = asyncio.run(_make_archive(config, place, parsed.name or make_name(), parsed.verify, parsed.keep))
    _write_report(parsed.report, report)


def run_restore(config: Config, parsed: argparse.Namespace) -> None:
    """Restores an archive into this configuration's workspace. Raises the same, NotEmpty, HalfRestored."""
    failpoints.arm_from_environment(config.failpoints)
    # Where there is a workspace it is of no interest what the place keeps by now: this may run before each start.
    if parsed.if_empty and not asyncio.run(_is_empty(config)):
        print("There is a workspace already: nothing is restored.")
        return
    _write_report(parsed.report, asyncio.run(_restore_archive(config, parsed.place, parsed.workspace)))


Report = dict[str, str | int | float | bool]


def _write_report(file: Path | None, report: Report) -> None:
    if file is not None:
        file.write_bytes(orjson.dumps(report))


async def _make_archive(config: Config, place: Place, name: str, verify: bool, keep: int) -> Report:
    started = time.monotonic()
    uploads, archive = build_blobs(config), place.blobs(name)
    async with opened_database(config) as database, contextlib.AsyncExitStack() as stack:
        for blobs in (uploads, archive):
            await blobs.open()
            stack.push_async_callback(blobs.close)
        owner = await _get_owner(config, database)
        await place.announce(name, owner)
        manifest = await Backup(database, uploads, archive, workspace=config.workspace).make(name)
    report: Report = {"archive": place.show(name), **_count(manifest), "seconds": _since(started)}
    logger.info("backup made", extra=report)
    print(
        f"{place.show(name)}: {report['events']} events, {report['uploads']} uploads, {report['bytes']} bytes,"
        f" {report['seconds']} s"
    )
    if missing := manifest.uploads.missing + len(manifest.uploads.damaged):
        print(f"{missing} uploads are missing or damaged in the workspace itself; the log names them")
    if verify:
        report |= {**await _verify(ArchiveReader(archive, manifest), place.show(name)), "seconds": _since(started)}
    if keep:
        for gone in await place.prune(owner, keep):
            print(f"{place.show(gone)}: removed")
    return report


async def _get_owner(config: Config, database: Database) -> Owner:
    """Whose the archives of this configuration's workspace are."""
    setting = await database.get("settings", "uniqueID")
    return Owner(config.workspace, str(setting["value"]) if setting is not None else "")


async def _verify_archive(config: Config, address: str) -> Report:
    place = parse_place(address, config)
    return await _verify(await place.find_archive(), address)


async def _verify(archive: ArchiveReader, shown: str) -> Report:
    """Restores into a scratch database in the temporary folder, and counts."""
    from palaver.database.sqlite import SqliteDatabase

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="palaver-verify-") as folder:
        database = SqliteDatabase(Path(folder) / "palaver.db")
        try:
            await database.open()
            done = await Restore(archive, database, None).run()
        finally:
            await database.close()
    report: Report = {"archive": shown, "verified": True, **_count(archive.manifest), **_count_restored(done)}
    logger.info("backup verified", extra={**report, "seconds": _since(started)})
    print(f"{shown}: verified, {report['documents']} documents, {done.uploads} uploads, {_since(started)} s")
    return report


async def _is_empty(config: Config) -> bool:
    """Whether an archive can be restored into this configuration's database, or one half restored is there."""
    with hold_embedded(config):
        async with opened_database(config, may_be_new=True) as database:
            try:
                await check_empty(database)
            except NotEmpty:
                return False
    return True


async def _restore_archive(config: Config, address: str, workspace: str) -> Report:
    started = time.monotonic()
    archive = await parse_place(address, config).find_archive(workspace)
    with hold_embedded(config):
        async with opened_database(config, may_be_new=True) as database, contextlib.AsyncExitStack() as stack:
            uploads = build_blobs(config)
            await uploads.open()
            stack.push_async_callback(uploads.close)
            done = await Restore(archive, database, uploads).run()
    report: Report = {"archive": archive.manifest.name, **_count_restored(done), "seconds": _since(started)}
    logger.info("backup restored", extra=report)
    print(
        f"{archive.manifest.name} of workspace {archive.manifest.workspace} is restored: {report['events']} events,"
        f" {report['documents']} documents, {report['uploads']} uploads, {report['seconds']} s"
    )
    for name in done.doubled_names:
        print(f"{name}: several have this name; rename all but one")
    return report


def _count(manifest: Manifest) -> Report:
    return {
        "events": sum(manifest.events.values()),
        "uploads": manifest.uploads.copied,
        "upload_bytes": manifest.uploads.bytes,
        "missing_uploads": manifest.uploads.missing,
        "damaged_uploads": len(manifest.uploads.damaged),
        "bytes": manifest.bytes,
    }


def _count_restored(done: Restored) -> Report:
    return {
        "events": sum(done.events.values()),
        "left_out": done.left_out,
        "documents": sum(done.documents.values()),
        "uploads": done.uploads,
        "upload_bytes": done.upload_bytes,
    }


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
