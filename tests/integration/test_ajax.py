"""The Ajax transport, one behaviour a test: through the responder's own socket where the web server does
not matter, through lighttpd where it does."""

import json
import os
import shutil
import socket
import sqlite3
import struct
import time

import pytest

from clients import (DUMMY, TIMEOUT, Fcgi, Http, fcgi, form, handshake, numbers, poll)
from harness import SLOW, counter, now_ms, wait_until

PROMPT = 2 * SLOW  # seconds within which an answer that is due has come


class Client:
    """A client whose requests the test makes one by one."""

    def __init__(self, responder, client_id, extra="", **variables):
        self.address, self.client_id, self.extra, self.variables = responder.address, client_id, extra, variables

    def handshake(self, **how):
        return fcgi(self.address, "GET", handshake(self.client_id, self.extra, **how), **self.variables)

    def poll(self, timeout=30, **how):
        return fcgi(self.address, "GET", poll(self.client_id, self.extra, **how), timeout=timeout, **self.variables)

    def hold(self, **how):
        """Sends a poll and returns its connection."""
        connection = Fcgi(self.address)
        connection.request("GET", poll(self.client_id, self.extra, **how), **self.variables)
        return connection

    def post(self, payload, timeout=30):
        return fcgi(self.address, "POST", "", form(self.client_id, payload), timeout=timeout, **self.variables)


def settle():
    """Time for a request that was just sent to be held."""
    time.sleep(0.15 * SLOW)


@pytest.fixture
def responder(world):
    return world.responder()


@pytest.fixture
def quick(make_world):
    """A world with short time-outs, and its responder."""
    world = make_world(CHSK_LP_TIMEOUT_MS=1000, CHSK_CLOSE_GRACE_AJAX_MS=500)
    return world, world.responder()


def push_numbers(world, first, last, uid="alice", column="uid"):
    """[:test/n n] for n in first..last, one transaction."""
    db = world.db()
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO dw_push (%s, event, data) VALUES (?, 'test/n', ?)" % column,
                   [(uid, str(n)) for n in range(first, last + 1)])
    db.execute("COMMIT")


def one(n):
    return "[[[:test/n %d]] nil]" % n


# ---- handshake and poll ----

def test_a_handshake_names_the_uid(responder):
    answer = Client(responder, "alice").handshake()
    assert (answer.status, answer.text) == (200, '[[:chsk/handshake ["alice" nil nil]] nil]')


def test_an_answer_is_complete_and_must_not_be_cached_sniffed_or_buffered(responder):
    headers = Client(responder, "alice").handshake().headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-length"] == str(len('[[:chsk/handshake ["alice" nil nil]] nil]'))
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-accel-buffering"] == "no"


def test_a_poll_of_an_unknown_client_is_answered_with_a_handshake(responder):
    assert Client(responder, "alice").poll().text == '[[:chsk/handshake ["alice" nil nil]] nil]'


def test_a_poll_is_held_until_its_time_out(quick):
    _, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    begin = time.monotonic()
    assert client.poll().text == TIMEOUT
    assert 0.95 <= time.monotonic() - begin <= 1.2 + 0.5 * SLOW


def test_uid_and_handshake_data_come_from_the_session(make_world):
    world = make_world(AUTH_UID="session", AUTH_CSRF="on")
    responder = world.responder()
    world.session("s1", "bob", "token", '{"theme":"dark"}')
    client = Client(responder, "tab", HTTP_COOKIE="other=1; dw_sid=s1", HTTP_X_CSRF_TOKEN="token")
    assert client.handshake().text == '[[:chsk/handshake ["bob" nil {:theme "dark"}]] nil]'
    assert Client(responder, "tab", HTTP_COOKIE="dw_sid=s1", HTTP_X_CSRF_TOKEN="other").handshake().status == 403


# ---- addresses ----

