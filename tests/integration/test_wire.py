"""Replays the recorded Ajax scenarios of real Sente servers against ours, through lighttpd.

Request by request as recorded (head and body verbatim; only Host, the session cookie that stands for the
captures' `user=` function and the pace differ), with what the server application did in between done by
SQL, and every body compared byte for byte.  Where we answer differently on purpose, DEVIATIONS says what and
why; an entry that no longer deviates fails the test, so that the table can't rot.
"""

import concurrent.futures
import glob
import json
import os
import re
import socket
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import harness
from clients import Http
from harness import SLOW, World

WIRE = os.path.join(harness.SHARED, "wire")

# The application of the captures: what its event handlers did, as triggers.  Pushes for one answer are made in
# one transaction, where Sente gathers them for 100 ms.
APPLICATION = """
CREATE TABLE app_n (n INTEGER PRIMARY KEY);
INSERT INTO app_n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TRIGGER app_echo AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/echo' AND NEW.wants_reply
BEGIN
    INSERT INTO dw_reply (inbox_id, data, format) VALUES (NEW.id, NEW.data, NEW.format);
END;
CREATE TRIGGER app_reply2 AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/reply2' AND NEW.wants_reply
BEGIN
    INSERT INTO dw_reply (inbox_id, data, format) VALUES (NEW.id, '[:first ' || NEW.data || ']', NEW.format);
END;
CREATE TRIGGER app_push AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/push'
BEGIN
    INSERT INTO dw_push (uid, event, data, format) VALUES (NEW.uid, 'test/pushed', NEW.data, NEW.format);
END;
CREATE TRIGGER app_batch AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/batch'
BEGIN
    INSERT INTO dw_push (uid, event, data, format)
    SELECT NEW.uid, 'test/pushed', n, NEW.format FROM app_n WHERE n < CAST(NEW.data AS INTEGER) ORDER BY n;
END;
CREATE TRIGGER app_close AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/close'
BEGIN
    INSERT INTO dw_push (uid, event) VALUES (NEW.uid, 'chsk/close');
END;
"""

# ---- how a scenario's server was set up, where the capture's own fields don't say ----

CSRF = {"AUTH_CSRF": "on"}
ORIGIN = {"AUTH_ALLOWED_ORIGINS": "http://good.example"}
WITH_UID = {"AUTH_REQUIRE_UID": "on"}

