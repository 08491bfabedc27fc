"""Attacks by what a client sends: strings that become SQL, log records, headers, HTML or file names; docs/security.md
lists them."""

import glob
import json
import os
import re
import sqlite3
import urllib.parse

import pytest

from attacks import EVENT, KINDS, ORIGIN, VICTIM, VICTIM_TOKEN, Site, raw_websocket
from clients import DUMMY, Http, fcgi, form, handshake
from harness import SLOW, wait_until

PROMPT = 5 * SLOW
needs_sidecar = pytest.mark.skipif("websocket" not in KINDS, reason="built without the sidecar")


# ---- SQL ----

SQL = ["'; DROP TABLE dw_push; --", "' OR '1'='1", "x') ON CONFLICT DO UPDATE SET uid='alice' --", "\"; DELETE FROM dw_inbox",
       "1; ATTACH DATABASE '/tmp/evil' AS e", "'||(SELECT csrf_token FROM dw_session)||'", ":sid", "?1", "%' --", "*", "[a-z]"]


def schema(path):
    connection = sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=30)
    try:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
    finally:
        connection.close()


def sessions(world):
    return world.sql("SELECT * FROM dw_session ORDER BY sid")


def test_sql_in_every_string_of_a_client(make_world):
    """Each lands as it is, or is refused; the tables are what they were."""
    site = Site(make_world, AUTH_CSRF="off")
    world = site.world
    before = schema(world.db_path), schema(world.db_path + "-dw/state.db"), sessions(world)
    for text in SQL:
        packed = json.dumps(text)
        tab = site.victim(text)
        assert '["alice"' in tab.ask("handshake").text
        assert tab.ask("post", payload="[[:t/sql %s] nil]" % packed).text == DUMMY
        assert json.loads(tab.ask("post", {"packer": "json"}, payload=json.dumps([[text, text], None])).text)
        for params in ({"csrf-token": text}, {"udt": text}, {"x": text, text: "x"}, {"handshake?": text}, {"resume": text}):
            assert tab.ask("handshake", params).status == 200, params
        assert tab.ask("handshake", {"packer": text}).status == 400
        stranger = site.ask("handshake", {"Cookie": "dw_sid=" + text, "Origin": ORIGIN, "X-CSRF-Token": text})
        assert ":sente/nil-uid" in stranger.text
        if site.sidecar is not None:
            client = tab.websocket()
            client.send("[[:t/sql %s] nil]" % packed)
            client.send('[[:t/ws-sql] %s]' % packed)
            assert wait_until(lambda: ("alice", text, "t/ws-sql") in site.rows(), PROMPT, "the message is stored")
            client.drop()
        stored = world.sql("SELECT DISTINCT uid, client_id, data FROM dw_inbox WHERE event = 't/sql' AND client_id = ?",
                           text)
        assert stored == [("alice", text, packed)]
    after = schema(world.db_path), schema(world.db_path + "-dw/state.db"), sessions(world)
    assert after == before
    assert not os.path.exists("/tmp/evil")


# ---- the log ----

TEXT_RECORD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z dumbwaiter[-.a-z]*\[\d+\] (error|warn|info|debug): [^\x00-\x1f\x7f]*")
FORGED = "\n2026-01-01T00:00:00.000Z dumbwaiter.fcgi[1] error: forged\r\n\x1b[2J\x07\x7f\u009b31m"
SECRETS = {"cookie": "secretC00kie", "token": "secretT0ken", "payload": "secretP4yload", "query": "secretQu3ry",
           "header": "secretH3ader", "handshake data": "secretD4ta"}


