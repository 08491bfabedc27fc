"""What held polls cost while nothing happens: wake-ups and memory."""

import os
import resource
import time

import pytest

from clients import Fcgi, fcgi, handshake, poll
from harness import SANITIZED, SLOW, wait_until


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def park(responder, first, count):
    """Held polls of clients of their own."""
    held = []
    for n in range(first, first + count):
        fcgi(responder.address, "GET", handshake("c%d" % n))
        connection = Fcgi(responder.address)
        connection.request("GET", poll("c%d" % n))
        held.append(connection)
    return held


def is_settled(world):
    """Nothing has been written for longer than the keeper waits for the end of a burst."""
    wals = [os.stat(world.db_path + "-wal"), os.stat(world.db_path + "-dw/state.db-wal")]
    return all(wal.st_size <= 1 << 20 and time.time() - wal.st_mtime > 2.5 for wal in wals)


def test_1000_held_polls_wake_the_process_at_most_once_a_second(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=120000)
    responder = world.responder()
    held = park(responder, 0, 1000)
    wait_until(lambda: is_settled(world), 20 * SLOW, "what parking wrote is check-pointed")
    before, cpu = responder.context_switches(), cpu_ticks(responder)
    time.sleep(10)  # this is what is measured
    switches = responder.context_switches() - before
    print("1000 held polls, idle: %d context switches of all threads in 10 s, %d ticks of CPU"
          % (switches, cpu_ticks(responder) - cpu))
    # 2 or 3 ticks of the loop and 2 of the house; what waits for the disk makes it twice as many.
    assert switches <= 8
    world.push("c0", "test/n", "1")
    assert "test/n 1" in held[0].receive(2).text
    for connection in held:
        connection.close()


def cpu_ticks(process):
    with open("/proc/%d/stat" % process.pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_a_held_poll_takes_at_most_1_kb(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=120000)
    responder = world.responder()
    held = park(responder, 0, 200)  # caches and threads are warm then
    time.sleep(1.5)
    before = responder.status("VmRSS")
    held += park(responder, 200, 2000)
    time.sleep(1.5)
    after = responder.status("VmRSS")
    each = (after - before) * 1024 / 2000
    print("RSS %d kB with 200 held polls, %d kB with 2200: %.0f bytes each" % (before, after, each))
    assert SANITIZED or each <= 1024
    assert responder.alive()
    for connection in held:
        connection.close()
    wait_until(lambda: fcgi(responder.address, "GET", handshake("x")).status == 200, 5, "it still serves")