SETTINGS = {
    "edn/ajax-push-between-polls": {"CHSK_LP_TIMEOUT_MS": 2000},
    "edn/bad-events": {"CHSK_LP_TIMEOUT_MS": 2000},
    "transit/bad-events": {"CHSK_LP_TIMEOUT_MS": 2000},
    "msgpack/bad-events": {"CHSK_LP_TIMEOUT_MS": 2000},
    "gzip/bad-events": {"CHSK_LP_TIMEOUT_MS": 2000},
    "edn/missing-client-id": {"CHSK_LP_TIMEOUT_MS": 2000},
    "edn/csrf": CSRF,
    "edn/origin": ORIGIN,
    "edn/unauthorized": WITH_UID,
    "edn/real-client-ajax-unauthorized": WITH_UID,
    "edn/real-client-auto-csrf-missing": CSRF,
    "edn/real-client-ajax-csrf": CSRF,
    "v1.20.0/real-client-ajax-csrf": CSRF,
    "v1.20.0/edn-session": {"CHSK_LP_TIMEOUT_MS": 2000, "CHSK_GENERATION": 2},
    "v1.20.0/edn-session-legacy-write": {"CHSK_LP_TIMEOUT_MS": 2000, "CHSK_GENERATION": 1},
    "v1.20.0/transit-session": {"CHSK_LP_TIMEOUT_MS": 2000, "CHSK_GENERATION": 2},
    "v1.20.0/transit-session-legacy-write": {"CHSK_LP_TIMEOUT_MS": 2000, "CHSK_GENERATION": 1},
}
# Connections to another server of the scenario.
SERVERS = {
    ("edn/csrf", "d2"): {"AUTH_CSRF": "off"},
    ("edn/handshake-variants", "c5"): {"CHSK_PACKER": "transit-verbose"},
    ("edn/origin", "x"): {"AUTH_ALLOWED_ORIGINS": "*"},
    ("edn/missing-client-id", "c3"): CSRF,
    ("v1.20.0/handshake-variants", "c5"): CSRF,
    ("v1.20.0/handshake-variants", "c6"): CSRF,
    ("v1.20.0/handshake-variants", "c7"): CSRF,
    ("v1.20.0/handshake-variants", "c8"): ORIGIN,
    ("v1.20.0/handshake-variants", "c9"): WITH_UID,
}
# Connections whose session differs; None: there is none.
DATA = {"handshake_data": '{"server":"data","n":1}'}
SESSIONS = {
    ("edn/csrf", "d1"): {"csrf_token": None},
    ("edn/handshake-variants", "c1"): DATA,
    ("edn/handshake-variants", "c2"): {"uid": None},
    ("edn/unauthorized", "c1"): None,
    ("edn/unauthorized", "c2"): None,
    ("edn/real-client-ajax-unauthorized", 1): None,
    ("edn/real-client-auto-csrf-missing", 1): {"csrf_token": None},
    ("edn/missing-client-id", "c3"): None,
    ("v1.20.0/handshake-variants", "c1"): DATA,
    ("v1.20.0/handshake-variants", "c3"): {"uid": None},
    ("v1.20.0/handshake-variants", "c9"): None,
}

# ---- what is not replayed ----

NOT_REPLAYED = {
    ("edn/unauthorized", "c4"): "a reject function of the application in Clojure: there is no such hook",
}
# What happened on the server without a server-call step of its own: (scenario, step before which it did): text.
CALLS = {
    ("edn/ajax-push-between-polls", 7): "send-fn [:test/pushed 1]",
}

# ---- the deviations: (scenario, step of the recorded answer or of its absence) -> (reason, our answer) ----

NO_ID = "400 instead of 500 for a GET without client-id: it is the client's fault"
NO_ID_ANSWER = (400, "Bad request: the parameter client-id is missing")
UNREADABLE = "400 instead of 500 for a payload that can't be unpacked"
PER_CLIENT = "answered in the generation that this client writes, not in the server's own"
NOT_LOST = "a push without a live poll is kept for the next one, in order; Sente loses or reorders it"
SUPERSEDED = "a superseded poll is ended at its deadline; Sente never answers it"
CLOSED = "chsk/close ends a poll with 503; http-kit writes five bytes that are no HTTP"
UNKNOWN_TAG = "unknown edn tags are kept: the value belongs to the application"
CLOSED_ANSWER = (503, "Closed by the server")
ANY = "*"