def attack_the_log(site):
    """Requests that make the programs say something, with secrets and control characters wherever they can be."""
    world = site.world
    world.session(SECRETS["cookie"], "uid-alice", SECRETS["token"], json.dumps({"x": SECRETS["handshake data"]}))
    world.sql("INSERT INTO dw_session (sid, uid) VALUES (?, 'uid-nobody')", SECRETS["cookie"] + "2")
    world.script("CREATE TRIGGER broken AFTER INSERT ON dw_inbox WHEN NEW.event = 't/broken' BEGIN"
                 " SELECT json_extract('{}', json_extract(NEW.data, '$')); END;"
                 "CREATE TRIGGER badly AFTER INSERT ON dw_inbox WHEN NEW.event = 't/badly' BEGIN"
                 " INSERT INTO dw_reply (inbox_id, data, format) VALUES (NEW.id, '{:a', 'edn'); END;")
    good = {"Cookie": "dw_sid=" + SECRETS["cookie"], "X-CSRF-Token": SECRETS["token"], "Origin": ORIGIN}
    wrong = [
        {"Cookie": "dw_sid=" + SECRETS["cookie"] + "2", "X-CSRF-Token": SECRETS["token"]},
        {"Cookie": "dw_sid=" + SECRETS["cookie"] + "3", "X-CSRF-Token": SECRETS["token"]},
        {"Cookie": "dw_sid=" + SECRETS["cookie"], "X-CSRF-Token": SECRETS["token"] + "x"},
        dict(good, Origin="https://%s.example" % SECRETS["header"]),
        dict(good, Origin="", Referer="https://%s.example/" % SECRETS["header"]),
    ]
    payloads = ["[[:t/ok %s] nil]", "[[:t/%s] nil", "[[%s %s] nil]", "[[:chsk/%s] nil]", "#%s", "{:a %s", "[[:t/badly %s] :ajax]",
                "\"\\%s", "[[:t/ok #inst \"%s\"] nil]", "[[:t/ok \\%s] nil]", "[[:t/ok 1%s] nil]"]
    tab = site.tab({"Cookie": good["Cookie"]}, SECRETS["token"], "tab-cl1ent")
    answers = []
    for headers in wrong:
        for kind in KINDS:
            answers.append(site.ask(kind, headers, {"x": SECRETS["query"], "csrf-token2": "x"}))
    tab.ask("handshake")
    for payload in payloads:
        text = payload.replace("%s", SECRETS["payload"])
        for packer in ("edn", "json", "transit", "msgpack", "gzip+edn"):
            for kind in ("post", "binary post"):
                answers.append(tab.ask(kind, {"packer": packer}, payload=text))
    answers.append(tab.ask("handshake", {"packer": SECRETS["query"], "client-id": FORGED}))
    answers.append(tab.ask("handshake", {"client-id": SECRETS["query"] + FORGED}))
    answers.append(tab.ask("handshake", {"packer": FORGED, FORGED: FORGED, "udt": FORGED}))
    answers.append(site.ask("post", good, {"client-id": ""}))
    assert tab.ask("post", payload="[[:t/broken %s] nil]" % json.dumps(FORGED)).status == 500
    if site.sidecar is not None:
        client = tab.websocket()
        for payload in payloads:
            client.send(payload.replace("%s", SECRETS["payload"]))
        client.send("[[:t/broken %s] \"c\"]" % json.dumps(FORGED))
        client.send('[[:chsk/ws-ping] "c2"]')
        while client.receive(PROMPT) != '["pong" "c2"]':
            pass
        client.drop()
        raw_websocket(site.sidecar.address, "/chsk?client-id=%s&x=%s" % (urllib.parse.quote(FORGED), SECRETS["query"]), good)
    return answers


def logs(world):
    """Whole records of each of our processes."""
    text = {}
    for name in glob.glob(world.path("responder*.log")) + glob.glob(world.path("sidecar*.log")):
        with open(name, "rb") as log:
            text[os.path.basename(name)] = log.read().decode("utf-8")
    return text


@pytest.mark.parametrize("names", ["off", "on"])
@pytest.mark.parametrize("format", ["text", "json"])
def test_forged_records_and_secrets_in_the_log(make_world, format, names):
    """At every level: a client's text begins no record and moves no terminal's cursor; cookies, tokens and messages are
    not there, names only where log.names says so."""
    site = Site(make_world, LOG_LEVEL="debug", LOG_FORMAT=format, LOG_NAMES=names)
    attack_the_log(site)
    said = logs(site.world)
    whole = "".join(said.values())
    assert "refused a message" in whole and "refused: the CSRF token" in whole, whole
    for name, text in said.items():
        assert text.endswith("\n")
        for line in text[:-1].split("\n"):
            if format == "json":
                assert set(json.loads(line)) == {"time", "level", "name", "pid", "message"}
                assert not re.search(r"[\x00-\x1f\x7f\x80-\x9f]", line)
            else:
                assert TEXT_RECORD.fullmatch(line), (name, line)
                assert not re.search("[\x80-\x9f]", line)
        assert "error: forged" not in re.sub(r"JSON path error near .*", "", text)
    for what, secret in SECRETS.items():
        assert secret not in whole, what
    for name in ("uid-alice", "tab-cl1ent"):
        assert (name in whole) == (names == "on"), name


