"""The WebSocket sidecar: pushes, callbacks, presence, limits, back-pressure, stopping, and being killed."""

import os
import re
import socket
import threading
import time
import zlib

import pytest

import harness
import websocket
from clients import Fcgi, Http, fcgi, handshake, poll
from harness import SLOW, counter, wait_until
from websocket import Client, Closed, Frames, Refused

pytestmark = pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")

HANDSHAKE = '[[:chsk/handshake ["%s" nil nil]] nil]'


def online(world, uid):
    rows = world.sql("SELECT ws, ajax FROM dw_online WHERE uid = ?", uid)
    return rows[0] if rows else None


def events(world):
    return [(event, uid) for event, uid in world.sql("SELECT event, uid FROM dw_inbox ORDER BY id")]


# ---- pushes and messages ----


def test_a_push_reaches_every_tab_of_its_user_and_nobody_else(world):
    sidecar = world.sidecar(AUTH_UID="session", AUTH_CSRF="off")
    world.session("s1", "alice")
    world.session("s2", "bob")
    tabs = [Client(sidecar.address, "tab%d" % i, headers={"Cookie": "dw_sid=s1"}) for i in range(3)]
    other = Client(sidecar.address, "tab9", headers={"Cookie": "dw_sid=s2"})
    assert tabs[0].handshake == HANDSHAKE % "alice"
    world.push("alice", "t/e", '{"n":1}')
    for tab in tabs:
        assert tab.receive() == "[[[:t/e {:n 1}]] nil]"
    world.push("*", "t/all", None, column="room")
    assert other.receive() == "[[[:t/all]] nil]"


def test_pushes_of_one_transaction_come_in_one_message_and_in_order(world):
    sidecar = world.sidecar()
    client = Client(sidecar.address, "a")
    db = world.db()
    db.execute("BEGIN")
    for n in range(700):
        db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('a', 't/n', ?)", (str(n),))
    db.execute("COMMIT")
    messages, numbers = [], []
    while len(numbers) < 700:
        messages.append(client.receive())
        numbers += [int(n) for n in re.findall(r"\[:t/n (\d+)\]", messages[-1])]
    assert numbers == list(range(700))
    assert max(message.count("[:t/n ") for message in messages) == 511, "a stock client drops events from 512 on"


def test_small_messages_do_not_wait_for_acknowledgements(world):
    """Behind a ping whose acknowledgement the client's machine puts off for 40 ms, Nagle's algorithm would hold
    the next push back for as long: one in twenty, at this pace."""
    sidecar = world.sidecar()
    client, db, late = Client(sidecar.address, "a"), world.db(), 0
    for n in range(600):
        db.execute("INSERT INTO dw_push (uid, event, data) VALUES ('a', 't/n', ?)", (str(n),))
        begin = time.monotonic()
        client.receive()
        late += 0.036 < time.monotonic() - begin < 0.048
        time.sleep(0.003)
    assert late <= 8


@pytest.mark.parametrize("packer", ["edn", "json", "transit", "msgpack", "gzip+edn", "gzip+msgpack"])
def test_every_packer_with_its_kind_of_frame(world, packer):
    sidecar = world.sidecar()
    client = Client(sidecar.address, "a", packer=packer)
    assert isinstance(client.handshake, bytes) == client.binary
    world.push("a", "t/e", "[1]")
    assert b"t/e" in (client.receive() if client.binary else client.receive().encode())
    wait_until(lambda: client.pings or client.nothing(0.05), 5, "the barrier came and was understood")


def test_a_callback_is_answered_by_a_trigger_at_once_and_by_an_app_later(world):
    sidecar = world.sidecar()
    world.script("CREATE TRIGGER echo AFTER INSERT ON dw_inbox WHEN NEW.event = 't/echo' BEGIN"
                 " INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, NEW.data); END;")
    client = Client(sidecar.address, "a")
    client.send('[[:t/echo {:x 1}] "c1"]')
    assert client.receive() == '[{:x 1} "c1"]'
    client.send('[[:t/ask] "c2"]')
    asked = wait_until(lambda: world.sql("SELECT id FROM dw_inbox WHERE event = 't/ask'"), 5, "the question")[0][0]
    world.sql("INSERT INTO dw_reply (inbox_id, data) VALUES (?, '7')", asked)
    assert client.receive() == '[7 "c2"]'