DEVIATIONS = {
    ("edn/ajax-poll-superseded", 6): (SUPERSEDED, (200, "[:chsk/timeout nil]")),
    ("edn/ajax-push-between-polls", 11): (NOT_LOST, (200, "[[[:test/pushed 2] [:test/pushed 3]] nil]")),
    ("edn/ajax-push-between-polls", 13): (NOT_LOST, (200, "[:chsk/timeout nil]")),
    ("edn/ajax-push-lost-after-retries", 5): (NOT_LOST, (200, "[[[:test/pushed :x]] nil]")),
    ("edn/bad-events", 20): (UNREADABLE, (400, ANY)),
    ("transit/bad-events", 20): (UNREADABLE, (400, ANY)),
    ("msgpack/bad-events", 20): (UNREADABLE, (400, ANY)),
    ("gzip/bad-events", 20): (UNREADABLE, (400, ANY)),
    ("edn/bad-payloads", 8): (UNREADABLE, (400, ANY)),
    ("edn/bad-payloads", 11): (UNKNOWN_TAG, (200, "[#foo/bar 1 nil]")),
    ("edn/missing-client-id", 2): (NO_ID, NO_ID_ANSWER),
    ("edn/missing-client-id", 5): (NO_ID, NO_ID_ANSWER),
    ("edn/missing-client-id", 11): (NO_ID, NO_ID_ANSWER),
    ("edn/real-client-ajax", 28): (CLOSED, CLOSED_ANSWER),
    ("edn/real-client-ajax-csrf", 29): (CLOSED, CLOSED_ANSWER),
    ("edn/server-chsk-close", 9): (CLOSED, CLOSED_ANSWER),
    ("transit/server-chsk-close", 9): (CLOSED, CLOSED_ANSWER),
    ("msgpack/server-chsk-close", 9): (CLOSED, CLOSED_ANSWER),
    ("gzip/server-chsk-close", 9): (CLOSED, CLOSED_ANSWER),
    ("transit/real-client-ajax", 29): (CLOSED, CLOSED_ANSWER),
    ("msgpack/real-client-ajax", 28): (CLOSED, CLOSED_ANSWER),
    ("gzip/real-client-ajax", 28): (CLOSED, CLOSED_ANSWER),
    ("v1.20.0/edn-session", 14): (PER_CLIENT, (200, "[:chsk/dummy-cb-200 nil]")),
    ("v1.20.0/edn-session", 16): (PER_CLIENT, (200, "[1 nil]")),
    ("v1.20.0/edn-session", 19): (PER_CLIENT, (200, "+[:chsk/dummy-cb-200]")),
    ("v1.20.0/edn-session", 21): (PER_CLIENT, (200, "+[1]")),
    ("v1.20.0/edn-session", 24): ("400 for what can't be unpacked, as 1.22 refuses it, and not 1.20's dummy", (400, ANY)),
    ("v1.20.0/transit-session", 14): (PER_CLIENT, (200, '["~:chsk/dummy-cb-200",null]')),
    ("v1.20.0/transit-session", 16): (PER_CLIENT, (200, "[1,null]")),
    ("v1.20.0/transit-session", 19): (PER_CLIENT, (200, '+["~:chsk/dummy-cb-200"]')),
    ("v1.20.0/transit-session", 21): (PER_CLIENT, (200, "+[1]")),
    ("v1.20.0/transit-session", 24): ("400 for what can't be unpacked, as 1.22 refuses it, and not 1.20's dummy",
                                      (400, ANY)),
    ("v1.20.0/real-client-transit-ajax", 29): (CLOSED, CLOSED_ANSWER),
    ("v1.20.0/handshake-variants", 14): (NO_ID, NO_ID_ANSWER),
    ("v1.20.0/real-client-ajax", 28): (CLOSED, CLOSED_ANSWER),
    ("v1.20.0/real-client-ajax-csrf", 28): (CLOSED, CLOSED_ANSWER),
}



def bad_events(package):
    """What the application sees in the scenario bad-events, with this for the payload that is a bare 5."""
    return ("the payload that can't be unpacked is reported, and a forged chsk/ event is a bad event",
            ["[:chsk/bad-event [:unnamespaced 1]]", "[:chsk/bad-event [:a/b 1 2]]", '[:chsk/bad-event "str"]',
             "[:chsk/bad-event nil]", "[:chsk/bad-event {:a 1}]", "[:chsk/bad-event nil]", package,
             "[:chsk/bad-event nil]", '[:chsk/bad-event [:chsk/uidport-open "evil"]]'])


# Events that the application saw, where they differ: scenario -> (reason, ours in full).
EVENT_DEVIATIONS = {
    "edn/bad-events": bad_events('[:chsk/bad-package "5"]'),
    "transit/bad-events": bad_events('[:chsk/bad-package "[\\"~#\'\\",5]"]'),
    "msgpack/bad-events": bad_events("[:chsk/bad-package]"),
    "gzip/bad-events": bad_events("[:chsk/bad-package]"),
}