# ---- what comes back ----

SCRIPT = "<script>alert(1)</script>"
SPLIT = "x\r\nSet-Cookie: dw_sid=m-sid\r\n\r\n" + SCRIPT
KNOWN_HEADERS = {"status", "content-type", "content-length", "cache-control", "x-accel-buffering", "x-content-type-options",
                 "retry-after", "allow", "upgrade", "connection", "sec-websocket-version"}


def is_harmless(answer, what):
    """No browser takes it for a page or a script, keeps it, or finds a header in it that a client wrote."""
    assert answer.headers["content-type"] in ("text/plain; charset=utf-8", "application/octet-stream"), what
    assert answer.headers["x-content-type-options"] == "nosniff", what
    assert answer.headers["cache-control"] == "no-store, no-transform", what
    assert set(answer.headers) <= KNOWN_HEADERS, what
    assert int(answer.headers["content-length"]) == len(answer.body), what


def hostile_requests(site):
    """(what it is, answer, may the answer contain what was sent) for every status that there is."""
    address, tab = site.responder.address, site.victim()
    site.world.script("CREATE TRIGGER echo AFTER INSERT ON dw_inbox WHEN NEW.event = 't/echo' BEGIN"
                      " INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, NEW.data); END;")
    for text in (SCRIPT, SPLIT):
        quoted = urllib.parse.quote(text)
        yield "handshake", tab.ask("handshake", {"x": text}), False
        yield "client id", site.ask("handshake", VICTIM, {"csrf-token": VICTIM_TOKEN}, client_id=text), False
        yield "packer", tab.ask("handshake", {"packer": text}), False
        yield "token", site.ask("handshake", VICTIM, {"csrf-token": text}), False
        yield "token header", site.ask("handshake", dict(VICTIM, **{"X-CSRF-Token": text})), False
        yield "origin", site.ask("handshake", dict(VICTIM, Origin=text), {"csrf-token": VICTIM_TOKEN}), False
        yield "referer", site.ask("handshake", dict(VICTIM, Referer=text), {"csrf-token": VICTIM_TOKEN}), False
        yield "cookie", site.ask("handshake", {"Cookie": "dw_sid=" + text}), False
        yield "no client id", fcgi(address, "GET", "x=" + quoted), False
        yield "method", fcgi(address, text, "client-id=a"), False
        yield "type", fcgi(address, "POST", "client-id=a", text.encode(), CONTENT_TYPE=text), False
        yield "long query", fcgi(address, "GET", "client-id=a&x=" + quoted * 1000), False
        yield "long body", fcgi(address, "POST", "client-id=a", text.encode() * 20000), False
        yield "websocket", fcgi(address, "GET", "client-id=a&x=" + quoted, HTTP_UPGRADE="websocket"), False
        yield "nonsense", tab.ask("post", payload=text), False
        yield "message", tab.ask("post", payload="[[:t/e %s] nil]" % json.dumps(text)), False
        yield "echo", tab.ask("post", payload="[[:t/echo %s] :ajax]" % json.dumps(text)), True
        yield "binary echo", tab.ask("binary post", {"packer": "json"},
                                     payload=json.dumps([["t/echo", text], 1])), True


def test_html_and_split_headers_in_what_a_client_sends(make_world):
    """Reflected script, response splitting, content sniffing, JSON hijacking: no answer is a page or a script, and only
    the application's own reply contains what was sent."""
    site = Site(make_world, sidecar=False)
    statuses = set()
    for what, answer, may_contain in hostile_requests(site):
        is_harmless(answer, what)
        assert may_contain or b"alert(1)" not in answer.body, what
        statuses.add(answer.status)
    assert statuses == {200, 400, 403, 405, 413, 414, 415, 501}


@needs_sidecar
def test_html_and_split_headers_in_the_opening_of_a_websocket(make_world):
    site = Site(make_world)
    quoted = urllib.parse.quote(SPLIT)
    for target, headers in [("/chsk?client-id=%s&csrf-token=%s" % (quoted, quoted), VICTIM),
                            ("/chsk?client-id=a&csrf-token=%s&packer=%s" % (VICTIM_TOKEN, quoted), VICTIM),
                            ("/chsk?client-id=a&csrf-token=" + VICTIM_TOKEN, dict(VICTIM, Origin=SCRIPT)),
                            ("/chsk?" + quoted, {}), ("/chsk/%s?client-id=a" % quoted, {"Cookie": SCRIPT})]:
        answer = raw_websocket(site.sidecar.address, target, headers)
        assert answer.status in (400, 403), target
        is_harmless(answer, target)
        assert b"alert(1)" not in answer.body
    plain = Http(int(site.sidecar.address.rsplit(":", 1)[1])).get("/%s?x=%s" % (quoted, quoted))
    assert plain.status == 426
    is_harmless(plain, "no upgrade")


