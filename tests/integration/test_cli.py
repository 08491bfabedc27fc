"""The command-line program: what each command does, says and ends with."""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import threading

import pytest

import harness
from clients import Fcgi, fcgi, form, handshake, poll
from harness import CLI, SLOW, wait_until
from websocket import Client

OK, FAILED, USAGE, REFUSED, NOQUEUE, RETRY = range(6)
COMMANDS = ["init", "push", "inbox", "reply", "online", "status", "gc", "doctor", "listen", "token"]
PROMPT = 5 * SLOW
LATE = 12 * SLOW  # what is noticed on the doorbell's safety tick


@pytest.fixture
def queue(world):
    """A world with an empty queue."""
    assert world.cli("init").returncode == OK
    return world


def says(result, status, text=""):
    assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
    assert text in result.stderr, result.stderr
    assert result.stderr.endswith("\n") and (status == OK or result.stdout == "")


def receive(world, event, data=None, uid="alice", wants_reply=0):
    world.sql("INSERT INTO dw_inbox (uid, client_id, event, data, wants_reply) VALUES (?, 'c1', ?, ?, ?)",
              uid, event, data, wants_reply)


class Reader:
    """A running `inbox --follow` whose lines are read here."""

    def __init__(self, world, *arguments, read=True, **settings):
        self.popen = subprocess.Popen([CLI, "inbox", "--follow", *arguments], env=world.environment(**settings),
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.lines = []
        if read:
            self.thread = threading.Thread(target=self._read)
            self.thread.start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.decode())

    def expect(self, count, timeout=PROMPT):
        wait_until(lambda: len(self.lines) >= count, timeout, "%d lines; there are %r" % (count, self.lines))
        return self.lines

    def end(self, sent=signal.SIGTERM, timeout=PROMPT):
        if sent is not None:
            self.popen.send_signal(sent)
        status = self.popen.wait(timeout)
        said = self.popen.stderr.read().decode()
        if hasattr(self, "thread"):
            self.thread.join(timeout)
        self.popen.stdout.close()
        self.popen.stderr.close()
        return status, said


@pytest.fixture
def reader(world):
    """A function that starts readers; those still running are killed after the test."""
    started = []

    def start(*arguments, **more):
        started.append(Reader(world, *arguments, **more))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.popen.kill()
            one.popen.wait()


# ---- the command line ----

def test_help_lists_every_command(world):
    result = world.cli("--help")
    assert result.returncode == OK and result.stderr == ""
    for command in COMMANDS:
        assert re.search(r"^  %s +\w" % command, result.stdout, re.M)
    assert "Exit status" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_needs_no_queue(world, command):
    result = world.cli(command, "--help")
    assert result.returncode == OK and result.stderr == ""
    assert result.stdout.startswith("Usage: dumbwaiter " + command)
    assert world.cli("--config", "/nowhere", command, "-h").stdout == result.stdout


def test_version(world):
    assert re.fullmatch(r"dumbwaiter \d+\.\d+\.\d+\n", world.cli("--version").stdout)


@pytest.mark.parametrize("arguments, said", [
    ([], "a command is missing"),
    (["frob"], 'there is no command "frob"'),
    (["--frob", "push"], "unknown option --frob"),
    (["-x"], "unknown option -x"),
    (["push"], "an argument is missing"),
    (["push", "alice"], "an argument is missing"),
    (["push", "--uid", "alice", "a/b"], "--uid goes with --client-id; a user alone is named without it"),
    (["push", "alice", "a/b", "1", "2"], 'unexpected argument "2"'),
    (["push", "--room", "r", "a/b", "1", "2"], 'unexpected argument "2"'),
    (["push", "--frob", "alice", "a/b"], "unknown option --frob"),
    (["push", "-f", "alice", "a/b"], "unknown option -f"),
    (["push", "alice", "a/b", "--format"], "--format needs a value"),
    (["inbox", "now"], 'unexpected argument "now"'),
    (["inbox", "--json=yes"], "--json takes no value"),
    (["inbox", "--after", "x"], "--after must be a whole number from 0 up"),
    (["inbox", "--after", "-1"], "--after must be a whole number from 0 up"),
    (["inbox", "--limit", "0"], "--limit must be a whole number from 1 up"),
    (["inbox", "--limit", "9999999999999999999"], "--limit must be"),
    (["reply", "1"], "an argument is missing"),
    (["reply", "x", "1"], "INBOX_ID must be a whole number"),
    (["status", "a", "b", "c", "d", "e"], 'unexpected argument "e"'),
    (["doctor", "--user", "no-such-user-here"], 'there is no user "no-such-user-here"'),
])
def test_wrong_usage_ends_with_2_and_points_to_help(world, arguments, said):
    result = world.cli(*arguments)
    says(result, USAGE, said)
    assert "--help`" in result.stderr


