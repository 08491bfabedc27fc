"""The SQL interface as apps use it: from the sqlite3 shell, PHP's PDO, Python's sqlite3 and Perl's DBI, each with
its own way of binding values and reporting errors."""

import glob
import json
import os
import re
import sqlite3
import subprocess

import pytest

import harness
from clients import Fcgi, fcgi, handshake, poll
from harness import SLOW, wait_until

LANGUAGES = ["shell", "php", "python", "perl"]
PROGRAMS = {"php": ["php", "run.php"], "python": ["/usr/bin/python3", "run.py"], "perl": ["perl", "run.pl"]}
PROMPT = 5 * SLOW


class Refused(Exception):
    pass


def literal(value):
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'%s'" % value.replace("'", "''")


def in_shell(db, steps):
    """Every step in one session of the sqlite3 shell; values are written into the statement, as scripts do."""
    lines = [".bail on", ".timeout 5000", ".mode json"]
    for step in steps:
        if isinstance(step, str):
            lines.append(step.upper() + ";")
            lines.append(".print []")
        else:
            values = iter(step[1])
            lines.append(re.sub(r"\?", lambda _: literal(next(values)), step[0]) + ";")
            lines.append("SELECT changes() AS changes, last_insert_rowid() AS id;")
    result = subprocess.run(["sqlite3", db], input="\n".join(lines), capture_output=True, text=True)
    results, objects, at = [], [], 0
    decoder = json.JSONDecoder()
    while at < len(result.stdout.rstrip()):
        value, end = decoder.raw_decode(result.stdout, at)
        objects.append(value)
        at = end + len(result.stdout[end:]) - len(result.stdout[end:].lstrip())
    rows = []
    for value in objects:
        if value and set(value[0]) == {"changes", "id"}:
            results.append({"rows": rows, **value[0]})
            rows = []
        elif value:
            rows = [list(row.values()) for row in value]
        else:
            results.append({})
    if result.returncode != 0:
        results.append({"error": result.stderr})
    return results


class App:
    """An app in one language."""

    def __init__(self, world, language):
        self.world, self.language = world, language

    def steps(self, *steps):
        """Runs them on one connection; a step is (SQL, value...) or begin, commit, rollback."""
        steps = [step if isinstance(step, str) and step in ("begin", "commit", "rollback") else
                 [step, []] if isinstance(step, str) else [step[0], list(step[1:])] for step in steps]
        if self.language == "shell":
            results = in_shell(self.world.db_path, steps)
        else:
            program, script = PROGRAMS[self.language]
            result = subprocess.run([program, os.path.join(harness.HERE, "languages", script)], capture_output=True,
                                    input=json.dumps({"db": self.world.db_path, "steps": steps}), text=True, timeout=60)
            assert result.returncode == 0 and result.stdout, result.stderr
            results = json.loads(result.stdout)
        if "error" in results[-1]:
            raise Refused(results[-1]["error"])
        assert len(results) == len(steps), results
        return results

    def run(self, sql, *values):
        return self.steps((sql, *values))[0]

    def rows(self, sql, *values):
        return [[str(value) if value is not None else None for value in row] for row in self.run(sql, *values)["rows"]]


@pytest.fixture
def queue(world):
    """A queue with three inbox rows: 1 wants no reply, 2 has one, 3 waits."""
    assert world.cli("init").returncode == 0
    world.sql("INSERT INTO dw_inbox (uid, client_id, event, data, wants_reply) VALUES ('alice', 'c1', 'a/say', '1', 0), "
              "('alice', 'c1', 'a/ask', '2', 1), ('alice', 'c1', 'a/ask', '3', 1)")
    world.sql("INSERT INTO dw_reply (inbox_id, data) VALUES (2, '1')")
    return world


@pytest.fixture(params=LANGUAGES)
def app(request, queue):
    return App(queue, request.param)


# ---- refusals ----

