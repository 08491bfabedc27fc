"""Replays the WebSocket half of the recorded scenarios, of every packer, against the sidecar.

Every frame and handshake of the captured clients is sent as recorded (but for Host and the session cookie that
stands for the captures' `user=` function), and every frame and refusal that comes back is compared byte for
byte; of compressed payloads the bytes inside.  Our pings that prove receipt are no part of the captures: they
are answered and passed over, except where the capture has a ping.  Where we answer differently on purpose,
DEVIATIONS says what and why; an entry that no longer deviates fails the test.
"""

import concurrent.futures
import glob
import gzip
import hashlib
import json
import os
import queue
import re
import socket
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import harness
import websocket
from clients import parse_head
from harness import SLOW, World, wait_until
from test_wire import APPLICATION, WIRE, events_in, is_ajax_request

pytestmark = pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")

CSRF = {"AUTH_CSRF": "on"}
ORIGIN = {"AUTH_ALLOWED_ORIGINS": "http://good.example"}
WITH_UID = {"AUTH_REQUIRE_UID": "on"}
SETTINGS = {
    "edn/csrf": CSRF, "edn/origin": ORIGIN, "edn/unauthorized": WITH_UID,
    "edn/real-client-auto-csrf": CSRF, "edn/real-client-auto-csrf-missing": CSRF,
    "edn/large-push": {"LIMITS_MESSAGE_BYTES": 200000}, "gzip/large-push": {"LIMITS_MESSAGE_BYTES": 200000},
}
for _packer in ("edn", "transit"):
    SETTINGS["v1.20.0/%s-session" % _packer] = {"CHSK_GENERATION": 2}
    SETTINGS["v1.20.0/%s-session-legacy-write" % _packer] = {"CHSK_GENERATION": 1}
# Connections to another server of the scenario.
SHORT = {"CHSK_WS_KALIVE_MS": 4000, "CHSK_WS_PING_TIMEOUT_MS": 1000}
SERVERS = {("v1.20.0/%s-session%s" % (packer, old), "ws2"): SHORT
           for packer in ("edn", "transit") for old in ("", "-legacy-write")}
DATA = {"handshake_data": '{"server":"data","n":1}'}
# Connections whose session differs; None: there is none.
SESSIONS = {
    ("edn/handshake-variants", "ws1"): DATA, ("v1.20.0/handshake-variants", "ws1"): DATA,
    ("edn/handshake-variants", "ws2"): {"uid": None}, ("v1.20.0/handshake-variants", "ws2"): {"uid": None},
    ("edn/unauthorized", "ws1"): None, ("v1.20.0/handshake-variants", "ws3"): CSRF,
    ("edn/real-client-auto-csrf-missing", 2): {"csrf_token": None},
}
# What happened on the server without words for it: (scenario, step before which it did) -> uid, events.
PUSHES = {
    ("edn/handshake-variants", 13): ("", ["[:test/pushed 1]"]),
    ("edn/ws-same-client-id-twice", 7): ("u-up5", ["[:test/pushed 1]"]),
}

UNNAMED = {"send-fn x2": ["[:test/a 1]", "[:test/b]"]}

ONE_REPLY = "dw_reply holds one reply for a question"
PER_CLIENT = "answered in the generation that this client writes, not in the server's own"
ABSENT = None
DEVIATIONS = {
    ("edn/missing-client-id", 8): ("400 instead of 500 for a handshake without client-id",
                                   (400, "Bad request: the parameter client-id is missing")),
    ("edn/bad-payloads", 49): ("unknown edn tags are kept: the value belongs to the application",
                               (1, b'[#foo/bar 1 "c1"]')),
}
for _packer in ("edn", "transit", "msgpack", "gzip"):
    DEVIATIONS[_packer + "/ws-send-and-reply", 12] = (ONE_REPLY, ABSENT)
DEVIATIONS["v1.20.0/edn-session", 44] = (PER_CLIENT, (1, b'+[1 "ab12ce"]'))
DEVIATIONS["v1.20.0/transit-session", 44] = (PER_CLIENT, (1, b'+[1,"ab12ce"]'))


