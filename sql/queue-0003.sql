-- Queue schema 3: a push may name a uid and a client_id together.  It is for that client only while it is that user's:
-- a client id is the client's own word, and another user may have heard it.
-- The check is that of schema 1, with the first two sentences changed.

DROP TRIGGER dw_push_check;
CREATE TRIGGER dw_push_check AFTER INSERT ON dw_push
BEGIN
    SELECT CASE
    -- address
    WHEN (NEW.uid IS NOT NULL) + (NEW.client_id IS NOT NULL) + (NEW.room IS NOT NULL) = 0
    THEN RAISE(ABORT, 'dw_push: no address: set one of uid, client_id or room (room ''*'' = everyone connected)')
    WHEN NEW.room IS NOT NULL AND (NEW.uid IS NOT NULL OR NEW.client_id IS NOT NULL)
    THEN RAISE(ABORT, 'dw_push: more than one address: set room alone, or uid, client_id or both of them; insert a row for each')
    WHEN typeof(NEW.uid) = 'blob' OR typeof(NEW.client_id) = 'blob' OR typeof(NEW.room) = 'blob'
      OR instr(coalesce(NEW.uid, '') || coalesce(NEW.client_id, '') || coalesce(NEW.room, ''), char(0)) > 0
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