PUSH = "INSERT INTO dw_push (uid, event, data) VALUES (?, ?, ?)"
REPLY = "INSERT INTO dw_reply (inbox_id, data) VALUES (?, ?)"
BIG = "'\"' || hex(zeroblob(600000)) || '\"'"
# (statement, values..., the sentence that it is refused with)
REFUSALS = [
    # address
    ("INSERT INTO dw_push (event) VALUES (?)", "a/b",
     "dw_push: no address: set one of uid, client_id or room (room '*' = everyone connected)"),
    ("INSERT INTO dw_push (uid, room, event) VALUES (?, ?, ?)", "alice", "lobby", "a/b",
     "dw_push: more than one address: set room alone, or uid, client_id or both of them; insert a row for each"),
    ("INSERT INTO dw_push (client_id, room, event) VALUES ('b', 'c', 'a/b')",
     "dw_push: more than one address: set room alone, or uid, client_id or both of them; insert a row for each"),
    ("INSERT INTO dw_push (uid, client_id, event) VALUES ('a', 'b' || char(0), 'a/b')",
     "dw_push: uid, client_id and room must be text without NUL characters: bind them as strings"),
    ("INSERT INTO dw_push (uid, client_id, event) VALUES ('a', x'62', 'a/b')",
     "dw_push: uid, client_id and room must be text without NUL characters: bind them as strings"),
    ("INSERT INTO dw_push (uid, client_id, event) VALUES ('a', '', 'a/b')",
     "dw_push: client_id or room is empty: give a name, or use uid '' for all clients without a uid"),
    ("INSERT INTO dw_push (uid, client_id, room, event) VALUES ('a', 'b', 'c', 'a/b')",
     "dw_push: more than one address: set room alone, or uid, client_id or both of them; insert a row for each"),
    ("INSERT INTO dw_push (uid, event) VALUES (x'616c696365', 'a/b')",
     "dw_push: uid, client_id and room must be text without NUL characters: bind them as strings"),
    ("INSERT INTO dw_push (room, event) VALUES ('a' || char(0) || 'b', 'a/b')",
     "dw_push: uid, client_id and room must be text without NUL characters: bind them as strings"),
    ("INSERT INTO dw_push (client_id, event) VALUES (?, ?)", "", "a/b",
     "dw_push: client_id or room is empty: give a name, or use uid '' for all clients without a uid"),
    ("INSERT INTO dw_push (room, event) VALUES (?, ?)", "", "a/b",
     "dw_push: client_id or room is empty: give a name, or use uid '' for all clients without a uid"),
    # event
    ("INSERT INTO dw_push (uid) VALUES (?)", "alice", "dw_push: no event: give a namespaced name such as chat/message"),
    (PUSH, "alice", None, "{}", "dw_push: no event: give a namespaced name such as chat/message"),
    ("INSERT INTO dw_push (uid, event) VALUES ('alice', x'612f62')",
     "dw_push: event must be text without NUL characters: bind it as a string"),
    ("INSERT INTO dw_push (uid, event) VALUES ('alice', 'a/b' || char(0))",
     "dw_push: event must be text without NUL characters: bind it as a string"),
    (PUSH, "alice", ":chat/message", None,
     "dw_push: event is written without the leading colon: chat/message, not :chat/message"),
    (PUSH, "alice", "message", None,
     "dw_push: event must be a namespaced name with exactly one slash: namespace/name, such as chat/message"),
    (PUSH, "alice", "chat/message/new", None,
     "dw_push: event must be a namespaced name with exactly one slash: namespace/name, such as chat/message"),
    (PUSH, "alice", "", None,
     "dw_push: event must be a namespaced name with exactly one slash: namespace/name, such as chat/message"),
    (PUSH, "alice", "chat/new message", None,
     "dw_push: event has a character that a keyword can't have: use letters, digits and . * + ! - _ ? $ % & = < > # ' |, "
     "no spaces, quotes, colons or brackets"),
    (PUSH, "alice", "chat/2nd", None,
     "dw_push: namespace and name of the event must not begin with a digit, a quote or #: start them with a letter"),
    (PUSH, "alice", "chsk/handshake", None,
     "dw_push: events of the namespace chsk belong to the protocol: use a namespace of your own (chsk/close alone may be "
     "pushed)"),
    (PUSH, "alice", "a/" + "b" * 254, None, "dw_push: event is longer than 255 characters"),
    # data
    ("INSERT INTO dw_push (uid, event, data, format) VALUES (?, ?, ?, ?)", "alice", "a/b", "<a/>", "xml",
     "dw_push: format must be json, edn or transit (leave it out for json)"),
    ("INSERT INTO dw_push (uid, event, format) VALUES ('alice', 'a/b', NULL)",
     "dw_push: format must be json, edn or transit (leave it out for json)"),
    ("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', x'7b7d')",
     "dw_push: data is a BLOB: bind it as text (UTF-8)"),
    ("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', %s)" % BIG,
     "dw_push: data is larger than 1 MiB: store it elsewhere and push a reference"),
    ("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', '\"' || char(0) || '\"')",
     "dw_push: data contains a NUL character"),
    (PUSH, "alice", "a/b", "hello",
     "dw_push: data is not valid JSON: use json_object(), json_quote() or your language's JSON encoder (a plain string needs "
     "its double quotes); NULL = event without data"),
    (PUSH, "alice", "a/b", "{'rev': 42}", "dw_push: data is not valid JSON: use json_object()"),
    (PUSH, "alice", "a/b", "", "dw_push: data is not valid JSON: use json_object()"),
    ("INSERT INTO dw_push (uid, event, data, format) VALUES (?, ?, ?, ?)", "alice", "a/b", " ", "edn",
     "dw_push: data is empty: give a value in the stated format, or NULL for an event without data"),
    # time and order
    ("INSERT INTO dw_push (uid, event, created_at) VALUES (?, ?, ?)", "alice", "a/b", 1795508498,
     "dw_push: created_at must be Unix time in milliseconds and not in the future: leave it out"),
    ("INSERT INTO dw_push (uid, event, created_at) VALUES (?, ?, ?)", "alice", "a/b", "2026-11-24",
     "dw_push: created_at must be Unix time in milliseconds and not in the future: leave it out"),
    ("INSERT INTO dw_push (id, uid, event) VALUES (?, ?, ?)", 0, "alice", "a/b",
     "dw_push: id may not go backwards, clients read in its order: leave id out"),
    ("INSERT INTO dw_push (id, uid, event) VALUES (8796093022208, 'alice', 'a/b')",
     "dw_push: id may not go backwards, clients read in its order: leave id out"),
    ("UPDATE dw_push SET data = ? WHERE id = 1", "2",
     "dw_push: rows can't be changed, a client may have had them already: insert a new row"),
    # replies
    ("INSERT INTO dw_reply (data) VALUES (?)", "1",
     "dw_reply: no inbox_id: give the id of the dw_inbox row that is answered"),
    (REPLY, 99, "1",
     "dw_reply: there is no dw_inbox row with this id: it was never there, or retention has removed it"),
    (REPLY, 1, "1",
     "dw_reply: this dw_inbox row wants no reply (wants_reply is 0): answer with a dw_push to its client_id or uid"),
    (REPLY, 2, "1", "dw_reply: this dw_inbox row has been answered already: a callback takes one reply"),
    ("INSERT INTO dw_reply (inbox_id, data, format) VALUES (?, ?, ?)", 3, "1", "yaml",
     "dw_reply: format must be json, edn or transit (leave it out for json)"),
    ("INSERT INTO dw_reply (inbox_id, data) VALUES (3, x'31')", "dw_reply: data is a BLOB: bind it as text (UTF-8)"),
    ("INSERT INTO dw_reply (inbox_id, data) VALUES (3, %s)" % BIG,
     "dw_reply: data is larger than 1 MiB: store it elsewhere and answer with a reference"),
    ("INSERT INTO dw_reply (inbox_id, data) VALUES (3, '\"' || char(0) || '\"')", "dw_reply: data contains a NUL character"),
    (REPLY, 3, "yes",
     "dw_reply: data is not valid JSON: use json_object(), json_quote() or your language's JSON encoder (a plain string needs "
     "its double quotes); NULL = nil"),
    ("INSERT INTO dw_reply (inbox_id, data, format) VALUES (?, ?, ?)", 3, "", "edn",
     "dw_reply: data is empty: give a value in the stated format, or NULL for nil"),
    ("INSERT INTO dw_reply (inbox_id, data, created_at) VALUES (?, ?, ?)", 3, "1", 1795508498,
     "dw_reply: created_at must be Unix time in milliseconds: leave it out"),
    ("INSERT INTO dw_reply (id, inbox_id) VALUES (?, ?)", 0, 3,
     "dw_reply: id may not go backwards, answers are read in its order: leave id out"),
    ("UPDATE dw_reply SET data = ?", "2", "dw_reply: a reply can't be changed, the client may have had it already"),
    # sessions
    ("INSERT INTO dw_session (sid, uid) VALUES (?, ?)", "", "alice",
     "dw_session: sid must be text: the value of the session cookie"),
    ("INSERT INTO dw_session (uid) VALUES (?)", "alice", "dw_session: sid must be text: the value of the session cookie"),
    ("INSERT INTO dw_session (sid, uid, handshake_data) VALUES (?, ?, ?)", "s9", "alice", "{theme: dark}",
     "dw_session: handshake_data is not valid JSON: use json_object() or your language's JSON encoder, or NULL"),
    ("INSERT INTO dw_session (sid, uid, expires_at) VALUES (?, ?, ?)", "s9", "alice", 1795508498,
     "dw_session: expires_at must be Unix time in milliseconds (this looks like seconds): multiply by 1000"),
    ("INSERT INTO dw_session (sid, uid, expires_at) VALUES (?, ?, ?)", "s9", "alice", "tomorrow",
     "dw_session: expires_at must be Unix time in milliseconds (this looks like seconds): multiply by 1000"),
    ("UPDATE dw_session SET sid = NULL", "dw_session: sid must be text: the value of the session cookie"),
    ("UPDATE dw_session SET handshake_data = ?", "{",
     "dw_session: handshake_data is not valid JSON: use json_object() or your language's JSON encoder, or NULL"),
    ("UPDATE dw_session SET expires_at = ?", 1795508498,
     "dw_session: expires_at must be Unix time in milliseconds (this looks like seconds): multiply by 1000"),
    # rooms
    ("INSERT INTO dw_member (room, uid) VALUES (?, ?)", "", "alice", "dw_member: room must be a name (text)"),
    ("INSERT INTO dw_member (room, uid) VALUES (?, ?)", "*", "alice",
     "dw_member: everyone connected is in room * already: choose another name"),
    ("INSERT INTO dw_member (room, uid) VALUES ('lobby', x'61')", "dw_member: uid must be text"),
    ("INSERT INTO dw_member (room, uid, since_id) VALUES (?, ?, ?)", "lobby", "alice", 0,
     "dw_member: since_id is filled in by the queue: leave it out"),
    ("UPDATE dw_member SET uid = ?", "bob", "dw_member: rows can't be changed: delete the row and insert another"),
]


