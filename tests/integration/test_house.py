"""Housekeeping beside a busy app, and the descriptors of a process that holds many polls."""

import os
import resource
import sqlite3
import threading
import time

import pytest

from clients import Fcgi, fcgi, handshake, numbers, poll
from harness import SANITIZED, SLOW, wait_until


def park(responder, count):
    held = []
    for n in range(count):
        assert fcgi(responder.address, "GET", handshake("c%d" % n)).status == 200
        connection = Fcgi(responder.address)
        connection.request("GET", poll("c%d" % n))
        held.append(connection)
    return held


class Watcher(threading.Thread):
    """Looks again and again, and keeps what it has seen."""

    def __init__(self, look, pause=0.002):
        super().__init__(daemon=True)
        self.look, self.pause, self.seen = look, pause, []
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(self.pause):
            self.seen.append(self.look())

    def end(self):
        self.stopping.set()
        self.join()
        return self.seen


# ---- retention ----

OLD = 20000


def test_retention_goes_in_small_steps_beside_which_an_app_inserts_at_once(make_world):
    world = make_world()
    world.init()
    db = world.db()
    db.execute("""WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
                  INSERT INTO dw_push (uid, event, data, created_at)
                  SELECT 'u' || i %% 100, 'test/n', json_quote(hex(randomblob(50))), 1600000000000 FROM n""" % OLD)
    responder = world.responder()
    reader = world.db()
    watcher = Watcher(lambda: reader.execute("SELECT count(*) FROM dw_push WHERE created_at < 1700000000000").fetchone()[0])
    watcher.start()
    waits = []
    deadline = time.monotonic() + 60 * SLOW
    while db.execute("SELECT min(created_at) FROM dw_push").fetchone()[0] == 1600000000000:
        assert time.monotonic() < deadline
        begin = time.monotonic()
        db.execute("INSERT INTO dw_push (uid, event) VALUES ('alice', 'test/n')")
        waits.append(time.monotonic() - begin)
        time.sleep(0.002)
    counts = sorted(set(watcher.end()))
    print("%d old rows went in at least %d steps; %d inserts beside them waited for %.1f ms at most"
          % (OLD, len(counts) - 1, len(waits), 1000 * max(waits)))
    assert responder.alive()
    assert len(counts) > OLD / 150 / 4  # a watcher may miss some
    assert max(waits) < 0.25 * SLOW


# ---- the WAL ----

def test_the_wal_stays_small_under_constant_writes_while_polls_are_held(make_world):
    world = make_world()
    responder = world.responder()
    held = park(responder, 20)
    db = world.db()
    db.execute("PRAGMA wal_autocheckpoint = 0")  # only housekeeping does it
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE app (data)")
    wal = world.db_path + "-wal"
    watcher = Watcher(lambda: os.path.getsize(wal))
    watcher.start()
    written = pushes = 0
    while written < 128 << 20:
        db.execute("INSERT INTO app VALUES (randomblob(60000))")
        written += 60000
        if written % 900000 == 0:
            pushes += 1
            db.execute("INSERT INTO dw_push (room, event, data) VALUES ('*', 'test/n', ?)", (str(pushes),))
        if written % 600000 == 0:
            db.execute("DELETE FROM app")
        time.sleep(0.0005 * SLOW)
    largest = max(watcher.end())
    print("%.0f MiB written, the WAL had %.1f MiB at most" % (written / 2**20, largest / 2**20))
    assert numbers(held[0].receive(5 * SLOW).text)[0] == 1
    # 16 MiB, and what comes until a checkpoint finds the moment; without any it would be 200.
    assert SANITIZED or largest < 80 << 20


# ---- descriptors ----

@pytest.mark.parametrize("listen", ["unix", "tcp"])
def test_a_process_raises_its_limit_of_open_files_itself(make_world, listen):
    count = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    world = make_world(CHSK_LP_TIMEOUT_MS=120000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        responder = world.responder(listen)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    try:
        held = park(responder, count)
        # Every poll is held by itself: none was sent away, none waits to be accepted.
        wait_until(lambda: world.sql("SELECT sum(ajax) FROM dw_online") == [(count,)], 20 * SLOW, "all are held")
        world.sql("INSERT INTO dw_push (room, event, data) VALUES ('*', 'test/n', '1')")
        assert all(numbers(connection.receive(20 * SLOW).text) == [1] for connection in held)
        for connection in held:
            connection.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