def test_a_failing_handler_is_told_to_the_callback_and_breaks_nothing(world):
    sidecar = world.sidecar()
    world.script("CREATE TRIGGER no AFTER INSERT ON dw_inbox WHEN NEW.event = 't/bad' BEGIN"
                 " SELECT RAISE(ABORT, 'no'); END;")
    client = Client(sidecar.address, "a")
    client.send('[[:t/bad] "c1"]')
    assert client.receive() == '[:chsk/error "c1"]'
    client.send('[[:chsk/ws-ping] "c2"]')
    assert client.receive() == '["pong" "c2"]'


def test_a_message_waits_while_an_app_holds_the_lock_and_others_get_their_pushes(world):
    sidecar = world.sidecar()
    client, other = Client(sidecar.address, "a"), Client(sidecar.address, "b")
    db = world.db()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO dw_push (uid, event) VALUES ('b', 't/later')")
    client.send('[[:t/one 1] nil]')
    client.send('[[:t/two 2] nil]')
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(2) == '["pong" "c"]'
    db.execute("COMMIT")
    assert other.receive() == "[[[:t/later]] nil]"
    wait_until(lambda: [e for e, _ in events(world) if e.startswith("t/")] == ["t/one", "t/two"], 10 * SLOW,
               "both messages, once and in order")
    client.send('[[:chsk/ws-ping] "c"]')
    assert client.receive() == '["pong" "c"]'


# ---- coming and going ----


def test_refusals_are_http_answers(world):
    sidecar = world.sidecar(AUTH_CSRF="on", AUTH_UID="session", AUTH_ALLOWED_ORIGINS="")
    world.session("s", "alice", csrf_token="tok")
    cookie = {"Cookie": "dw_sid=s"}
    for query, headers, status, body in [
            ("client-id=a", cookie, 403, b"Bad CSRF token"),
            ("client-id=a&csrf-token=no", cookie, 403, b"Bad CSRF token"),
            ("client-id=a&csrf-token=tok", {}, 403, b"Bad CSRF token"),
            ("client-id=a&csrf-token=tok", dict(cookie, Origin="http://evil.example"), 403, b"Unauthorized origin"),
            ("csrf-token=tok", cookie, 400, b"Bad request: the parameter client-id is missing"),
            ("client-id=a&csrf-token=tok&packer=xml", cookie, 400, None)]:
        with pytest.raises(Refused) as refused:
            Frames(sidecar.address, "/chsk?" + query, headers)
        assert refused.value.status == status
        assert body is None or refused.value.body == body
    client = Client(sidecar.address, "a", "csrf-token=tok", headers=dict(cookie, Origin="http://localhost"))
    assert client.handshake == HANDSHAKE % "alice"


def test_a_request_without_upgrade_is_told_so(world):
    sidecar = world.sidecar()
    http = Http(int(sidecar.address.rsplit(":", 1)[1]))
    answer = http.get("/chsk?client-id=a&handshake%3F=1")
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"


def test_presence_counts_both_transports_and_waits_for_the_grace_period(world):
    settings = {"CHSK_CLOSE_GRACE_WS_MS": 600, "CHSK_CLOSE_GRACE_AJAX_MS": 60000, "AUTH_UID": "session",
                "CHSK_LP_TIMEOUT_MS": 60000}
    sidecar = world.sidecar(**settings)
    responder = world.responder(**settings)
    http = Http(world.lighttpd(responder.address).port)
    world.session("s", "alice")
    cookie = {"Cookie": "dw_sid=s"}
    one = Client(sidecar.address, "tab1", headers=cookie)
    two = Client(sidecar.address, "tab2", headers=cookie)
    http.get("/chsk?udt=1&client-id=tab3&handshake%3F=1", cookie)
    http.send("GET", "/chsk?udt=2&client-id=tab3", cookie)
    wait_until(lambda: online(world, "alice") == (2, 1), 10, "two over WebSocket, one over Ajax")
    world.push("alice", "t/e", "1")
    assert one.receive() == two.receive() == http.receive().text == "[[[:t/e 1]] nil]"
    two.drop()
    wait_until(lambda: online(world, "alice")[0] == 1, 10, "one has gone")
    one.close()
    back = Client(sidecar.address, "tab1", headers=cookie)
    time.sleep(1.2)  # longer than the grace period: the reconnect must have cancelled the leaving
    assert online(world, "alice")[0] == 1
    back.close()
    wait_until(lambda: (online(world, "alice") or (0, 0))[0] == 0, 10, "all have gone")
    assert events(world).count(("chsk/uidport-open", "alice")) == 1


