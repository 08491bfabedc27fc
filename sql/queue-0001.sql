-- Queue schema 1: everything an app sees.  The rules live in triggers, so that a wrong statement aborts
-- with a sentence that says what to do, from any language.  Columns carry no NOT NULL where a trigger
-- has the better sentence, and no CHECK uses a JSON function (with trusted_schema=OFF that would lock
-- an app out of its own database).  Checks run AFTER INSERT: only there the new id is defined.
-- Times are Unix milliseconds.

CREATE TABLE dw_meta (
    key   TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

INSERT INTO dw_meta (key, value) VALUES
    ('uuid', lower(hex(randomblob(16)))),
    ('created_ms', CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    ('horizon', 0);

-- ---- pushes ----

CREATE TABLE dw_push (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    uid        TEXT,
    client_id  TEXT,
    room       TEXT,
    event      TEXT,
    data       TEXT,
    format     TEXT DEFAULT 'json',
    created_at INTEGER DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
);
CREATE INDEX dw_push_uid       ON dw_push (uid)       WHERE uid       IS NOT NULL;
CREATE INDEX dw_push_client_id ON dw_push (client_id) WHERE client_id IS NOT NULL;
CREATE INDEX dw_push_room      ON dw_push (room)      WHERE room      IS NOT NULL;

CREATE TRIGGER dw_push_check AFTER INSERT ON dw_push
BEGIN
    SELECT CASE
    -- address
    WHEN (NEW.uid IS NOT NULL) + (NEW.client_id IS NOT NULL) + (NEW.room IS NOT NULL) = 0
    THEN RAISE(ABORT, 'dw_push: no address: set one of uid, client_id or room (room ''*'' = everyone connected)')
    WHEN (NEW.uid IS NOT NULL) + (NEW.client_id IS NOT NULL) + (NEW.room IS NOT NULL) > 1
    THEN RAISE(ABORT, 'dw_push: more than one address: set only one of uid, client_id and room, insert a row for each')
    WHEN typeof(NEW.uid) = 'blob' OR typeof(NEW.client_id) = 'blob' OR typeof(NEW.room) = 'blob'
      OR instr(coalesce(NEW.uid, NEW.client_id, NEW.room), char(0)) > 0
    THEN RAISE(ABORT, 'dw_push: uid, client_id and room must be text without NUL characters: bind them as strings')
    WHEN NEW.client_id = '' OR NEW.room = ''
    THEN RAISE(ABORT, 'dw_push: client_id or room is empty: give a name, or use uid '''' for all clients without a uid')
    -- event name
    WHEN NEW.event IS NULL
    THEN RAISE(ABORT, 'dw_push: no event: give a namespaced name such as chat/message')
    WHEN typeof(NEW.event) = 'blob' OR instr(NEW.event, char(0)) > 0
    THEN RAISE(ABORT, 'dw_push: event must be text without NUL characters: bind it as a string')
    WHEN NEW.event GLOB ':*'
    THEN RAISE(ABORT, 'dw_push: event is written without the leading colon: chat/message, not :chat/message')
    WHEN NEW.event NOT GLOB '?*/?*' OR NEW.event GLOB '*/*/*'
    THEN RAISE(ABORT, 'dw_push: event must be a namespaced name with exactly one slash: namespace/name, such as chat/message')
    WHEN NEW.event GLOB '*[^A-Za-z0-9.*+!_?$%&=<>#/|''' || char(161) || '-' || char(0x10ffff) || '-]*'
      OR NEW.event GLOB '*[' || char(0x1680, 0x180e, 0x2000) || '-' || char(0x200f, 0x2018) || '-' || char(0x201f, 0x2028)
                        || '-' || char(0x202f, 0x205f) || '-' || char(0x206f, 0x3000, 0xab, 0xbb, 0xad, 0xfeff, 0xfff0)
                        || '-' || char(0xffff) || ']*'
    THEN RAISE(ABORT, 'dw_push: event has a character that a keyword can''t have: use letters, digits and . * + ! - _ ? $ % & = < > # '' |, no spaces, quotes, colons or brackets')
    WHEN NEW.event GLOB '[0-9]*' OR NEW.event GLOB '*/[0-9]*'
      OR NEW.event GLOB '[-+.][0-9]*' OR NEW.event GLOB '*/[-+.][0-9]*' OR NEW.event GLOB '[''#]*'
    THEN RAISE(ABORT, 'dw_push: namespace and name of the event must not begin with a digit, a quote or #: start them with a letter')
    WHEN NEW.event GLOB 'chsk/*' AND NEW.event <> 'chsk/close'
    THEN RAISE(ABORT, 'dw_push: events of the namespace chsk belong to the protocol: use a namespace of your own (chsk/close alone may be pushed)')
    WHEN length(NEW.event) > 255
    THEN RAISE(ABORT, 'dw_push: event is longer than 255 characters')
    -- data
    WHEN NEW.format IS NULL OR NEW.format NOT IN ('json', 'edn', 'transit')
    THEN RAISE(ABORT, 'dw_push: format must be json, edn or transit (leave it out for json)')
    WHEN typeof(NEW.data) = 'blob'
    THEN RAISE(ABORT, 'dw_push: data is a BLOB: bind it as text (UTF-8)')
    WHEN length(CAST(NEW.data AS BLOB)) > 1048576
    THEN RAISE(ABORT, 'dw_push: data is larger than 1 MiB: store it elsewhere and push a reference')
    WHEN instr(NEW.data, char(0)) > 0
    THEN RAISE(ABORT, 'dw_push: data contains a NUL character')
    WHEN NEW.format = 'json' AND NEW.data IS NOT NULL AND NOT json_valid(NEW.data)
    THEN RAISE(ABORT, 'dw_push: data is not valid JSON: use json_object(), json_quote() or your language''s JSON encoder (a plain string needs its double quotes); NULL = event without data')
    WHEN NEW.format <> 'json' AND trim(NEW.data) = ''
    THEN RAISE(ABORT, 'dw_push: data is empty: give a value in the stated format, or NULL for an event without data')
    -- time and order
    WHEN typeof(NEW.created_at) <> 'integer' OR NEW.created_at < 100000000000
      OR NEW.created_at > (julianday('now') - 2440587.5) * 86400000 + 60000
    THEN RAISE(ABORT, 'dw_push: created_at must be Unix time in milliseconds and not in the future: leave it out')
    WHEN NEW.id <= coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'), 0)
      OR NEW.id < (SELECT max(id) FROM dw_push) OR NEW.id > 4398046511103
    THEN RAISE(ABORT, 'dw_push: id may not go backwards, clients read in its order: leave id out')
    END;
END;

CREATE TRIGGER dw_push_fixed BEFORE UPDATE ON dw_push
BEGIN
    SELECT RAISE(ABORT, 'dw_push: rows can''t be changed, a client may have had them already: insert a new row');
END;

-- ---- what clients sent, and the answers ----

CREATE TABLE dw_inbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         TEXT,
    client_id   TEXT,
    event       TEXT NOT NULL,
    data        TEXT,
    wants_reply INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    format      TEXT NOT NULL DEFAULT 'json',
    packer      TEXT,
    raw         BLOB
);

CREATE TABLE dw_reply (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox_id   INTEGER,
    data       TEXT,
    format     TEXT DEFAULT 'json',
    created_at INTEGER DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER))
);
CREATE INDEX dw_reply_inbox_id ON dw_reply (inbox_id);

