-- Queue schema 4: how much of dw_inbox each sender has filled, so that limits.inbox_* cost a look-up and not a
-- count.  Kept by triggers, since apps delete rows themselves; bytes are those of event, data and raw.
-- owner: 'u' and the uid; 'c' and the client id where there is no uid; 'a': all without a uid; '*': everything.

CREATE TABLE dw_inbox_load (
    owner TEXT PRIMARY KEY,
    rows  INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER dw_inbox_load_add AFTER INSERT ON dw_inbox
BEGIN
    INSERT INTO dw_inbox_load (owner, rows, bytes)
    SELECT owner, 1, length(CAST(NEW.event AS BLOB)) + coalesce(length(CAST(NEW.data AS BLOB)), 0)
                     + coalesce(length(CAST(NEW.raw AS BLOB)), 0)
      FROM (SELECT '*' AS owner
            UNION ALL SELECT coalesce('u' || NEW.uid, 'c' || coalesce(NEW.client_id, ''))
            UNION ALL SELECT 'a' WHERE NEW.uid IS NULL)
     WHERE true
        ON CONFLICT (owner) DO UPDATE SET rows = rows + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER dw_inbox_load_drop AFTER DELETE ON dw_inbox
BEGIN
    UPDATE dw_inbox_load
       SET rows = rows - 1,
           bytes = bytes - length(CAST(OLD.event AS BLOB)) - coalesce(length(CAST(OLD.data AS BLOB)), 0)
                         - coalesce(length(CAST(OLD.raw AS BLOB)), 0)
     WHERE owner IN ('*', coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')),
                     CASE WHEN OLD.uid IS NULL THEN 'a' END);
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')) AND rows <= 0;
END;

CREATE TRIGGER dw_inbox_load_change AFTER UPDATE OF uid, client_id, event, data, raw ON dw_inbox
BEGIN
    UPDATE dw_inbox_load
       SET rows = rows - 1,
           bytes = bytes - length(CAST(OLD.event AS BLOB)) - coalesce(length(CAST(OLD.data AS BLOB)), 0)
                         - coalesce(length(CAST(OLD.raw AS BLOB)), 0)
     WHERE owner IN ('*', coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')),
                     CASE WHEN OLD.uid IS NULL THEN 'a' END);
    INSERT INTO dw_inbox_load (owner, rows, bytes)
    SELECT owner, 1, length(CAST(NEW.event AS BLOB)) + coalesce(length(CAST(NEW.data AS BLOB)), 0)
                     + coalesce(length(CAST(NEW.raw AS BLOB)), 0)
      FROM (SELECT '*' AS owner
            UNION ALL SELECT coalesce('u' || NEW.uid, 'c' || coalesce(NEW.client_id, ''))
            UNION ALL SELECT 'a' WHERE NEW.uid IS NULL)
     WHERE true
        ON CONFLICT (owner) DO UPDATE SET rows = rows + 1, bytes = bytes + excluded.bytes;
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')) AND rows <= 0;
END;

INSERT INTO dw_inbox_load (owner, rows, bytes)
SELECT owner, count(*), sum(size)
  FROM (SELECT '*' AS owner, uid, client_id, length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)
                                             + coalesce(length(CAST(raw AS BLOB)), 0) AS size FROM dw_inbox
        UNION ALL
        SELECT coalesce('u' || uid, 'c' || coalesce(client_id, '')), uid, client_id,
               length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)
               + coalesce(length(CAST(raw AS BLOB)), 0) FROM dw_inbox
        UNION ALL
        SELECT 'a', uid, client_id, length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)
                                    + coalesce(length(CAST(raw AS BLOB)), 0) FROM dw_inbox WHERE uid IS NULL)
 GROUP BY owner;