@pytest.mark.parametrize("arguments", [["push", "a", "a/b"], ["inbox"], ["inbox", "--follow"], ["reply", "1", "1"],
                                       ["online"], ["status"], ["gc"]])
def test_without_a_queue_each_command_ends_with_4_and_makes_none(world, arguments):
    says(world.cli(*arguments), NOQUEUE, "run `dumbwaiter init --db %s`" % world.db_path)
    assert os.listdir(world.folder) == []
    sqlite3.connect(world.db_path).executescript("CREATE TABLE mine (x); PRAGMA user_version = 7;")
    says(world.cli(*arguments), NOQUEUE, "has no Dumbwaiter tables: run `dumbwaiter init")


def test_a_missing_queue_that_nobody_named_is_explained(world):
    env = world.environment()
    del env["DUMBWAITER_DB"]
    result = subprocess.run([CLI, "status"], env=env, capture_output=True, text=True)
    says(result, NOQUEUE, "name it with --db FILE, $DUMBWAITER_DB or store.path")


def test_the_queue_is_named_by_option_environment_or_settings_in_that_order(world):
    names = {name: world.path(name + ".db") for name in ("option", "environment", "settings")}
    conf = world.path("dumbwaiter.conf")
    with open(conf, "w") as out:
        out.write("[store]\npath = %s\n" % names["settings"])
    env = world.environment()
    for variables, options, expected in [({}, [], "settings"), ({"DUMBWAITER_DB": names["environment"]}, [], "environment"),
                                         ({"DUMBWAITER_DB": names["environment"]}, ["--db", names["option"]], "option")]:
        env.pop("DUMBWAITER_DB", None)
        env.update(variables)
        for place in (["--config", conf, *options, "init"], ["init", *options, "--config=" + conf]):
            subprocess.run([CLI, *place], env=env, check=True, stdout=subprocess.DEVNULL)
        assert {name for name, path in names.items() if os.path.exists(path)} == {expected}
        os.remove(names[expected])


def test_settings_that_are_wrong_are_explained(world):
    says(world.cli("status", "--config", "/nowhere"), FAILED, "cannot open the settings file /nowhere")
    says(world.cli("status", STORE_BUSY_MS="soon"), FAILED, "store.busy_ms must be a whole number")
    says(world.cli("status", STOER_PATH="x"), FAILED, "DUMBWAITER_STOER_PATH names no setting")


# ---- init ----

def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_init_makes_files_for_owner_and_group_whatever_the_umask(world, umask):
    result = subprocess.run([CLI, "init"], env=world.environment(), capture_output=True, text=True, umask=umask)
    assert result.returncode == OK and result.stdout.startswith("Made: " + world.db_path)
    assert "dumbwaiter push --db" in result.stdout and "dumbwaiter doctor" in result.stdout
    assert mode(world.db_path) == 0o660
    state = world.db_path + "-dw"
    assert mode(state) == 0o770
    assert {name for name in os.listdir(state)} >= {"state.db", "lock", "claims"}
    assert all(mode(os.path.join(state, name)) == 0o660 for name in os.listdir(state))


def test_init_twice_changes_nothing(queue):
    queue.push("alice", "a/b", "1")
    before = queue.sql("SELECT * FROM dw_meta ORDER BY key"), queue.sql("SELECT * FROM dw_push")
    result = queue.cli("init")
    assert result.returncode == OK and result.stdout.startswith("There already, and up to date: ")
    assert (queue.sql("SELECT * FROM dw_meta ORDER BY key"), queue.sql("SELECT * FROM dw_push")) == before