def test_what_was_not_proven_comes_again_and_what_was_does_not(world):
    sidecar = world.sidecar()
    client = Client(sidecar.address, "a")
    world.push("a", "t/e", "1")
    assert client.receive() == "[[[:t/e 1]] nil]"
    wait_until(lambda: client.pings or client.nothing(0.05), 5, "the barrier")
    client.answer_pings = False
    world.push("a", "t/e", "2")
    assert client.receive() == "[[[:t/e 2]] nil]"
    client.drop()
    world.push("a", "t/e", "3")
    again = Client(sidecar.address, "a")
    assert again.receive() == "[[[:t/e 2] [:t/e 3]] nil]"
    assert counter(world, "gaps") == 0


def test_a_client_that_changes_the_transport_misses_nothing_and_gets_nothing_twice(world):
    sidecar, responder = world.sidecar(), world.responder()
    client = Client(sidecar.address, "a")
    world.push("a", "t/e", "1")
    assert client.receive() == "[[[:t/e 1]] nil]"
    wait_until(lambda: client.pings or client.nothing(0.05), 5, "the barrier")
    client.send('[[:chsk/ws-ping] "c"]')
    assert client.receive() == '["pong" "c"]'  # so the pong before it has been read
    sidecar.kill()
    world.push("a", "t/e", "2")
    assert fcgi(responder.address, "GET", handshake("a")).text == HANDSHAKE % "a"
    assert fcgi(responder.address, "GET", poll("a")).text == "[[[:t/e 2]] nil]"
    held = Fcgi(responder.address)
    held.request("GET", poll("a", udt=harness.now_ms() + 1000))
    wait_until(lambda: "1 poll" in world.cli("status").stdout, 5, "the poll is held, so 2 is proven")
    held.close()
    world.push("a", "t/e", "3")
    client = Client(world.sidecar().address, "a")
    assert client.receive() == "[[[:t/e 3]] nil]"
    # Not proven over the one is not proven for the other.
    client.answer_pings = False
    world.push("a", "t/e", "4")
    assert client.receive() == "[[[:t/e 4]] nil]"
    client.drop()
    fcgi(responder.address, "GET", handshake("a"))
    assert "[:t/e 4]" in fcgi(responder.address, "GET", poll("a")).text
    assert counter(world, "gaps") == 0


def test_an_order_to_close_closes_with_1000_and_is_not_repeated(world):
    sidecar = world.sidecar()
    client = Client(sidecar.address, "a")
    world.push("a", "t/e", "1")
    world.push("a", "chsk/close", None)
    assert client.receive() == "[[[:t/e 1]] nil]"
    with pytest.raises(Closed) as closed:
        client.receive()
    assert closed.value.code == 1000
    again = Client(sidecar.address, "a")
    world.push("a", "t/e", "2")
    assert again.receive() == "[[[:t/e 2]] nil]"


def test_a_silent_client_is_pinged_and_closed(world):
    sidecar = world.sidecar(CHSK_WS_KALIVE_MS=600, CHSK_WS_PING_TIMEOUT_MS=400)
    client = Client(sidecar.address, "a", answer_pings=False)
    begin = time.monotonic()
    with pytest.raises(Closed) as closed:
        client.receive()
    assert closed.value.code == 1000
    assert client.pings == 1
    assert 0.65 <= time.monotonic() - begin <= 2 * SLOW
    lively = Client(sidecar.address, "b")
    lively.nothing(1.5)
    assert lively.pings >= 3


