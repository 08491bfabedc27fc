"""The clients' side: HTTP and FastCGI by hand, and a simulation of the stock Sente Ajax client.

By hand, because tests must be able to send what no library would: a record cut in the middle, a request
with a head taken from a capture, a connection that is dropped while its request is held.
"""

import json
import random
import re
import socket
import struct
import threading
import time
from urllib.parse import quote

import harness


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def __repr__(self):
        return "<%d %r>" % (self.status, self.body[:200])


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return lines[0], headers


class Http:
    """One HTTP/1.1 connection."""

    def __init__(self, port, timeout=30):
        self.sock = harness.connect("127.0.0.1:%d" % port, timeout)
        self.host = "127.0.0.1:%d" % port
        self.buffer = b""

    def close(self):
        self.sock.close()

    def send(self, method, target, headers=(), body=b""):
        lines = ["%s %s HTTP/1.1" % (method, target), "Host: " + self.host]
        lines += ["%s: %s" % pair for pair in dict(headers).items()]
        if method == "POST":
            lines.append("Content-Length: %d" % len(body))
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _more(self):
        piece = self.sock.recv(65536)
        if not piece:
            raise ConnectionError("closed by the peer")
        self.buffer += piece

    def receive(self, timeout=30):
        """The next answer.  socket.timeout when none comes, ConnectionError when the peer closes."""
        self.sock.settimeout(timeout)
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, headers = parse_head(head)
        status = int(first.split()[1])
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunked())
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self._more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(status, headers, body)

    def _chunked(self):
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            size, self.buffer = self.buffer.split(b"\r\n", 1)
            size = int(size, 16)
            while len(self.buffer) < size + 2:
                self._more()
            body += self.buffer[:size]
            self.buffer = self.buffer[size + 2:]
            if size == 0:
                return body

    def get(self, target, headers=(), timeout=30):
        self.send("GET", target, headers)
        return self.receive(timeout)

    def post(self, target, body, content_type="application/x-www-form-urlencoded;charset=UTF-8", headers=(),
             timeout=30):
        headers = dict(headers)
        if content_type is not None:
            headers["Content-Type"] = content_type
        self.send("POST", target, headers, body)
        return self.receive(timeout)


# ---- FastCGI 1.0 ----

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, GET_VALUES = 1, 2, 3, 4, 5, 6, 7, 9


def record(kind, content=b"", request_id=1, padding=0):
    return struct.pack("!BBHHBB", 1, kind, request_id, len(content), padding, 0) + content + b"\0" * padding


def pair(name, value):
    def length(n):
        return bytes([n]) if n < 128 else struct.pack("!I", n | 0x80000000)
    name, value = name.encode(), value.encode()
    return length(len(name)) + length(len(value)) + name + value


def stream(kind, content, request_id=1):
    pieces = [record(kind, content[at:at + 65528], request_id) for at in range(0, len(content), 65528)]
    return b"".join(pieces) + record(kind, b"", request_id)


def variables(method, query="", **more):
    both = {"REQUEST_METHOD": method, "QUERY_STRING": query, "SCRIPT_NAME": "/chsk", "SERVER_PROTOCOL": "HTTP/1.1",
            "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_NAME": "localhost", "HTTP_HOST": "localhost"}
    both.update(more)
    return both


def begin(request_id=1, keep=False, role=1):
    return record(BEGIN, struct.pack("!HB5x", role, 1 if keep else 0), request_id)


def request_bytes(method, query="", body=b"", request_id=1, keep=False, **more):
    if method == "POST":
        more.setdefault("CONTENT_LENGTH", str(len(body)))
        more.setdefault("CONTENT_TYPE", "application/x-www-form-urlencoded")
    params = b"".join(pair(name, value) for name, value in variables(method, query, **more).items())
    return (begin(request_id, keep) + stream(PARAMS, params, request_id) + stream(STDIN, body, request_id))


class Fcgi:
    """One FastCGI connection."""

    def __init__(self, address, timeout=30):
        self.sock = harness.connect(address, timeout)

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def request(self, method, query="", body=b"", **more):
        self.send(request_bytes(method, query, body, **more))

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise ConnectionError("closed by the peer after %d of %d bytes" % (len(data), count))
            data += piece
        return data

    def receive(self, timeout=30):
        self.sock.settimeout(timeout)
        out = b""
        while True:
            _, kind, _, length, padding, _ = struct.unpack("!BBHHBB", self._exactly(8))
            content = self._exactly(length + padding)[:length]
            if kind == STDOUT:
                out += content
            elif kind == END:
                break
        head, body = out.split(b"\r\n\r\n", 1)
        _, headers = parse_head(b"\r\n" + head)
        return Answer(int(headers.get("status", "200").split()[0]), headers, body)

    def is_closed(self, timeout=5):
        self.sock.settimeout(timeout)
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True
        except socket.timeout:
            return False