def test_init_adds_the_tables_to_an_apps_own_database(world):
    with sqlite3.connect(world.db_path) as db:
        db.executescript("CREATE TABLE orders (item); INSERT INTO orders VALUES ('tea'); PRAGMA user_version = 7;")
    result = world.cli("init")
    assert result.returncode == OK and result.stdout.startswith("Added the queue's tables to: ")
    assert world.sql("SELECT item FROM orders") == [("tea",)]
    assert world.sql("PRAGMA user_version") == [(7,)]
    assert world.cli("push", "alice", "a/b").stdout == "1\n"


def test_init_restores_a_state_folder_that_was_lost(queue):
    import shutil
    queue.push("alice", "a/b", "1")
    shutil.rmtree(queue.db_path + "-dw")
    assert queue.cli("init").returncode == OK
    status = json.loads(queue.cli("status", "--json").stdout)
    assert status["queue"]["pushes"] == 1 and abs(status["losses"]["state_lost_at"] - harness.now_ms()) < 60000
    assert "the state folder was lost and made anew" in queue.cli("status").stdout


def test_init_where_it_can_not_says_why(world):
    result = world.cli("init", "--db", world.path("no/such/folder/q.db"))
    says(result, NOQUEUE, "there is no folder " + world.path("no/such/folder"))
    says(result, NOQUEUE, "make it, writable for user ")
    says(world.cli("init", "--db", world.folder), FAILED, world.folder + " is a folder")
    with open(world.db_path, "w") as out:
        out.write("this is a letter, not a database\n" * 100)
    says(world.cli("init"), FAILED, "is not an SQLite database, or is damaged")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(world, reader):
    folder = world.path("site")
    os.mkdir(folder)
    os.chown(folder, 12345, 23456)
    db = os.path.join(folder, "q.db")
    assert world.cli("init", "--db", db).returncode == OK
    receive_into = sqlite3.connect(db)
    followers = [reader("--db", db) for _ in range(10)]  # so many that one leads and rings the bell for the others
    receive_into.execute("INSERT INTO dw_inbox (event) VALUES ('a/b')")
    receive_into.commit()
    for follower in followers:
        follower.expect(1)
    found = {name: os.lstat(os.path.join(root, name)) for root, dirs, files in os.walk(folder) for name in files + dirs}
    assert {"q.db", "q.db-wal", "q.db-shm", "q.db-dw", "state.db", "lock", "claims", "wake.bell",
            "wake.seats"} <= set(found)
    assert {(st.st_uid, st.st_gid) for st in found.values()} == {(12345, 23456)}, found
    assert [follower.end()[0] for follower in followers] == [OK] * 10
    receive_into.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_nothing_away_through_a_link(world):
    precious = world.path("precious")
    with open(precious, "w") as out:
        out.write("root's")
    folder = world.path("site")
    os.mkdir(folder)
    db = os.path.join(folder, "q.db")
    assert world.cli("init", "--db", db).returncode == OK
    for name in ("lock", "claims"):
        path = db + "-dw/" + name
        os.rename(path, path + ".old")
        os.symlink(precious, path)
        assert world.cli("status", "--db", db).returncode == FAILED
        os.remove(path)
        os.rename(path + ".old", path)
    assert os.stat(precious).st_uid == 0 and open(precious).read() == "root's"


# ---- push ----

def test_push_prints_the_id_and_the_row_is_as_said(queue):
    assert queue.cli("push", "alice", "deploy/done", '{"rev":42}').stdout == "1\n"
    assert queue.cli("push", "--client-id", "c1", "a/b").stdout == "2\n"
    assert queue.cli("push", "a/b", "--room", "*", '"x"').stdout == "3\n"
    assert queue.cli("push", "", "a/b", "-5").stdout == "4\n"
    assert queue.cli("push", "--format", "edn", "alice", "a/b", "{:a #{1}}").stdout == "5\n"
    assert queue.cli("push", "alice", "a/b", "-", stdin='["from", "stdin"]\n').stdout == "6\n"
    assert queue.cli("push", "--", "--alice", "a/b").stdout == "7\n"
    assert queue.cli("push", "--client-id", "c1", "--uid", "alice", "a/b").stdout == "8\n"
    assert queue.sql("SELECT uid, client_id, room, event, data, format FROM dw_push ORDER BY id") == [
        ("alice", None, None, "deploy/done", '{"rev":42}', "json"), (None, "c1", None, "a/b", None, "json"),
        (None, None, "*", "a/b", '"x"', "json"), ("", None, None, "a/b", "-5", "json"),
        ("alice", None, None, "a/b", "{:a #{1}}", "edn"),
        ("alice", None, None, "a/b", '["from", "stdin"]\n', "json"), ("--alice", None, None, "a/b", None, "json"),
        ("alice", "c1", None, "a/b", None, "json")]


