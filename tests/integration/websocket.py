"""A WebSocket client by hand: frames as RFC 6455 draws them, and what no library would send.

`Frames` is a raw connection after the HTTP handshake; `Client` plays a stock Sente client on it: it answers the
server's pings, collects pushes, and tells replies apart.
"""

import base64
import hashlib
import os
import socket
import struct
import time

import harness
from clients import parse_head

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__("%d %r" % (status, body))
        self.status, self.headers, self.body = status, headers, body


class Closed(Exception):
    """The server closed: `code` of its close frame, None without one."""

    def __init__(self, code, reason=b""):
        super().__init__("closed with %s" % code)
        self.code, self.reason = code, reason


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    """A client's frame; `length` lies about the payload's."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    pattern = int.from_bytes((mask * (len(payload) // 4 + 1))[:len(payload)], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ pattern).to_bytes(len(payload), "big")


class Frames:
    def __init__(self, address, target, headers=(), timeout=30, version="13", key=None, host="localhost"):
        self.sock = harness.connect(address, timeout)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode() if key is None else key
        lines = ["GET %s HTTP/1.1" % target, "Host: " + host, "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: " + version, "Sec-WebSocket-Key: " + key]
        lines += ["%s: %s" % pair for pair in dict(headers).items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, self.headers = parse_head(head)
        self.status = int(first.split()[1])
        if self.status != 101:
            raise Refused(self.status, self.headers, self._rest(int(self.headers.get("content-length", 0))))
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert self.headers["sec-websocket-accept"] == accept

    def _more(self):
        try:
            piece = self.sock.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            raise Closed(None)
        self.buffer += piece

    def _rest(self, length):
        body = self.buffer
        while len(body) < length:
            piece = self.sock.recv(65536)
            if not piece:
                break
            body += piece
        self.sock.close()
        return body

    def _take(self, size):
        while len(self.buffer) < size:
            self._more()
        piece, self.buffer = self.buffer[:size], self.buffer[size:]
        return piece

    def send(self, opcode, payload=b"", **how):
        self.sock.sendall(frame(opcode, payload, **how))

    def receive(self, timeout=30):
        """The next frame of the server: (opcode, payload).  socket.timeout when none comes."""
        self.sock.settimeout(timeout)
        while len(self.buffer) < 2:
            self._more()
        first, second = self.buffer[0], self.buffer[1]
        assert first & 0x70 == 0, "reserved bits"
        assert first & 0x80, "our server does not fragment"
        assert second & 0x80 == 0, "a server does not mask"
        extra = {126: 2, 127: 8}.get(second, 0)
        while len(self.buffer) < 2 + extra:
            self._more()
        length = int.from_bytes(self.buffer[2:2 + extra], "big") if extra else second
        while len(self.buffer) < 2 + extra + length:
            self._more()
        self._take(2 + extra)
        return first & 15, self._take(length)

    def close(self):
        self.sock.close()


class Client:
    """A stock client with one of the packers; messages are text or bytes as they are on the wire."""

    def __init__(self, address, client_id, query="", packer="edn", answer_pings=True, timeout=30, **how):
        target = "/chsk?client-id=%s%s" % (client_id, "&" + query if query else "")
        if packer != "edn":
            target += "&packer=" + packer.replace("+", "%2B")
        self.frames = Frames(address, target, timeout=timeout, **how)
        self.binary = "msgpack" in packer or packer.startswith("gzip")
        self.answer_pings = answer_pings
        self.ping = PING_MESSAGES[packer]
        self.pong = PONG_MESSAGES[packer]
        self.pings = 0
        self.handshake = self.receive()

    def send(self, message):
        if isinstance(message, str):
            message = message.encode()
        self.frames.send(BINARY if self.binary else TEXT, message)

    def receive(self, timeout=30):
        """The next message that is no server's ping; Closed when the server closes."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise socket.timeout("no message within %s s" % timeout)
            opcode, payload = self.frames.receive(left)
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else None
                try:
                    self.frames.send(CLOSE, payload)
                except OSError:
                    pass
                raise Closed(code, payload[2:])
            if opcode == PING:
                self.frames.send(PONG, payload)
                continue
            if opcode == PONG:
                continue
            assert opcode == (BINARY if self.binary else TEXT), opcode
            if payload == self.ping:
                self.pings += 1
                if self.answer_pings:
                    self.frames.send(opcode, self.pong)
                continue
            return payload if self.binary else payload.decode()

    def nothing(self, timeout):
        """Asserts that no message comes within that time."""
        try:
            message = self.receive(timeout)
        except socket.timeout:
            return
        raise AssertionError("unexpected: %r" % message)

    def close(self, code=1000, reason=b"CLOSE_NORMAL"):
        """A clean close; the server's answer."""
        self.frames.send(CLOSE, struct.pack("!H", code) + reason)
        try:
            while True:
                self.receive()
        except Closed as closed:
            return closed
        finally:
            self.frames.close()

    def drop(self):
        self.frames.close()


def _gzip(inner):
    return b"\0" + inner


PING_MESSAGES = {
    "edn": b"[:chsk/ws-ping nil]",
    "json": b'["chsk/ws-ping",null]',
    "transit": b'["~:chsk/ws-ping",null]',
    "transit-verbose": b'["~:chsk/ws-ping",null]',
    "msgpack": b"\x92\xc7\x0c\x00chsk/ws-ping\xc0",
}
PONG_MESSAGES = {
    "edn": b"[[:chsk/ws-pong] nil]",
    "json": b'[["chsk/ws-pong"],null]',
    "transit": b'[["~:chsk/ws-pong"],null]',
    "transit-verbose": b'[["~:chsk/ws-pong"],null]',
    "msgpack": b"\x92\x91\xc7\x0c\x00chsk/ws-pong\xc0",
}
for _name in list(PING_MESSAGES):
    PING_MESSAGES["gzip+" + _name] = _gzip(PING_MESSAGES[_name])
    PONG_MESSAGES["gzip+" + _name] = _gzip(PONG_MESSAGES[_name])
