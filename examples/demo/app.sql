-- The demo's application, all of it: two triggers on what clients send.  They run inside the
-- transaction that stores the message, so their effect leaves with the same commit.

-- "Tell everyone": an event without callback becomes a push to every connected client.
CREATE TRIGGER demo_say AFTER INSERT ON dw_inbox
WHEN NEW.event = 'demo/say'
BEGIN
    INSERT INTO dw_push (room, event, data)
    VALUES ('*', 'demo/said', json_object('text', json_extract(NEW.data, '$.text'), 'from', NEW.uid));
END;

-- "Ask the database": an event with callback is answered in the same request.
CREATE TRIGGER demo_ask AFTER INSERT ON dw_inbox
WHEN NEW.event = 'demo/ask' AND NEW.wants_reply
BEGIN
    INSERT INTO dw_reply (inbox_id, data)
    VALUES (NEW.id, json_object('text', printf('"%s" is message number %d, and SQLite %s stored it.',
                                               json_extract(NEW.data, '$.text'), NEW.id, sqlite_version())));
END;