@pytest.mark.parametrize("arguments, sentence", [
    (["alice", "done"], "dw_push: event must be a namespaced name with exactly one slash"),
    (["alice", ":a/b"], "dw_push: event is written without the leading colon"),
    (["alice", "chsk/ping"], "dw_push: events of the namespace chsk belong to the protocol"),
    (["alice", "a/b", "{"], "dw_push: data is not valid JSON"),
    (["alice", "a/b", ""], "dw_push: data is not valid JSON"),
    (["--format", "xml", "alice", "a/b", "<a/>"], "dw_push: format must be json, edn or transit"),
    (["--client-id", "c1", "--room", "r", "a/b"], "dw_push: more than one address: set room alone"),
    (["--room", "", "a/b"], "dw_push: client_id or room is empty"),
])
def test_a_refused_push_says_the_queues_own_sentence(queue, arguments, sentence):
    says(queue.cli("push", *arguments), REFUSED, "dumbwaiter: " + sentence)
    assert queue.sql("SELECT count(*) FROM dw_push") == [(0,)]


def test_data_from_standard_input_has_the_queues_limit(queue):
    assert queue.cli("push", "alice", "a/b", "-", stdin='"%s"' % ("x" * 1048574)).stdout == "1\n"
    says(queue.cli("push", "alice", "a/b", "-", stdin='"%s"' % ("x" * 1048575)), REFUSED, "data is larger than 1 MiB")
    says(queue.cli("push", "alice", "a/b", "-", stdin='"a\0b"'), REFUSED, "dw_push: data contains a NUL")


def test_a_queue_that_stays_locked_ends_with_5(queue):
    db = queue.db()
    db.execute("BEGIN IMMEDIATE")
    says(queue.cli("push", "alice", "a/b", STORE_BUSY_MS=50), RETRY, "stayed locked by another program")
    db.execute("ROLLBACK")
    assert queue.cli("push", "alice", "a/b").returncode == OK


def test_a_push_reaches_a_held_poll(queue):
    responder = queue.responder()
    fcgi(responder.address, "GET", handshake("alice"))
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    wait_until(lambda: parked(queue) == 1, PROMPT, "the poll is held")
    assert queue.cli("push", "alice", "deploy/done", '{"rev":42}').returncode == OK
    assert held.receive(PROMPT).text == "[[[:deploy/done {:rev 42}]] nil]"
    held.close()


# ---- inbox and reply ----

def test_inbox_prints_a_line_for_each_row(queue):
    receive(queue, "chat/say", '{"text":"hi"}')
    receive(queue, "chat/ask", None, uid=None, wants_reply=1)
    lines = [line.split("\t") for line in queue.cli("inbox").stdout.splitlines()]
    assert [line[:1] + line[2:] for line in lines] == [["1", "alice", "c1", "chat/say", "-", '{"text":"hi"}'],
                                                       ["2", "-", "c1", "chat/ask", "reply", "-"]]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", lines[0][1])


def test_inbox_starts_and_ends_where_it_is_told(queue):
    for n in range(700):  # more than it reads at a time
        receive(queue, "t/n", str(n))
    ids = lambda *arguments: [int(line.split("\t")[0]) for line in queue.cli("inbox", *arguments).stdout.splitlines()]
    assert ids() == list(range(1, 701))
    assert ids("--after", "690") == list(range(691, 701))
    assert ids("--after", "300", "--limit", "300") == list(range(301, 601))
    assert ids("--after", "now") == []


