"""One test per attack: who sends too much is told so (429, 413, 431, 408 or 503, with a pause that differs), what it
can make us keep is bounded, nobody else notices, and `dumbwaiter status` tells."""

import json
import os
import select
import socket
import sqlite3
import struct
import subprocess
import threading
import time

import pytest

from bystander import Bystander
from clients import PARAMS, Fcgi, begin, fcgi, form, handshake, numbers, poll, request_bytes, stream
from harness import RESPONDER, SANITIZED, SIDECAR, SLOW, wait_until
from websocket import TEXT, Client, Closed, Frames, Refused, frame

ANY = {"LIMITS_REQUESTS_PER_S": 0, "LIMITS_REQUESTS_PER_S_UID": 0}
needs_sidecar = pytest.mark.skipif(not os.path.exists(SIDECAR), reason="built without the sidecar")
GROWTH_KB = 10 ** 9 if SANITIZED else 4096  # what a process may grow by; a sanitizer keeps what is freed


class Attacked:
    """A responder (and on demand a sidecar) with a bystander; `check` says what the attack must not have done."""

    def __init__(self, make_world, **settings):
        self.world = make_world(LIMITS_RETRY_MS=20000, **settings)
        self.responder = self.world.responder()
        self.address = self.responder.address
        self.processes = [self.responder]
        self.bystander = Bystander(self.world, self.responder)
        self.bystander.start()
        wait_until(lambda: self.bystander.received or self.bystander.error, 10 * SLOW, "the bystander polls")
        self.before = [(self.responder, self.responder.status("VmRSS"))]

    def sidecar(self, **settings):
        sidecar = self.world.sidecar(**settings)
        self.processes.append(sidecar)
        Client(sidecar.address, "warm").drop()
        self.before.append((sidecar, sidecar.status("VmRSS")))
        return sidecar

    def post(self, client_id, payload="[[:t/e 1] nil]", **more):
        return fcgi(self.address, "POST", "", form(client_id, payload), **more)

    def shake(self, client_id, **more):
        return fcgi(self.address, "GET", handshake(client_id), **more)

    def rows(self, where="1"):
        return self.world.sql("SELECT count(*) FROM dw_inbox WHERE event NOT LIKE 'chsk/uid%%' AND %s" % where)[0][0]

    def state(self, statement):
        connection = sqlite3.connect(self.world.db_path + "-dw/state.db", timeout=30)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def check(self, **refusals):
        """The bystander is well, no process has grown, and status counts at least these refusals (or exactly)."""
        self.bystander.check()
        for process, kilobytes in self.before:
            grown = process.status("VmRSS") - kilobytes
            assert grown < GROWTH_KB, "%s has grown by %d kB" % (process.name, grown)
        for process in self.processes:
            process.terminate()
        answer = self.world.cli("status", "--json")
        status = json.loads(answer.stdout)
        for name, least in refusals.items():
            where = status["refusals"] if name in status["refusals"] else status["losses"]
            assert where[name] >= least, (name, where)
            assert name in self.world.cli("status").stdout
        return status


def refused(answer, status):
    """Checks a refusal; returns its Retry-After."""
    assert answer.status == status, answer
    seconds = int(answer.headers["retry-after"])
    assert 10 <= seconds <= 30
    return seconds


def jittered(answers, status):
    seconds = [refused(answer, status) for answer in answers]
    assert len(set(seconds)) > min(5, len(seconds) // 4), seconds


def split(answers, good=200):
    return [a for a in answers if a.status == good], [a for a in answers if a.status != good]


def has_rates_of(seconds, per_s, taken):
    """A burst of two seconds' worth, and then the rate."""
    assert 2 * per_s <= taken <= 2 * per_s + per_s * seconds + 2, (taken, seconds)


# ---- floods ----

def test_a_request_flood_of_one_client(make_world):
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S=60)
    begin_time = time.monotonic()
    answers = [attacked.post("mallory") for _ in range(600)]
    taken, over = split(answers)
    has_rates_of(time.monotonic() - begin_time, 60, len(taken))
    jittered(over, 429)
    assert attacked.rows("uid = 'mallory'") == len(taken)
    assert attacked.post("alice").status == 200
    begin_time = time.monotonic()
    wait_until(lambda: attacked.post("mallory").status == 200, 5 * SLOW, "its time goes by")
    attacked.check(refused_requests_per_s=len(over))