CREATE TRIGGER dw_reply_check AFTER INSERT ON dw_reply
BEGIN
    SELECT CASE
    WHEN NEW.inbox_id IS NULL
    THEN RAISE(ABORT, 'dw_reply: no inbox_id: give the id of the dw_inbox row that is answered')
    WHEN NOT EXISTS (SELECT 1 FROM dw_inbox WHERE id = NEW.inbox_id)
    THEN RAISE(ABORT, 'dw_reply: there is no dw_inbox row with this id: it was never there, or retention has removed it')
    WHEN NOT (SELECT wants_reply FROM dw_inbox WHERE id = NEW.inbox_id)
    THEN RAISE(ABORT, 'dw_reply: this dw_inbox row wants no reply (wants_reply is 0): answer with a dw_push to its client_id or uid')
    WHEN (SELECT count(*) FROM dw_reply WHERE inbox_id = NEW.inbox_id) > 1
    THEN RAISE(ABORT, 'dw_reply: this dw_inbox row has been answered already: a callback takes one reply')
    WHEN NEW.format IS NULL OR NEW.format NOT IN ('json', 'edn', 'transit')
    THEN RAISE(ABORT, 'dw_reply: format must be json, edn or transit (leave it out for json)')
    WHEN typeof(NEW.data) = 'blob'
    THEN RAISE(ABORT, 'dw_reply: data is a BLOB: bind it as text (UTF-8)')
    WHEN length(CAST(NEW.data AS BLOB)) > 1048576
    THEN RAISE(ABORT, 'dw_reply: data is larger than 1 MiB: store it elsewhere and answer with a reference')
    WHEN instr(NEW.data, char(0)) > 0
    THEN RAISE(ABORT, 'dw_reply: data contains a NUL character')
    WHEN NEW.format = 'json' AND NEW.data IS NOT NULL AND NOT json_valid(NEW.data)
    THEN RAISE(ABORT, 'dw_reply: data is not valid JSON: use json_object(), json_quote() or your language''s JSON encoder (a plain string needs its double quotes); NULL = nil')
    WHEN NEW.format <> 'json' AND trim(NEW.data) = ''
    THEN RAISE(ABORT, 'dw_reply: data is empty: give a value in the stated format, or NULL for nil')
    WHEN typeof(NEW.created_at) <> 'integer' OR NEW.created_at < 100000000000
    THEN RAISE(ABORT, 'dw_reply: created_at must be Unix time in milliseconds: leave it out')
    WHEN NEW.id <= coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_reply'), 0)
      OR NEW.id < (SELECT max(id) FROM dw_reply) OR NEW.id > 4398046511103
    THEN RAISE(ABORT, 'dw_reply: id may not go backwards, answers are read in its order: leave id out')
    END;
