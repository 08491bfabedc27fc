/* Private to store/sqlite*.c: every prepared statement, one line per statement: name, file, text.
 * They are prepared when first used and kept until the store is closed. */
#ifndef DW_STORE_SQLITE_SQL_H
#define DW_STORE_SQLITE_SQL_H

#define DW_TEXT_PUSH_COLUMNS "p.id, p.uid, p.client_id, p.room, p.event, p.data, p.format"
#define DW_TEXT_CLIENT_COLUMNS                                                                                         \
    "slot, epoch, cursor, udt, seen_ms, due_ms, generation, connected, worker, packer, transport"

/* A mailbox is the merge of five short index ranges, each with ?3 < id <= ?5.  Each is cut to ?4 rows by
 * itself, so that a client far behind costs no more than its answer. */
#define DW_TEXT_MAILBOX                                                                                                \
    "SELECT " DW_TEXT_PUSH_COLUMNS " FROM dw_push p WHERE p.id IN ("                                                   \
    " SELECT * FROM (SELECT id FROM dw_push WHERE uid = ?1 AND client_id IS NULL"                                      \
    "   AND id > ?3 AND id <= ?5 ORDER BY id LIMIT ?4)"                                                                \
    " UNION ALL SELECT * FROM (SELECT id FROM dw_push WHERE client_id = ?2 AND coalesce(uid, ?1) = ?1"                 \
    "   AND id > ?3 AND id <= ?5 ORDER BY id LIMIT ?4)"                                                                \
    " UNION ALL SELECT * FROM (SELECT id FROM dw_push WHERE room = '*' AND id > ?3 AND id <= ?5 ORDER BY id LIMIT ?4)" \
    " UNION ALL SELECT * FROM (SELECT r.id FROM dw_member m CROSS JOIN dw_push r"                                      \
    "   ON r.room = m.room AND r.id > max(m.since_id, ?3) AND r.id <= ?5 WHERE m.uid = ?1 ORDER BY r.id LIMIT ?4)"     \
    " UNION ALL SELECT * FROM (SELECT r.id FROM dw_member_left m CROSS JOIN dw_push r"                                 \
    "   ON r.room = m.room AND r.id > max(m.since_id, ?3) AND r.id <= min(m.until_id, ?5)"                             \
    "   WHERE m.uid = ?1 AND m.until_id > ?3 ORDER BY r.id LIMIT ?4)"                                                  \
    ") ORDER BY p.id LIMIT ?4"

/* Rows that are not found by the order of their ids: at most ?1 of them, however many share one value. */
#define DW_TEXT_OLD_LEFT                                                                                               \
    "SELECT id FROM dw_member_left WHERE until_id < coalesce((SELECT min(id) FROM dw_push),"                           \
    " (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'dw_push')) ORDER BY until_id LIMIT ?1"
#define DW_TEXT_OLD_SESSIONS                                                                                           \
    "SELECT rowid FROM dw_session WHERE expires_at IS NOT NULL AND expires_at < ?2 ORDER BY expires_at LIMIT ?1"

/* By how much what dw_inbox_load says is less than what is there (sql/queue-0004.sql). */
#define DW_TEXT_INBOX_DRIFT                                                                                            \
    "WITH sender AS MATERIALIZED (SELECT coalesce('u' || uid, 'c' || coalesce(client_id, '')) AS owner,"               \
    " count(*) AS rows, sum(length(CAST(event AS BLOB)) + coalesce(length(CAST(data AS BLOB)), 0)"                     \
    " + coalesce(length(CAST(raw AS BLOB)), 0)) AS bytes FROM dw_inbox GROUP BY 1)"                                    \
    " SELECT owner, sum(rows), sum(bytes) FROM (SELECT owner, rows, bytes FROM sender"                                 \
    " UNION ALL SELECT '*', rows, bytes FROM sender UNION ALL SELECT 'a', rows, bytes FROM sender WHERE owner < 'd'"   \
    " UNION ALL SELECT owner, -rows, -bytes FROM dw_inbox_load)"                                                       \
    " GROUP BY owner HAVING sum(rows) <> 0 OR sum(bytes) <> 0 LIMIT ?1"