def test_a_flood_of_polls(make_world):
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S=60)
    begin_time = time.monotonic()
    taken, over = split([attacked.shake("mallory") for _ in range(600)])
    has_rates_of(time.monotonic() - begin_time, 60, len(taken))
    jittered(over, 429)
    refused(fcgi(attacked.address, "GET", poll("mallory")), 429)
    attacked.check(refused_requests_per_s=len(over))


def test_a_flood_of_one_user_over_many_client_ids(make_world):
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S_UID=60, AUTH_UID="remote_user")
    begin_time = time.monotonic()
    answers = [attacked.shake("c%d" % n, REMOTE_USER="mallory") for n in range(600)]
    taken, over = split(answers)
    has_rates_of(time.monotonic() - begin_time, 60, len(taken))
    jittered(over, 429)
    assert attacked.shake("c1", REMOTE_USER="alice").status == 200
    attacked.check(refused_requests_per_s_uid=len(over))


def test_a_flood_of_one_address_over_many_users(make_world):
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S_ADDRESS=60)
    for address, same in (("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::ffff:2")):
        begin_time = time.monotonic()
        answers = [attacked.shake("%s-%d" % (address, n), REMOTE_ADDR=(address, same)[n % 2]) for n in range(400)]
        taken, over = split(answers)
        has_rates_of(time.monotonic() - begin_time, 60, len(taken))
        jittered(over, 429)
    assert attacked.shake("alice", REMOTE_ADDR="192.0.2.2").status == 200
    assert attacked.shake("alice", REMOTE_ADDR="2001:db8:0:1::1").status == 200
    attacked.check(refused_requests_per_s_address=len(over))


def test_a_flood_of_requests_that_are_refused_anyway(make_world):
    """They count for their address, and for it alone (test_attacks.py has the same from a browser)."""
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S_ADDRESS=60, LIMITS_REQUESTS_PER_S=5, AUTH_UID="remote_user",
                        AUTH_ALLOWED_ORIGINS=None)
    begin_time = time.monotonic()
    foreign = {"HTTP_HOST": "example.org", "HTTP_ORIGIN": "https://evil.example", "REMOTE_ADDR": "192.0.2.1"}
    taken, over = split([attacked.shake("c", REMOTE_USER="alice", **foreign) for _ in range(300)], 403)
    has_rates_of(time.monotonic() - begin_time, 60, len(taken))
    jittered(over, 429)
    assert attacked.shake("c", REMOTE_USER="alice", REMOTE_ADDR="192.0.2.2").status == 200
    attacked.check(refused_requests_per_s_address=len(over))


def test_a_flood_of_requests_of_nobody(make_world):
    attacked = Attacked(make_world, LIMITS_REQUESTS_PER_S=60)
    begin_time = time.monotonic()
    answers = [fcgi(attacked.address, "POST", "", b"ppstr=%5B%5D", REMOTE_ADDR="192.0.2.1") for _ in range(400)]
    taken, over = split(answers)
    has_rates_of(time.monotonic() - begin_time, 60, len(taken))
    jittered(over, 429)
    attacked.check(refused_requests_per_s=len(over))


def test_a_flood_over_many_processes_is_one_flood(make_world):
    """As under CGI, where each request has a process of its own."""
    world = make_world(LIMITS_REQUESTS_PER_S=1)
    world.init()
    environment = dict(world.environment(), REQUEST_METHOD="GET", GATEWAY_INTERFACE="CGI/1.1", HTTP_HOST="localhost")

    def request(client_id):
        answer = subprocess.run([RESPONDER], env=dict(environment, QUERY_STRING=handshake(client_id)),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20)
        return answer.stdout
    statuses = [request("mallory").split(b"\r\n")[0] for _ in range(8 if SLOW == 1 else 20)]
    assert statuses[:2] == [b"Status: 200 OK"] * 2
    assert b"Status: 429 Too Many Requests" in statuses
    assert request("alice").startswith(b"Status: 200")
    assert json.loads(world.cli("status", "--json").stdout)["refusals"]["refused_requests_per_s"] >= 1