def test_inbox_as_json_parses_whatever_clients_sent(queue):
    receive(queue, "chat/say", '{"text":"a\\nb",\n\t"n":[1,2.5,null]}')
    receive(queue, "chat/say", "{not json")
    receive(queue, "a/\tb\n", '"\u202e\u00e9\U0001f600"', uid="\x1b[31m\"")
    queue.sql("INSERT INTO dw_inbox (event, data, format, wants_reply) VALUES ('a/b', '#{:a}', 'edn', 1)")
    queue.sql("INSERT INTO dw_inbox (event, data) VALUES ('a/b', CAST(x'22ff22' AS TEXT))")
    rows = [json.loads(line) for line in queue.cli("inbox", "--json").stdout.splitlines()]
    assert rows[0]["data"] == {"text": "a\nb", "n": [1, 2.5, None]}
    assert rows[1]["data"] == "{not json"
    assert rows[2]["data"] == "\u202e\u00e9\U0001f600" and rows[2]["uid"] == "\x1b[31m\"" and rows[2]["event"] == "a/\tb\n"
    assert (rows[3]["data"], rows[3]["format"], rows[3]["wants_reply"], rows[3]["uid"]) == ("#{:a}", "edn", True, None)
    assert rows[4]["data"] == '"\ufffd"'
    assert set(rows[0]) == {"id", "uid", "client_id", "event", "data", "format", "wants_reply", "received_at"}
    assert abs(rows[0]["received_at"] - harness.now_ms()) < 60000


def test_inbox_writes_no_control_characters_to_a_terminal(queue):
    receive(queue, "a/b", '"\x1b]0;owned\x07\u009b31m\u202e\u00e9"', uid="x\ty\nz\x7f")
    queue.sql("UPDATE dw_inbox SET client_id = CAST(x'ff41' AS TEXT)")
    line = queue.cli("inbox").stdout
    assert line.split("\t")[2:] == ["x\\x09y\\x0az\\x7f", "\\xffA", "a/b", "-",
                                    '"\\x1b]0;owned\\x07\\xc2\\x9b31m\\xe2\\x80\\xae\u00e9"\n']


def test_a_message_is_read_and_its_callback_answered(queue):
    responder = queue.responder()
    asking = Fcgi(responder.address)
    asking.request("POST", body=form("alice", "[[:chat/ask {:n 1}] :ajax]"))
    row = wait_until(lambda: [r for r in map(json.loads, queue.cli("inbox", "--json").stdout.splitlines())
                              if r["wants_reply"]], PROMPT, "the message is there")[0]
    assert (row["uid"], row["event"], row["data"]) == ("alice", "chat/ask", {"n": 1})
    result = queue.cli("reply", str(row["id"]), "-", stdin='{"ok":true}')
    assert (result.returncode, result.stdout, result.stderr) == (OK, "", "")
    assert asking.receive(PROMPT).text == "[{:ok true} nil]"
    asking.close()
    says(queue.cli("reply", str(row["id"]), "1"), REFUSED, "dw_reply: this dw_inbox row has been answered already")


def test_replies_that_are_refused_say_the_queues_own_sentence(queue):
    receive(queue, "chat/say", "1")
    receive(queue, "chat/ask", "1", wants_reply=1)
    says(queue.cli("reply", "99", "1"), REFUSED, "dw_reply: there is no dw_inbox row with this id")
    says(queue.cli("reply", "1", "1"), REFUSED, "dw_reply: this dw_inbox row wants no reply")
    says(queue.cli("reply", "2", "nope"), REFUSED, "dw_reply: data is not valid JSON")
    says(queue.cli("reply", "2", "1", "--format", "xml"), REFUSED, "dw_reply: format must be json, edn or transit")
    assert queue.cli("reply", "--format=edn", "2", ":yes").returncode == OK
    assert queue.sql("SELECT inbox_id, data, format FROM dw_reply") == [(2, ":yes", "edn")]


# ---- inbox --follow ----

def test_follow_prints_what_is_there_and_then_what_comes(queue, reader):
    receive(queue, "t/first", "1")
    follower = reader("--json")
    assert json.loads(follower.expect(1)[0])["event"] == "t/first"
    for n in range(20):  # each is waited for: it is written at once, not when a buffer is full
        subprocess.run(["sqlite3", queue.db_path, "INSERT INTO dw_inbox (event, data) VALUES ('t/n', %d)" % n], check=True)
        assert json.loads(follower.expect(2 + n)[-1])["data"] == n
    assert follower.end() == (OK, "")
    assert len(follower.lines) == 21