def fcgi(address, method, query="", body=b"", timeout=30, **more):
    connection = Fcgi(address)
    try:
        connection.request(method, query, body, **more)
        return connection.receive(timeout)
    finally:
        connection.close()


# ---- what a Sente client sends ----

def handshake(client_id, extra="", udt=None):
    return "udt=%d&client-id=%s&handshake%%3F=1%s" % (udt or harness.now_ms(), quote(client_id, safe=""), extra)


def poll(client_id, extra="", udt=None):
    return "udt=%d&client-id=%s%s" % (udt or harness.now_ms(), quote(client_id, safe=""), extra)


def form(client_id, payload, extra=""):
    return ("udt=%d&client-id=%s&ppstr=%s%s" %
            (harness.now_ms(), quote(client_id, safe=""), quote(payload, safe=""), extra)).encode()


TIMEOUT = "[:chsk/timeout nil]"
DUMMY = "[:chsk/dummy-cb-200 nil]"
EVENT = re.compile(r"\[:test/n (\d+)\]")


def numbers(text):
    """The n of all [:test/n n] events of an answer."""
    return [int(n) for n in EVENT.findall(text)]


class Direct:
    """A door to a responder by FastCGI, in the shape that SenteClient needs."""

    def __init__(self, address):
        self.address = address

    def get(self, query, timeout, hold=None):
        connection = Fcgi(self.address, timeout)
        if hold is not None:
            hold(connection)
        try:
            connection.request("GET", query)
            return connection.receive(timeout)
        finally:
            connection.close()


class Web:
    """A door through a web server."""

    def __init__(self, port, path="/chsk", headers=()):
        self.port, self.path, self.headers = port, path, headers

    def get(self, query, timeout, hold=None):
        connection = Http(self.port, timeout)
        if hold is not None:
            hold(connection)
        try:
            return connection.get(self.path + "?" + query, self.headers, timeout)
        finally:
            connection.close()


class SenteClient(threading.Thread):
    """The stock Ajax client as the captures show it (real-client-ajax*.json).

    A handshake, then one poll after the other.  When a poll fails (an answer that is no 2xx, a broken
    connection) the next GET is a handshake: at once after the first failure, then after 2^(n-1) to 2^n
    seconds (captured: 0.02, 3.4 and 2.0, 4.5 s).  A successful handshake starts the count again.
    `scale` shrinks the pauses so that minutes fit into a test.
    """

    def __init__(self, door, client_id, scale=1.0, timeout=60, seed=None):
        super().__init__(daemon=True)
        self.door, self.client_id, self.scale, self.timeout = door, client_id, scale, timeout
        self.random = random.Random(seed if seed is not None else client_id)
        self.received = []    # numbers of [:test/n n]
        self.answers = []     # (time, status or None, text)
        self.handshaken = threading.Event()
        self.polling = threading.Event()
        self._stop = threading.Event()
        self._held = None
        self.error = None

    def stop(self):
        self._stop.set()
        held = self._held
        if held is not None:
            try:
                held.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _hold(self, connection):
        self._held = connection

    def _ask(self, query):
        try:
            answer = self.door.get(query, self.timeout, self._hold)
            self.answers.append((time.monotonic(), answer.status, answer.text))
            return answer if 200 <= answer.status < 300 else None
        except (OSError, ValueError):
            self.answers.append((time.monotonic(), None, ""))
            return None

    def run(self):
        try:
            self._run()
        except Exception as error:  # shown by the test
            self.error = error

    def _run(self):
        failures = 0
        known = False
        while not self._stop.is_set():
            if not known:
                answer = self._ask(handshake(self.client_id))
            else:
                self.polling.set()
                answer = self._ask(poll(self.client_id))
            if self._stop.is_set():
                # An answer that came in is a client's; only one that was cut off is not.
                if answer is not None:
                    self._take(answer)
                return
            if answer is None:
                known = False
                failures += 1
                if failures > 1:
                    self._stop.wait(self.scale * self.random.uniform(2 ** (failures - 1), 2 ** failures))
                continue
            if self._take(answer):
                known = True
                failures = 0
                self.handshaken.set()

    def _take(self, answer):
        """True: it was a handshake."""
        if "[:chsk/handshake " in answer.text:
            return True
        self.received += numbers(answer.text)
        return False

    def requests(self):
        return len(self.answers)


def json_of(text):
    return json.loads(text)
