"""Presence over random schedules of real processes: two responders, the sidecar, CGI requests in between; tabs
connect over both transports, vanish, come back within their grace period or later; processes are killed.

The schedules of one round share the processes, and each has a uid of its own.  What must hold for each uid:

- chsk/uidport-open and -close alternate, beginning with open
- no close while a tab is there or its grace period lasts.  On a busy machine a request may reach a process long
  after it was sent; so a tab counts as there only from when the client table has its request, and each period
  of grace from the earliest moment at which it can have begun
- as soon as everything rests, dw_online counts the tabs that are there, and the last event agrees

DW_SEED repeats a round; DW_PRESENCE_ROUNDS sets their number, of ten schedules each.
"""

import os
import random
import select
import socket
import sqlite3
import struct
import subprocess
import time

import pytest

from clients import Fcgi, fcgi, handshake, poll
from harness import RESPONDER, SLOW, wait_until
from websocket import CLOSE, Frames, frame

ROUNDS = int(os.environ.get("DW_PRESENCE_ROUNDS", 5 if SLOW == 1 else 2))
SEED = int(os.environ.get("DW_SEED", time.time()))
UIDS = 10
BUSY_S = 9 if SLOW == 1 else 20
HOLD_MS = 1500
GRACE_MS = {True: 300 * SLOW, False: 450 * SLOW}  # of WebSockets, of Ajax
REST_S = 40 * SLOW


def now_ms():
    return time.time() * 1000


class Tab:
    def __init__(self, round_, uid, name, over_ws):
        self.round, self.uid, self.id, self.over_ws = round_, uid, "%s-%s" % (uid, name), over_ws
        self.grace = GRACE_MS[over_ws]
        self.wants = False
        self.known = False
        self.next = None    # when it tries (again)
        self.held = None    # its poll's or WebSocket's connection
        self.process = None
        self.sent = 0
        self.there = []     # [from, until) in which it is proven to have been there; until None: still is
        self.kept = 0       # how often it has come back within its grace period

    # ---- what is known of its presence ----

    def is_there(self):
        return bool(self.there) and self.there[-1][1] is None

    def came(self):
        """The client table has it, now at the latest."""
        now = now_ms()
        if self.there and self.there[-1][1] is not None and now < self.there[-1][1]:
            self.there[-1][1] = None
            self.kept += 1
        elif not self.is_there():
            self.there.append([now, None])

    def left(self, earliest):
        self.held = self.process = None
        if self.is_there():
            self.there[-1][1] = earliest + self.grace

    def lives(self, sent):
        """A handshake was answered: it is given its time to poll."""
        if self.there and self.there[-1][1] is not None and now_ms() < self.there[-1][1]:
            self.there[-1][1] = max(self.there[-1][1], sent + self.grace)

    # ---- what it does ----

    def connect(self):
        self.next = None
        if self.over_ws:
            self.open_socket()
        elif not self.known:
            self.shake_hands()
        else:
            self.poll()

    def open_socket(self):
        process = self.round.sidecar
        try:
            self.held = Frames(process.address, "/chsk?client-id=" + self.id, {"Cookie": "dw_sid=" + self.uid})
        except OSError:
            self.try_again()
            return
        self.process = process
        self.came()

    def shake_hands(self):
        sent = now_ms()
        if self.round.chance.random() < 0.15:
            self.round.cgi(handshake(self.id), self.uid)
        else:
            answer = fcgi(self.round.pick_responder().address, "GET", handshake(self.id),
                          HTTP_COOKIE="dw_sid=" + self.uid)
            assert answer.status == 200
        self.known = True
        self.lives(sent)
        self.next = now_ms() + self.round.chance.choice((0, 0, 0, 50))

    def number(self):
        row = self.round.state.execute("SELECT epoch FROM client WHERE client_id = ? AND uid = ? AND transport = 0",
                                       (self.id, self.uid)).fetchone()
        return row[0] if row else None

    def poll(self):
        before = self.number()
        process = self.round.pick_responder()
        held = Fcgi(process.address)
        self.sent = now_ms()
        held.request("GET", poll(self.id), HTTP_COOKIE="dw_sid=" + self.uid)
        wait_until(lambda: self.number() != before, 20 * SLOW, "the client table has the poll of " + self.id)
        self.held, self.process = held, process
        self.came()

    def try_again(self):
        pause = self.round.chance.choice((0, 0, 0.3, 0.6, 0.9, 4))
        self.next = now_ms() + pause * self.grace * self.round.chance.random() if self.wants else None

    def readable(self):
        """An answer to its poll, or what the sidecar says."""
        if self.over_ws:
            assert self.held.sock.recv(65536) != b"", "the sidecar has closed a WebSocket"
            return
        answer = self.held.receive()
        assert answer.status == 200
        self.held.close()
        self.left(self.sent + HOLD_MS)
        if self.round.chance.random() < 0.2:
            self.known = False
        self.try_again()

    def drop(self, earliest=None):
        """Abruptly, or a WebSocket as a browser closes it."""
        if self.held is None:
            return
        earliest = now_ms() if earliest is None else earliest
        sock, held = self.held.sock, self.held
        how = self.round.chance.randrange(3)
        try:
            if how == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == 1 and self.over_ws:
                sock.sendall(frame(CLOSE, struct.pack("!H", 1000)))
        except OSError:
            pass
        sock.close()
        assert held is self.held
        self.left(earliest)
        self.known = False
        self.try_again()


