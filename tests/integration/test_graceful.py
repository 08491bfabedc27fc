"""SIGTERM: what is held is answered at once, nothing is lost, the process ends soon and with status 0."""

import os
import signal
import time

import pytest

from clients import (TIMEOUT, Fcgi, Http, fcgi, form, handshake, numbers, poll)
from harness import SLOW, wait_until

# Sanitizers check for leaks at the end.
END = 2 if SLOW == 1 else 8


def hold(responder, client_id):
    fcgi(responder.address, "GET", handshake(client_id))
    connection = Fcgi(responder.address)
    connection.request("GET", poll(client_id))
    return connection


def test_held_polls_and_callbacks_are_timed_out_at_once_and_the_process_ends_with_0(world):
    responder = world.responder()
    held = [hold(responder, "c%d" % n) for n in range(100)]
    callback = Fcgi(responder.address)
    callback.request("POST", "", form("c0", "[[:ask/this 1] :ajax]"))
    wait_until(lambda: world.sql("SELECT id FROM dw_inbox WHERE wants_reply"), 5 * SLOW, "the message is there")
    time.sleep(0.2 * SLOW)
    begin = time.monotonic()
    responder.popen.send_signal(signal.SIGTERM)
    assert [connection.receive(END).text for connection in held + [callback]] == [TIMEOUT] * 101
    assert responder.popen.wait(END) == 0
    took = time.monotonic() - begin
    print("101 held requests answered and ended in %.3f s" % took)
    assert took < END


def test_an_idle_process_ends_at_once_and_removes_its_socket(world):
    responder = world.responder()
    status, took = responder.terminate()
    assert status == 0
    assert took < END
    assert not os.path.exists(responder.address[5:])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_every_stop_signal_is_graceful(world, number):
    responder = world.responder()
    connection = hold(responder, "alice")
    time.sleep(0.2 * SLOW)
    responder.popen.send_signal(number)
    assert connection.receive(END).text == TIMEOUT
    assert responder.popen.wait(END) == 0


def test_a_push_that_was_committed_before_the_signal_is_delivered_or_kept(world):
    listener, address = world.listener()
    for round_number in range(20 if SLOW == 1 else 5):
        worker = world.worker(listener)
        fcgi(address, "GET", handshake("alice"))
        connection = Fcgi(address)
        connection.request("GET", poll("alice"))
        time.sleep(0.05 * SLOW)
        if round_number == 0:
            world.db()
        world.push("alice", "test/n", str(round_number))
        worker.popen.send_signal(signal.SIGTERM)
        text = connection.receive(END).text
        assert worker.popen.wait(END) == 0
        worker = world.worker(listener)
        if text == TIMEOUT:
            text = fcgi(address, "GET", poll("alice")).text
        assert numbers(text) == [round_number]
        # A poll proves it, so that the next round's handshake does not bring it again.
        connection = Fcgi(address)
        connection.request("GET", poll("alice"))
        time.sleep(0.05 * SLOW)
        worker.popen.send_signal(signal.SIGTERM)
        assert connection.receive(END).text == TIMEOUT
        assert worker.popen.wait(END) == 0


def test_the_next_worker_takes_over_without_a_gap_while_the_old_one_drains(world):
    listener, address = world.listener()
    old = world.worker(listener)
    held = Fcgi(address)
    fcgi(address, "GET", handshake("alice"))
    held.request("GET", poll("alice"))
    time.sleep(0.1 * SLOW)
    new = world.worker(listener)
    old.popen.send_signal(signal.SIGTERM)
    assert held.receive(END).text == TIMEOUT
    world.push("alice", "test/n", "1")
    assert numbers(fcgi(address, "GET", poll("alice")).text) == [1]
    assert old.popen.wait(END) == 0
    assert new.alive()


def test_stopping_lighttpd_stops_the_workers_that_it_started(world):
    world.init()
    web = world.lighttpd(spawn=2)
    assert Http(web.port).get("/chsk?" + handshake("alice")).status == 200
    held = Http(web.port)
    held.send("GET", "/chsk?" + poll("alice"))
    workers = world.children(web)
    assert len(workers) == 2
    status, _ = web.terminate()
    assert status in (0, -signal.SIGTERM)

    def gone():
        return not any(os.path.exists("/proc/%d" % pid) for pid in workers)
    wait_until(gone, 5 * SLOW, "the workers have ended")