def scenarios():
    names = []
    for folder in ("edn", "transit", "transit-verbose", "msgpack", "gzip", "v1.20.0"):
        for path in sorted(glob.glob(os.path.join(WIRE, folder, "*.json"))):
            name = folder + "/" + os.path.basename(path)[:-len(".json")]
            with open(path, encoding="utf-8") as source:
                scenario = json.load(source)
            if any(is_ajax_request(step) for step in scenario["steps"]):
                names.append(name)
    return names


def is_ajax_request(step):
    return step.get("kind") == "http-request" and "\r\nupgrade:" not in step["head"].lower()


# The captures' names for packers -> ours.
PACKERS = {"gzip": "gzip+edn"}


def body_of(step):
    """A body's bytes, as recorded."""
    if "body_hex" in step:
        return bytes.fromhex(step["body_hex"])
    return step.get("body", "").encode()


def shown(answer):
    """An answer (status, bytes or text) with text where it is text, for comparing and for reading."""
    if answer is None or isinstance(answer[1], str):
        return answer
    try:
        return answer[0], answer[1].decode()
    except UnicodeDecodeError:
        return answer


class Replay:
    """One scenario under way."""

    def __init__(self, name):
        self.name = name
        with open(os.path.join(WIRE, name + ".json"), encoding="utf-8") as source:
            self.scenario = json.load(source)
        self.steps = self.scenario["steps"]
        self.websockets = {step["conn"] for step in self.steps
                           if step.get("kind") == "http-request" and not is_ajax_request(step)}
        # A connection that is reused for Ajax after a refused WebSocket is still an Ajax one.
        self.skipped = {step.get("conn") for step in self.steps if step.get("kind") == "ws-frame"}
        self.servers = {}       # settings -> (World, port)
        self.connections = {}   # label -> Http
        self.pending = set()    # labels with a request under way
        self.upgrades = set()   # labels with a skipped WebSocket request under way
        self.uid = None         # of the latest poll or handshake: whom pushes are for
        self.ajax_clients = set()
        self.problems = []
        self.compared = self.requests = 0
        self.deviations_seen = set()

    # ---- servers and sessions ----

    def settings(self, conn):
        packer = self.scenario["packer"]
        settings = {"AUTH_UID": "session", "AUTH_CSRF": "off", "CHSK_INBOX_FORMAT": "edn",
                    "CHSK_PACKER": PACKERS.get(packer, packer)}
        if self.name.startswith("v1.20.0/"):
            settings["CHSK_GENERATION"] = 2
        if "lp_timeout_ms" in self.scenario:
            settings["CHSK_LP_TIMEOUT_MS"] = self.scenario["lp_timeout_ms"]
        settings.update(SETTINGS.get(self.name, {}))
        settings.update(SERVERS.get((self.name, conn), {}))
        return settings

    def server(self, conn):
        settings = self.settings(conn)
        key = tuple(sorted(settings.items()))
        if key not in self.servers:
            world = World(**settings)
            try:
                responder = world.responder()
                world.script(APPLICATION)
                self.servers[key] = (world, world.lighttpd(responder.address).port)
            except Exception:
                world.close()
                raise
        return self.servers[key]

    def cookie(self, world, conn, uid):
        session = {"uid": uid, "csrf_token": "tok", "handshake_data": None}
        changes = SESSIONS.get((self.name, conn), {})
        if changes is None:
            return ""
        session.update(changes)
        sid = "s-%s-%s" % (conn, uid)
        world.session(sid, **session)
        return "Cookie: dw_sid=%s\r\n" % sid

    # ---- steps ----

    def request(self, step):
        conn = step["conn"]
        world, port = self.server(conn)
        head, body = step["head"], body_of(step)
        target = urlsplit(head.split(" ", 2)[1])
        fields = parse_qs(target.query, keep_blank_values=True)
        binary = "application/octet-stream" in head
        form = {} if binary else parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        client_id = (fields.get("client-id") or form.get("client-id") or [None])[0]
        uid = (fields.get("user") or form.get("user") or [client_id])[0]
        if head.startswith("GET"):
            self.uid = uid
        if client_id:
            self.ajax_clients.add(client_id)
        lines = [line for line in head.rstrip("\r\n").split("\r\n") if not line.lower().startswith("host:")]
        text = lines[0] + "\r\nHost: 127.0.0.1:%d\r\n" % port + self.cookie(world, conn, uid)
        text += "".join(line + "\r\n" for line in lines[1:]) + "\r\n"
        if conn not in self.connections:
            self.connections[conn] = Http(port)
        self.connections[conn].sock.sendall(text.encode() + body)
        self.pending.add(conn)
        self.requests += 1

    def call(self, text):
        """What the server application did, given in words: the events in it, pushed in one transaction."""
        world = self.server(None)[0]
        db = world.db()
        db.execute("BEGIN IMMEDIATE")
        for event in events_in(text):
            name, data = event[2:-1].partition(" ")[::2]
            db.execute("INSERT INTO dw_push (uid, event, data, format) VALUES (?, ?, ?, 'edn')",
                       (self.uid, name, data or None))
        db.execute("COMMIT")

    def differ(self, at, recorded, ours):
        """Compares one answer; `recorded` None: there was none."""
        recorded, ours = shown(recorded), shown(ours)
        self.compared += 1
        deviation = DEVIATIONS.get((self.name, at))
        if deviation is None:
            if recorded != ours:
                self.problems.append("step %d: recorded %r\n        ours     %r" % (at, recorded, ours))
            return
        self.deviations_seen.add(at)
        reason, expected = deviation
        if recorded == ours:
            self.problems.append("step %d no longer deviates (%s): take it out of the table" % (at, reason))
        elif not (ours is not None and ours[0] == expected[0] and expected[1] in (ANY, ours[1])):
            self.problems.append("step %d: deviates otherwise than the table says (%s)\n        table %r\n"
                                 "        ours  %r" % (at, reason, expected, ours))

    def answer(self, at, step):
        conn = step["conn"]
        if conn not in self.pending:
            return
        self.pending.discard(conn)
        answer = self.connections[conn].receive(30)
        recorded = (0, "") if step.get("framing") == "none" or not step["head"].startswith("HTTP/1.1 ") else \
            (int(step["head"].split()[1]), body_of(step))
        self.differ(at, recorded, (answer.status, answer.body))
        packer = self.scenario["packer"]
        kind = "application/octet-stream" if packer in ("msgpack", "gzip") else "text/plain; charset=utf-8"
        if answer.status == 200 and answer.headers.get("content-type", "").lower() != kind:
            self.problems.append("step %d: content type %r, not %r" % (at, answer.headers.get("content-type"), kind))

    def silence(self, at, step):
        """The capture says that nothing came for a while."""
        conn = step["conn"]
        if conn not in self.pending:
            return
        seconds = float(re.search(r"within ([\d.]+) s", step["text"]).group(1))
        try:
            answer = self.connections[conn].receive(seconds)
            self.pending.discard(conn)
            self.differ(at, None, (answer.status, answer.body))
        except socket.timeout:
            self.differ(at, None, None)

    def close(self, step):
        connection = self.connections.pop(step["conn"], None)
        if connection is not None:
            connection.close()
        self.pending.discard(step["conn"])

    def step(self, at, step):
        if (self.name, at) in CALLS:
            self.call(CALLS[self.name, at])
        conn, kind = step.get("conn"), step.get("kind")
        if step["dir"] == "server-call":
            if self.uid is not None:
                self.call(step["text"])
        elif step["dir"] == "server-events":
            self.events(step["events"])
        elif conn is None or conn in self.skipped or (self.name, conn) in NOT_REPLAYED:
            return
        elif kind == "http-request":
            if is_ajax_request(step):
                self.request(step)
        elif kind == "http-response":
            self.answer(at, step)
        elif kind in ("tcp-close", "tcp-eof") and step["dir"] == "C>S":
            self.close(step)
        elif step["dir"] == "note" and step.get("text", "").startswith("no response within"):
            self.silence(at, step)

    def events(self, recorded):
        """Compares what the application saw of the Ajax clients."""
        theirs = [event["event"] for event in recorded if event["client_id"] in self.ajax_clients]
        world = self.server(None)[0]
        rows = world.sql("SELECT event, data FROM dw_inbox ORDER BY id")
        ours = ["[:%s%s]" % (event, " " + data if data is not None else "") for event, data in rows]
        deviation = EVENT_DEVIATIONS.get(self.name)
        self.compared += 1
        if deviation is None and ours != theirs:
            self.problems.append("the application saw %r\n        recorded       %r" % (ours, theirs))
        elif deviation is not None and ours == theirs:
            self.problems.append("the events no longer deviate (%s)" % deviation[0])
        elif deviation is not None and ours != deviation[1]:
            self.problems.append("the events deviate otherwise than the table says (%s)\n        table %r\n"
                                 "        ours  %r" % (deviation[0], deviation[1], ours))

    def run(self):
        try:
            begin, first = None, self.steps[0]["t_ms"]
            for at, step in enumerate(self.steps):
                if step["dir"] in ("C>S", "server-call", "server-events"):
                    if begin is None:
                        self.server(None)
                        begin, first = time.monotonic(), step["t_ms"]
                    # The recorded pace, so that time-outs and grace periods come to pass as they did.
                    time.sleep(max(0, begin + (step["t_ms"] - first) / 1000 - time.monotonic()))
                self.step(at, step)
            missed = {at for name, at in DEVIATIONS if name == self.name} - self.deviations_seen
            if missed:
                self.problems.append("the table's steps %s were never compared" % sorted(missed))
        except Exception as error:
            self.problems.append("step %d: %s: %s" % (at, type(error).__name__, error))
        finally:
            for connection in self.connections.values():
                connection.close()
            for world, _ in self.servers.values():
                wrong = world.close()
                if wrong is not None or self.problems:
                    self.problems.append((wrong or "") + "\n" + world.logs())
                world.remove()
        return self


