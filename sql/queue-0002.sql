-- Queue schema 2: a count that rises when a session may have ended before its time: it is deleted, belongs to
-- another uid, or expires earlier.  Who holds clients looks their sessions up again then, and not after each commit.
-- A session that has expired and is deleted, one that lasts longer, and a new one change nothing for anybody.

INSERT INTO dw_meta (key, value) VALUES ('session_changes', 0);

CREATE TRIGGER dw_session_gone AFTER DELETE ON dw_session
WHEN OLD.expires_at IS NULL OR OLD.expires_at > (julianday('now') - 2440587.5) * 86400000
BEGIN
    UPDATE dw_meta SET value = value + 1 WHERE key = 'session_changes';
END;

CREATE TRIGGER dw_session_changed AFTER UPDATE ON dw_session
WHEN NEW.sid IS NOT OLD.sid OR NEW.uid IS NOT OLD.uid
  OR (NEW.expires_at IS NOT NULL AND (OLD.expires_at IS NULL OR NEW.expires_at < OLD.expires_at))
BEGIN
    UPDATE dw_meta SET value = value + 1 WHERE key = 'session_changes';
END;

-- INSERT OR REPLACE deletes the row before without firing a trigger.
CREATE TRIGGER dw_session_replaced BEFORE INSERT ON dw_session
WHEN EXISTS (SELECT 1 FROM dw_session
             WHERE sid = NEW.sid
               AND (uid IS NOT NEW.uid
                    OR (NEW.expires_at IS NOT NULL AND (expires_at IS NULL OR NEW.expires_at < expires_at))))
BEGIN
    UPDATE dw_meta SET value = value + 1 WHERE key = 'session_changes';
END;
