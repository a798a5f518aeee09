"""Backups: a workspace as an archive, made while the workspace runs, and an empty workspace made of an archive.

**What an archive holds.** The event log is the record, and every document follows from it. So an archive holds the
events, the bytes of uploads, and the records that nothing else tells (dead letters, figures of former days, what
webhooks have to post; `database/schema.py` says it of each kind); no document and no claim of a name. Restoring appends
the events and projects them, as a message that is sent does. That is why an archive of SQLite can be restored into
MongoDB and the other way round, and an archive of an older version into a newer one: the documents that come to be are
those of the version that restores.

**What an archive is true of.** Writers go on meanwhile, and neither database is stopped or copied under a lock:

1. The documents are counted, and the records copied.
2. The *cut*: how far each stream is projected (`applied_seq`), of all rooms first, then of all users, then of the
   workspace. Whoever was answered before the backup began has its event in the cut, because an answer goes out when the
   projection stands. This takes a second for some hundred thousand streams, and is all that time matters for: events
   never change, so they are copied up to the cut whenever it suits.
3. The events of each stream up to its cut: rooms, users, workspace.
4. The bytes of every upload that these events tell of. Bytes never change, and stay for a day after their upload was
   deleted (`messaging/uploads.py`), so what an event of the archive needs is there unless this takes longer than that.
5. The documents are counted again, and the manifest is written. Without a manifest there is no archive.

Of events before the cut, a room's may need a user's (a member who was renamed), so users are cut after rooms: what a
room's events speak of is in the archive. The other way round, a user may have read a message that came after their
room's cut. Such an event, and what follows it in its user's stream, is left out when the archive is restored: all of it
came after the backup began, and without it the member finds these messages unread (`restoring.py`).

**Memory.** Nothing grows with the workspace: parts of an archive are some MiB, the cut and the list of uploads are
files in the temporary folder (about 40 bytes a stream and an upload), events are read by pages.

    frames.py      what a part holds
    archive.py     the parts and the manifest of one archive, written and read
    places.py      folders and buckets that keep archives
    making.py      the protocol above
    restoring.py   an archive into an empty workspace, again after a crash; what must be true of it then
    command.py     the commands `palaver backup` and `palaver restore`

An archive holds everything that people wrote, the hashes of passwords and tokens, the secrets of authenticator apps and
those that settings and webhooks have: keep it as the database itself.
"""