def test_a_push_to_a_uid_ends_its_poll(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    held = client.hold()
    settle()
    world.push("alice", "test/n", "1")
    assert held.receive(PROMPT).text == one(1)


def test_a_push_reaches_every_tab_of_its_uid_and_nobody_else(make_world):
    world = make_world(AUTH_UID="session")
    responder = world.responder()
    world.session("a", "alice")
    world.session("b", "bob")
    tabs = [Client(responder, "tab%d" % n, HTTP_COOKIE="dw_sid=a") for n in range(2)]
    other = Client(responder, "tab9", HTTP_COOKIE="dw_sid=b")
    for client in tabs + [other]:
        client.handshake()
    held = [client.hold() for client in tabs + [other]]
    settle()
    world.push("alice", "test/n", "1")
    assert [connection.receive(PROMPT).text for connection in held[:2]] == [one(1)] * 2
    with pytest.raises(socket.timeout):
        held[2].receive(0.3)


def test_a_push_to_a_client_id_reaches_only_that_tab(make_world):
    world = make_world(AUTH_UID="session")
    responder = world.responder()
    world.session("a", "alice")
    tabs = [Client(responder, "tab%d" % n, HTTP_COOKIE="dw_sid=a") for n in range(2)]
    for client in tabs:
        client.handshake()
    held = [client.hold() for client in tabs]
    settle()
    world.push("tab1", "test/n", "1", column="client_id")
    assert held[1].receive(PROMPT).text == one(1)
    with pytest.raises(socket.timeout):
        held[0].receive(0.3)


def test_a_push_to_a_room_reaches_who_was_a_member_when_it_was_made(world, responder):
    clients = {uid: Client(responder, uid) for uid in ("in", "out", "late")}
    for client in clients.values():
        client.handshake()
    world.sql("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'in'), ('lobby', 'out')")
    world.sql("DELETE FROM dw_member WHERE uid = 'out'")
    held = {uid: client.hold() for uid, client in clients.items()}
    settle()
    world.push("lobby", "test/n", "1", column="room")
    world.sql("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'late')")
    world.push("lobby", "test/n", "2", column="room")
    assert numbers(held["in"].receive(PROMPT).text)[0] == 1
    assert held["late"].receive(PROMPT).text == one(2)
    with pytest.raises(socket.timeout):
        held["out"].receive(0.3)


def test_a_push_to_the_star_room_reaches_everyone(world, responder):
    clients = [Client(responder, "c%d" % n) for n in range(5)]
    for client in clients:
        client.handshake()
    held = [client.hold() for client in clients]
    settle()
    world.push("*", "test/n", "1", column="room")
    assert [connection.receive(PROMPT).text for connection in held] == [one(1)] * 5


def test_a_push_to_the_empty_uid_reaches_clients_without_a_uid(make_world):
    world = make_world(AUTH_UID="session")
    responder = world.responder()
    world.session("a", "alice")
    nobody = Client(responder, "tab1")
    alice = Client(responder, "tab2", HTTP_COOKIE="dw_sid=a")
    assert nobody.handshake().text == "[[:chsk/handshake [:sente/nil-uid nil nil]] nil]"
    alice.handshake()
    held = [nobody.hold(), alice.hold()]
    settle()
    world.push("", "test/n", "1")
    assert held[0].receive(PROMPT).text == one(1)
    with pytest.raises(socket.timeout):
        held[1].receive(0.3)


# ---- order, batches, nothing lost between polls ----

def test_a_member_that_leaves_in_the_trigger_that_pushed_gets_what_was_pushed_before(world, responder):
    """And one that joins there gets only what is pushed behind."""
    world.script("""
        CREATE TRIGGER app_leave AFTER INSERT ON dw_inbox WHEN NEW.event = 'room/leave'
        BEGIN INSERT INTO dw_push (room, event, data) VALUES ('lobby', 'test/n', '1');
              DELETE FROM dw_member WHERE room = 'lobby' AND uid = 'alice'; END;
        CREATE TRIGGER app_join AFTER INSERT ON dw_inbox WHEN NEW.event = 'room/join'
        BEGIN INSERT INTO dw_push (room, event, data) VALUES ('lobby', 'test/n', '2');
              INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice'); END;""")
    alice = Client(responder, "alice")
    alice.handshake()
    world.sql("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice')")
    assert alice.post("[[:room/leave] nil]").text == DUMMY
    world.push("lobby", "test/n", "99", column="room")
    assert numbers(alice.poll().text) == [1]
    assert alice.post("[[:room/join] nil]").text == DUMMY
    world.push("lobby", "test/n", "3", column="room")
    assert numbers(alice.poll().text) == [3]


def test_a_push_that_can_not_be_packed_holds_nothing_up(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=6000 * SLOW, CHSK_CLOSE_GRACE_AJAX_MS=300)
    alice = Client(world.responder(), "alice")
    alice.handshake()
    world.push("alice", "test/n", "1")
    assert numbers(alice.poll().text) == [1]
    world.push("alice", "test/broken", "{:a", format="edn")
    held = alice.hold()
    wait_until(lambda: world.sql("SELECT uid, ajax FROM dw_online") == [("alice", 1)], PROMPT, "alice is here")
    time.sleep(1 * SLOW)  # longer than the grace period
    assert world.sql("SELECT uid, ajax FROM dw_online") == [("alice", 1)]
    world.push("alice", "test/n", "2")
    begin = time.monotonic()
    assert numbers(held.receive(PROMPT).text) == [2]
    assert time.monotonic() - begin < PROMPT
    wait_until(lambda: counter(world, "bad_pushes") >= 1, 10 * SLOW, "the operator can see it")
    assert counter(world, "polls_superseded") == 0


@pytest.mark.parametrize("header", ["HTTP_UPGRADE", "HTTP_SEC_WEBSOCKET_KEY"])
def test_the_opening_of_a_websocket_is_refused_at_once_and_proves_nothing(world, responder, header):
    alice = Client(responder, "alice")
    alice.handshake()
    world.push("alice", "test/n", "1")
    assert numbers(alice.poll().text) == [1]  # and say that it got lost
    answer = fcgi(responder.address, "GET", poll("alice"), **{header: "websocket"})
    assert answer.status == 501
    alice.handshake()
    assert numbers(alice.poll().text) == [1]


def test_a_get_repeated_by_the_web_server_for_a_worker_that_died_proves_nothing(world, responder):
    """The worker has died with the answer half written."""
    second = world.responder()
    alice = Client(responder, "alice")
    alice.handshake()
    world.push("alice", "test/n", "1")
    db = sqlite3.connect(world.db_path + "-dw/state.db")
    slot, = db.execute("SELECT slot FROM client WHERE client_id = 'alice'").fetchone()
    db.close()
    udt = now_ms()
    assert numbers(alice.poll(udt=udt).text) == [1]
    with open(world.db_path + "-dw/claims", "r+b", buffering=0) as claims:
        def word():
            return struct.unpack("=Q", os.pread(claims.fileno(), 8, 8192 + 8 * slot))[0]
        wait_until(lambda: word() & 1 << 43, PROMPT, "the answer is marked as sent")
        os.pwrite(claims.fileno(), struct.pack("=Q", word() & ~(1 << 43)), 8192 + 8 * slot)
    responder.kill()
    assert numbers(Client(second, "alice").poll(udt=udt).text) == [1]


def test_1200_pushes_at_once_come_in_three_answers_of_less_than_512_in_order(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    held = client.hold()
    settle()
    push_numbers(world, 1, 1200)
    batches = [numbers(held.receive(PROMPT).text)] + [numbers(client.poll().text) for _ in range(2)]
    assert all(len(batch) < 512 for batch in batches)
    assert sum(batches, []) == list(range(1, 1201))
    held = client.hold()
    with pytest.raises(socket.timeout):
        held.receive(0.3)


def test_pushes_between_two_polls_come_with_the_next_poll_in_order(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "1")
    assert client.poll().text == one(1)
    world.push("alice", "test/n", "2")
    world.push("alice", "test/n", "3")
    assert numbers(client.poll().text) == [2, 3]


def test_a_rolled_back_push_is_never_delivered(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    held = client.hold()
    settle()
    db = world.db()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'test/n', '1')")
    time.sleep(0.1)
    db.execute("ROLLBACK")
    assert held.receive(3 * SLOW).text == TIMEOUT
    world.push("alice", "test/n", "2")
    assert client.poll().text == one(2)


def test_a_poll_sees_nothing_of_a_transaction_that_is_still_open(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    held = client.hold()
    settle()
    db = world.db()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'test/n', '1')")
    with pytest.raises(socket.timeout):
        held.receive(0.3)
    db.execute("COMMIT")


def test_a_new_client_starts_now(world, responder):
    world.push("alice", "test/n", "1")
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "2")
    assert client.poll().text == one(2)


def test_events_of_a_failed_poll_are_sent_again_after_the_handshake(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    push_numbers(world, 1, 3)
    assert numbers(client.poll().text) == [1, 2, 3]  # ... and say that this answer got lost
    client.handshake()
    world.push("alice", "test/n", "4")
    assert numbers(client.poll().text) == [1, 2, 3, 4]


def test_events_are_never_sent_again_once_a_poll_has_proved_them(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    push_numbers(world, 1, 3)
    assert numbers(client.poll().text) == [1, 2, 3]
    assert client.poll().text == TIMEOUT
    client.handshake()
    assert client.poll().text == TIMEOUT


@pytest.mark.parametrize("ahead_ms", [0, -86400000, 3600000], ids=["right", "a-day-slow", "an-hour-fast"])
def test_a_get_that_the_browser_repeats_by_itself_proves_nothing(world, responder, ahead_ms):
    """However wrong the client's clock is."""
    client = Client(responder, "alice")
    client.handshake()
    push_numbers(world, 1, 2)
    udt = now_ms() + ahead_ms
    assert numbers(client.poll(udt=udt).text) == [1, 2]
    time.sleep(0.1)
    assert numbers(client.poll(udt=udt).text) == [1, 2]
    time.sleep(0.1)
    world.push("alice", "test/n", "3")
    assert numbers(client.poll().text) == [3]


# ---- superseded polls, clients that leave ----

def test_a_superseded_poll_gets_no_event_and_ends_at_its_deadline(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    begin = time.monotonic()
    first = client.hold()
    settle()
    second = client.hold()
    settle()
    world.push("alice", "test/n", "1")
    assert second.receive(PROMPT).text == one(1)
    assert first.receive(3 * SLOW).text == TIMEOUT
    assert time.monotonic() - begin > 0.9


def test_two_clients_that_share_an_id_do_not_chase_each_other(quick):
    _, responder = quick
    clients = [Client(responder, "alice"), Client(responder, "alice")]
    for client in clients:
        client.handshake()
    count = 0
    begin = time.monotonic()
    held = [client.hold() for client in clients]
    while time.monotonic() - begin < 3:
        for at, connection in enumerate(held):
            try:
                connection.receive(0.05)
            except socket.timeout:
                continue
            count += 1
            held[at] = clients[at].hold()
    assert count <= 8


@pytest.mark.parametrize("transport", ["fastcgi", "lighttpd"])
def test_nothing_is_lost_when_the_client_drops_a_held_poll(world, transport):
    responder = world.responder()
    client = Client(responder, "alice")
    client.handshake()
    if transport == "lighttpd":
        web = world.lighttpd(responder.address)
        held = Http(web.port)
        held.send("GET", "/chsk?" + poll("alice"))
    else:
        held = client.hold()
    settle()
    held.close()
    settle()
    world.push("alice", "test/n", "1")
    settle()
    client.handshake()
    assert client.poll().text == one(1)


def connections(process):
    """Open sockets of a process."""
    count = 0
    for name in os.listdir("/proc/%d/fd" % process.pid):
        try:
            count += os.readlink("/proc/%d/fd/%s" % (process.pid, name)).startswith("socket:")
        except FileNotFoundError:
            pass
    return count


def test_a_client_that_closes_its_held_poll_frees_the_descriptor(responder):
    clients = [Client(responder, "c%d" % n) for n in range(50)]
    for client in clients:
        client.handshake()
    settle()
    before = connections(responder)
    held = [client.hold() for client in clients]
    settle()
    assert connections(responder) == before + 50
    for connection in held:
        connection.close()
    wait_until(lambda: connections(responder) == before, 5 * SLOW, "their descriptors are free")


# ---- messages and callbacks ----

ECHO = """
CREATE TRIGGER app_echo AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/echo' AND NEW.wants_reply
BEGIN INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, NEW.data); END;
"""


def test_a_message_reaches_the_inbox(world, responder):
    answer = Client(responder, "alice").post('[[:chat/say {:text "hi"}] nil]')
    assert answer.text == DUMMY
    rows = world.sql("SELECT uid, client_id, event, data, wants_reply FROM dw_inbox")
    assert rows == [("alice", "alice", "chat/say", '{"text":"hi"}', 0)]


def test_a_callback_is_answered_by_a_trigger_in_the_same_request(world, responder):
    world.script(ECHO)
    assert Client(responder, "alice").post('[[:test/echo {:x 1}] :ajax]').text == "[{:x 1} nil]"


def test_a_callback_is_held_until_a_process_replies(world, responder):
    connection = Fcgi(responder.address)
    connection.request("POST", "", form("alice", "[[:ask/this 1] :ajax]"))
    row = wait_until(lambda: world.sql("SELECT id FROM dw_inbox WHERE event = 'ask/this' AND wants_reply"), 5,
                     "the message is there")
    settle()
    world.sql("INSERT INTO dw_reply (inbox_id, data) VALUES (?, ?)", row[0][0], '{"ok":true}')
    assert connection.receive(PROMPT).text == "[{:ok true} nil]"


def test_a_callback_that_nobody_answers_times_out(quick):
    _, responder = quick
    begin = time.monotonic()
    assert Client(responder, "alice").post("[[:ask/this 1] :ajax]").text == TIMEOUT
    assert time.monotonic() - begin >= 0.95


def test_a_trigger_that_fails_is_answered_500_and_stores_nothing(world, responder):
    world.script("CREATE TRIGGER app_no BEFORE INSERT ON dw_inbox WHEN NEW.event = 'test/no' "
                 "BEGIN SELECT RAISE(ABORT, 'not today'); END;")
    assert Client(responder, "alice").post("[[:test/no 1] :ajax]").status == 500
    assert world.sql("SELECT count(*) FROM dw_inbox WHERE event = 'test/no'") == [(0,)]


# ---- presence ----

def inbox(world):
    return [row[0] for row in world.sql("SELECT event FROM dw_inbox ORDER BY id")]


def test_presence_opens_with_the_first_poll_and_closes_after_the_grace_period(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    settle()
    assert inbox(world) == []
    held = client.hold()
    wait_until(lambda: inbox(world) == ["chsk/uidport-open"], 3 * SLOW, "uidport-open")
    assert world.sql("SELECT uid, ws, ajax FROM dw_online") == [("alice", 0, 1)]
    held.close()
    begin = time.monotonic()
    wait_until(lambda: inbox(world)[1:] == ["chsk/uidport-close"], 5 * SLOW, "uidport-close")
    assert time.monotonic() - begin >= 0.4
    assert world.sql("SELECT * FROM dw_online") == []


def test_presence_does_not_flap_between_polls(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    for n in range(5):
        held = client.hold()
        settle()
        world.push("alice", "test/n", str(n))
        held.receive(PROMPT)
    held = client.hold()
    settle()
    assert inbox(world) == ["chsk/uidport-open"]


# ---- closing, generations, packers ----

def test_chsk_close_ends_the_poll_once(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    held = client.hold()
    settle()
    world.push("alice", "test/n", "1")
    assert held.receive(PROMPT).text == one(1)
    held = client.hold()
    settle()
    world.push("alice", "chsk/close")
    assert held.receive(PROMPT).status == 503
    client.handshake()
    world.push("alice", "test/n", "2")
    assert client.poll().text == one(2)


def test_events_before_and_behind_a_close_keep_their_order(world, responder):
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "1")
    world.push("alice", "chsk/close")
    world.push("alice", "test/n", "2")
    assert client.poll().text == one(1)
    assert client.poll().status == 503
    client.handshake()
    assert client.poll().text == one(2)


@pytest.mark.parametrize("generation, message, expected", [
    (1, "+[[:chat/x]]", ["+[:chsk/dummy-cb-200]", '+[[:chsk/handshake ["alice" nil]]]', "+[[[:test/n 1]]]"]),
    (2, "[[:chat/x]]", ["[:chsk/dummy-cb-200]", '[[:chsk/handshake ["alice" nil]]]', "[[[:test/n 1]]]"]),
    (3, "[[:chat/x] nil]", [DUMMY, '[[:chsk/handshake ["alice" nil nil]] nil]', one(1)]),
])
def test_a_client_is_answered_in_the_generation_of_its_messages(world, responder, generation, message, expected):
    client = Client(responder, "alice")
    client.handshake()
    texts = [client.post(message).text, client.handshake().text]
    world.push("alice", "test/n", "1")
    assert texts + [client.poll().text] == expected


@pytest.mark.parametrize("generation, expected", [
    (1, ['+[[:chsk/handshake ["alice" nil]]]', "+[:chsk/timeout]"]),
    (2, ['[[:chsk/handshake ["alice" nil]]]', "[:chsk/timeout]"]),
    (3, ['[[:chsk/handshake ["alice" nil nil]] nil]', TIMEOUT]),
])
def test_a_client_that_has_sent_nothing_is_answered_as_the_setting_says(make_world, generation, expected):
    world = make_world(CHSK_GENERATION=generation, CHSK_LP_TIMEOUT_MS=200)
    client = Client(world.responder(), "alice")
    assert [client.handshake().text, client.poll().text] == expected


def test_a_client_may_choose_the_json_packer(world, responder):
    world.script(ECHO)
    client = Client(responder, "alice", "&packer=json")
    shake = json.loads(client.handshake().text)
    assert shake == [["chsk/handshake", ["alice", None, None]], None]
    world.push("alice", "test/n", '{"a":[1,2.5,"x",null,true]}')
    assert json.loads(client.poll().text) == [[["test/n", {"a": [1, 2.5, "x", None, True]}]], None]
    # A POST carries no packer parameter: it is known from the handshake.
    answer = client.post('[["test/echo",{"b":1}],"ajax"]')
    assert json.loads(answer.text) == [{"b": 1}, None]


# ---- what is lost is told ----

def test_a_client_that_was_away_for_longer_than_retention_continues_and_the_gap_is_logged(make_world):
    world = make_world(STORE_RETAIN_MS=1000)
    responder = world.responder()
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "1")
    assert client.poll().text == one(1)
    # Pushes that are older than retention: housekeeping removes them and raises the horizon.
    old = now_ms() - 60000
    world.sql("INSERT INTO dw_push (uid, event, data, created_at) VALUES ('alice', 'test/n', '2', ?)", old)
    wait_until(lambda: world.sql("SELECT value FROM dw_meta WHERE key = 'horizon'")[0][0] >= 2, 15 * SLOW,
               "retention has removed push 2")
    world.push("alice", "test/n", "3")
    client.handshake()
    answer = client.poll()
    if "handshake" in answer.text:  # the row of an absent client is removed after retention too
        answer = client.poll()
    assert numbers(answer.text)[-1:] == [3] or answer.text == TIMEOUT


def test_a_cursor_ahead_of_the_queue_starts_from_the_queues_end(quick):
    world, responder = quick
    client = Client(responder, "alice")
    client.handshake()
    push_numbers(world, 1, 5)
    client.poll()
    client.poll()  # the cursor is at 5
    responder.terminate()
    # The queue was restored from a backup that is older than the state file.
    world.sql("DELETE FROM dw_push")
    world.sql("UPDATE sqlite_sequence SET seq = 0 WHERE name = 'dw_push'")
    responder = world.responder()
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "7")
    assert client.poll().text == one(7)


def test_a_lost_state_folder_loses_no_event(world):
    responder = world.responder()
    client = Client(responder, "alice")
    client.handshake()
    world.push("alice", "test/n", "1")
    assert client.poll().text == one(1)
    responder.terminate()
    world.push("alice", "test/n", "2")
    shutil.rmtree(world.db_path + "-dw")
    client = Client(world.responder(), "alice")
    texts = [client.poll().text]
    while "handshake" in texts[-1]:
        texts.append(client.poll().text)
    assert numbers("".join(texts))[-1] == 2


# ---- through lighttpd ----

def test_two_workers_that_lighttpd_starts_serve_one_client(make_world):
    world = make_world()
    world.init()
    web = world.lighttpd(spawn=2)
    client = Http(web.port)
    assert client.get("/chsk?" + handshake("alice")).text == '[[:chsk/handshake ["alice" nil nil]] nil]'
    for n in range(20):
        connection = Http(web.port)
        connection.send("GET", "/chsk?" + poll("alice"))
        time.sleep(0.02)
        world.push("alice", "test/n", str(n))
        assert connection.receive(PROMPT).text == one(n)
        connection.close()


def test_a_callback_held_by_one_worker_is_answered_by_a_trigger_or_process_through_lighttpd(world):
    responder = world.responder(listen="tcp")
    web = world.lighttpd(responder.address)
    client = Http(web.port)
    client.send("POST", "/chsk", {"Content-Type": "application/x-www-form-urlencoded"},
                form("alice", "[[:ask/this 1] :ajax]"))
    row = wait_until(lambda: world.sql("SELECT id FROM dw_inbox WHERE wants_reply"), 5, "the message is there")
    world.sql("INSERT INTO dw_reply (inbox_id, data, format) VALUES (?, '#{:a}', 'edn')", row[0][0])
    assert client.receive(PROMPT).text == "[#{:a} nil]"
