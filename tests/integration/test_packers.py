"""Packers end to end: what apps push in any format reaches clients of every packer, what clients send in
any packer is in the inbox, and what can't be read is told.  The bytes here are written by hand from the
formats' specifications; tests/unit has the packers' details."""

import gzip

import pytest

from clients import fcgi, form, handshake, poll
from harness import wait_until

E = "\u00e9"
# The message [[[:test/p {:n 1, :s "é"}] [:test/p #{:a/b}]] nil], ...
POLLED = {
    "edn": ('[[[:test/p {:n 1, :s "%s"}] [:test/p #{:a/b}]] nil]' % E).encode(),
    "json": ('[[["test/p",{"n":1,"s":"%s"}],["test/p",["a/b"]]],null]' % E).encode(),
    "transit": ('[[["~:test/p",["^ ","~:n",1,"~:s","%s"]],["^0",["~#set",["~:a/b"]]]],null]' % E).encode(),
    "transit-verbose": ('[[["~:test/p",{"~:n":1,"~:s":"%s"}],["~:test/p",{"~#set":["~:a/b"]}]],null]' % E).encode(),
    "msgpack": (b"\x92\x92\x92\xc7\x06\x00test/p\x82\xd4\x00n\x01\xd4\x00s\xa2\xc3\xa9"
                b"\x92\xc7\x06\x00test/p\xc7\x07\x04\x91\xc7\x03\x00a/b\xc0"),
}
# ... and [[:test/m {:n 1, :s "é"}] nil], as a client sends it.
SENT = {
    "edn": ('[[:test/m {:n 1, :s "%s"}] nil]' % E).encode(),
    "json": ('[["test/m",{"n":1,"s":"%s"}],null]' % E).encode(),
    "transit": ('[["~:test/m",["^ ","~:n",1,"~:s","%s"]],null]' % E).encode(),
    "transit-verbose": ('[["~:test/m",{"~:n":1,"~:s":"%s"}],null]' % E).encode(),
    "msgpack": b"\x92\x92\xc7\x06\x00test/m\x82\xd4\x00n\x01\xd4\x00s\xa2\xc3\xa9\xc0",
}
# The map alone, as an app writes and reads it.
DATA = {
    "json": '{"n":1,"s":"%s"}' % E,
    "edn": '{:n 1, :s "%s"}' % E,
    "transit": '["^ ","~:n",1,"~:s","%s"]' % E,
}
# The same with string keys: what a JSON client's message is.
STRING_KEYS = {"json": DATA["json"], "edn": '{"n" 1, "s" "%s"}' % E, "transit": '["^ ","n",1,"s","%s"]' % E}

PACKERS = list(POLLED) + ["gzip+" + name for name in POLLED]


def wrapped(packer, messages):
    """A short message, which gzip+X stores as it is behind a zero."""
    return b"\0" + messages[packer[5:]] if packer.startswith("gzip+") else messages[packer]


def is_binary(packer):
    return packer == "msgpack" or packer.startswith("gzip+")


def extra(packer):
    return "&packer=" + packer.replace("+", "%2B")


def post(responder, packer, payload, client_id="alice"):
    if is_binary(packer):
        return fcgi(responder.address, "POST", poll(client_id, extra(packer)), payload,
                    CONTENT_TYPE="application/octet-stream")
    return fcgi(responder.address, "POST", extra(packer)[1:], form(client_id, payload.decode()))


@pytest.fixture(scope="module")
def shared_world():
    """One world for the many combinations; each uses a client of its own."""
    import harness
    world = harness.World()
    world.address = world.responder().address
    yield world
    wrong = world.close()
    logs = world.logs()
    world.remove()
    assert wrong is None, wrong + "\n" + logs


