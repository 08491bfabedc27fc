"""Many processes with one held poll each: one of them holds for all the others (fcgi/handover.h)."""

import json
import os
import shutil
import signal
import socket
import stat
import struct
import time

import pytest

from clients import TIMEOUT, Fcgi, fcgi, handshake, numbers, poll
from harness import SLOW, wait_until

PROCESSES = 8
# Sanitizers check for leaks at the end.
END = 2 if SLOW == 1 else 8


class Crowd:
    """Processes on sockets of their own, each with one client that has one poll at a time."""

    def __init__(self, world, count=PROCESSES, **settings):
        self.world = world
        world.settings["LIMITS_HOLDERS"] = 1000
        self.processes = [world.responder(**settings) for _ in range(count)]
        self.clients = ["c%d" % n for n in range(count)]
        self.held = [None] * count
        self.sent = 0
        for n in range(count):
            assert fcgi(self.processes[n].address, "GET", handshake(self.clients[n])).status == 200

    def poll(self, n):
        self.held[n] = Fcgi(self.processes[n].address)
        self.held[n].request("GET", poll(self.clients[n]))

    def poll_all(self):
        for n in range(len(self.processes)):
            self.poll(n)
        wait_until(lambda: sum(w["parked"] for w in self.workers()) == len(self.processes), 10 * SLOW, "all are held")

    def push(self, room="*"):
        self.sent += 1
        self.world.push(room, "test/n", str(self.sent), column="room")

    def receive_all(self):
        """The next event, which each client must get."""
        for n, connection in enumerate(self.held):
            assert (n, numbers(connection.receive(10 * SLOW).text)) == (n, [self.sent])
            assert connection.is_closed()

    def settle(self):
        """From the second poll on, most are lent."""
        for _ in range(3):
            self.poll_all()
            self.push()
            self.receive_all()
        self.poll_all()

    def workers(self):
        answer = self.world.cli("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return [w for w in json.loads(answer.stdout)["workers"] if w["alive"]]

    def holder(self):
        """The process that holds most, and how many."""
        most = max(self.workers(), key=lambda w: w["parked"])
        return next(p for p in self.processes if p.pid == most["pid"]), most["parked"]


@pytest.fixture
def crowd(world):
    return Crowd(world)


def test_one_process_holds_the_polls_of_the_others_and_answers_all(crowd):
    crowd.settle()
    workers = crowd.workers()
    _, most = crowd.holder()
    assert most >= PROCESSES - 3  # two watch for themselves, and the housekeeper may be a third
    assert sum(w["parked"] for w in workers) == PROCESSES
    assert sum(w["lent"] for w in workers) == most - 1
    crowd.push()
    crowd.receive_all()
    wait_until(lambda: sum(w["parked"] + w["lent"] for w in crowd.workers()) == 0, 5 * SLOW, "all are returned")


def test_the_lenders_sleep_while_the_holder_works(crowd):
    crowd.settle()
    holder, _ = crowd.holder()
    lent = {w["pid"] for w in crowd.workers() if w["lent"] > 0}
    lenders = [p for p in crowd.processes if p.pid in lent]
    assert len(lenders) >= PROCESSES - 4
    before = {p.pid: p.context_switches() for p in lenders}
    for n in range(20):
        crowd.world.push("nobody", "test/n", str(n))
    time.sleep(0.5)
    woken = sorted(p.context_switches() - before[p.pid] for p in lenders)
    # Their housekeeping ticks; one of them may be the housekeeper, who follows all writing.
    assert woken[len(woken) // 2] < 20
    assert holder.alive()


def test_the_door_is_for_its_owner_only(crowd):
    crowd.settle()
    door = os.stat(crowd.world.db_path + "-dw/holder.sock")
    assert stat.S_ISSOCK(door.st_mode)
    assert stat.S_IMODE(door.st_mode) == 0o600


def test_a_lender_s_end_does_not_end_the_poll_that_it_has_lent(crowd):
    crowd.settle()
    lent = {w["pid"] for w in crowd.workers() if w["lent"] > 0}
    lenders = [n for n, p in enumerate(crowd.processes) if p.pid in lent]
    crowd.processes[lenders[0]].kill()
    assert crowd.processes[lenders[1]].terminate()[0] == 0
    crowd.push()
    crowd.receive_all()


def test_a_holder_that_stops_answers_all_that_it_holds_at_once(crowd):
    crowd.settle()
    holder, most = crowd.holder()
    holder.popen.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    ended = 0
    for connection in crowd.held:
        try:
            ended += connection.receive(END).text == TIMEOUT
        except TimeoutError:
            pass
    assert ended == most
    assert holder.popen.wait(END) == 0
    assert time.monotonic() - begin < 3 * END
    assert not os.path.exists(crowd.world.db_path + "-dw/holder.sock")


def test_after_the_holder_s_end_another_holds_and_no_event_is_lost(crowd):
    crowd.settle()
    holder, most = crowd.holder()
    victim = crowd.processes.index(holder)
    holder.kill()
    dead = []
    for n, connection in enumerate(crowd.held):
        try:
            connection.receive(0.5 if dead else 5)
        except ConnectionError:
            dead.append(n)
        except TimeoutError:
            pass
    assert len(dead) == most
    crowd.push()  # nobody is here to take it, but for those who were not held there
    crowd.world.processes.remove(holder)
    crowd.processes[victim] = crowd.world.responder(address=holder.address)
    for n in dead:
        fcgi(crowd.processes[n].address, "GET", handshake(crowd.clients[n]))
        crowd.poll(n)
    crowd.receive_all()
    crowd.settle()
    again, most = crowd.holder()
    assert again.pid != holder.pid
    assert most >= PROCESSES - 3


def test_a_killed_holder_s_clients_count_as_gone_after_their_grace(make_world):
    world = make_world(CHSK_CLOSE_GRACE_AJAX_MS=300)
    crowd = Crowd(world)
    crowd.settle()
    assert world.sql("SELECT count(*) FROM dw_online") == [(PROCESSES,)]
    holder, most = crowd.holder()
    holder.kill()
    wait_until(lambda: world.sql("SELECT count(*) FROM dw_online") == [(PROCESSES - most,)], 15 * SLOW,
               "those whose polls it held are gone, and no others")
    assert world.sql("SELECT count(*) FROM dw_inbox WHERE event = 'chsk/uidport-close'") == [(most,)]


def test_after_the_state_was_lost_all_come_back_and_are_held_again(crowd):
    crowd.settle()
    shutil.rmtree(crowd.world.db_path + "-dw")
    crowd.push()
    for n in range(PROCESSES):
        assert crowd.held[n].receive(10 * SLOW).text in (TIMEOUT, "[[[:test/n %d]] nil]" % crowd.sent)
        # A poll of a client that nobody knows is a handshake.
        assert "[:chsk/handshake " in fcgi(crowd.processes[n].address, "GET", poll(crowd.clients[n])).text
        # It starts again from what is retained.
        again = fcgi(crowd.processes[n].address, "GET", poll(crowd.clients[n])).text
        assert numbers(again) == list(range(1, crowd.sent + 1))
    crowd.settle()
    assert crowd.holder()[1] >= PROCESSES // 2


def test_a_process_with_other_settings_keeps_its_polls(world):
    crowd = Crowd(world, 5)
    crowd.settle()
    other = world.responder(CHSK_BATCH_AJAX_MS=1)
    for n in range(3):
        if n == 0:
            fcgi(other.address, "GET", handshake("other"))
        held = Fcgi(other.address)
        held.request("GET", poll("other"))
        wait_until(lambda: any(w["pid"] == other.pid and w["parked"] == 1 for w in crowd.workers()), 5 * SLOW,
                   "it holds its poll itself")
        world.push("other", "test/n", str(n))
        assert numbers(held.receive(10).text) == [n]


def test_lent_polls_count_for_the_limit_of_holders(world):
    crowd = Crowd(world)
    crowd.settle()
    late = world.responder(LIMITS_HOLDERS=PROCESSES)
    fcgi(late.address, "GET", handshake("late"))
    answer = fcgi(late.address, "GET", poll("late"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0


def test_a_process_with_many_polls_holds_them_itself(world):
    """A responder behind lighttpd: it has more polls than one at a time, and cores want their share."""
    crowd = Crowd(world, 5)
    crowd.settle()
    busy = world.responder()
    held = []
    for n in range(30):
        fcgi(busy.address, "GET", handshake("b%d" % n))
    for n in range(30):
        held.append(Fcgi(busy.address))
        held[-1].request("GET", poll("b%d" % n))
    wait_until(lambda: sum(w["parked"] for w in crowd.workers()) == 35, 10 * SLOW, "all are held")
    assert next(w for w in crowd.workers() if w["pid"] == busy.pid)["parked"] >= 28
    crowd.push()
    crowd.receive_all()
    for connection in held:
        assert numbers(connection.receive(10).text) == [crowd.sent]


def test_a_stranger_at_the_door_does_no_harm(crowd):
    """Someone with the same user who does not speak the language, and one who says half of it."""
    crowd.settle()
    for said in (b"", b"x", b"GET / HTTP/1.0\r\n\r\n", b"\0" * 200, b"\xff" * 5000):
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stranger.connect(crowd.world.db_path + "-dw/holder.sock")
        if said:
            pair = socket.socketpair()
            socket.send_fds(stranger, [said], [pair[0].fileno()])
            stranger.settimeout(5)
            stranger.recv(64)
            assert stranger.recv(64) == b""  # hung up on
        stranger.close()
    crowd.push()
    crowd.receive_all()


class Lender:
    """A process that lends polls by hand (struct hello and struct loan of fcgi/handover.c)."""

    def __init__(self, crowd):
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.connect(crowd.world.db_path + "-dw/holder.sock")
        self.door.settimeout(5 * SLOW)
        _, self.holder, _ = struct.unpack("=IiQ", self.door.recv(64))

    def lend(self, holder):
        """Lends a poll of nobody that is known; returns the web server's end of it, and the lender's copy."""
        web_server, copy = socket.socketpair()
        web_server.settimeout(5 * SLOW)
        until = int(time.monotonic() * 1000) + 15000
        loan = struct.pack("=iiIIqqqqQQQHB??32s", 900, holder, 50, 1, 0, until, 0, 0, 0, 0, 0, 1, 2, True, False, b"edn")
        socket.send_fds(self.door, [loan.ljust(112, b"\0") + b"nobody\0a-client\0\0"], [copy.fileno()])
        return web_server, copy


def held_by(crowd, pid):
    return next(worker["parked"] for worker in crowd.workers() if worker["pid"] == pid)


def test_a_poll_that_ends_while_its_lender_has_a_copy_of_it_does_no_harm(crowd):
    """A lender that is stopped between lending and closing: the connection stays open, and its events come."""
    crowd.settle()
    holder, most = crowd.holder()
    lender = Lender(crowd)
    copies = []
    for _ in range(3):
        web_server, copy = lender.lend(lender.holder)
        copies.append(copy)
        wait_until(lambda: held_by(crowd, holder.pid) == most + 1, 5 * SLOW, "it is held")
        web_server.close()
        wait_until(lambda: held_by(crowd, holder.pid) == most, 5 * SLOW, "its end is noticed")
        copy.shutdown(socket.SHUT_RDWR)
    crowd.push()
    crowd.receive_all()
    assert holder.alive()
    for copy in copies:
        copy.close()


def test_polls_for_a_number_that_the_holder_no_longer_has_are_all_answered(crowd):
    crowd.settle()
    lender = Lender(crowd)
    lent = [lender.lend(lender.holder + 1)]
    try:
        lent.append(lender.lend(lender.holder + 1))
    except BrokenPipeError:
        pass  # it has hung up already, which the lender notices before it lends
    for web_server, copy in lent:
        copy.close()
        assert b"[:chsk/timeout" in web_server.recv(1000)
        web_server.close()
    assert lender.door.recv(64) == b""  # it has to ask again
    crowd.push()
    crowd.receive_all()