def events_in(text):
    """The event vectors in a text, as written: [:test/a 1], [:test/c {:k "v"}]."""
    found, at = [], 0
    while True:
        at = text.find("[:", at)
        if at < 0:
            return found
        depth, end = 0, at
        while True:
            depth += (text[end] in "[{(") - (text[end] in "]})")
            end += 1
            if depth == 0:
                break
        event = text[at:end]
        found.append(event)
        at = end


NAMES = scenarios()


@pytest.fixture(scope="module")
def replays():
    """All scenarios side by side: they mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=12 if SLOW == 1 else 6) as pool:
        yield {name: pool.submit(Replay(name).run) for name in NAMES}


def test_the_captures_are_there():
    if not os.environ.get("DW_SHARED") and not os.path.isdir(WIRE):
        pytest.skip("no folder ../shared and no DW_SHARED: captured traffic was not compared")
    assert NAMES, "no captures in %s: nothing was compared" % WIRE


@pytest.mark.parametrize("name", NAMES)
def test_replay(replays, name):
    replay = replays[name].result()
    print("%s: %d requests, %d answers and event lists compared, %d documented deviations"
          % (name, replay.requests, replay.compared, len(replay.deviations_seen)))
    assert not replay.problems, "\n    ".join(replay.problems)
    assert replay.compared > 0


def test_totals(replays, record_property):
    done = [future.result() for future in replays.values()]
    text = "%d scenarios, %d requests, %d comparisons, %d documented deviations" % (
        len(done), sum(r.requests for r in done), sum(r.compared for r in done),
        len(DEVIATIONS) + len(EVENT_DEVIATIONS))
    print(text)
    record_property("wire", text)
