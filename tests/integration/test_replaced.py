"""Files that are replaced under us: a restored backup of the queue, a state folder that is cleared or damaged.
What a client has not had is sent, what may be lost is told."""

import os
import shutil
import sqlite3

import pytest

import harness
from clients import TIMEOUT, Fcgi, fcgi, handshake, numbers, poll
from harness import SLOW, counter, wait_until
from websocket import Client

PROMPT = 2 * SLOW


@pytest.fixture
def quick(make_world):
    return make_world(CHSK_LP_TIMEOUT_MS=600, CHSK_CLOSE_GRACE_AJAX_MS=500)


def shake(responder, client_id="alice"):
    answer = fcgi(responder.address, "GET", handshake(client_id))
    assert answer.status == 200 and "handshake" in answer.text


def ask(responder, client_id="alice"):
    return fcgi(responder.address, "GET", poll(client_id)).text


def push_numbers(world, first, last):
    for n in range(first, last + 1):
        world.push("alice", "test/n", str(n))


def receipt(responder):
    """A poll that proves all answers so far, and times out."""
    assert ask(responder) == TIMEOUT


def back_up(source, target):
    to, of = sqlite3.connect(target), sqlite3.connect(source)
    of.backup(to)
    of.close()
    to.close()


def put_back(world):
    for suffix in ("-wal", "-shm"):
        if os.path.exists(world.db_path + suffix):
            os.remove(world.db_path + suffix)
    os.rename(world.path("backup.db"), world.db_path)


def until_handed_out(responder, count):
    got = []
    while len(got) < count:
        text = ask(responder)
        assert text != TIMEOUT, "only %r" % got
        got += numbers(text)
    return got


def have_lost_five(world, responder):
    """Alice has had 1..10, proven, and the backup has 1..5."""
    shake(responder)
    push_numbers(world, 1, 5)
    assert numbers(ask(responder)) == [1, 2, 3, 4, 5]
    receipt(responder)
    back_up(world.db_path, world.path("backup.db"))
    push_numbers(world, 6, 10)
    assert numbers(ask(responder)) == [6, 7, 8, 9, 10]
    receipt(responder)


# ---- the queue ----

@pytest.mark.parametrize("pushed_before_start", [False, True])
def test_a_backup_that_takes_the_queues_place_loses_no_new_push_and_is_told(quick, pushed_before_start):
    responder = quick.responder()
    have_lost_five(quick, responder)
    responder.terminate()
    put_back(quick)
    if pushed_before_start:
        push_numbers(quick, 101, 108)
    responder = quick.responder()
    if not pushed_before_start:
        push_numbers(quick, 101, 108)
    assert until_handed_out(responder, 8) == list(range(101, 109))
    receipt(responder)
    assert counter(quick, "gaps") == 1
    assert "restored from a backup" in quick.logs()


@pytest.mark.parametrize("pushes", [2, 8])
def test_a_backup_that_is_restored_into_the_open_file_loses_no_new_push_and_is_told(quick, pushes):
    """Fewer pushes than were lost, and more."""
    responder, other = quick.responder(), quick.responder()
    have_lost_five(quick, responder)
    held = Fcgi(responder.address)
    held.request("GET", poll("alice"))
    back_up(quick.path("backup.db"), quick.db_path)
    push_numbers(quick, 101, 100 + pushes)
    got = numbers(held.receive(PROMPT).text)
    # An answer made in the moment of restoring may be of the new queue by the old place: it counts for nothing,
    # and what is in it comes again in its place.
    while len(set(got)) < pushes:
        text = ask(other)
        assert text != TIMEOUT, "only %r" % got
        got += numbers(text)
    in_order = [n for at, n in enumerate(got) if n not in got[at + 1:]]
    assert in_order == list(range(101, 101 + pushes))
    assert counter(quick, "gaps") == 1
    push_numbers(quick, 200, 200)
    assert 200 in numbers(ask(responder))


def test_the_presence_of_a_restored_backup_is_brought_up_to_date(quick):
    responder = quick.responder()
    have_lost_five(quick, responder)
    with sqlite3.connect(quick.path("backup.db")) as db:
        db.execute("INSERT INTO dw_online (uid, ws, ajax, since) VALUES ('ghost', 0, 1, 0)")
    db.close()
    responder.terminate()
    put_back(quick)
    quick.responder()
    wait_until(lambda: quick.sql("SELECT 1 FROM dw_inbox WHERE event = 'chsk/uidport-close' AND uid = 'ghost'"),
               PROMPT, "the backup's ghost is gone")
    assert quick.sql("SELECT count(*) FROM dw_online WHERE uid = 'ghost'") == [(0,)]


