"""What no client should send: a clear 4xx where an answer is possible, and nobody else notices."""

import socket
import struct
import time

import pytest

from bystander import Bystander
from clients import (ABORT, BEGIN, PARAMS, STDIN, Fcgi, Http, begin, fcgi, form, handshake, numbers, pair,
                     poll, record, request_bytes, stream, variables)
from harness import SLOW, connect, wait_until


@pytest.fixture
def responder(world):
    """A responder with a bystander, who must not be affected by the test; it lives at the end."""
    responder = world.responder(LIMITS_REQUEST_MS=2000, LIMITS_REQUESTS_PER_S=0, LIMITS_REQUESTS_PER_S_UID=0)
    bystander = Bystander(world, responder)
    bystander.start()
    wait_until(lambda: bystander.received or bystander.error, 10 * SLOW, "the bystander polls")
    yield responder
    bystander.check()
    assert responder.alive()


# ---- FastCGI ----

FULL = request_bytes("GET", handshake("alice"))


@pytest.mark.parametrize("at", [1, 7, 8, 12, 16, 20, 24, 30, len(FULL) // 2, len(FULL) - 9, len(FULL) - 1])
def test_a_request_that_is_cut_off_and_closed_is_forgotten(responder, at):
    connection = Fcgi(responder.address)
    connection.send(FULL[:at])
    connection.close()


def test_a_request_that_is_cut_off_and_held_open_is_closed_at_the_deadline(responder):
    connections = [Fcgi(responder.address) for _ in range(3)]
    begin_time = time.monotonic()
    for connection, at in zip(connections, (5, 20, len(FULL) - 1)):
        connection.send(FULL[:at])
    assert connections[0].is_closed(4 + SLOW)  # nobody has asked for anything yet
    assert [connection.receive(4 + SLOW).status for connection in connections[1:]] == [408, 408]
    assert time.monotonic() - begin_time >= 1.9


def test_a_request_that_arrives_in_small_pieces_is_served(world, responder):
    """Byte by byte over TCP; over a Unix socket every piece takes several hundred bytes of the kernel's
    buffer, so there are fewer pieces."""
    tcp = world.responder(listen="tcp")
    for address, size in ((tcp.address, 1), (responder.address, 4)):
        connection = Fcgi(address)
        for at in range(0, len(FULL), size):
            connection.send(FULL[at:at + size])
        assert connection.receive(5 * SLOW).status == 200


@pytest.mark.parametrize("bytes_sent", [
    b"GET / HTTP/1.0\r\n\r\n" + b"x" * 100,
    b"\0" * 4096,
    b"\xff" * 4096,
    record(PARAMS, b"x"),                                          # no begin
    begin() + record(BEGIN, struct.pack("!HB5x", 1, 0)) * 3,       # begin again and again
    begin() + stream(PARAMS, b"\xff\xff\xff\xff" * 50) + record(STDIN),        # lengths beyond the record
    begin() + stream(PARAMS, b"\x04") + record(STDIN),             # a pair that is cut off
    begin(role=2) + stream(PARAMS, b"") + record(STDIN),           # an authorizer request
    begin(role=77) + stream(PARAMS, b"") + record(STDIN),
    begin() + stream(PARAMS, b"") + record(STDIN),                 # no parameters at all
    record(99, b"what is this", request_id=0),                     # an unknown management record
    begin() + record(99, b"unknown type") + record(ABORT),
], ids=["http", "zeros", "ones", "no-begin", "begins", "long-lengths", "cut-pair", "authorizer", "role", "no-params",
        "management", "unknown-type"])
def test_garbage_is_answered_or_closed(responder, bytes_sent):
    connection = Fcgi(responder.address)
    connection.send(bytes_sent)
    connection.sock.settimeout(4 + SLOW)
    try:
        while connection.sock.recv(65536):
            pass
    except ConnectionError:
        pass
    connection.close()


def test_a_second_request_on_a_kept_connection_is_not_waited_for(responder):
    """The reply is complete, and the connection ends whatever the web server asked for."""
    connection = Fcgi(responder.address)
    connection.send(request_bytes("GET", handshake("alice"), keep=True))
    assert connection.receive(5 * SLOW).status == 200
    assert connection.is_closed()


def test_any_request_id_is_echoed(responder):
    connection = Fcgi(responder.address)
    connection.send(request_bytes("GET", handshake("alice"), request_id=0xabcd))
    header = connection.sock.recv(8)
    assert header[2:4] == b"\xab\xcd"


def test_stray_bytes_on_a_held_connection_do_no_harm(world, responder):
    fcgi(responder.address, "GET", handshake("alice"))
    connection = Fcgi(responder.address)
    connection.request("GET", poll("alice"))
    time.sleep(0.1 * SLOW)
    connection.send(b"x" * 10000)
    connection.send(record(ABORT))
    world.push("alice", "test/n", "1")
    assert numbers(connection.receive(5).text) == [1]


def test_1000_half_open_connections_leave_the_others_alone(world, responder):
    connections = [connect(responder.address) for _ in range(1000)]
    for at, connection in enumerate(connections):
        connection.send(FULL[:at % 40])
    # More than the threads there are: none of them may be waiting for one of those.
    for n in range(20):
        assert fcgi(responder.address, "GET", handshake("c%d" % n), timeout=2 * SLOW).status == 200
    for connection in connections:
        connection.close()


def test_a_body_that_ends_early_is_answered_400(responder):
    connection = Fcgi(responder.address)
    body = form("alice", "[[:a/b 1] nil]")
    connection.send(request_bytes("POST", "", body, CONTENT_LENGTH=str(len(body) + 10)))
    answer = connection.receive(5)
    assert (answer.status, answer.text) == (400, "The body ended before its Content-Length")


# ---- sizes ----

def test_a_body_of_10_mb_is_answered_413(responder):
    answer = fcgi(responder.address, "POST", "", b"client-id=alice&ppstr=" + b"x" * (10 << 20), timeout=20)
    assert answer.status == 413


def test_a_body_of_10_mb_through_lighttpd_is_answered_413(world, responder):
    web = world.lighttpd(responder.address)
    answer = Http(web.port).post("/chsk", b"client-id=alice&ppstr=" + b"x" * (10 << 20))
    assert answer.status == 413


def test_a_message_just_over_the_limit_is_answered_413_and_one_just_below_is_taken(world, responder):
    def message(size):
        return '[[:a/b "%s"] nil]' % ("x" * (size - 15))
    assert len(message(65536)) == 65536
    assert fcgi(responder.address, "POST", "", form("alice", message(65536))).status == 200
    assert fcgi(responder.address, "POST", "", form("alice", message(65537))).status == 413


def test_a_giant_query_is_answered_414(responder):
    assert fcgi(responder.address, "GET", handshake("alice", "&x=" + "y" * 60000)).status == 414


def test_nesting_10000_deep_is_refused(responder):
    for opening, closing in (("[", "]"), ("{:a ", "}"), ("#{", "}"), ("(", ")"), ("#a ", "1")):
        payload = "[[:a/b " + opening * 10000 + closing * 10000 + "] nil]"
        answer = fcgi(responder.address, "POST", "", form("alice", payload))
        assert 400 <= answer.status < 500, (opening, answer)
    payload = "[" * 10000 + "]" * 10000
    answer = fcgi(responder.address, "POST", "packer=json", form("alice", payload))
    assert 400 <= answer.status < 500


# ---- content ----

@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "x"])
def test_a_wrong_content_type_is_answered_415(responder, content_type):
    answer = fcgi(responder.address, "POST", "", form("alice", "[[:a/b 1] nil]"), CONTENT_TYPE=content_type)
    assert answer.status == 415
    assert "application/x-www-form-urlencoded" in answer.text