def test_a_client_whose_network_is_gone_counts_as_gone(world):
    """Half-open: the peer neither answers nor closes; it never reads."""
    sidecar = world.sidecar(CHSK_WS_KALIVE_MS=600, CHSK_WS_PING_TIMEOUT_MS=400, CHSK_CLOSE_GRACE_WS_MS=200)
    client = Client(sidecar.address, "a")
    wait_until(lambda: online(world, "a"), 5, "it is online")
    world.push("a", "t/e", "1")
    wait_until(lambda: online(world, "a") is None, 15, "it is gone")
    again = Client(sidecar.address, "a")
    assert again.receive() == "[[[:t/e 1]] nil]"
    client.drop()


# ---- limits ----


def test_a_message_over_the_limit_closes_with_1009_fragmented_or_not(world):
    sidecar = world.sidecar(LIMITS_MESSAGE_BYTES=1000)
    big = b'[[:t/e "' + b"x" * 1200 + b'"] nil]'
    whole = Client(sidecar.address, "a")
    whole.frames.send(websocket.TEXT, big)
    with pytest.raises(Closed) as closed:
        whole.receive()
    assert closed.value.code == 1009
    pieces = Client(sidecar.address, "b")
    for at in range(0, len(big), 100):
        try:
            pieces.frames.send(websocket.TEXT if at == 0 else websocket.CONTINUATION, big[at:at + 100], fin=False)
        except OSError:
            break  # it was closed while we were sending
    with pytest.raises(Closed) as closed:
        pieces.receive()
    assert closed.value.code in (1009, None)
    fits = Client(sidecar.address, "c")
    fits.send('[[:t/e "%s"] nil]' % ("y" * 900))
    wait_until(lambda: [e for e, _ in events(world) if e == "t/e"] == ["t/e"], 5, "what fits is stored")


def test_nesting_over_the_limit_breaks_nothing(world):
    sidecar = world.sidecar(LIMITS_NESTING=20)
    client = Client(sidecar.address, "a")
    client.send("[[:t/e %s] nil]" % ("[" * 50 + "]" * 50))
    client.send('[[:chsk/ws-ping] "c"]')
    assert client.receive() == '["pong" "c"]'
    assert not [e for e, _ in events(world) if e == "t/e"]


def test_connections_are_limited_in_all_by_user_and_by_address(world):
    sidecar = world.sidecar(LIMITS_SOCKETS=6, LIMITS_SOCKETS_PER_UID=2, LIMITS_SOCKETS_PER_ADDRESS=4)
    clients = [Client(sidecar.address, "a") for _ in range(2)]
    with pytest.raises(Refused) as refused:
        Frames(sidecar.address, "/chsk?client-id=a")
    assert refused.value.status == 503
    assert int(refused.value.headers["retry-after"]) > 0
    clients += [Client(sidecar.address, "b%d" % i) for i in range(2)]
    with pytest.raises(Refused) as refused:
        Frames(sidecar.address, "/chsk?client-id=c")
    assert refused.value.status == 503
    # The first address is the client's own word, the last the proxy's finding.
    for n in range(4):
        with pytest.raises(Refused):
            Frames(sidecar.address, "/chsk?client-id=f", {"X-Forwarded-For": "192.0.2.%d, 127.0.0.1" % n})
    forwarded = {"X-Forwarded-For": "192.0.2.1, 192.0.2.7"}
    clients += [Client(sidecar.address, "d%d" % i, headers=forwarded) for i in range(2)]
    with pytest.raises((Closed, OSError)):
        Frames(sidecar.address, "/chsk?client-id=e", forwarded)
    clients.pop().close()
    wait_until(lambda: try_connect(sidecar.address, "e", forwarded), 5, "there is room again")


def try_connect(address, client_id, headers):
    try:
        Client(address, client_id, headers=headers).drop()
        return True
    except (Closed, Refused, OSError):
        return False