def test_pushes_at_any_speed_are_no_flood_of_the_client_that_polls(make_world):
    world = make_world(LIMITS_REQUESTS_PER_S=2, LIMITS_REQUESTS_PER_S_UID=2, LIMITS_REQUESTS_PER_S_ADDRESS=3)
    responder = world.responder()
    db = world.db()
    where = {"REMOTE_ADDR": "192.0.2.1"}
    assert fcgi(responder.address, "GET", handshake("alice"), **where).status == 200
    for n in range(100):
        if n % 2 == 0:  # one is there already, the next comes while the poll is held
            db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'test/n', ?)", (str(n),))
        connection = Fcgi(responder.address)
        connection.request("GET", poll("alice"), **where)
        if n % 2 == 1:
            time.sleep(0.01)
            db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'test/n', ?)", (str(n),))
        answer = connection.receive(5 * SLOW)
        assert (answer.status, numbers(answer.text)) == (200, [n])
        connection.close()


@needs_sidecar
def test_a_flood_of_websocket_messages_of_one_user_over_many_clients(make_world):
    attacked = Attacked(make_world, AUTH_UID="remote_user")
    sidecar = attacked.sidecar(LIMITS_REQUESTS_PER_S_UID=100, LIMITS_MESSAGES_PER_S=1000000, WS_USER_HEADER="X-User")
    clients = [Client(sidecar.address, "c%d" % n, headers={"X-User": "mallory"}) for n in range(5)]
    other = Client(sidecar.address, "other", headers={"X-User": "alice"})
    bob = Client(sidecar.address, "bob", headers={"X-User": "bob"})
    bob.frames.sock.sendall(b"".join(frame(TEXT, b"[[:t/bobs %d] nil]" % n) for n in range(320)))
    wait_until(lambda: attacked.rows("event = 't/bobs'") > 190, 5 * SLOW, "he is over the limit, but not by much")
    begin_time = time.monotonic()
    for client in clients:
        client.frames.sock.sendall(b"".join(frame(TEXT, b"[[:t/n %d] nil]" % n) for n in range(140)))
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(2 * SLOW) == '["pong" "c"]'
    other.send("[[:t/mine 1] nil]")
    wait_until(lambda: attacked.rows("event = 't/mine'") == 1, 1 * SLOW, "another's message is not kept waiting")
    wait_until(lambda: attacked.rows("event = 't/bobs'") == 320, 5 * SLOW, "nor one's who waits for his own sake")
    assert attacked.rows("event = 't/n'") < 600
    wait_until(lambda: attacked.rows("event = 't/n'") == 700, 20 * SLOW, "none is lost")
    assert time.monotonic() - begin_time > 2
    attacked.check(refused_requests_per_s_uid=1, websockets_stalled=1)


@needs_sidecar
@pytest.mark.parametrize("limit", ["LIMITS_REQUESTS_PER_S_UID", "LIMITS_MESSAGES_PER_S"])
def test_a_stop_loses_no_message_of_a_user_who_is_kept_waiting(make_world, limit):
    attacked = Attacked(make_world, AUTH_UID="remote_user")
    rates = dict({"LIMITS_REQUESTS_PER_S_UID": 0, "LIMITS_MESSAGES_PER_S": 1000000}, **{limit: 10})
    sidecar = attacked.sidecar(WS_USER_HEADER="X-User", WS_DRAIN_MS=2000, **rates)
    first = Client(sidecar.address, "first", headers={"X-User": "alice"})  # the oldest is let go first
    client = Client(sidecar.address, "c", headers={"X-User": "mallory"})
    client.frames.sock.sendall(b"".join(frame(TEXT, b"[[:t/n %d] nil]" % n) for n in range(100)))
    wait_until(lambda: attacked.rows("event = 't/n'") >= 20, 5 * SLOW, "the burst is taken")
    assert attacked.rows("event = 't/n'") < 60
    attacked.processes.remove(sidecar)
    attacked.before.pop()
    sidecar.popen.terminate()
    for each in (first, client):
        with pytest.raises(Closed):
            each.receive(10 * SLOW)
        each.drop()
    assert sidecar.popen.wait(10 * SLOW) == 0
    assert attacked.rows("event = 't/n'") == 100
    attacked.check()


