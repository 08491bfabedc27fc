"""Many idle WebSockets: what each costs in memory, and how long one push takes to reach all.

DW_SOCKETS says how many (default: 2,000).  Figures of sanitized builds are no bounds.
"""

import os
import resource
import socket
import time

import pytest

import harness
from harness import SANITIZED

pytestmark = pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")

COUNT = int(os.environ.get("DW_SOCKETS", "2000"))
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def connect_many(address, count):
    host, port = address.rsplit(":", 1)
    sockets = []
    for begin in range(0, count, 200):
        batch = []
        for n in range(begin, min(count, begin + 200)):
            sock = socket.create_connection((host, int(port)), timeout=60)
            sock.sendall(("GET /chsk?client-id=c%06d HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
                          % (n, KEY)).encode())
            batch.append(sock)
        for sock in batch:
            read_until(sock, b"nil nil]] nil]")
        sockets += batch
    return sockets


def read_until(sock, end):
    got = b""
    while end not in got:
        piece = sock.recv(4096)
        if not piece:
            raise AssertionError("closed after %r" % got[-200:])
        got += piece
    return got


def test_an_idle_client_costs_little_and_a_push_reaches_all(world):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < COUNT + 200:
        pytest.skip("only %d open files are allowed" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, COUNT + 200), hard))
    # Nobody answers pings here.
    sidecar = world.sidecar(LIMITS_SOCKETS=COUNT + 100, CHSK_WS_PING_TIMEOUT_MS=600000)
    warm = connect_many(sidecar.address, 50)
    before = sidecar.status("VmRSS")
    begin = time.monotonic()
    sockets = connect_many(sidecar.address, COUNT)
    connecting = time.monotonic() - begin
    each = (sidecar.status("VmRSS") - before) / COUNT
    begin = time.monotonic()
    world.push("*", "t/all", "1", column="room")
    for sock in sockets:
        read_until(sock, b"[[[:t/all 1]] nil]")
    reaching = time.monotonic() - begin
    print("%d clients: connected in %.2f s, %.2f KB each, one push to all in %.3f s" % (
        COUNT, connecting, each, reaching))
    for sock in warm + sockets:
        sock.close()
    if not SANITIZED:
        assert each <= 7.0
        assert reaching < 10