def test_a_flood_of_messages_is_slowed_down_and_none_is_lost(world):
    sidecar = world.sidecar(LIMITS_MESSAGES_PER_S=100)
    client, other = Client(sidecar.address, "a"), Client(sidecar.address, "b")
    begin = time.monotonic()
    sender = threading.Thread(target=lambda: [client.send("[[:t/n %d] nil]" % n) for n in range(500)])
    sender.start()
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(2 * SLOW) == '["pong" "c"]'
    wait_until(lambda: len([1 for e, _ in events(world) if e == "t/n"]) == 500, 30, "all have come")
    sender.join()
    assert time.monotonic() - begin > 2.5, "2 s worth of messages may come at once, the other 300 may not"
    numbers = [int(row[0]) for row in world.sql("SELECT data FROM dw_inbox WHERE event = 't/n' ORDER BY id")]
    assert numbers == list(range(500))


def test_slow_handshakes_are_ended_and_hold_up_nobody(world):
    sidecar = world.sidecar(WS_HANDSHAKE_MS=1000)
    slow = [harness.connect(sidecar.address) for _ in range(50)]
    for sock in slow:
        sock.sendall(b"GET /chsk?client-id=a HTTP/1.1\r\nHost: x\r\n")
    assert Client(sidecar.address, "b").handshake == HANDSHAKE % "b"
    begin = time.monotonic()
    for sock in slow:
        sock.settimeout(15)
        try:
            while sock.recv(100):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - begin < 8


def test_a_handshake_with_too_much_in_it_is_refused(world):
    sidecar = world.sidecar(WS_HEADER_BYTES=2048)
    with pytest.raises((Refused, Closed, OSError)):
        Frames(sidecar.address, "/chsk?client-id=a", {"X-Long": "x" * 10000})
    with pytest.raises((Refused, Closed, OSError)):
        Frames(sidecar.address, "/chsk?client-id=a&long=" + "x" * 10000)
    assert Client(sidecar.address, "b").handshake == HANDSHAKE % "b"


def test_the_proxys_word_counts_only_where_the_settings_say_so(world):
    headers = {"X-Remote-User": "alice", "X-Forwarded-Host": "www.example.org", "X-Forwarded-Proto": "https",
               "Origin": "https://www.example.org"}
    settings = {"AUTH_UID": "remote_user", "AUTH_ALLOWED_ORIGINS": "", "WS_USER_HEADER": "X-Remote-User"}
    believing = world.sidecar(**settings)
    assert Client(believing.address, "a", headers=headers).handshake == HANDSHAKE % "alice"
    with pytest.raises(Refused) as refused:  # the page came over https, this says it did not
        Frames(believing.address, "/chsk?client-id=a", dict(headers, Origin="http://www.example.org"))
    assert refused.value.status == 403
    doubting = world.sidecar(WS_PROXY="off", **settings)
    with pytest.raises(Refused) as refused:
        Frames(doubting.address, "/chsk?client-id=a", headers)
    assert refused.value.status == 403
    del headers["Origin"]
    assert Client(doubting.address, "a", headers=headers).handshake == "[[:chsk/handshake [:sente/nil-uid nil nil]] nil]"


def test_compression_is_declined_unless_it_is_switched_on(world):
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    sidecar = world.sidecar()
    assert "sec-websocket-extensions" not in Frames(sidecar.address, "/chsk?client-id=a", offer).headers
    deflating = world.sidecar(WS_DEFLATE="on")
    frames = Frames(deflating.address, "/chsk?client-id=b", offer)
    assert frames.headers["sec-websocket-extensions"].startswith("permessage-deflate")
    while len(frames.buffer) < 2 or len(frames.buffer) < 2 + frames.buffer[1]:
        frames._more()
    assert frames.buffer[0] == 0xC1, "a compressed text frame"
    inside = zlib.decompressobj(-15).decompress(frames.buffer[2:2 + frames.buffer[1]] + b"\0\0\xff\xff")
    assert inside.decode() == HANDSHAKE % "b"
    assert "ws.deflate is on" in world.tail(deflating.log)


# ---- back-pressure ----