@needs_sidecar
def test_a_flood_of_websocket_openings(make_world):
    attacked = Attacked(make_world)
    sidecar = attacked.sidecar(LIMITS_REQUESTS_PER_S=10)
    pauses = []
    for _ in range(60):
        try:
            Client(sidecar.address, "mallory").drop()
        except Refused as answer:
            assert answer.status == 429
            pauses.append(int(answer.headers["retry-after"]))
    assert 20 <= len(pauses) <= 40 and len(set(pauses)) > 4 and min(pauses) >= 10 and max(pauses) <= 30
    Client(sidecar.address, "alice").drop()
    attacked.check(refused_requests_per_s=len(pauses))


# ---- client ids ----

def test_client_id_churn_of_one_user(make_world):
    attacked = Attacked(make_world, AUTH_UID="remote_user", LIMITS_CLIENTS_PER_UID=10, **ANY)
    world = attacked.world
    assert attacked.shake("c", REMOTE_USER="alice").status == 200
    time.sleep(0.01)
    size = os.path.getsize(world.db_path + "-dw/claims")
    for n in range(1000):
        assert attacked.shake("m%d" % n, REMOTE_USER="mallory").status == 200
    assert attacked.state("SELECT count(*) FROM client WHERE uid = 'mallory'") == [(10,)]
    assert attacked.state("SELECT value < 20 FROM meta WHERE key = 'next_slot'") == [(1,)]
    assert os.path.getsize(world.db_path + "-dw/claims") == size
    world.push("alice", "test/n", "7")  # one who was away all the while has missed nothing
    assert numbers(fcgi(attacked.address, "GET", poll("c"), REMOTE_USER="alice").text) == [7]
    attacked.check(clients_forgotten_early=990)


def test_client_id_churn_of_nobody(make_world):
    attacked = Attacked(make_world, AUTH_UID="remote_user", LIMITS_CLIENTS=30, **ANY)
    world = attacked.world
    assert attacked.shake("c", REMOTE_USER="alice").status == 200
    assert attacked.shake("held").status == 200
    held = Fcgi(attacked.address)
    held.request("GET", poll("held"))
    wait_until(lambda: attacked.state("SELECT count(*) FROM client WHERE client_id = 'held' AND connected") == [(1,)],
               5 * SLOW, "its poll is held")
    size = os.path.getsize(world.db_path + "-dw/claims")
    for n in range(1000):
        assert attacked.shake("m%d" % n).status == 200
    assert attacked.state("SELECT count(*) <= 30 FROM client") == [(1,)]
    assert os.path.getsize(world.db_path + "-dw/claims") == size
    world.push("alice", "test/n", "7")
    assert numbers(fcgi(attacked.address, "GET", poll("c"), REMOTE_USER="alice").text) == [7]
    world.push("held", "test/n", "8", column="client_id")
    assert numbers(held.receive(5 * SLOW).text) == [8]
    attacked.check(clients_forgotten_early=900)


def test_all_places_taken_by_connected_clients(make_world):
    attacked = Attacked(make_world, LIMITS_CLIENTS=6, **ANY)
    held = []
    for n in range(5):
        assert attacked.shake("c%d" % n).status == 200
        held.append(Fcgi(attacked.address))
        held[-1].request("GET", poll("c%d" % n))
    wait_until(lambda: attacked.state("SELECT count(*) FROM client WHERE connected") == [(6,)], 5 * SLOW, "all are in")
    jittered([attacked.shake("m%d" % n) for n in range(20)], 503)
    attacked.world.push("c3", "test/n", "8")
    assert numbers(held[3].receive(5 * SLOW).text) == [8]
    attacked.check(refused_clients=20)


def test_too_many_clients_of_one_user(make_world):
    attacked = Attacked(make_world, AUTH_UID="remote_user", LIMITS_CLIENTS_PER_UID=3, CHSK_CLOSE_GRACE_AJAX_MS=300, **ANY)
    user = {"REMOTE_USER": "mallory"}
    held = []
    for n in range(3):
        assert attacked.shake("c%d" % n, **user).status == 200
        held.append(Fcgi(attacked.address))
        held[-1].request("GET", poll("c%d" % n), **user)
    connected = "SELECT count(*) FROM client WHERE uid = 'mallory' AND connected"
    wait_until(lambda: attacked.state(connected) == [(3,)], 5 * SLOW, "three are connected")
    jittered([attacked.shake("m%d" % n, **user) for n in range(20)], 429)
    refused(fcgi(attacked.address, "GET", poll("m1"), **user), 429)  # without a handshake neither
    assert attacked.shake("c1", REMOTE_USER="alice").status == 200
    attacked.world.push("mallory", "test/n", "1")
    for connection in held:
        assert numbers(connection.receive(5 * SLOW).text) == [1]
    assert attacked.shake("c2", **user).status == 200  # who is in may come back
    wait_until(lambda: attacked.shake("m1", **user).status == 200, 10 * SLOW, "those who left make room")
    attacked.check(refused_clients_per_uid=21)


