-- Queue schema 4: how much of dw_inbox each sender has filled, so that limits.inbox_* cost a look-up and not a
-- count.  Kept by triggers, since apps delete rows themselves; bytes are those of event, data and raw.
-- owner: 'u' and the uid; 'c' and the client id where there is no uid; 'a': all without a uid; '*': everything.
--
-- An app's own trigger on dw_inbox is the younger one and so fires first: where it deletes or changes the new row,
-- that is subtracted before the row is added.  So the count goes below zero and comes back, in any order.

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
        ON CONFLICT (owner) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes;
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || NEW.uid, 'c' || coalesce(NEW.client_id, '')) AND rows = 0 AND bytes = 0;
END;

CREATE TRIGGER dw_inbox_load_drop AFTER DELETE ON dw_inbox
BEGIN
    INSERT INTO dw_inbox_load (owner, rows, bytes)
    SELECT owner, -1, -length(CAST(OLD.event AS BLOB)) - coalesce(length(CAST(OLD.data AS BLOB)), 0)
                      - coalesce(length(CAST(OLD.raw AS BLOB)), 0)
      FROM (SELECT '*' AS owner
            UNION ALL SELECT coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, ''))
            UNION ALL SELECT 'a' WHERE OLD.uid IS NULL)
     WHERE true
        ON CONFLICT (owner) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes;
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')) AND rows = 0 AND bytes = 0;
END;

CREATE TRIGGER dw_inbox_load_change AFTER UPDATE OF uid, client_id, event, data, raw ON dw_inbox
BEGIN
    INSERT INTO dw_inbox_load (owner, rows, bytes)
    SELECT owner, -1, -length(CAST(OLD.event AS BLOB)) - coalesce(length(CAST(OLD.data AS BLOB)), 0)
                      - coalesce(length(CAST(OLD.raw AS BLOB)), 0)
      FROM (SELECT '*' AS owner
            UNION ALL SELECT coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, ''))
            UNION ALL SELECT 'a' WHERE OLD.uid IS NULL)
     WHERE true
        ON CONFLICT (owner) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes;
    INSERT INTO dw_inbox_load (owner, rows, bytes)
    SELECT owner, 1, length(CAST(NEW.event AS BLOB)) + coalesce(length(CAST(NEW.data AS BLOB)), 0)
                     + coalesce(length(CAST(NEW.raw AS BLOB)), 0)
      FROM (SELECT '*' AS owner
            UNION ALL SELECT coalesce('u' || NEW.uid, 'c' || coalesce(NEW.client_id, ''))
            UNION ALL SELECT 'a' WHERE NEW.uid IS NULL)
     WHERE true
        ON CONFLICT (owner) DO UPDATE SET rows = rows + excluded.rows, bytes = bytes + excluded.bytes;
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || OLD.uid, 'c' || coalesce(OLD.client_id, '')) AND rows = 0 AND bytes = 0;
    DELETE FROM dw_inbox_load
     WHERE owner = coalesce('u' || NEW.uid, 'c' || coalesce(NEW.client_id, '')) AND rows = 0 AND bytes = 0;
END;

-- INSERT OR REPLACE fires no trigger for the row that goes.  (What else may come of such an INSERT, the recount of
-- the housekeeper mends.)
CREATE TRIGGER dw_inbox_load_replace BEFORE INSERT ON dw_inbox
WHEN EXISTS (SELECT 1 FROM dw_inbox WHERE id = NEW.id)
BEGIN
    UPDATE dw_inbox_load
       SET rows = rows - 1,
           bytes = bytes - (SELECT length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)
                                   + coalesce(length(CAST(raw AS BLOB)), 0) FROM dw_inbox WHERE id = NEW.id)
     WHERE owner IN (SELECT '*' UNION ALL
                     SELECT coalesce('u' || uid, 'c' || coalesce(client_id, '')) FROM dw_inbox WHERE id = NEW.id
                     UNION ALL SELECT 'a' FROM dw_inbox WHERE id = NEW.id AND uid IS NULL);
    DELETE FROM dw_inbox_load
     WHERE owner = (SELECT coalesce('u' || uid, 'c' || coalesce(client_id, '')) FROM dw_inbox WHERE id = NEW.id)
       AND rows = 0 AND bytes = 0;
END;

-- What is there already: read once, the sums are of the sums.
INSERT INTO dw_inbox_load (owner, rows, bytes)
SELECT coalesce('u' || uid, 'c' || coalesce(client_id, '')), count(*),
       sum(length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)
           + coalesce(length(CAST(raw AS BLOB)), 0))
  FROM dw_inbox GROUP BY 1;
INSERT INTO dw_inbox_load (owner, rows, bytes)
SELECT '*', sum(rows), sum(bytes) FROM dw_inbox_load GROUP BY NULL
UNION ALL
SELECT 'a', sum(rows), sum(bytes) FROM dw_inbox_load WHERE owner < 'd' GROUP BY NULL;