def test_a_queue_that_was_copied_with_its_state_tells_of_no_gap(quick):
    responder = quick.responder()
    shake(responder)
    push_numbers(quick, 1, 3)
    assert numbers(ask(responder)) == [1, 2, 3]
    receipt(responder)
    responder.terminate()
    back_up(quick.db_path, quick.path("backup.db"))
    put_back(quick)
    push_numbers(quick, 4, 4)
    responder = quick.responder()
    assert numbers(ask(responder)) == [4]
    assert counter(quick, "gaps") == 0


# ---- the state ----

def test_workers_whose_state_folder_is_cleared_go_on_with_one_new_state(quick):
    first = quick.responder()
    shake(first)
    push_numbers(quick, 1, 1)
    assert numbers(ask(first)) == [1]
    shutil.rmtree(quick.db_path + "-dw")
    second = quick.responder()
    got = []
    for n, responder in enumerate([first, second] * 4, 2):
        push_numbers(quick, n, n)
        text = ask(responder)
        while "handshake" in text or text == TIMEOUT:  # it was forgotten, or let go
            text = ask(responder)
        got += numbers(text)
    # What was there when it was forgotten may come again; from then on the workers share what they know.
    assert got[-8:] == list(range(2, 10))
    assert "state of the queue was replaced" in quick.logs()
    with sqlite3.connect(quick.db_path + "-dw/state.db", timeout=30) as state:
        assert state.execute("SELECT count(*) FROM client").fetchall() == [(1,)]
        wait_until(lambda: {pid for pid, in state.execute("SELECT pid FROM worker")} >= {first.pid, second.pid},
                   10 * SLOW, "both are workers again")
        numbers_of = [worker for worker, in state.execute("SELECT worker FROM worker")]
        assert len(set(numbers_of)) == len(numbers_of)
    state.close()


def test_a_client_that_starts_anew_after_the_state_was_lost_counts_as_a_gap(quick):
    responder = quick.responder()
    shake(responder)
    push_numbers(quick, 1, 1)
    responder.terminate()
    shutil.rmtree(quick.db_path + "-dw")
    responder = quick.responder()
    shake(responder)
    responder.terminate()
    assert counter(quick, "gaps") == 1
    assert "the lost state may have known" in quick.logs()


@pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")
@pytest.mark.parametrize("collected", [0, 2])
def test_a_websocket_after_the_state_was_lost_gets_what_is_retained_and_counts_as_a_gap_if_that_is_not_all(
        quick, collected):
    sidecar = quick.sidecar()
    client = Client(sidecar.address, "alice")
    push_numbers(quick, 1, 3)
    assert numbers(client.receive())[0] == 1
    client.drop()
    sidecar.terminate()
    db = quick.db()
    db.execute("DELETE FROM dw_push WHERE id <= ?", (collected,))
    db.execute("UPDATE dw_meta SET value = ? WHERE key = 'horizon'", (collected,))  # as retention leaves it
    db.close()
    shutil.rmtree(quick.db_path + "-dw")
    sidecar = quick.sidecar()
    client, got = Client(sidecar.address, "alice"), []
    while len(got) < 3 - collected:
        got += numbers(client.receive())
    assert got == list(range(collected + 1, 4))
    client.drop()
    sidecar.terminate()
    assert counter(quick, "gaps") == (1 if collected else 0)
    assert ("the lost state may have known" in quick.logs()) == bool(collected)


@pytest.mark.parametrize("name", ["state.db", "claims"])
def test_a_damaged_file_of_the_state_is_put_aside_and_made_anew(quick, name):
    responder = quick.responder()
    shake(responder)
    push_numbers(quick, 1, 1)
    assert numbers(ask(responder)) == [1]
    responder.terminate()
    path = os.path.join(quick.db_path + "-dw", name)
    if os.path.exists(path + "-wal"):  # which would mend it
        os.remove(path + "-wal")
    with open(path, "r+b") as damaged:
        damaged.write(b"this is a letter, not a database\n" * 200)
    responder = quick.responder()
    push_numbers(quick, 2, 2)
    text = ask(responder)
    if "handshake" in text:
        text = ask(responder)
    assert numbers(text)[-1] == 2
    with open(path + ".damaged", "rb") as aside:
        assert aside.read(6) == b"this i"
    assert "is damaged and now called" in quick.logs()


def test_a_state_that_turns_out_damaged_while_running_is_put_aside(quick):
    responder = quick.responder()
    shake(responder)
    state = quick.db_path + "-dw/state.db"
    with sqlite3.connect(state, timeout=30) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with open(state, "r+b") as damaged:
        damaged.seek(size)
        damaged.write(b"\xff" * (os.path.getsize(state) - size))
    # Who has the pages in its cache may go on for a while; a new client's request makes new ones.
    wait_until(lambda: fcgi(responder.address, "GET", handshake("bob%d" % os.getpid())).status == 200 and
               os.path.exists(state + ".damaged"), 10 * SLOW, "the damaged file is put aside")
    assert fcgi(responder.address, "GET", handshake("carol")).status == 200