@needs_sidecar
def test_too_many_clients_of_one_user_over_both_transports(make_world):
    attacked = Attacked(make_world, AUTH_UID="remote_user", CHSK_CLOSE_GRACE_WS_MS=100, LIMITS_CLIENTS_PER_UID=3, **ANY)
    sidecar = attacked.sidecar(WS_USER_HEADER="X-User")
    user = {"X-User": "mallory"}
    sockets = [Client(sidecar.address, "w%d" % n, headers=user) for n in range(2)]
    assert attacked.shake("c", REMOTE_USER="mallory").status == 200
    held = Fcgi(attacked.address)
    held.request("GET", poll("c"), REMOTE_USER="mallory")
    connected = "SELECT count(*) FROM client WHERE uid = 'mallory' AND connected"
    wait_until(lambda: attacked.state(connected) == [(3,)], 5 * SLOW, "three are connected")
    refused(attacked.shake("d", REMOTE_USER="mallory"), 429)
    with pytest.raises(Refused) as answer:
        Frames(sidecar.address, "/chsk?client-id=d", user)
    assert answer.value.status == 429 and 10 <= int(answer.value.headers["retry-after"]) <= 30
    Client(sidecar.address, "alices", headers={"X-User": "alice"}).drop()
    assert attacked.shake("w0", REMOTE_USER="mallory").status == 200  # the same client over the other transport
    attacked.world.push("mallory", "test/n", "1")
    assert all(client.receive(5 * SLOW) == "[[[:test/n 1]] nil]" for client in sockets)
    assert numbers(held.receive(5 * SLOW).text) == [1]
    sockets.pop().close()

    def is_let_in():
        try:
            Client(sidecar.address, "d", headers=user).drop()
            return True
        except Refused:
            return False
    wait_until(is_let_in, 10 * SLOW, "the one that left makes room")
    attacked.check(refused_clients_per_uid=2)


# ---- the inbox ----

def test_an_inbox_flood_by_rows(make_world):
    attacked = Attacked(make_world, LIMITS_INBOX_ROWS_PER_UID=50, **ANY)
    taken, over = split([attacked.post("mallory") for _ in range(200)])
    assert len(taken) <= 50
    jittered(over, 429)
    # What the house wrote about its coming and going counts too.
    assert attacked.world.sql("SELECT count(*) FROM dw_inbox WHERE uid = 'mallory'") == [(50,)]
    refused(attacked.post("mallory", '[[:t/ask 1] "c"]'), 429)
    assert attacked.post("alice").status == 200
    attacked.world.sql("DELETE FROM dw_inbox WHERE uid = 'mallory' AND id < (SELECT max(id) FROM dw_inbox) - 30")
    assert attacked.post("mallory").status == 200, "the application drains its inbox"
    attacked.check(refused_inbox_per_uid=len(over) + 1)


def test_an_inbox_flood_by_bytes(make_world):
    attacked = Attacked(make_world, LIMITS_INBOX_BYTES_PER_UID=200000, **ANY)
    taken, over = split([attacked.post("mallory", '[[:t/e "%s"] nil]' % ("x" * 30000)) for _ in range(60)])
    jittered(over, 429)
    (used,), = attacked.world.sql("SELECT sum(length(event) + length(data) + length(raw)) FROM dw_inbox"
                                  " WHERE uid = 'mallory'")
    assert 140000 <= used <= 200000 and len(taken) == 3
    assert attacked.post("alice", '[[:t/e "%s"] nil]' % ("x" * 30000)).status == 200
    attacked.world.sql("DELETE FROM dw_inbox WHERE uid = 'mallory'")
    assert attacked.post("mallory", '[[:t/e "%s"] nil]' % ("x" * 30000)).status == 200
    attacked.check(refused_inbox_per_uid=len(over))