def contents(world):
    return {table: world.sql("SELECT * FROM " + table) for table in
            ("dw_push", "dw_reply", "dw_session", "dw_member", "dw_inbox", "sqlite_sequence")}


def test_every_refusal_has_its_sentence_and_changes_nothing(app):
    app.world.push("alice", "a/b", "1")
    app.world.sql("INSERT INTO dw_session (sid, uid) VALUES ('s1', 'alice')")
    app.world.sql("INSERT INTO dw_member (room, uid) VALUES ('hall', 'alice')")
    before = contents(app.world)
    for statement, *values, sentence in REFUSALS:
        with pytest.raises(Refused) as refused:
            app.run(statement, *values)
        assert sentence in str(refused.value), (statement, values)
    assert contents(app.world) == before


def test_the_list_above_has_every_sentence_of_the_schema():
    known = [row[-1] for row in REFUSALS]
    triggers = {}  # a later schema's trigger takes the place of an earlier one's
    for path in sorted(glob.glob(os.path.join(harness.SOURCE, "sql", "queue-*.sql"))):
        for name, text in re.findall(r"^CREATE TRIGGER (\w+)(.*?^END;$)", open(path).read(), re.M | re.S):
            triggers[name] = re.findall(r"RAISE\(ABORT, '((?:[^']|'')*)'\)", text)
    sentences = [sentence for said in triggers.values() for sentence in said]
    for sentence in sentences:
        assert any(sentence.replace("''", "'") == one for one in known), sentence
    assert len(sentences) >= 45


