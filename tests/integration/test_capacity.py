"""When no more polls can be held: 503 and a jittered Retry-After at once, and what the stock client, which
knows no Retry-After, makes of it."""

import socket
import sqlite3
import threading
import time

from clients import TIMEOUT, Direct, Fcgi, SenteClient, fcgi, handshake, numbers, poll
from harness import SLOW, wait_until

RATE = {}


def shake(responder, client_id):
    assert fcgi(responder.address, "GET", handshake(client_id)).status == 200


def hold(responder, client_id):
    shake(responder, client_id)
    connection = Fcgi(responder.address)
    connection.request("GET", poll(client_id))
    return connection


def test_the_poll_over_the_limit_is_answered_503_at_once_with_retry_after(make_world):
    world = make_world(LIMITS_PARKED=3)
    responder = world.responder()
    held = [hold(responder, "c%d" % n) for n in range(3)]
    time.sleep(0.2 * SLOW)
    shake(responder, "late")
    begin = time.monotonic()
    answer = fcgi(responder.address, "GET", poll("late"))
    assert time.monotonic() - begin < 0.5 * SLOW
    assert answer.status == 503
    assert 3 <= int(answer.headers["retry-after"]) <= 8
    # The others are not affected, and the next one that leaves makes room.
    world.push("c0", "test/n", "1")
    assert numbers(held[0].receive(2 * SLOW).text) == [1]
    late = Fcgi(responder.address)
    late.request("GET", poll("late"))
    time.sleep(0.2 * SLOW)
    world.push("late", "test/n", "2")
    assert numbers(late.receive(2 * SLOW).text) == [2]


def test_retry_after_is_jittered(make_world):
    world = make_world(LIMITS_PARKED=0, LIMITS_RETRY_MS=20000)
    responder = world.responder()
    shake(responder, "alice")
    seconds = [int(fcgi(responder.address, "GET", poll("alice")).headers["retry-after"]) for _ in range(60)]
    assert all(10 <= s <= 30 for s in seconds)
    assert len(set(seconds)) > 10
    assert min(seconds) <= 14 and max(seconds) >= 26


def test_only_so_many_processes_hold_polls(make_world):
    world = make_world(LIMITS_HOLDERS=1)
    first, second = world.responder(), world.responder()
    held = [hold(first, "c%d" % n) for n in range(2)]  # one process may hold several
    time.sleep(0.2 * SLOW)
    shake(second, "late")
    answer = fcgi(second.address, "GET", poll("late"))
    assert (answer.status, "retry-after" in answer.headers) == (503, True)
    for connection in held:
        connection.close()
    time.sleep(0.3 * SLOW)
    late = Fcgi(second.address)
    late.request("GET", poll("late"))
    time.sleep(0.2 * SLOW)
    world.push("late", "test/n", "1")
    assert numbers(late.receive(2 * SLOW).text) == [1]


def test_a_process_that_was_killed_holds_nothing(make_world):
    world = make_world(LIMITS_HOLDERS=1)
    first, second = world.responder(), world.responder()
    hold(first, "c0")
    time.sleep(0.2 * SLOW)
    first.kill()
    late = hold(second, "late")
    time.sleep(0.2 * SLOW)
    world.push("late", "test/n", "1")
    assert numbers(late.receive(2 * SLOW).text) == [1]


def test_a_client_that_is_sent_away_gets_its_events_all_the_same(make_world):
    world = make_world(LIMITS_PARKED=0)
    responder = world.responder()
    shake(responder, "alice")
    assert fcgi(responder.address, "GET", poll("alice")).status == 503
    assert fcgi(responder.address, "GET", handshake("alice")).status == 503
    world.push("alice", "test/n", "1")
    shake(responder, "alice")
    assert numbers(fcgi(responder.address, "GET", poll("alice")).text) == [1]
    assert fcgi(responder.address, "GET", poll("alice")).status == 503


def test_a_client_for_whom_no_slot_is_left_is_asked_to_come_back(make_world):
    world = make_world()
    responder = world.responder()
    held = hold(responder, "known")
    wait_until(lambda: world.sql("SELECT * FROM dw_online"), 5 * SLOW, "it is connected")
    with sqlite3.connect(world.db_path + "-dw/state.db", timeout=30) as state:
        state.execute("UPDATE meta SET value = 1048576 WHERE key = 'next_slot'")
    state.close()
    answer = fcgi(responder.address, "GET", handshake("late"))
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
    assert "as many clients are connected as can be remembered" in world.logs()
    world.push("known", "test/n", "1")
    assert numbers(held.receive(2 * SLOW).text) == [1]


# ---- the stock client ----

SCALE = 0.05    # of the client's pauses: a minute of its time is 3 s here
COUNT = 10
SECONDS = 12


def follow(door, seconds, world=None):
    """Runs clients for `seconds`; returns them and the requests of one client in a minute of its time."""
    clients = [SenteClient(door, "c%d" % n, scale=SCALE, seed=n) for n in range(COUNT)]
    for client in clients:
        client.start()
    assert all(client.handshaken.wait(10) for client in clients)
    time.sleep(seconds)
    rate = sum(client.requests() for client in clients) / COUNT / (seconds / SCALE / 60)
    return clients, rate


def test_stock_clients_over_the_limit_ask_seldom(make_world):
    world = make_world(LIMITS_PARKED=0)
    clients, rate = follow(Direct(world.responder().address), SECONDS)
    for client in clients:
        client.stop()
    print("over the limit, without events: %.1f requests per client and minute (503)" % rate)
    assert rate <= 6
    RATE["503"] = rate


def test_answering_a_time_out_at_once_would_be_a_hot_loop():
    """For comparison: the answer that a server might give instead makes the stock client poll at once."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    stopping = threading.Event()

    def serve():
        while not stopping.is_set():
            connection, _ = listener.accept()
            request = connection.recv(65536)
            body = b'[[:chsk/handshake ["x" nil nil]] nil]' if b"handshake" in request else TIMEOUT.encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            connection.close()

    from clients import Web
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    client = SenteClient(Web(listener.getsockname()[1]), "naive")
    client.start()
    time.sleep(2)
    client.stop()
    stopping.set()
    rate = client.requests() * 30
    print("answering [:chsk/timeout] at once: %d requests per client and minute; with 503: %s"
          % (rate, "%.1f" % RATE["503"] if "503" in RATE else "see the test above"))
    assert rate > 1000


def test_stock_clients_over_the_limit_lose_no_event(make_world):
    """One poll in three can be held; events come all the while, and then there is room for everyone."""
    world = make_world(LIMITS_PARKED=COUNT // 3)
    responder = world.responder()
    clients, _ = follow(Direct(responder.address), 0.5)
    db = world.db()
    sent = 0
    for _ in range(15):
        sent += 1
        db.execute("INSERT INTO dw_push (room, event, data) VALUES ('*', 'test/n', ?)", (str(sent),))
        time.sleep(0.2 * SLOW)
    requests = sum(client.requests() for client in clients)
    responder.terminate()
    world.responder(address=responder.address, LIMITS_PARKED=100)
    wanted = list(range(1, sent + 1))
    wait_until(lambda: all(len(client.received) >= sent for client in clients), 30 * SLOW, "everyone has every event")
    for client in clients:
        client.stop()
    for client in clients:
        client.join(10)
        assert client.error is None
        assert client.received == wanted
    print("%d clients, room for %d: %d events each, %d requests in all while there was no room"
          % (COUNT, COUNT // 3, sent, requests))