def test_follow_sees_what_a_browser_sends_through_a_responder(queue, reader):
    responder = queue.responder()
    follower = reader()
    fcgi(responder.address, "POST", body=form("alice", "[[:chat/say {:text \"hi\"}] nil]"))
    wait_until(lambda: any("\tchat/say\t" in line for line in follower.lines), PROMPT, "the message is printed")
    assert follower.end()[0] == OK


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_follow_ends_with_0_on_a_signal(queue, reader, sent):
    receive(queue, "t/first")
    follower = reader()
    follower.expect(1)
    assert follower.end(sent) == (OK, "")


def test_follow_ends_after_its_limit(queue, reader):
    receive(queue, "t/first")
    follower = reader("--limit", "3")
    follower.expect(1)
    for _ in range(4):
        receive(queue, "t/more")
    assert follower.end(None) == (OK, "")
    assert len(follower.lines) == 3


def test_follow_ends_when_its_reader_goes_while_nothing_comes(queue, reader):
    receive(queue, "t/first")
    follower = reader(read=False)
    assert b"t/first" in follower.popen.stdout.readline()
    follower.popen.stdout.close()
    assert follower.popen.wait(PROMPT) == OK
    assert follower.popen.stderr.read() == b""


def fill(world, rows=200):
    """More than a pipe takes."""
    for n in range(rows):
        receive(world, "t/n", json.dumps("x" * 1000))


def waiting_bytes(pipe):
    import array
    import fcntl
    import termios
    size = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, size)
    return size[0]


def test_follow_ends_on_sigterm_while_the_pipe_is_full(queue, reader):
    fill(queue)
    follower = reader(read=False)
    wait_until(lambda: waiting_bytes(follower.popen.stdout) > 60000, PROMPT, "the pipe is full")
    follower.popen.terminate()
    assert follower.popen.wait(PROMPT) == OK


def test_a_stuck_follower_keeps_no_transaction_open(queue, reader):
    fill(queue)
    follower = reader(read=False)
    wait_until(lambda: waiting_bytes(follower.popen.stdout) > 60000, PROMPT, "the pipe is full")
    queue.push("alice", "a/b", "1")
    db = queue.db()
    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall() == [(0, 0, 0)]  # busy while a reader is inside
    follower.popen.terminate()
    assert follower.popen.wait(PROMPT) == OK


def test_follow_waits_without_polling(queue, reader):
    receive(queue, "t/first")
    follower = reader()
    follower.expect(1)

    def switches():
        with open("/proc/%d/status" % follower.popen.pid) as status:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status.read(), re.M).group(1))

    settled = wait_until(lambda: (lambda a, b: a == b and a)(switches(), quiet(switches)), PROMPT, "it has settled")
    threading.Event().wait(3)  # a measurement: its safety tick is 2-5 s
    assert switches() - settled <= 4
    assert follower.end()[0] == OK


def quiet(switches):
    threading.Event().wait(0.3)
    return switches()


def test_follow_goes_over_to_a_file_that_takes_the_queues_place(queue, reader):
    receive(queue, "t/old")
    follower = reader()
    follower.expect(1)
    other = queue.path("other.db")
    assert queue.cli("init", "--db", other).returncode == OK
    with sqlite3.connect(other) as db:
        db.execute("INSERT INTO dw_inbox (event) VALUES ('t/new')")
    db.close()
    os.rename(other, queue.db_path)
    assert "t/new" in follower.expect(2, LATE)[1]
    receive(queue, "t/newer")
    assert "t/newer" in follower.expect(3, LATE)[2]
    status, said = follower.end()
    assert status == OK and "another file has taken the queue's place" in said