def test_a_client_that_does_not_read_is_closed_and_resumes_and_slows_nobody(world):
    sidecar = world.sidecar(LIMITS_OUTBOUND_BYTES=65536)
    stuck = Client(sidecar.address, "a")
    stuck.frames.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lively = Client(sidecar.address, "b")
    data = '"' + "x" * 10000 + '"'
    worst = 0
    for n in range(300):
        world.push("a", "t/big", data)
        begin = time.monotonic()
        world.push("b", "t/n", str(n))
        assert lively.receive() == "[[[:t/n %d]] nil]" % n
        worst = max(worst, time.monotonic() - begin)
    assert worst < 1 * SLOW
    wait_until(lambda: "reads too slowly" in world.tail(sidecar.log), 10, "it is closed for its slowness")
    seen = 0
    with pytest.raises((Closed, OSError)):
        while True:
            seen += stuck.receive(30).count(":t/big")
    again = Client(sidecar.address, "a")
    got = 0
    while got < 300 - seen:
        got += again.receive().count(":t/big")
    try:
        while True:  # what the first one has seen and not proven comes again
            got += again.receive(0.5).count(":t/big")
    except socket.timeout:
        pass
    assert got <= 300


def test_messages_that_the_kernel_takes_in_parts_come_whole_and_in_order(world):
    """Longer than its buffers, to a client that does not read for a while; short ones in between."""
    sidecar = world.sidecar(LIMITS_OUTBOUND_BYTES=8000000, CHSK_WS_PING_TIMEOUT_MS=60000)
    slow, lively, expected = Client(sidecar.address, "a"), Client(sidecar.address, "b"), []
    for n in range(24):
        text = chr(97 + n) * (1 if n % 3 == 2 else 300000 + n)
        expected.append((text[0], len(text)))
        world.push("a", "t/e", '"%s"' % text)
        world.push("b", "t/n", str(n))
        assert lively.receive() == "[[[:t/n %d]] nil]" % n  # so the one for a has been routed
    got = []
    while len(got) < len(expected):
        got += re.findall(r'"(\w+)"', slow.receive())
    assert all(text == text[0] * len(text) for text in got)
    assert [(text[0], len(text)) for text in got] == expected
    slow.nothing(0.3)


# ---- stopping ----