def test_a_refused_statement_does_not_end_the_transaction_around_it(queue):
    """The app decides: here it goes on without the push."""
    db = queue.db()
    db.execute("BEGIN")
    db.execute("CREATE TABLE orders (item)")
    db.execute("INSERT INTO orders VALUES ('tea')")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO dw_push (uid, event) VALUES ('alice', 'wrong')")
    db.execute("COMMIT")
    assert queue.sql("SELECT item FROM orders") == [("tea",)]


def test_a_statement_of_many_rows_with_a_wrong_one_adds_none(app):
    with pytest.raises(Refused):
        app.run("INSERT INTO dw_push (uid, event) VALUES ('alice', 'a/one'), ('bob', 'wrong'), ('carol', 'a/three')")
    assert app.world.sql("SELECT count(*) FROM dw_push") == [(0,)]


# ---- pushes ----

def test_the_id_of_a_push_is_what_the_language_says(app):
    first = app.run(PUSH, "alice", "chat/message", '{"text":"hi"}')
    assert first["id"] == 1 and first["changes"] == 1
    second = app.run("INSERT INTO dw_push (room, event, data) VALUES (?, ?, json_object('n', ?))", "*", "a/b", "x\"y")
    assert second["id"] == 2
    assert app.rows("SELECT id, uid, room, event, data FROM dw_push ORDER BY id") == [
        ["1", "alice", None, "chat/message", '{"text":"hi"}'], ["2", None, "*", "a/b", '{"n":"x\\"y"}']]


