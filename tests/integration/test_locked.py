"""An app, or another program, holds a write lock for longer than it should: who does not need it does not wait."""

import sqlite3
import time

from clients import Fcgi, fcgi, form, handshake, numbers, poll
from harness import SLOW, wait_until

PROMPT = SLOW  # seconds; a lock is waited for five times as long


def lock(path):
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def hold(responder, client_id):
    assert fcgi(responder.address, "GET", handshake(client_id)).status == 200
    connection = Fcgi(responder.address)
    connection.request("GET", poll(client_id))
    return connection


def test_requests_that_write_nothing_to_the_queue_are_served_while_an_app_holds_its_lock(make_world):
    world = make_world(LIMITS_THREADS=3)
    responder = world.responder()
    held = hold(responder, "bob")
    app = lock(world.db_path)
    posts = []
    for n in range(6):  # more than there are threads
        connection = Fcgi(responder.address)
        connection.request("POST", "", form("alice%d" % n, "[[:a/b %d] nil]" % n))
        posts.append(connection)
    for n in range(10):
        begin = time.monotonic()
        assert fcgi(responder.address, "GET", handshake("late%d" % n)).status == 200
        assert time.monotonic() - begin < PROMPT
    app.execute("INSERT INTO dw_push (uid, event, data) VALUES ('bob', 'test/n', '1')")
    app.execute("COMMIT")
    app.close()
    assert numbers(held.receive(PROMPT).text) == [1]
    for connection in posts:
        assert connection.receive(PROMPT).status == 200
    assert world.sql("SELECT count(*) FROM dw_inbox WHERE event = 'a/b'") == [(6,)]


def test_a_single_thread_serves_messages_too(make_world):
    world = make_world(LIMITS_THREADS=1)
    responder = world.responder()
    for n in range(5):
        assert fcgi(responder.address, "POST", "", form("alice", "[[:a/b %d] nil]" % n)).status == 200
        assert fcgi(responder.address, "GET", handshake("alice")).status == 200


def test_messages_that_wait_for_an_apps_lock_are_served_when_the_process_stops(make_world):
    world = make_world(LIMITS_THREADS=2)
    responder = world.responder()
    assert fcgi(responder.address, "GET", handshake("early")).status == 200  # it has opened its files
    app = lock(world.db_path)
    posts = []
    for n in range(3):
        connection = Fcgi(responder.address)
        connection.request("POST", "", form("alice%d" % n, "[[:a/b %d] nil]" % n))
        posts.append(connection)
    assert fcgi(responder.address, "GET", handshake("late")).status == 200  # the others have come before
    responder.popen.terminate()
    app.execute("COMMIT")
    app.close()
    assert [connection.receive(PROMPT).status for connection in posts] == [200] * 3
    assert responder.popen.wait(10 * SLOW) == 0


def test_nobody_waits_for_a_client_that_can_not_be_closed_at_the_moment(make_world):
    world = make_world()
    responder = world.responder()
    closed, other = hold(responder, "alice"), hold(responder, "bob")
    wait_until(lambda: world.sql("SELECT count(*) FROM dw_online") == [(2,)], 10 * SLOW, "both are there")
    other_program = lock(world.db_path + "-dw/state.db")
    world.sql("INSERT INTO dw_push (uid, event) VALUES ('alice', 'chsk/close')")
    world.push("bob", "test/n", "1")
    begin = time.monotonic()
    assert numbers(other.receive(PROMPT).text) == [1]
    assert time.monotonic() - begin < PROMPT
    other_program.execute("ROLLBACK")
    other_program.close()
    assert closed.receive(2 * PROMPT).status == 503
    # Its place behind the order was passed: the next poll is held and gets what comes.
    again = hold(responder, "alice")
    world.push("alice", "test/n", "2")
    assert numbers(again.receive(PROMPT).text) == [2]