def test_sigterm_closes_clients_one_after_the_other_and_exits_with_0(world):
    sidecar = world.sidecar(WS_DRAIN_MS=1000)
    clients = [Client(sidecar.address, "c%d" % i) for i in range(20)]
    begin = time.monotonic()
    ended = []

    def wait_for_close(client):
        with pytest.raises(Closed) as closed:
            client.receive(20)
        ended.append((time.monotonic() - begin, closed.value.code))
        client.drop()

    threads = [threading.Thread(target=wait_for_close, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    status, took = sidecar.terminate(20)
    for thread in threads:
        thread.join()
    assert status == 0
    assert [code for _, code in ended] == [1001] * 20
    times = sorted(moment for moment, _ in ended)
    assert times[0] < 0.5 * SLOW and times[-1] > 0.7, times
    assert took < 5 * SLOW


def test_while_stopping_nobody_is_let_in(world):
    sidecar = world.sidecar(WS_DRAIN_MS=1000)
    client = Client(sidecar.address, "a")
    sidecar.popen.terminate()
    with pytest.raises(Closed):
        client.receive(10)
    client.drop()
    with pytest.raises((OSError, Refused, Closed)):
        Client(sidecar.address, "b")
    assert sidecar.popen.wait(10 * SLOW) == 0


def test_it_can_listen_on_a_unix_socket_and_tells_systemd_that_it_is_ready(world):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(world.path("notify"))
    notify.settimeout(10 * SLOW)
    os.environ["NOTIFY_SOCKET"] = world.path("notify")
    os.environ["WATCHDOG_USEC"] = "400000"
    try:
        sidecar = world.sidecar(listen="unix")
    finally:
        del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
    assert notify.recv(100) == b"READY=1"
    assert [notify.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    assert Client(sidecar.address, "a").handshake == HANDSHAKE % "a"
    assert sidecar.terminate()[0] == 0
    while notify.recv(100) != b"STOPPING=1":
        pass
    assert not os.path.exists(sidecar.address[5:])
    notify.close()


# ---- killed (under load: test_ws_kill.py) ----


def test_after_a_kill_the_clients_are_released(world):
    sidecar = world.sidecar(CHSK_CLOSE_GRACE_WS_MS=300)
    client = Client(sidecar.address, "a")
    wait_until(lambda: online(world, "a"), 5, "it is online")
    sidecar.kill()
    client.drop()
    world.sidecar(CHSK_CLOSE_GRACE_WS_MS=300)
    wait_until(lambda: online(world, "a") is None, 20 * SLOW, "the successor has released it")


# ---- RFC 6455 ----


def masked(opcode, payload=b"", **how):
    return websocket.frame(opcode, payload, **how)


PING_BYTES = masked(websocket.PING, b"still here")
GOOD = b'[[:chsk/ws-ping] "c"]'
# name: (what is sent, close codes that are right; None stands for a connection that ends without a close frame)
BROKEN = {
    "an unmasked frame": (masked(websocket.TEXT, GOOD, masked=False), {1002}),
    "an unmasked ping": (masked(websocket.PING, b"x", masked=False), {1002}),
    "an unmasked frame of no bytes": (masked(websocket.TEXT, b"", masked=False), {1002}),
    "a long unmasked frame": (masked(websocket.TEXT, b"x" * 70000, masked=False), {1002}),
    "an unmasked frame behind a masked one": (masked(websocket.TEXT, b"x" * 3000) +
                                              masked(websocket.TEXT, GOOD, masked=False), {1002}),
    "an unmasked frame among fragments": (masked(websocket.TEXT, GOOD[:5], fin=False) +
                                          masked(websocket.CONTINUATION, GOOD[5:], masked=False), {1002}),
    "reserved bit 1": (masked(websocket.TEXT, GOOD, rsv=4), {1002, None}),
    "reserved bit 2": (masked(websocket.TEXT, GOOD, rsv=2), {1002, None}),
    "reserved bit 3": (masked(websocket.TEXT, GOOD, rsv=1), {1002, None}),
    "reserved opcode 3": (masked(3, b""), {1002, None}),
    "reserved opcode 7": (masked(7, b""), {1002, None}),
    "reserved opcode 11": (masked(11, b""), {1002, None}),
    "reserved opcode 15": (masked(15, b""), {1002, None}),
    "a ping with 126 bytes": (masked(websocket.PING, b"x" * 126), {1002, None}),
    "a fragmented ping": (masked(websocket.PING, b"x", fin=False), {1002, None}),
    "a fragmented close": (masked(websocket.CLOSE, b"", fin=False), {1002, None}),
    "a continuation of nothing": (masked(websocket.CONTINUATION, b"x"), {1002, None}),
    "a new message within a fragmented one": (masked(websocket.TEXT, b"[[", fin=False) + masked(websocket.TEXT, GOOD),
                                              {1002, None}),
    "a length of 2^63": (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", {1002, 1009, None}),
    "text that is no UTF-8": (masked(websocket.TEXT, b'[[:t/e "\xff"] nil]'), {1007}),
    "text that ends within a character": (masked(websocket.TEXT, b'[[:t/e "\xe2\x82'), {1007}),
    "a close frame of one byte": (masked(websocket.CLOSE, b"x"), {1002, None}),
}
FINE = {
    "one frame": [masked(websocket.TEXT, GOOD)],
    "an empty message before": [masked(websocket.TEXT, b""), masked(websocket.TEXT, GOOD)],
    "fragments": [masked(websocket.TEXT, GOOD[:5], fin=False), masked(websocket.CONTINUATION, GOOD[5:9], fin=False),
                  masked(websocket.CONTINUATION, GOOD[9:])],
    "empty fragments": [masked(websocket.TEXT, b"", fin=False), masked(websocket.CONTINUATION, b"", fin=False),
                        masked(websocket.CONTINUATION, GOOD)],
    "a ping between fragments": [masked(websocket.TEXT, GOOD[:5], fin=False), PING_BYTES,
                                 masked(websocket.CONTINUATION, GOOD[5:])],
    "byte by byte": [bytes([byte]) for byte in masked(websocket.TEXT, GOOD)],
    "long frames": [masked(websocket.BINARY, b"\0" * size) for size in (125, 126, 127, 65535, 65536)] +
                   [masked(websocket.TEXT, GOOD)],
    "an unasked pong before": [masked(websocket.PONG, b"x"), masked(websocket.TEXT, GOOD)],
    "a character over two fragments": [masked(websocket.TEXT, '[["é'.encode()[:4], fin=False),
                                       masked(websocket.CONTINUATION, '[["é"] nil]'.encode()[4:]),
                                       masked(websocket.TEXT, GOOD)],
    "a binary frame before, for a text packer": [masked(websocket.BINARY, b"\x92\xc0\xc0"),
                                                 masked(websocket.TEXT, GOOD)],
}


@pytest.fixture(scope="module")
def shared():
    world = harness.World()
    world.rfc = world.sidecar()
    yield world
    wrong = world.close()
    world.remove()
    assert wrong is None, wrong


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_rfc6455_a_broken_client_is_closed(shared, name):
    sent, codes = BROKEN[name]
    client = Client(shared.rfc.address, "rfc")
    client.frames.sock.sendall(sent)
    with pytest.raises(Closed) as closed:
        client.receive(10)
    assert closed.value.code in codes
    client.drop()


def test_rfc6455_an_unmasked_frame_in_pieces_is_noticed_and_what_came_before_is_answered(shared):
    client = Client(shared.rfc.address, "rfc-pieces")
    for byte in masked(websocket.TEXT, GOOD) + masked(websocket.TEXT, GOOD, masked=False)[:2]:
        client.frames.sock.sendall(bytes([byte]))
    assert client.receive(10) == '["pong" "c"]'
    with pytest.raises(Closed) as closed:
        client.receive(10)
    assert closed.value.code == 1002
    client.drop()
    client = Client(shared.rfc.address, "rfc-together")
    client.frames.sock.sendall(masked(websocket.TEXT, GOOD) + masked(websocket.TEXT, GOOD, masked=False))
    assert client.receive(10) == '["pong" "c"]'
    with pytest.raises(Closed) as closed:
        client.receive(10)
    assert closed.value.code == 1002
    client.drop()


@pytest.mark.parametrize("frame, answer", [(masked(websocket.TEXT, GOOD), b'["pong" "c"]'),
                                           (masked(websocket.TEXT, GOOD, masked=False), b"\x88\x02\x03\xea")],
                         ids=["masked", "unmasked"])
def test_rfc6455_a_frame_right_behind_the_handshake(shared, frame, answer):
    """Sent without waiting for the 101, so that both are read at once."""
    with harness.connect(shared.rfc.address, 10) as sock:
        sock.sendall(b"GET /chsk?client-id=rfc-early HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                     b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + frame)
        got = b""
        while answer not in got:
            piece = sock.recv(4096)
            assert piece, got
            got += piece


@pytest.mark.parametrize("name", sorted(FINE))
def test_rfc6455_what_is_allowed_is_understood(shared, name):
    client = Client(shared.rfc.address, "rfc-fine")
    for piece in FINE[name]:
        client.frames.sock.sendall(piece)
    assert client.receive(10) == '["pong" "c"]'
    client.close()


@pytest.mark.parametrize("code, reason", [(1000, b""), (1000, b"CLOSE_NORMAL"), (1001, b"bye"), (3000, b""), (4999, b"x")])
def test_rfc6455_a_close_is_answered_with_its_code(shared, code, reason):
    client = Client(shared.rfc.address, "rfc-close")
    closed = client.close(code, reason)
    assert closed.code == code


def test_rfc6455_a_ping_is_answered_with_its_payload(shared):
    client = Client(shared.rfc.address, "rfc-ping")
    for payload in (b"", b"hi", b"x" * 125):
        client.frames.send(websocket.PING, payload)
        assert client.frames.receive(10) == (websocket.PONG, payload)
    client.close()


@pytest.mark.parametrize("how", [{"version": "8"}, {"version": "14"}, {"key": "short"}])
def test_rfc6455_a_broken_handshake_gets_no_101(shared, how):
    with pytest.raises(Refused) as refused:
        Frames(shared.rfc.address, "/chsk?client-id=x", **how)
    assert refused.value.status == (426 if "version" in how else 400)
    if "version" in how:
        assert refused.value.headers["sec-websocket-version"] == "13"