def test_an_id_is_returned_by_the_statement_too(app):
    assert app.rows("INSERT INTO dw_push (uid, event) VALUES (?, ?) RETURNING id", "alice", "a/b") == [["1"]]


def test_unicode_survives(app):
    text = "gr\u00fc\u00df dich \U0001f600"
    app.run(PUSH, "J\u00fcrgen", "chat/gr\u00fc\u00dfe", json.dumps({"t": text}, ensure_ascii=False))
    assert app.world.sql("SELECT uid, event, json_extract(data, '$.t') FROM dw_push") == [
        ("J\u00fcrgen", "chat/gr\u00fc\u00dfe", text)]


def test_a_rollback_means_never_sent(app):
    world = app.world
    responder = world.responder()
    assert fcgi(responder.address, "GET", handshake("alice")).status == 200
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    wait_until(lambda: json.loads(world.cli("status", "--json").stdout)["workers"][0]["parked"] == 1, PROMPT, "it is held")
    results = app.steps("begin", (PUSH, "alice", "test/n", "1"), ("SELECT cursor FROM dw_now",), "rollback",
                        "begin", ("CREATE TABLE orders (item)",), ("INSERT INTO orders VALUES (?)", "tea"),
                        (PUSH, "alice", "test/n", "2"), "commit")
    assert str(results[2]["rows"][0][0]) == "1" and results[7]["id"] == 1  # the id was never used
    assert held.receive(PROMPT).text == "[[[:test/n 2]] nil]"
    held.close()
    assert world.sql("SELECT id, data FROM dw_push") == [(1, "2")] and world.sql("SELECT item FROM orders") == [("tea",)]


def test_with_trusted_schema_off_an_app_can_not_push_but_its_own_tables_work(queue):
    """SQLite 3.40 lets no trigger use JSON functions then; in a CHECK they would spoil the whole file."""
    db = queue.db()
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("CREATE TABLE orders (item)")
    db.execute("INSERT INTO orders VALUES ('tea')")
    assert db.execute("SELECT count(*) FROM dw_inbox").fetchall() == [(3,)]
    db.execute("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice')")
    try:
        db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', '{}')")
    except sqlite3.OperationalError as error:
        assert "unsafe use of json_valid" in str(error)
    db.execute("PRAGMA trusted_schema = ON")
    db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', '{}')")


def test_recursive_triggers_and_foreign_keys_change_nothing(queue):
    db = queue.db()
    db.execute("PRAGMA recursive_triggers = ON")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice')")
    db.execute("INSERT OR REPLACE INTO dw_member (room, uid) VALUES ('lobby', 'alice')")
    db.execute("INSERT INTO dw_push (room, event) VALUES ('lobby', 'a/b')")
    assert db.execute("SELECT uid, since_id FROM dw_member").fetchall() == [("alice", 0)]


# ---- dw_now, dw_online, dw_member, dw_session, dw_inbox ----

def test_dw_now_is_the_end_of_the_queue(app):
    assert app.rows("SELECT cursor FROM dw_now") == [["0"]]
    for n in range(3):
        app.run(PUSH, "alice", "a/b", str(n))
    assert app.rows("SELECT cursor FROM dw_now") == [["3"]]
    app.world.sql("DELETE FROM dw_push")  # as retention does
    assert app.rows("SELECT cursor FROM dw_now") == [["3"]]


def test_dw_online_tells_who_is_here(app):
    responder = app.world.responder()
    assert app.rows("SELECT uid FROM dw_online") == []
    assert fcgi(responder.address, "GET", handshake("alice")).status == 200
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    wait_until(lambda: app.rows("SELECT uid FROM dw_online"), PROMPT, "alice is there")
    (uid, ws, ajax, since), = app.rows("SELECT uid, ws, ajax, since FROM dw_online WHERE uid = ?", "alice")
    assert (uid, ws, ajax) == ("alice", "0", "1") and abs(int(since) - harness.now_ms()) < 60000
    held.close()