class Round:
    def __init__(self, world, seed):
        self.world, self.chance = world, random.Random(seed)
        self.uids = ["u%d" % n for n in range(UIDS)]
        self.responders = [world.responder() for _ in range(2)]
        self.sidecar = world.sidecar()
        self.missing = []
        self.kills = 0
        for uid in self.uids:
            world.session(uid, uid)
        self.state = sqlite3.connect(world.db_path + "-dw/state.db", timeout=30, isolation_level=None)
        self.queue = world.db()
        # One tab or several; the first two are one client that changes over.
        kinds = (("a", False), ("a", True), ("b", True), ("c", False))
        self.tabs = [Tab(self, uid, name, over_ws) for n, uid in enumerate(self.uids)
                     for name, over_ws in (kinds[n % 4:][:1] if n < 6 else kinds)]

    def pick_responder(self):
        if not self.responders:
            self.restart()
        return self.chance.choice(self.responders)

    def cgi(self, query, uid):
        env = self.world.environment()
        env.update({"REQUEST_METHOD": "GET", "QUERY_STRING": query, "GATEWAY_INTERFACE": "CGI/1.1",
                    "HTTP_HOST": "localhost", "HTTP_COOKIE": "dw_sid=" + uid})
        done = subprocess.run([RESPONDER], stdin=subprocess.DEVNULL, capture_output=True, timeout=30 * SLOW, env=env)
        assert done.stdout.startswith(b"Status: 200"), done

    # ---- the random actions ----

    def kill(self):
        victim = self.chance.choice(self.responders + [self.sidecar] * self.sidecar.alive())
        earliest = now_ms()
        victim.kill()
        self.kills += 1
        if victim in self.responders:
            self.responders.remove(victim)
        for tab in self.tabs:
            if tab.process is victim:
                tab.wants = tab.wants and self.chance.random() < 0.6
                tab.drop(earliest)

    def restart(self):
        while len(self.responders) < 2:
            self.responders.append(self.world.responder())
        if not self.sidecar.alive():
            self.sidecar = self.world.sidecar()

    def toggle(self):
        tab = self.chance.choice(self.tabs)
        tab.wants = not tab.wants
        if tab.wants:
            tab.next = now_ms()
        else:
            tab.next = None
            tab.drop()

    def act(self):
        what = self.chance.random()
        if what < 0.5:
            self.toggle()
        elif what < 0.87:
            self.chance.choice(self.tabs).drop()
        elif what < 0.9:
            self.cgi(handshake("stranger"), "nobody")
        elif what < 0.94:
            self.restart()
        elif len(self.responders) == 2 and self.sidecar.alive():
            self.kill()
            if self.chance.random() < 0.5:
                self.restart()

    # ---- the loop ----

    def turn(self):
        """Serves what has come, and what is due."""
        held = {tab.held.sock: tab for tab in self.tabs if tab.held is not None}
        for sock in select.select(list(held), [], [], 0.005)[0]:
            if held[sock].held is not None and held[sock].held.sock is sock:
                held[sock].readable()
        for tab in self.tabs:
            if tab.next is not None and tab.next <= now_ms() and tab.held is None:
                tab.connect()

    def until(self, condition, what):
        end = time.monotonic() + REST_S
        while not condition():
            assert time.monotonic() < end, what
            self.turn()

    # ---- what must hold ----

    def events(self):
        rows = self.queue.execute("SELECT uid, event, received_at FROM dw_inbox ORDER BY id").fetchall()
        return {uid: [(event, at) for owner, event, at in rows if owner == uid] for uid in self.uids}

    def check_events(self):
        for uid, events in self.events().items():
            names = [event for event, _ in events]
            assert names == (["chsk/uidport-open", "chsk/uidport-close"] * len(names))[:len(names)], (uid, events)
            for at in (at for event, at in events if event == "chsk/uidport-close"):
                for tab in self.tabs:
                    there = [span for span in tab.there
                             if tab.uid == uid and span[0] + 2 < at < (span[1] or float("inf")) - 2]
                    assert not there, "%s was closed at %d, %s was there: %r" % (uid, at, tab.id, there)

    def online(self):
        return {row[0]: row[1:] for row in self.queue.execute("SELECT uid, ws, ajax FROM dw_online")}

    def is_so(self):
        """dw_online is what the tabs know."""
        counts = {}
        for tab in self.tabs:
            if tab.held is not None:
                ws, ajax = counts.get(tab.uid, (0, 0))
                counts[tab.uid] = (ws + tab.over_ws, ajax + (not tab.over_ws))
        if any(tab.wants and tab.held is None for tab in self.tabs) or self.online() != counts:
            return False
        last = {uid: events[-1][0] for uid, events in self.events().items() if events}
        return all((last.get(uid) == "chsk/uidport-open") == (uid in counts) for uid in self.uids)

    def run(self):
        end = time.monotonic() + BUSY_S
        while time.monotonic() < end:
            self.turn()
            if self.chance.random() < 0.25:
                self.act()
        self.restart()
        self.until(self.is_so, "dw_online is what is so")
        self.check_events()
        for tab in self.tabs:
            tab.wants, tab.next = False, None
        self.kill()
        for tab in self.tabs:
            tab.drop()
        self.until(lambda: not self.online(), "all are gone")
        self.until(self.is_so, "the last events are closes")
        self.check_events()

    def close(self):
        for tab in self.tabs:
            if tab.held is not None:
                tab.held.sock.close()
        self.state.close()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_presence_over_random_schedules(make_world, number):
    seed = SEED + number
    world = make_world(AUTH_UID="session", CHSK_LP_TIMEOUT_MS=HOLD_MS, CHSK_CLOSE_GRACE_WS_MS=GRACE_MS[True],
                       CHSK_CLOSE_GRACE_AJAX_MS=GRACE_MS[False], CHSK_WS_KALIVE_MS=600000)
    round_ = Round(world, seed)
    print("DW_SEED=%d DW_PRESENCE_ROUNDS=1" % seed)
    try:
        round_.run()
    finally:
        round_.close()
    closes = sum(event == "chsk/uidport-close" for events in round_.events().values() for event, _ in events)
    print("%d schedules, %d kills: uids were closed %d times, tabs came back in time %d times"
          % (UIDS, round_.kills, closes, sum(tab.kept for tab in round_.tabs)))
    assert closes >= UIDS