def test_output_that_nobody_reads_any_longer_is_no_failure(queue):
    fill(queue)
    popen = subprocess.Popen([CLI, "inbox"], env=queue.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    popen.stdout.readline()
    popen.stdout.close()
    assert popen.wait(PROMPT) == OK
    assert popen.stderr.read() == b""
    popen.stderr.close()


@pytest.mark.parametrize("arguments", [["push", "alice", "a/b"], ["inbox"], ["inbox", "--follow"], ["online"],
                                       ["status", "--json"], ["gc"], ["doctor"], ["--help"], ["push", "--help"]])
def test_output_that_can_not_be_written_is_a_failure(queue, arguments):
    receive(queue, "t/first")
    with open("/dev/full", "w") as full:
        result = subprocess.run([CLI, *arguments], env=queue.environment(), stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=30)
    assert result.returncode == FAILED


# ---- online, status, gc ----

def parked(world):
    return sum(worker["parked"] for worker in json.loads(world.cli("status", "--json").stdout)["workers"])


def test_online_lists_users_and_their_clients(queue):
    assert queue.cli("online").stdout == "Nobody is online.\n"
    assert json.loads(queue.cli("online", "--json").stdout) == []
    queue.sql("INSERT INTO dw_online VALUES ('alice', 1, 2, 1795508498123), ('b\x1bob', 0, 1, 1795508498123)")
    rows = json.loads(queue.cli("online", "--json").stdout)
    assert rows == [{"uid": "alice", "ws": 1, "ajax": 2, "since": 1795508498123},
                    {"uid": "b\x1bob", "ws": 0, "ajax": 1, "since": 1795508498123}]
    text = queue.cli("online").stdout.splitlines()
    assert [line.split() for line in text] == [["ws", "ajax", "since", "user"],
                                               ["1", "2", "2026-11-24T08:21:38.123Z", "alice"],
                                               ["0", "1", "2026-11-24T08:21:38.123Z", "b\\x1bob"]]


def test_status_shows_clients_workers_and_polls(queue):
    responder = queue.responder()
    doomed = queue.responder()
    fcgi(responder.address, "GET", handshake("alice"))
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    wait_until(lambda: parked(queue) == 1, PROMPT, "the poll is held")
    wait_until(lambda: json.loads(queue.cli("online", "--json").stdout), PROMPT, "alice is online")
    queue.push("alice", "a/b", "1")
    assert held.receive(PROMPT).status == 200
    held.close()
    os.kill(responder.pid, signal.SIGSTOP)  # nobody buries the dead meanwhile
    try:
        doomed.kill()
        status = json.loads(queue.cli("status", "--json").stdout)
        text = queue.cli("status").stdout
    finally:
        os.kill(responder.pid, signal.SIGCONT)
    assert status["clients"] == {"remembered": 1, "connected": 1, "ajax": 1, "ws": 0, "users_online": 1}
    assert status["queue"]["end"] == 1 and status["queue"]["pushes"] == 1 and status["queue"]["schema"] == 4
    assert status["queue"]["inbox_end"] >= 1 and status["queue"]["bytes"] > 0 and status["state"]["schema"] == 2
    workers = {worker["pid"]: worker["alive"] for worker in status["workers"]}
    assert workers == {responder.pid: True, doomed.pid: False}
    assert "process %d" % responder.pid in text and "dead: its clients have their grace period" in text
    assert "1 connected (1 Ajax, 0 WebSocket)" in text


@pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")
def test_status_shows_the_websockets_of_each_sidecar(queue):
    sidecar, other, responder = queue.sidecar(), queue.sidecar(), queue.responder()
    clients = [Client(sidecar.address, name) for name in ("alice", "bob")]
    elsewhere = Client(other.address, "carol")

    def status():
        return json.loads(queue.cli("status", "--json").stdout)

    def held():
        return {worker["pid"]: (worker["parked"], worker["websockets"]) for worker in status()["workers"]}

    assert held() == {sidecar.pid: (0, 2), other.pid: (0, 1), responder.pid: (0, 0)}
    assert status()["clients"]["ws"] == 3
    text = queue.cli("status").stdout
    assert re.search(r"process %d, since [^,]*, holds 2 WebSockets$" % sidecar.pid, text, re.M), text
    assert re.search(r"process %d, since [^,]*, holds 1 WebSocket$" % other.pid, text, re.M), text
    assert re.search(r"process %d, since [^,]*, holds 0 polls$" % responder.pid, text, re.M), text
    queue.push("alice", "a/b", "1")
    pushed = clients[0].receive()
    sidecar.terminate()  # counters that are not yet stored are stored at the end
    other.terminate()
    counters = status()["counters"]
    sent = sum(len(client.handshake) for client in clients + [elsewhere]) + len(pushed)
    assert counters["websockets"] == 3 and counters["websocket_bytes_sent"] >= sent
    assert "websocket_bytes_sent %d" % counters["websocket_bytes_sent"] in queue.cli("status").stdout


def test_status_tells_what_was_lost(queue):
    assert "losses    none" in queue.cli("status").stdout
    with sqlite3.connect(queue.db_path + "-dw/state.db") as db:
        db.execute("INSERT INTO counter VALUES ('gaps', 3), ('polls', 10)")
    db.close()
    status = json.loads(queue.cli("status", "--json").stdout)
    assert status["losses"]["gaps"] == 3 and status["losses"]["bad_pushes"] == 0
    assert status["counters"] == {"gaps": 3, "polls": 10}
    text = queue.cli("status").stdout
    assert "losses    3 clients were told that pushes were gone" in text and "counters  gaps 3, polls 10" in text


def test_gc_says_what_it_removed(queue):
    assert "nothing: all of it is still wanted" in queue.cli("gc").stdout
    day = 86400000
    for n in range(400):  # more than a step removes
        queue.sql("INSERT INTO dw_push (uid, event, created_at) VALUES ('alice', 'a/b', ?)", harness.now_ms() - day)
    queue.push("alice", "a/young")
    queue.sql("INSERT INTO dw_inbox (event, received_at, wants_reply) VALUES ('a/b', ?, 1)", harness.now_ms() - 2 * day)
    queue.sql("INSERT INTO dw_session (sid, expires_at) VALUES ('s1', ?)", harness.now_ms() - 2 * day)
    result = queue.cli("gc")
    assert result.returncode == OK
    assert re.findall(r"^ +(\d+) (.*)$", result.stdout, re.M) == [
        ("400", "pushes past retention"), ("1", "inbox row past retention"), ("1", "expired session")]
    assert queue.sql("SELECT event FROM dw_push") == [("a/young",)]
    assert json.loads(queue.cli("status", "--json").stdout)["queue"]["removed_up_to"] == 400


def test_gc_releases_the_clients_of_a_worker_that_was_killed(queue):
    responder = queue.responder(CHSK_CLOSE_GRACE_AJAX_MS=100)
    fcgi(responder.address, "GET", handshake("alice"))
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    wait_until(lambda: parked(queue) == 1, PROMPT, "the poll is held")
    wait_until(lambda: json.loads(queue.cli("online", "--json").stdout), PROMPT, "alice is online")
    responder.kill()
    held.close()
    assert "1 dead worker\n" in queue.cli("gc", CHSK_CLOSE_GRACE_AJAX_MS=100).stdout
    said = wait_until(lambda: (lambda out: "client" in out and out)(queue.cli("gc").stdout), PROMPT, "the grace is over")
    assert "1 client from the connected ones\n" in said
    assert json.loads(queue.cli("online", "--json").stdout) == []
    assert queue.sql("SELECT uid FROM dw_inbox WHERE event = 'chsk/uidport-close'") == [("alice",)]


def test_gc_shows_users_out_whom_a_power_cut_left_online(queue):
    queue.sql("INSERT INTO dw_online VALUES ('ghost', 0, 1, 1795508498123)")  # and no client of that name
    assert queue.cli("gc").returncode == OK
    assert json.loads(queue.cli("online", "--json").stdout) == []
    assert queue.sql("SELECT uid FROM dw_inbox WHERE event = 'chsk/uidport-close'") == [("ghost",)]


def test_gc_tells_of_a_reader_that_keeps_the_log_from_shrinking(queue):
    db = queue.db()
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM dw_push").fetchall()
    queue.push("alice", "a/b", "1")
    assert "keeps a read transaction open" in queue.cli("gc").stdout
    db.execute("ROLLBACK")
    assert "keeps a read transaction open" not in queue.cli("gc").stdout


def test_a_newer_schema_is_refused_by_every_command(queue):
    queue.push("alice", "a/b", "1")
    queue.sql("UPDATE dw_meta SET value = 99 WHERE key = 'schema_version'")
    for arguments in (["init"], ["push", "alice", "a/b"], ["inbox"], ["status"], ["gc"], ["reply", "1", "1"], ["online"]):
        says(queue.cli(*arguments), FAILED, "was made by a newer Dumbwaiter (schema 99, this program knows 4)")
    assert queue.sql("SELECT count(*) FROM dw_push") == [(1,)]