@pytest.mark.parametrize("payload", [b"%ff%fe", b"%5B%5B%3Aa%2Fb%20%22%c3%28%22%5D%20nil%5D",
                                     b"%5B%5B%3Aa%2Fb%20%22%ed%a0%80%22%5D%20nil%5D", b"[[:a/b \"\xff\"] nil]"])
def test_invalid_utf8_is_refused(world, responder, payload):
    answer = fcgi(responder.address, "POST", "", b"client-id=alice&ppstr=" + payload)
    assert answer.status == 400
    for row in world.sql("SELECT CAST(data AS BLOB) FROM dw_inbox WHERE data IS NOT NULL"):
        row[0].decode("utf-8")


@pytest.mark.parametrize("client_id", ["%ff", "%c3%28", "a%00b", "a%0Ab", "a%7F", "x" * 129])
def test_a_client_id_that_is_no_printable_text_is_refused(responder, client_id):
    assert fcgi(responder.address, "GET", "client-id=%s&handshake%%3F=1" % client_id).status == 400


def test_a_get_without_client_id_is_answered_400(responder):
    assert fcgi(responder.address, "GET", "handshake%3F=1").status == 400
    assert fcgi(responder.address, "GET", "client-id=&handshake%3F=1").status == 400


@pytest.mark.parametrize("payload", ["[[:a/b \"", "[[:a/b 1] nil", "]", "\"", "{:a}", "#", "\\", ":", "[[:a/b 1]} nil]",
                                     "#inst \"x\"", "5", "\"text\"", "+", "-[", "##Foo"])