/* clang-format off */
#define DW_SQL_STATEMENTS(X)                                                                                           \
    X(QUEUE_BEGIN, DW_QUEUE, "BEGIN IMMEDIATE")                                                                        \
    X(QUEUE_COMMIT, DW_QUEUE, "COMMIT")                                                                                \
    X(QUEUE_VERSION, DW_QUEUE, "PRAGMA data_version")                                                                  \
    X(META_GET, DW_QUEUE, "SELECT value FROM dw_meta WHERE key = ?1")                                                  \
    X(META_PUT, DW_QUEUE, "INSERT INTO dw_meta (key, value) VALUES (?1, ?2)"                                           \
                          " ON CONFLICT (key) DO UPDATE SET value = excluded.value")                                   \
    X(NEWS, DW_QUEUE, "SELECT total(seq), (SELECT value FROM dw_meta WHERE key = 'session_changes')"                  \
                      " FROM sqlite_sequence WHERE name IN ('dw_push', 'dw_reply', 'dw_inbox')")                         \
    X(SEQUENCE, DW_QUEUE, "SELECT seq FROM sqlite_sequence WHERE name = ?1")                                           \
    X(MARK, DW_QUEUE, "SELECT seq, (SELECT created_at FROM dw_push WHERE id = coalesce(?1, seq)),"                     \
                      " (SELECT created_at FROM dw_push WHERE id = seq)"                                               \
                      " FROM sqlite_sequence WHERE name = 'dw_push'")                                                  \
    X(QUEUE_READ, DW_QUEUE, "BEGIN")                                                                                    \
    X(MADE_AFTER, DW_QUEUE, "SELECT min(id) - 1 FROM dw_push WHERE created_at > ?1")                                   \
    X(PUSHES, DW_QUEUE, "SELECT " DW_TEXT_PUSH_COLUMNS " FROM dw_push p WHERE id > ?1 ORDER BY id LIMIT ?2")            \
    X(MAILBOX, DW_QUEUE, DW_TEXT_MAILBOX)                                                                               \
    X(MEMBERS, DW_QUEUE, "SELECT uid FROM dw_member WHERE room = ?1 AND since_id < ?2 UNION"                           \
                         " SELECT uid FROM dw_member_left WHERE room = ?1 AND since_id < ?2 AND until_id >= ?2")       \
    X(PUSH, DW_QUEUE, "INSERT INTO dw_push (uid, client_id, room, event, data, format)"                                \
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                                              \
    X(INBOX_ADD, DW_QUEUE, "INSERT INTO dw_inbox (uid, client_id, event, data, format, wants_reply, received_at,"         \
                           " packer, raw) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                                                     \
    X(INBOX_LOAD, DW_QUEUE, "SELECT substr(owner, 1, 1), rows, bytes FROM dw_inbox_load WHERE owner IN ('*', 'a', ?1)")  \
    X(INBOX_DRIFT, DW_QUEUE, DW_TEXT_INBOX_DRIFT)                                                                      \
    X(INBOX_MEND, DW_QUEUE, "INSERT INTO dw_inbox_load (owner, rows, bytes) VALUES (?1, ?2, ?3)"                       \
                            " ON CONFLICT (owner) DO UPDATE SET rows = rows + ?2, bytes = bytes + ?3")                 \
    X(INBOX_NONE, DW_QUEUE, "DELETE FROM dw_inbox_load WHERE rows = 0 AND bytes = 0")                                  \
    X(INBOX_EVENT, DW_QUEUE, "INSERT INTO dw_inbox (uid, event, data, received_at) VALUES (?1, ?2, json_quote(?1), ?3)")\
    X(INBOX, DW_QUEUE, "SELECT id, uid, client_id, event, data, format, wants_reply, received_at, packer, raw"         \
                       " FROM dw_inbox WHERE id > ?1 ORDER BY id LIMIT ?2")                                            \
    X(REPLY_ADD, DW_QUEUE, "INSERT INTO dw_reply (inbox_id, data, format) VALUES (?1, ?2, ?3)")                        \
    X(REPLIES, DW_QUEUE, "SELECT id, inbox_id, data, format FROM dw_reply WHERE id > ?1 ORDER BY id LIMIT ?2")         \
    X(REPLY_GET, DW_QUEUE, "SELECT id, inbox_id, data, format FROM dw_reply WHERE inbox_id = ?1 LIMIT 1")              \
    X(SESSION_PUT, DW_QUEUE, "INSERT OR REPLACE INTO dw_session (sid, uid, csrf_token, handshake_data, expires_at)"    \
                             " VALUES (?1, ?2, ?3, ?4, ?5)")                                                           \
    X(MEMBER_ADD, DW_QUEUE, "INSERT INTO dw_member (room, uid) VALUES (?1, ?2)")                                       \
    X(MEMBER_REMOVE, DW_QUEUE, "DELETE FROM dw_member WHERE room = ?1 AND uid = ?2")                                   \
    X(ONLINE, DW_QUEUE, "SELECT uid, ws, ajax, since FROM dw_online ORDER BY uid")                                     \
    X(ONLINE_GET, DW_QUEUE, "SELECT ws, ajax FROM dw_online WHERE uid = ?1")                                           \
    X(ONLINE_ADD, DW_QUEUE, "INSERT INTO dw_online (uid, ws, ajax, since) VALUES (?1, ?2, ?3, ?4)")                    \
    X(ONLINE_SET, DW_QUEUE, "UPDATE dw_online SET ws = ?2, ajax = ?3 WHERE uid = ?1")                                  \
    X(ONLINE_REMOVE, DW_QUEUE, "DELETE FROM dw_online WHERE uid = ?1")                                                 \
    X(OLD_PUSHES, DW_QUEUE, "SELECT id, created_at FROM dw_push ORDER BY id LIMIT ?1")                                 \
    X(OLD_INBOX, DW_QUEUE, "SELECT id, received_at FROM dw_inbox ORDER BY id LIMIT ?1")                                \
    X(OLD_REPLIES, DW_QUEUE, "SELECT id, created_at FROM dw_reply ORDER BY id LIMIT ?1")                               \
    X(DUE_PUSHES, DW_QUEUE, "SELECT created_at FROM dw_push WHERE created_at <= ?1 ORDER BY id LIMIT 1")               \
    X(DUE_INBOX, DW_QUEUE, "SELECT received_at FROM dw_inbox WHERE received_at <= ?1 ORDER BY id LIMIT 1")             \
    X(DUE_REPLIES, DW_QUEUE, "SELECT created_at FROM dw_reply WHERE created_at <= ?1 ORDER BY id LIMIT 1")             \
    X(OLD_LEFT, DW_QUEUE, "SELECT count(*) FROM (" DW_TEXT_OLD_LEFT ")")                                               \
    X(OLD_SESSIONS, DW_QUEUE, "SELECT count(*) FROM (" DW_TEXT_OLD_SESSIONS ")")                                       \
    X(DROP_PUSHES, DW_QUEUE, "DELETE FROM dw_push WHERE id <= ?1")                                                     \
    X(DROP_INBOX, DW_QUEUE, "DELETE FROM dw_inbox WHERE id <= ?1")                                                     \
    X(DROP_REPLIES, DW_QUEUE, "DELETE FROM dw_reply WHERE id <= ?1")                                                   \
    X(DROP_LEFT, DW_QUEUE, "DELETE FROM dw_member_left WHERE id IN (" DW_TEXT_OLD_LEFT ")")                            \
    X(DROP_SESSIONS, DW_QUEUE, "DELETE FROM dw_session WHERE rowid IN (" DW_TEXT_OLD_SESSIONS ")")                     \
    X(STATE_BEGIN, DW_STATE, "BEGIN IMMEDIATE")                                                                        \
    X(STATE_COMMIT, DW_STATE, "COMMIT")                                                                                \
    X(STATE_GET, DW_STATE, "SELECT value FROM meta WHERE key = ?1")                                                    \
    X(STATE_PUT, DW_STATE, "UPDATE meta SET value = ?2 WHERE key = ?1")                                                \
    X(STATE_RAISE, DW_STATE, "UPDATE meta SET value = ?2 WHERE key = ?1 AND value < ?2")                               \
    X(CLIENT_SET_BACK, DW_STATE, "UPDATE client SET cursor = min(cursor, ?1), epoch = (epoch + 1) & 0xfffff")          \
    X(CLIENT_GET, DW_STATE, "SELECT " DW_TEXT_CLIENT_COLUMNS " FROM client"                                             \
                            " WHERE client_id = ?1 AND uid = ?2 AND transport = ?3")                                   \
    X(CLIENT_ANY, DW_STATE, "SELECT " DW_TEXT_CLIENT_COLUMNS " FROM client"                                             \
                            " WHERE client_id = ?1 AND uid = ?2 ORDER BY transport LIMIT 1")                           \
    X(CLIENT_ADD, DW_STATE, "INSERT INTO client (client_id, uid, transport, slot, epoch, cursor, udt, seen_ms,"        \
                            " due_ms, generation, connected, worker, packer)"                                          \
                            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")                        \
    X(CLIENT_SET, DW_STATE, "UPDATE client SET epoch = ?5, cursor = ?6, udt = ?7, seen_ms = ?8, due_ms = ?9,"          \
                            " generation = ?10, connected = ?11, worker = ?12, packer = ?13"                           \
                            " WHERE client_id = ?1 AND uid = ?2 AND transport = ?3")                                   \
    X(CLIENT_LEAVE, DW_STATE, "UPDATE client SET connected = 0, worker = -1, seen_ms = max(seen_ms, ?5)"               \
                              " WHERE client_id = ?1 AND uid = ?2 AND transport = ?3 AND epoch = ?4 AND connected = 1")\
    X(CLIENT_DROP, DW_STATE, "DELETE FROM client WHERE client_id = ?1 AND uid = ?2 AND transport = ?3"                 \
                             " AND connected = 0")                                                                     \
    X(CLIENT_ORPHAN, DW_STATE, "UPDATE client SET due_ms = CASE WHEN connected = 0 THEN due_ms"                        \
                               " ELSE min(due_ms, CASE transport WHEN 0 THEN ?2 ELSE ?3 END) END, worker = -1"         \
                               " WHERE worker = ?1 AND worker >= 0")                                                   \
    X(CLIENT_ASTRAY, DW_STATE, "SELECT count(*) FROM client WHERE connected = 1 AND worker < 0"                        \
                               " AND due_ms > ?1 AND due_ms < 9223372036854775807")                                    \
    X(CLIENT_TO_TIME, DW_STATE, "UPDATE client SET due_ms = ?2 WHERE connected = 1 AND worker < 0"                     \
                                " AND due_ms > ?1 AND due_ms < 9223372036854775807")                                   \
    X(CLIENT_OVERDUE, DW_STATE, "SELECT client_id, uid, transport, slot, epoch FROM client"                            \
                                " WHERE connected = 1 AND due_ms <= ?1 ORDER BY due_ms LIMIT ?2")                      \
    X(CLIENT_ABSENT, DW_STATE, "SELECT client_id, uid, transport, slot, epoch FROM client"                             \
                               " WHERE connected = 0 AND seen_ms <= ?1 ORDER BY seen_ms LIMIT ?2")                     \
    X(CLIENT_CONNECTED, DW_STATE, "SELECT count(*) FROM (SELECT 1 FROM client WHERE connected = 1 AND uid = ?1"        \
                                  " AND client_id <> ?2 LIMIT ?3)")                                                    \
    X(CLIENT_GONE, DW_STATE, "SELECT count(*) FROM (SELECT 1 FROM client WHERE connected = 0 AND uid = ?1 LIMIT ?2)")   \
    X(CLIENT_REPLACE_UID, DW_STATE, "DELETE FROM client WHERE (client_id, uid, transport) IN"                          \
                                    " (SELECT client_id, uid, transport FROM client WHERE connected = 0 AND uid = ?1"  \
                                    " ORDER BY seen_ms LIMIT 1) RETURNING slot, epoch")                                \
    X(CLIENT_REPLACE, DW_STATE, "DELETE FROM client WHERE (client_id, uid, transport) IN"                              \
                                " (SELECT client_id, uid, transport FROM client WHERE connected = 0"                   \
                                " ORDER BY seen_ms LIMIT 1) RETURNING slot, epoch")                                    \
    X(CLIENT_DUE, DW_STATE, "SELECT min(due_ms) FROM client WHERE connected = 1")                                      \
    X(CLIENT_OLDEST, DW_STATE, "SELECT min(seen_ms) FROM client WHERE connected = 0")                                  \
    X(CLIENT_FREE_ALL, DW_STATE, "INSERT OR IGNORE INTO free_slot (slot) SELECT slot FROM client")                     \
    X(CLIENT_DROP_ALL, DW_STATE, "DELETE FROM client")                                                                 \
    X(SLOT_TAKE, DW_STATE, "DELETE FROM free_slot WHERE slot = (SELECT min(slot) FROM free_slot) RETURNING slot")      \
    X(SLOT_NEXT, DW_STATE, "UPDATE meta SET value = value + 1 WHERE key = 'next_slot' AND value <= ?1"              \
                             " RETURNING value - 1")            \
    X(SLOT_FREE, DW_STATE, "INSERT OR IGNORE INTO free_slot (slot) VALUES (?1)")                                       \
    X(DIRTY_ADD, DW_STATE, "INSERT OR REPLACE INTO dirty (uid) VALUES (?1)")                                           \
    X(DIRTY_ADD_PRESENT, DW_STATE, "INSERT OR REPLACE INTO dirty (uid)"                                                \
                                   " SELECT DISTINCT uid FROM client WHERE connected = 1 AND uid <> 0")                \
    X(DIRTY_LIST, DW_STATE, "SELECT generation, uid FROM dirty ORDER BY generation LIMIT ?1")                          \
    X(DIRTY_CLEAR, DW_STATE, "DELETE FROM dirty WHERE generation = ?1")                                                \
    X(PRESENT, DW_STATE, "SELECT coalesce(sum(transport = 1), 0), coalesce(sum(transport = 0), 0)"                     \
                         " FROM client WHERE connected = 1 AND uid = ?1")                                              \
    X(WORKERS, DW_STATE, "SELECT worker, pid, started_ms FROM worker ORDER BY worker")                                 \
    X(WORKER_SOCKETS, DW_STATE, "SELECT count(*) FROM client WHERE worker = ?1 AND worker >= 0"                        \
                                " AND transport = ?2 AND connected = 1")                                               \
    X(WORKER_ADD, DW_STATE, "INSERT OR REPLACE INTO worker (worker, pid, started_ms) VALUES (?1, ?2, ?3)")             \
    X(WORKER_DROP, DW_STATE, "DELETE FROM worker WHERE worker = ?1")                                                   \
    X(COUNT, DW_STATE, "INSERT INTO counter (name, value) VALUES (?1, ?2)"                                             \
                       " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value")                             \
    X(COUNTERS, DW_STATE, "SELECT name, value FROM counter ORDER BY name")                                             \
    X(FIGURES_QUEUE, DW_QUEUE, "SELECT (SELECT count(*) FROM dw_push), (SELECT count(*) FROM dw_inbox),"               \
                               " (SELECT count(*) FROM dw_reply), (SELECT count(*) FROM dw_online),"                   \
                               " (SELECT count(*) FROM dw_session)")                                                   \
    X(FIGURES_STATE, DW_STATE, "SELECT (SELECT count(*) FROM client),"                                                 \
                               " (SELECT count(*) FROM client WHERE connected = 1),"                                   \
                               " (SELECT count(*) FROM client WHERE connected = 1 AND transport = 0),"                 \
                               " (SELECT count(*) FROM client WHERE connected = 1 AND transport = 1),"                 \
                               " (SELECT value FROM meta WHERE key = 'lost_ms')")
/* clang-format on */

enum dw_sql {
#define DW_SQL_ENUM(id, db, text) DW_SQL_##id,
    DW_SQL_STATEMENTS(DW_SQL_ENUM)
#undef DW_SQL_ENUM
        DW_SQL_COUNT_OF
};

#endif