END;

CREATE TRIGGER dw_reply_fixed BEFORE UPDATE ON dw_reply
BEGIN
    SELECT RAISE(ABORT, 'dw_reply: a reply can''t be changed, the client may have had it already');
END;

-- ---- sessions ----

CREATE TABLE dw_session (
    sid            TEXT PRIMARY KEY,
    uid            TEXT,
    csrf_token     TEXT,
    handshake_data TEXT,
    expires_at     INTEGER
);
CREATE INDEX dw_session_expires_at ON dw_session (expires_at) WHERE expires_at IS NOT NULL;

CREATE TRIGGER dw_session_check BEFORE INSERT ON dw_session
BEGIN
    SELECT CASE
    WHEN NEW.sid IS NULL OR NEW.sid = '' OR typeof(NEW.sid) = 'blob'
    THEN RAISE(ABORT, 'dw_session: sid must be text: the value of the session cookie')
    WHEN NEW.handshake_data IS NOT NULL AND NOT json_valid(NEW.handshake_data)
    THEN RAISE(ABORT, 'dw_session: handshake_data is not valid JSON: use json_object() or your language''s JSON encoder, or NULL')
    WHEN NEW.expires_at IS NOT NULL
     AND (typeof(NEW.expires_at) <> 'integer' OR NEW.expires_at BETWEEN 1000000000 AND 99999999999)
    THEN RAISE(ABORT, 'dw_session: expires_at must be Unix time in milliseconds (this looks like seconds): multiply by 1000')
    END;
END;
CREATE TRIGGER dw_session_change BEFORE UPDATE ON dw_session
BEGIN
    SELECT CASE
    WHEN NEW.sid IS NULL OR NEW.sid = '' OR typeof(NEW.sid) = 'blob'
    THEN RAISE(ABORT, 'dw_session: sid must be text: the value of the session cookie')
    WHEN NEW.handshake_data IS NOT NULL AND NOT json_valid(NEW.handshake_data)
    THEN RAISE(ABORT, 'dw_session: handshake_data is not valid JSON: use json_object() or your language''s JSON encoder, or NULL')
    WHEN NEW.expires_at IS NOT NULL
     AND (typeof(NEW.expires_at) <> 'integer' OR NEW.expires_at BETWEEN 1000000000 AND 99999999999)
    THEN RAISE(ABORT, 'dw_session: expires_at must be Unix time in milliseconds (this looks like seconds): multiply by 1000')
    END;