def load(name):
    with open(os.path.join(WIRE, name + ".json"), encoding="utf-8") as source:
        return json.load(source)


def is_upgrade(step):
    return step.get("kind") == "http-request" and not is_ajax_request(step)


def scenarios():
    names = []
    for path in sorted(glob.glob(os.path.join(WIRE, "*", "*.json"))):
        name = os.path.relpath(path, WIRE)[:-len(".json")]
        if any(is_upgrade(step) for step in load(name)["steps"]):
            names.append(name)
    return names


def payload_of(step):
    return bytes.fromhex(step["payload_hex"]) if "payload_hex" in step else step.get("payload", "").encode()


def plain(payload):
    """A compressed payload's inside; others as they are."""
    return b"\1" + gzip.decompress(payload[1:]) if payload[:3] == b"\1\x1f\x8b" else payload


def is_ping(payload):
    return b"chsk/ws-ping" in payload and len(payload) < 40


def pong_to(ping):
    """As the client of that generation and packer would answer."""
    if ping.startswith(b"+"):
        return b'+[["~:chsk/ws-pong"]]' if b"~:" in ping else b"+[[:chsk/ws-pong]]"
    if ping in (b"[:chsk/ws-ping]", b'["~:chsk/ws-ping"]'):
        return b'[["~:chsk/ws-pong"]]' if b"~:" in ping else b"[[:chsk/ws-pong]]"
    for packer, message in websocket.PING_MESSAGES.items():
        if message == ping:
            return websocket.PONG_MESSAGES[packer]
    raise AssertionError("a ping of no packer: %r" % ping)