def test_members_of_a_room_get_what_is_pushed_to_it(app):
    responder = app.world.responder()
    for who in ("alice", "bob"):
        assert fcgi(responder.address, "GET", handshake(who)).status == 200
    assert app.run("INSERT INTO dw_member (room, uid) VALUES (?, ?)", "lobby", "alice")["changes"] == 1
    app.run("INSERT INTO dw_member (room, uid) VALUES (?, ?)", "lobby", "alice")  # a second time: nothing
    assert app.rows("SELECT room, uid FROM dw_member") == [["lobby", "alice"]]
    app.run("INSERT INTO dw_push (room, event, data) VALUES (?, ?, ?)", "lobby", "test/n", "1")
    app.run("DELETE FROM dw_member WHERE room = ? AND uid = ?", "lobby", "alice")
    app.run("INSERT INTO dw_push (room, event, data) VALUES (?, ?, ?)", "lobby", "test/n", "2")
    app.run("INSERT INTO dw_push (room, event, data) VALUES (?, ?, ?)", "*", "test/n", "3")
    assert fcgi(responder.address, "GET", poll("alice")).text == "[[[:test/n 1] [:test/n 3]] nil]"
    assert fcgi(responder.address, "GET", poll("bob")).text == "[[[:test/n 3]] nil]"


def test_a_session_logs_a_user_in_until_it_expires(app):
    responder = app.world.responder(AUTH_UID="session", AUTH_CSRF="on")
    hour = 3600000
    app.run("INSERT INTO dw_session (sid, uid, csrf_token, handshake_data, expires_at) VALUES (?, ?, ?, ?, ?)", "s1", "alice",
            "token-1", '{"theme":"dark"}', harness.now_ms() + hour)
    app.run("INSERT INTO dw_session (sid, uid, csrf_token) VALUES (?, ?, ?)", "s2", "bob", "token-2")

    def log_in(sid, token):
        return fcgi(responder.address, "GET", handshake("tab"), HTTP_COOKIE="dw_sid=" + sid, HTTP_X_CSRF_TOKEN=token)

    assert log_in("s1", "token-1").text == '[[:chsk/handshake ["alice" nil {:theme "dark"}]] nil]'
    assert '"bob"' in log_in("s2", "token-2").text
    assert log_in("s1", "token-2").status == 403
    app.run("UPDATE dw_session SET expires_at = ? WHERE sid = ?", harness.now_ms() - 1000, "s1")
    assert log_in("s1", "token-1").status != 200
    app.run("DELETE FROM dw_session WHERE sid = ?", "s2")
    assert log_in("s2", "token-2").status != 200


def test_the_inbox_is_read_by_the_last_id_and_answered(app):
    rows = app.rows("SELECT id, uid, client_id, event, data, wants_reply, received_at FROM dw_inbox WHERE id > ? ORDER BY id", 1)
    assert [row[:6] for row in rows] == [["2", "alice", "c1", "a/ask", "2", "1"], ["3", "alice", "c1", "a/ask", "3", "1"]]
    assert abs(int(rows[0][6]) - harness.now_ms()) < 60000
    assert app.run(REPLY, int(rows[1][0]), '{"ok":true}')["id"] == 2
    assert app.world.sql("SELECT inbox_id, data FROM dw_reply WHERE id = 2") == [(3, '{"ok":true}')]


def test_the_examples_of_the_documentation_run_as_they_stand(queue):
    """docs/sql.md, all of its blocks that are SQL."""
    with open(os.path.join(harness.SOURCE, "docs", "sql.md"), encoding="utf-8") as page:
        blocks = re.findall(r"```sql\n(.*?)```", page.read(), re.S)
    assert len(blocks) >= 5
    db = queue.db()
    values = {"text": "hi", "last": 0, "id": 3, "sid": "s1", "token": "t"}
    for block in blocks:
        statement = ""
        for line in block.splitlines(True):
            statement += line
            if sqlite3.complete_statement(statement):
                if statement.strip():
                    db.execute(statement, values if ":" in statement and "TRIGGER" not in statement else ())
                statement = ""
        assert statement.strip() == "", statement
    assert queue.sql("SELECT count(*) FROM dw_push") == [(5,)]
