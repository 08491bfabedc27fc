-- State schema 1: what only our programs know.  Written on every poll, and wakes nobody.
-- Losing this file loses no event: clients start again from what the queue retains.

-- queue_uuid: the queue this state belongs to.  lost_ms: when this file replaced a lost one (0: never).
-- next_slot: the lowest slot never given to a client.  queue_ino: the queue file's inode number (a device's
-- changes with every boot on some file systems).  queue_end: the queue has been at least that long; mark_id,
-- mark_ms: its newest push at some moment, and that push's time.  By these a restored backup is known.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('queue_uuid', ''), ('lost_ms', 0), ('next_slot', 1),
    ('queue_ino', 0), ('queue_end', 0), ('mark_id', 0), ('mark_ms', 0);

-- uid is text, or the integer 0 for clients without one (a key can't be NULL).
CREATE TABLE client (
    client_id  TEXT    NOT NULL,
    uid                NOT NULL,
    transport  INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    cursor     INTEGER NOT NULL,
    udt        INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    due_ms     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    connected  INTEGER NOT NULL,
    worker     INTEGER NOT NULL,
    packer     TEXT    NOT NULL,
    PRIMARY KEY (client_id, uid, transport)
) WITHOUT ROWID;
CREATE INDEX client_present ON client (uid, transport) WHERE connected = 1;
CREATE INDEX client_due     ON client (due_ms)         WHERE connected = 1;
CREATE INDEX client_worker  ON client (worker)         WHERE worker >= 0;
CREATE INDEX client_absent  ON client (seen_ms)        WHERE connected = 0;

-- Slots of deleted clients: given out again first, so that the claim words stay dense.
CREATE TABLE free_slot (slot INTEGER PRIMARY KEY);

-- Uids whose presence in the queue file may be out of date.  Each mark has a new generation, so that
-- clearing one never clears a later one.
CREATE TABLE dirty (
    generation INTEGER PRIMARY KEY AUTOINCREMENT,
    uid        TEXT NOT NULL UNIQUE
);

CREATE TABLE worker (
    worker     INTEGER PRIMARY KEY,
    pid        INTEGER NOT NULL,
    started_ms INTEGER NOT NULL
);

CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