END;

-- ---- rooms: who is in one, and who was (a push reaches those who were members when it was made) ----

-- since_id is the queue's end at the time of joining; the trigger below fills it in.
CREATE TABLE dw_member (
    room     TEXT NOT NULL,
    uid      TEXT NOT NULL,
    since_id INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (room, uid)
) WITHOUT ROWID;
CREATE INDEX dw_member_uid ON dw_member (uid, room, since_id);

-- Member for the pushes with since_id < id <= until_id.
CREATE TABLE dw_member_left (
    id       INTEGER PRIMARY KEY,
    room     TEXT NOT NULL,
    uid      TEXT NOT NULL,
    since_id INTEGER NOT NULL,
    until_id INTEGER NOT NULL
);
CREATE INDEX dw_member_left_uid   ON dw_member_left (uid, until_id);
CREATE INDEX dw_member_left_room  ON dw_member_left (room, until_id);
CREATE INDEX dw_member_left_until ON dw_member_left (until_id);

-- The queue's end is taken from the rows too: within the statement that fires an app's trigger,
-- sqlite_sequence does not know yet what that trigger has pushed.
-- A second INSERT of a member does nothing, with or without OR REPLACE (which would forget since_id).
CREATE TRIGGER dw_member_check BEFORE INSERT ON dw_member
BEGIN
    SELECT CASE
    WHEN NEW.room IS NULL OR NEW.room = '' OR typeof(NEW.room) = 'blob' OR instr(NEW.room, char(0)) > 0
    THEN RAISE(ABORT, 'dw_member: room must be a name (text)')
    WHEN NEW.room = '*'
    THEN RAISE(ABORT, 'dw_member: everyone connected is in room * already: choose another name')
    WHEN NEW.uid IS NULL OR typeof(NEW.uid) = 'blob' OR instr(NEW.uid, char(0)) > 0
    THEN RAISE(ABORT, 'dw_member: uid must be text')
    WHEN NEW.since_id <> -1
    THEN RAISE(ABORT, 'dw_member: since_id is filled in by the queue: leave it out')
    WHEN EXISTS (SELECT 1 FROM dw_member WHERE room = NEW.room AND uid = NEW.uid)
    THEN RAISE(IGNORE)
    END;
END;
CREATE TRIGGER dw_member_join AFTER INSERT ON dw_member
BEGIN
    UPDATE dw_member
       SET since_id = max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'), 0),
                          coalesce((SELECT max(id) FROM dw_push), 0))
     WHERE room = NEW.room AND uid = NEW.uid;
END;
CREATE TRIGGER dw_member_fixed BEFORE UPDATE ON dw_member
WHEN OLD.since_id <> -1 OR NEW.room <> OLD.room OR NEW.uid <> OLD.uid
BEGIN
    SELECT RAISE(ABORT, 'dw_member: rows can''t be changed: delete the row and insert another');
END;
CREATE TRIGGER dw_member_leave AFTER DELETE ON dw_member
WHEN OLD.since_id < max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'), 0),
                        coalesce((SELECT max(id) FROM dw_push), 0))
BEGIN
    INSERT INTO dw_member_left (room, uid, since_id, until_id)
    VALUES (OLD.room, OLD.uid, OLD.since_id, max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'), 0),
                                                 coalesce((SELECT max(id) FROM dw_push), 0)));
END;

-- ---- who is here, and where the queue ends ----

CREATE TABLE dw_online (
    uid   TEXT PRIMARY KEY,
    ws    INTEGER NOT NULL,
    ajax  INTEGER NOT NULL,
    since INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO sqlite_sequence (name, seq) VALUES ('dw_push', 0), ('dw_inbox', 0), ('dw_reply', 0);

CREATE VIEW dw_now AS
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dw_push'), 0) AS cursor;