def test_an_unreadable_payload_is_answered_400_and_reported_to_the_app(world, responder, payload):
    assert fcgi(responder.address, "POST", "", form("alice", payload)).status == 400
    rows = world.sql("SELECT data FROM dw_inbox WHERE event = 'chsk/bad-package'")
    assert len(rows) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "get", ""])
def test_other_methods_are_answered_405(responder, method):
    answer = fcgi(responder.address, method, handshake("alice"))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


def test_an_unknown_packer_is_answered_400(responder):
    assert fcgi(responder.address, "GET", handshake("alice", "&packer=yaml")).status == 400


@pytest.mark.parametrize("query", ["%", "%zz", "&&&&", "=", "a=b=c&client-id", "client-id=%", "\x01\x02", "?" * 100,
                                   "client-id=a&" * 500])
def test_strange_queries_are_answered(responder, query):
    answer = fcgi(responder.address, "GET", query, timeout=1) if query.count("client-id=a") < 2 else \
        fcgi(responder.address, "GET", query + "handshake%3F=1")
    assert answer.status in (200, 400, 413)


def test_a_setting_can_not_come_from_a_request_header(make_world):
    """A header DUMBWAITER_AUTH_CSRF arrives as HTTP_DUMBWAITER_AUTH_CSRF and changes nothing."""
    world = make_world(AUTH_CSRF="on", AUTH_UID="session")
    responder = world.responder()
    web = world.lighttpd(responder.address)
    headers = {"DUMBWAITER_AUTH_CSRF": "off", "Dumbwaiter-Auth-Csrf": "off"}
    assert Http(web.port).get("/chsk?" + handshake("alice"), headers).status == 403
    assert fcgi(responder.address, "GET", handshake("alice"), HTTP_DUMBWAITER_AUTH_CSRF="off").status == 403


def test_a_random_stream_of_damaged_requests_leaves_the_process_alive(responder):
    """1,500 requests with a few bytes changed; the seed is fixed so that a failure can be repeated."""
    import random
    chance = random.Random(20240611)
    whole = request_bytes("POST", "", form("alice", "[[:a/b {:x [1 2.5 \"y\"]}] nil]"))
    for _ in range(1500 if SLOW == 1 else 300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        sock = connect(responder.address)
        try:
            sock.sendall(bytes(damaged))
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(5 * SLOW)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
        finally:
            sock.close()
    assert fcgi(responder.address, "GET", handshake("alice")).status == 200


def test_variables_of_every_kind_are_survived(responder):
    for more in ({"CONTENT_LENGTH": "-1"}, {"CONTENT_LENGTH": "x"}, {"CONTENT_LENGTH": "9" * 40}, {"HTTP_COOKIE": ";;=;"},
                 {"HTTP_COOKIE": "dw_sid=" + "x" * 60000}, {"HTTP_ORIGIN": "\xff"}, {"QUERY_STRING": ""}):
        params = variables("POST", "", **more)
        connection = Fcgi(responder.address)
        connection.send(begin() + stream(PARAMS, b"".join(pair(n, v) for n, v in params.items())) + record(STDIN))
        assert 200 <= connection.receive(5).status < 500
        connection.close()