def test_an_inbox_flood_of_nobody_leaves_room_for_users(make_world):
    attacked = Attacked(make_world, LIMITS_INBOX_ROWS=100, AUTH_UID="remote_user", **ANY)
    taken, over = split([attacked.post("m%d" % n) for n in range(200)])
    assert len(taken) == 50
    jittered(over, 503)
    taken, over_users = split([attacked.post("c", REMOTE_USER="u%d" % n) for n in range(100)])
    assert 40 <= len(taken) <= 50
    jittered(over_users, 503)
    attacked.world.sql("DELETE FROM dw_inbox")
    assert attacked.post("c", REMOTE_USER="alice").status == attacked.post("c").status == 200
    attacked.check(refused_inbox=len(over) + len(over_users))


@needs_sidecar
def test_an_inbox_flood_over_a_websocket(make_world):
    attacked = Attacked(make_world)
    sidecar = attacked.sidecar(LIMITS_INBOX_ROWS_PER_UID=20, LIMITS_MESSAGES_PER_S=1000000, **ANY)
    client = Client(sidecar.address, "mallory")
    other = Client(sidecar.address, "alice")
    # Presence follows the handshake by some milliseconds, and its row is never refused.
    wait_until(lambda: attacked.world.sql("SELECT 1 FROM dw_inbox WHERE uid = 'mallory'"), 5 * SLOW,
               "mallory's coming is in the inbox")
    client.frames.sock.sendall(b"".join(frame(TEXT, b"[[:t/n %d] nil]" % n) for n in range(500)))
    client.send('[[:t/ask 1] "c"]')
    assert client.receive(10 * SLOW) == '[:chsk/error "c"]'
    assert attacked.world.sql("SELECT count(*) FROM dw_inbox WHERE uid = 'mallory'") == [(20,)]
    client.send('[[:chsk/ws-ping] "d"]')
    assert client.receive(5 * SLOW) == '["pong" "d"]'
    other.send("[[:t/mine 1] nil]")
    wait_until(lambda: attacked.rows("event = 't/mine'") == 1, 5 * SLOW, "another's message is taken")
    attacked.world.sql("DELETE FROM dw_inbox WHERE uid = 'mallory'")
    client.send("[[:t/again 1] nil]")
    wait_until(lambda: attacked.rows("event = 't/again'") == 1, 5 * SLOW, "there is room again")
    attacked.check(refused_inbox_per_uid=480)


# ---- sizes ----

def test_giant_parameters(make_world):
    attacked = Attacked(make_world, **ANY)
    assert fcgi(attacked.address, "GET", handshake("m", "&x=" + "y" * 60000)).status == 414
    many = b"&".join(b"p%d=1" % n for n in range(5000))
    assert fcgi(attacked.address, "POST", "", b"client-id=m&ppstr=x&" + many).status == 413
    assert fcgi(attacked.address, "POST", "", b"client-id=m&ppstr=" + b"x" * 5000000).status == 413
    assert attacked.post("m", '[[:t/e "%s"] nil]' % ("x" * 70000)).status == 413
    assert fcgi(attacked.address, "GET", handshake("x" * 2000)).status == 400
    assert attacked.post("alice").status == 200
    attacked.check(refused_too_long=4, bad_requests=1)


def test_a_giant_cookie(make_world):
    attacked = Attacked(make_world, **ANY)
    for name in ("HTTP_COOKIE", "HTTP_REFERER", "HTTP_X_CSRF_TOKEN"):
        for size in (40000, 200000):
            answer = attacked.shake("mallory", **{name: "dw_sid=" + "x" * size})
            assert (answer.status, answer.text) == (431, "The request's headers are too long")
    # Beyond all bounds, whatever it is called; nothing of it is kept.
    for size in (300000, 8000000):
        assert attacked.shake("mallory", HTTP_X_WHATEVER="x" * size).status == 431
    assert attacked.shake("alice", HTTP_COOKIE="a=" + "x" * 20000).status == 200
    attacked.check(refused_too_long=8)