@needs_sidecar
def test_a_subprotocol_of_a_websocket_is_not_echoed(world):
    sidecar = world.sidecar()
    answer = raw_websocket(sidecar.address, "/chsk?client-id=a", {"Sec-WebSocket-Protocol": "evil, x"})
    assert "evil" not in repr(answer.headers)


# ---- files and settings ----

TRAVERSALS = ["../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "/etc/passwd", "....//....//etc/passwd",
              "..\\..\\etc\\passwd", "file:///etc/passwd", "/proc/self/environ"]


def test_names_of_files_in_what_a_client_sends(make_world):
    """None of our programs opens a file that a request names."""
    site = Site(make_world, sidecar=False, AUTH_CSRF="off")
    world = site.world
    web = world.lighttpd(site.responder.address)
    assert site.victim("first").ask("handshake").status == 200  # by then all our own files are there
    before = set(os.listdir(world.folder)) | set(os.listdir(world.db_path + "-dw"))
    for text in TRAVERSALS:
        tab = site.victim(text)
        answers = [tab.ask("handshake"), tab.ask("handshake", {"packer": text}), tab.ask("handshake", {"config": text, "db": text}),
                   tab.ask("post", payload="[[:t/e %s] nil]" % json.dumps(text)),
                   fcgi(site.responder.address, "GET", handshake("a"), PATH_INFO="/" + text, PATH_TRANSLATED=text,
                        SCRIPT_FILENAME=text),
                   Http(web.port).get("/chsk/" + text + "?" + handshake("a"))]
        for answer in answers:
            assert b"root:" not in answer.body and b"DUMBWAITER" not in answer.body
    assert set(os.listdir(world.folder)) | set(os.listdir(world.db_path + "-dw")) == before


SETTINGS = ["DUMBWAITER_AUTH_UID", "Dumbwaiter-Auth-Uid", "Dumbwaiter_Auth_Uid", "dumbwaiter-auth-uid",
            "Http-Dumbwaiter-Auth-Uid"]


@pytest.mark.parametrize("cgi", [False, True], ids=["fastcgi", "cgi"])
def test_settings_in_headers_and_parameters(make_world, cgi):
    """A header arrives as HTTP_..., whatever its name; parameters are no environment.  (httpoxy: so does Proxy, and no
    program of ours connects to anywhere.)"""
    site = Site(make_world, sidecar=False)
    web = site.world.lighttpd(cgi=True) if cgi else site.world.lighttpd(site.responder.address)
    evil = site.world.path("evil.db")
    for name in SETTINGS:
        headers = {name: "client_id", "Proxy": "http://evil.example:8080",
                   "Dumbwaiter-Auth-Csrf": "off", "Dumbwaiter-Db": evil, "DUMBWAITER_DB": evil, "DUMBWAITER_CONF": evil,
                   "DUMBWAITER_PROCESS_USER": "root"}
        query = handshake("alice") + "&DUMBWAITER_AUTH_UID=client_id&DUMBWAITER_AUTH_CSRF=off&DUMBWAITER_DB=" + evil
        answer = Http(web.port).get("/chsk?" + query, headers)
        assert (answer.status, answer.text) == (403, "Bad CSRF token")
        answer = Http(web.port).post("/chsk?" + query, form("alice", EVENT), headers=headers)
        assert (answer.status, answer.text) == (403, "Bad CSRF token")
    assert not os.path.exists(evil) and site.rows() == []


@needs_sidecar
def test_settings_in_headers_of_a_websocket(make_world):
    site = Site(make_world)
    for name in SETTINGS:
        answer = raw_websocket(site.sidecar.address, "/chsk?client-id=alice&DUMBWAITER_AUTH_CSRF=off",
                               {name: "client_id", "DUMBWAITER_AUTH_CSRF": "off"})
        assert (answer.status, answer.body) == (403, b"Bad CSRF token")