class Connection:
    """One recorded connection on a socket of ours.  A thread reads, and answers pings as a client does, at once;
    `pings`: they are part of the capture, which answers them itself."""

    def __init__(self, address, pings):
        self.sock = harness.connect(address, 60)
        self.frames = websocket.Frames.__new__(websocket.Frames)
        self.frames.sock, self.frames.buffer = self.sock, b""
        self.pings, self.came, self.lock = pings, queue.Queue(), threading.Lock()

    def shake(self, text):
        self.sock.sendall(text.encode())

    def shaken(self):
        while b"\r\n\r\n" not in self.frames.buffer:
            self.frames._more()
        head, self.frames.buffer = self.frames.buffer.split(b"\r\n\r\n", 1)
        first, headers = parse_head(head)
        status = int(first.split()[1])
        if status != 101:
            return status, self.frames._rest(int(headers.get("content-length", 0))).decode()
        threading.Thread(target=self._read, daemon=True).start()
        return status, None

    def _read(self):
        try:
            while True:
                opcode, payload = self.frames.receive(60)
                if not self.pings and opcode in (1, 2) and is_ping(payload):
                    self.send(opcode, pong_to(payload))
                else:
                    self.came.put((opcode, payload))
        except (OSError, websocket.Closed):
            pass

    def send(self, opcode, payload, **how):
        with self.lock:
            self.frames.send(opcode, payload, **how)

    def frame(self, timeout):
        """(opcode, payload), or None: nothing came."""
        try:
            return self.came.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Replay:
    def __init__(self, name):
        self.name, self.scenario = name, load(name)
        self.steps = self.scenario["steps"]
        self.labels = {step["conn"] for step in self.steps if is_upgrade(step)}
        self.mixed = any(step.get("kind") == "http-request" and is_ajax_request(step) for step in self.steps)
        self.servers, self.connections, self.clients = {}, {}, set()
        self.uid = None
        self.problems, self.compared, self.seen = [], 0, set()

    # ---- servers ----

    def packer(self):
        folder = self.name.split("/")[0]
        recorded = str(self.scenario.get("packer", "edn"))
        if folder == "gzip":
            return "gzip+edn"
        return {"transit": "transit", "msgpack": "msgpack", "transit-verbose": "transit-verbose"}.get(folder) or \
            ("transit" if recorded.startswith("transit") else "edn")

    def server(self, conn):
        settings = {"AUTH_UID": "session", "AUTH_CSRF": "off", "CHSK_INBOX_FORMAT": "edn",
                    "CHSK_PACKER": self.packer()}
        if self.name.startswith("v1.20.0/"):
            settings["CHSK_GENERATION"] = 2
        if "ws_kalive_ms" in self.scenario:
            settings["CHSK_WS_KALIVE_MS"] = self.scenario["ws_kalive_ms"]
            settings["CHSK_WS_PING_TIMEOUT_MS"] = self.scenario["ws_ping_timeout_ms"]
        settings.update(SETTINGS.get(self.name, {}))
        settings.update(SERVERS.get((self.name, conn), {}))
        key = tuple(sorted(settings.items()))
        if key not in self.servers:
            world = World(**settings)
            sidecar = world.sidecar()
            world.script(APPLICATION)
            self.servers[key] = (world, sidecar)
        return self.servers[key]

    def cookie(self, world, conn, uid):
        changes = SESSIONS.get((self.name, conn), {})
        if changes is None:
            return ""
        session = {"uid": uid, "csrf_token": "tok", "handshake_data": None}
        session.update({key: value for key, value in changes.items() if key in session})
        sid = "s-%s-%s" % (conn, uid)
        world.session(sid, **session)
        return "Cookie: dw_sid=%s\r\n" % sid

    # ---- steps ----

    def connect(self, step):
        conn, head = step["conn"], step["head"]
        world, sidecar = self.server(conn)
        fields = parse_qs(urlsplit(head.split(" ", 2)[1]).query, keep_blank_values=True)
        client_id = (fields.get("client-id") or [None])[0]
        self.uid = (fields.get("user") or [client_id])[0]
        if client_id:
            self.clients.add(client_id)
        lines = head.rstrip("\r\n").split("\r\n")
        text = lines[0] + "\r\n" + self.cookie(world, conn, self.uid)
        self.drop(conn)
        pings = any(other.get("conn") == conn and other.get("kind") == "ws-frame" and other["dir"] == "S>C" and
                    is_ping(payload_of(other)) for other in self.steps)
        self.connections[conn] = Connection(sidecar.address, pings)
        self.connections[conn].shake(text + "".join(line + "\r\n" for line in lines[1:]) + "\r\n")

    def push(self, uid, events):
        world = self.server(None)[0]
        db = world.db()
        db.execute("BEGIN IMMEDIATE")
        for event in events:
            name, data = event[2:-1].partition(" ")[::2]
            db.execute("INSERT INTO dw_push (uid, event, data, format) VALUES (?, ?, ?, 'edn')",
                       (uid, name, data or None))
        db.execute("COMMIT")

    def call(self, at, text):
        if self.uid is None:
            return
        long = re.search(r"\[:test/pushed <string of (\d+) x>\]", text)
        if long:
            events = ['[:test/pushed "%s"]' % ("x" * int(long.group(1)))]
        else:
            events = events_in(text)
        if not events:
            events = UNNAMED[text]
        self.push(self.uid, events)

    def differ(self, at, recorded, ours):
        self.compared += 1
        deviation = DEVIATIONS.get((self.name, at))
        if deviation is None:
            if recorded != ours:
                self.problems.append("step %d: recorded %r\n        ours     %r" % (at, recorded, ours))
            return
        self.seen.add(at)
        if recorded == ours:
            self.problems.append("step %d no longer deviates (%s): take it out of the table" % (at, deviation[0]))
        elif ours != deviation[1]:
            self.problems.append("step %d: deviates otherwise than the table says (%s)\n        table %r\n"
                                 "        ours  %r" % (at, deviation[0], deviation[1], ours))

    def expect(self, at, step):
        deviation = DEVIATIONS.get((self.name, at))
        patience = 1 if deviation and deviation[1] is ABSENT else 30
        ours = self.connections[step["conn"]].frame(patience)
        if "payload_sha256" in step:
            recorded = step["opcode"], step["payload_sha256"]
            ours = ours and (ours[0], hashlib.sha256(ours[1]).hexdigest())
        else:
            recorded = step["opcode"], plain(payload_of(step))
            ours = ours and (ours[0], plain(ours[1]))
        self.differ(at, recorded, ours)

    def silence(self, at, step):
        seconds = float(re.search(r"within ([\d.]+) s", step["text"]).group(1))
        self.differ(at, None, self.connections[step["conn"]].frame(seconds))

    def drop(self, conn):
        connection = self.connections.pop(conn, None)
        if connection is not None:
            connection.close()

    def events(self, recorded):
        """What the application saw; where Ajax clients took part, test_wire.py looks."""
        if self.mixed:
            return
        theirs = [event["event"] for event in recorded
                  if event["client_id"] in self.clients and not event["event"].startswith("[:chsk/ws-p")]
        world = self.server(None)[0]

        def ours():
            rows = world.sql("SELECT event, data FROM dw_inbox ORDER BY id")
            return ["[:%s%s]" % (event, " " + data if data is not None else "") for event, data in rows]

        try:
            wait_until(lambda: ours() == theirs, 5 * SLOW, "the same events")
        except AssertionError:
            pass
        self.differ("events", theirs, ours())

    def step(self, at, step):
        if (self.name, at) in PUSHES:
            self.push(*PUSHES[self.name, at])
        conn, kind = step.get("conn"), step.get("kind")
        if step["dir"] == "server-call":
            self.call(at, step["text"])
        elif step["dir"] == "server-events":
            self.events(step["events"])
        elif conn not in self.labels:
            return
        elif is_upgrade(step):
            self.connect(step)
        elif conn not in self.connections:
            return
        elif kind == "http-response":
            status = int(step["head"].split()[1])
            self.differ(at, (status, None if status == 101 else step.get("body")), self.connections[conn].shaken())
        elif kind == "ws-frame" and step["dir"] == "C>S":
            self.connections[conn].send(step["opcode"], payload_of(step), fin=step.get("fin", 1) != 0)
        elif kind == "ws-frame":
            self.expect(at, step)
        elif kind in ("tcp-close", "tcp-eof") and step["dir"] == "C>S":
            self.drop(conn)
        elif step["dir"] == "note" and step.get("text", "").startswith("no frame within"):
            self.silence(at, step)

    def run(self):
        at = 0
        try:
            begin, first = None, self.steps[0]["t_ms"]
            for at, step in enumerate(self.steps):
                if step["dir"] in ("C>S", "server-call", "server-events"):
                    if begin is None:
                        self.server(None)
                        begin, first = time.monotonic(), step["t_ms"]
                    time.sleep(max(0, begin + (step["t_ms"] - first) / 1000 - time.monotonic()))
                self.step(at, step)
            missed = {place for name, place in DEVIATIONS if name == self.name} - self.seen
            if missed:
                self.problems.append("the table's steps %s were never compared" % sorted(missed, key=str))
        except Exception as error:
            self.problems.append("step %d: %s: %s" % (at, type(error).__name__, error))
        finally:
            for conn in list(self.connections):
                self.drop(conn)
            for world, _ in self.servers.values():
                wrong = world.close()
                if wrong is not None or self.problems:
                    self.problems.append((wrong or "") + "\n" + world.logs())
                world.remove()
        return self


NAMES = scenarios()


@pytest.fixture(scope="module")
def replays():
    """All scenarios side by side: they mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=12 if SLOW == 1 else 6) as pool:
        yield {name: pool.submit(Replay(name).run) for name in NAMES}


def test_the_captures_are_there():
    if not NAMES:
        pytest.fail("no captures in %s (set DW_SHARED): nothing was compared" % WIRE)


@pytest.mark.parametrize("name", NAMES)
def test_replay(replays, name):
    replay = replays[name].result()
    assert not replay.problems, "\n    ".join(replay.problems)
    assert replay.compared > 0


def test_totals(replays, record_property):
    done = [future.result() for future in replays.values()]
    text = "%d scenarios, %d comparisons, %d documented deviations" % (
        len(done), sum(r.compared for r in done), len(DEVIATIONS))
    print(text)
    record_property("ws-wire", text)