@needs_sidecar
def test_a_giant_message_over_a_websocket(make_world):
    attacked = Attacked(make_world)
    sidecar = attacked.sidecar()
    other = Client(sidecar.address, "alice")
    for _ in range(3):
        client = Client(sidecar.address, "mallory")
        client.frames.sock.sendall(frame(TEXT, b"x" * 70000))
        with pytest.raises((Closed, OSError)):
            client.receive(5 * SLOW)
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(2 * SLOW) == '["pong" "c"]'
    attacked.check(refused_too_long=3)


# ---- slow senders ----

def test_slow_senders(make_world):
    """They send a byte now and then: no thread waits for one, and they have limits.request_ms."""
    attacked = Attacked(make_world, LIMITS_REQUEST_MS=1500, LIMITS_THREADS=1)
    request = request_bytes("POST", "", form("mallory", "[[:t/e 1] nil]"))
    begin_time = time.monotonic()
    slow = [Fcgi(attacked.address) for _ in range(40)]
    stopping = threading.Event()

    def drip():
        at = 0
        while not stopping.wait(0.05):
            for connection in slow:
                try:
                    connection.send(request[20 + at:21 + at])
                except OSError:
                    pass
            at += 1
    for connection in slow:
        connection.send(request[:20])
    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    assert attacked.post("alice").status == 200, "the only thread is free"
    for connection in slow:
        try:
            assert connection.receive(10 * SLOW).status == 408
        except ConnectionError:
            pass  # what it sent meanwhile has overtaken the answer
        assert 1.4 <= time.monotonic() - begin_time < 1.5 + 2 * SLOW
    stopping.set()
    dripping.join()
    assert attacked.rows("uid = 'mallory'") == 0
    attacked.check(refused_too_slow=40)


def test_a_slow_sender_is_told_408(make_world):
    attacked = Attacked(make_world, LIMITS_REQUEST_MS=500)
    connection = Fcgi(attacked.address)
    connection.send(begin(1) + stream(PARAMS, b"") + struct.pack("!BBHHBB", 1, 5, 1, 100, 0, 0) + b"x")
    answer = connection.receive(10 * SLOW)
    assert (answer.status, answer.text) == (408, "The request did not arrive in time")
    attacked.check(refused_too_slow=1)


def test_a_slow_sender_to_a_cgi_process(make_world):
    world = make_world(LIMITS_REQUEST_MS=500)
    world.init()
    environment = dict(world.environment(), REQUEST_METHOD="POST", GATEWAY_INTERFACE="CGI/1.1", HTTP_HOST="localhost",
                       CONTENT_TYPE="application/x-www-form-urlencoded", CONTENT_LENGTH="1000")
    process = subprocess.Popen([RESPONDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdin.write(b"client-id=")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 10 * SLOW)[0], "it waits for more"
        assert process.stdout.read().startswith(b"Status: 408 Request Timeout\r\n")
        assert process.wait(10 * SLOW) == 0
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()
    assert json.loads(world.cli("status", "--json").stdout)["refusals"]["refused_too_slow"] == 1


@needs_sidecar
def test_a_slow_sender_over_a_websocket(make_world):
    """A message that never ends is no sign of life."""
    attacked = Attacked(make_world)
    sidecar = attacked.sidecar(CHSK_WS_KALIVE_MS=600, CHSK_WS_PING_TIMEOUT_MS=1500)
    slow = Client(sidecar.address, "mallory", answer_pings=False)
    other = Client(sidecar.address, "alice")
    slow.frames.sock.sendall(frame(TEXT, b"x" * 60000)[:12])
    begin_time = time.monotonic()
    stopping = threading.Event()

    def drip():
        while not stopping.wait(0.05):
            try:
                slow.frames.sock.sendall(b"x")
            except OSError:
                return
    ends = []

    def until_closed():
        try:
            ends.append(slow.receive(10 * SLOW))
        except (Closed, OSError) as end:
            ends.append(end)
    threads = [threading.Thread(target=target, daemon=True) for target in (drip, until_closed)]
    for thread in threads:
        thread.start()
    while not ends:
        other.nothing(0.1)  # and answers the pings, which come as often for those who do no wrong
    stopping.set()
    for thread in threads:
        thread.join()
    assert isinstance(ends[0], (Closed, OSError)) and not isinstance(ends[0], socket.timeout), ends
    assert time.monotonic() - begin_time < 8 * SLOW
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(2 * SLOW) == '["pong" "c"]'
    attacked.check()