@pytest.mark.parametrize("format", ["json", "edn", "transit"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_push_of_any_format_reaches_clients_of_any_packer(shared_world, packer, format):
    world, client_id = shared_world, "%s-%s" % (packer, format)
    assert fcgi(world.address, "GET", handshake(client_id, extra(packer))).status == 200
    world.push(client_id, "test/p", DATA[format], format)
    if format == "transit":
        world.push(client_id, "test/p", '["~#set",["~:a/b"]]', "transit")
    else:
        world.push(client_id, "test/p", "#{:a/b}", "edn")
    answer = fcgi(world.address, "GET", poll(client_id, extra(packer)))
    assert (answer.status, answer.body) == (200, wrapped(packer, POLLED))
    assert answer.headers["content-type"] == (
        "application/octet-stream" if is_binary(packer) else "text/plain; charset=utf-8")


@pytest.mark.parametrize("format", ["json", "edn", "transit"])
def test_what_clients_send_is_in_the_inbox_in_its_format_and_as_it_came(make_world, format):
    world = make_world(CHSK_INBOX_FORMAT=format)
    responder = world.responder()
    for packer in PACKERS:
        assert post(responder, packer, wrapped(packer, SENT)).status == 200
    rows = world.sql("SELECT event, data, format, packer, raw FROM dw_inbox ORDER BY id")
    assert [row[3] for row in rows] == PACKERS
    for event, data, stated, packer, raw in rows:
        keys = STRING_KEYS if packer.endswith("json") else DATA
        assert (event, data, stated, raw) == ("test/m", keys[format], format, wrapped(packer, SENT)), packer


@pytest.mark.parametrize("keys, edn, transit", [
    ("keyword", "{:a/b 1, :c {:d 2}, \"e f\" 3}", '["^ ","~:a/b",1,"~:c",["^ ","~:d",2],"e f",3]'),
    ("string", '{"a/b" 1, "c" {"d" 2}, "e f" 3}', '["^ ","a/b",1,"c",["^ ","d",2],"e f",3]'),
])
def test_keys_of_an_apps_json_are_keywords_or_strings_as_the_setting_says(make_world, keys, edn, transit):
    world = make_world(CHSK_JSON_KEYS=keys)
    responder = world.responder()
    json = '{"a/b":1,"c":{"d":2},"e f":3}'
    for packer, expected in (("edn", "[[[:test/p %s]] nil]" % edn), ("transit", '[[["~:test/p",%s]],null]' % transit),
                             ("json", '[[["test/p",%s]],null]' % json)):
        fcgi(responder.address, "GET", handshake(packer, extra(packer)))
        world.push(packer, "test/p", json)
        assert fcgi(responder.address, "GET", poll(packer, extra(packer))).text == expected


@pytest.mark.parametrize("format, data", [
    ("edn", "{:a"), ("edn", "#{1 1}"), ("edn", "1 2"), ("transit", '["^0"]'), ("transit", "{:a 1}"),
    ("transit", '["~:a"'),
])
def test_a_push_that_cannot_be_read_is_named_in_the_log_and_the_others_arrive(make_world, format, data):
    """SQL can't check edn and transit; the responder says which row it is and what is wrong with it."""
    world = make_world()
    responder = world.responder()
    fcgi(responder.address, "GET", handshake("alice"))
    bad = world.push("alice", "test/p", data, format)
    world.push("alice", "test/p", "2")
    assert fcgi(responder.address, "GET", poll("alice")).text == "[[[:test/p 2]] nil]"
    line = wait_until(lambda: next((line for line in world.tail(responder.log).splitlines() if "can't be sent" in line),
                                   None), 5, "the log names the push")
    assert "push %d (format %s)" % (bad, format) in line and " at byte " in line or "duplicate" in line


def test_a_gzip_bomb_is_refused_and_leaves_the_responder_as_it_was(world):
    responder = world.responder()
    post(responder, "gzip+edn", wrapped("gzip+edn", SENT))
    before = responder.status("VmRSS")
    bomb = b"\1" + gzip.compress(b" " * (64 << 20) + b"1", 9)
    assert len(bomb) < 100000
    for _ in range(5):
        answer = post(responder, "gzip+edn", bomb)
        assert 400 <= answer.status < 500 and "inflates to more than" in answer.text
    assert responder.status("VmRSS") < before + 8192
    assert post(responder, "gzip+edn", wrapped("gzip+edn", SENT)).status == 200
    assert world.sql("SELECT count(*) FROM dw_inbox WHERE event = 'test/m'") == [(2,)]


# Without a time in it: the parameters name the tests, and two runners must find the same ones.
DAMAGED = [b"", b"\2", b"\1", b"\1\x1f\x8b", b"\1" + gzip.compress(b"[[:a/b] nil]", mtime=0)[:-5]]


@pytest.mark.parametrize("payload", DAMAGED)
def test_damaged_gzip_is_refused_or_nil(world, payload):
    responder = world.responder()
    answer = post(responder, "gzip+edn", payload)
    assert answer.status == (200 if payload == b"" else 400)
