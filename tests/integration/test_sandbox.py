"""The systemd units keep the programs from what they don't need, and don't keep them from what they do."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from clients import DUMMY, Fcgi, fcgi, form, handshake, poll
from harness import RESPONDER, SANITIZED, SIDECAR, SLOW, SOURCE, free_port, unprivileged, wait_until
from websocket import Client

UNITS = {"dumbwaiter-fcgi.service": RESPONDER, "dumbwaiter-ws.service": SIDECAR}
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")

ASKED = {
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes", "ProtectClock": "yes", "ProtectHostname": "yes",
    "ProtectProc": "invisible", "RestrictNamespaces": "yes", "RestrictRealtime": "yes", "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native", "LimitCORE": "0",
    "SystemCallFilter": "@system-service ~@privileged @resources", "User": "www-data", "UMask": "0007",
}


def directives(unit):
    """Name -> value; of a name that comes more than once, all values."""
    found = {}
    with open(os.path.join(SOURCE, "etc", unit)) as lines:
        for line in lines:
            name, equals, value = line.strip().partition("=")
            if equals and not name.startswith("#"):
                found[name] = (found[name] + " " + value) if name in found else value
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_shuts_out_what_is_not_needed(unit):
    found = directives(unit)
    assert {name: found.get(name) for name in ASKED} == ASKED
    if unit == "dumbwaiter-fcgi.service":
        assert (found["PrivateNetwork"], found["RestrictAddressFamilies"]) == ("yes", "AF_UNIX")
    else:
        assert (found["IPAddressDeny"], found["IPAddressAllow"]) == ("any", "localhost")
        assert found["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_fine_to_systemd(unit):
    said = subprocess.run(["systemd-analyze", "verify", os.path.join(SOURCE, "etc", unit)], capture_output=True,
                          text=True).stderr
    assert not [line for line in said.splitlines()
                if unit in line and "not executable" not in line and "man dumbwaiter" not in line]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_calls_a_unit_well_confined(unit):
    """`systemd-analyze security` counts from 0, confined, to 10, exposed; 2.0 is the most here."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
                           os.path.join(SOURCE, "etc", unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def members(group):
    """The system calls of a group such as @system-service."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True,
                          check=True).stdout
    found = set()
    for line in text.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= members(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def allowed(unit):
    calls = members("@default")
    for word in directives(unit)["SystemCallFilter"].split("~")[0].split():
        calls |= members(word)
    for word in directives(unit)["SystemCallFilter"].split("~")[1].split():
        calls -= members(word)
    return calls


def work(world, process, address):
    """Something of everything: a poll that a push ends, a message, a callback; or a WebSocket with the same."""
    world.script("CREATE TRIGGER echo AFTER INSERT ON dw_inbox WHEN NEW.event = 't/echo' BEGIN"
                 " INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, NEW.data); END;")
    if process.name.startswith("sidecar"):
        client = Client(address, "alice")
        world.push("alice", "t/e", "1")
        assert client.receive() == "[[[:t/e 1]] nil]"
        client.send('[[:t/echo 7] "c1"]')
        assert client.receive() == '[7 "c1"]'
        client.close()
        return
    assert fcgi(address, "GET", handshake("alice")).status == 200
    held = Fcgi(address)
    held.request("GET", poll("alice"))
    time.sleep(0.3 * SLOW)
    world.push("alice", "t/e", "1")
    assert held.receive().text == "[[[:t/e 1]] nil]"
    held.close()
    assert fcgi(address, "POST", "", form("alice", "[[:t/n 1] nil]")).text == DUMMY
    assert fcgi(address, "POST", "", form("alice", "[[:t/echo 7] :ajax]")).text == "[7 nil]"


@needs_systemd
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
@pytest.mark.skipif(SANITIZED, reason="sanitizers make system calls of their own")
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_allows_the_system_calls_that_its_program_makes(world, unit):
    kind = "sidecar" if "-ws" in unit else "responder"
    calls = world.path("calls")
    address = "unix:" + world.path("s.sock") if kind == "responder" else "127.0.0.1:%d" % free_port()
    trace = ["strace", "-f", "-qq", "-o", calls, UNITS[unit], "--listen", address]
    process = world._start(kind, unprivileged(trace), world.environment(WS_DRAIN_MS=200))
    world.wait_listening(process, address)
    wait_until(world.has_queue, 10 * SLOW, "the queue is there")
    work(world, process, address)
    for pid in world.children(process):
        os.kill(pid, signal.SIGTERM)
    process.popen.wait(20 * SLOW)
    with open(calls) as lines:
        made = {match.group(1) for match in (re.match(r"\d+ +(?:<\.\.\. )?([a-z]\w*)[( ]", line) for line in lines)
                if match}
    assert {"epoll_wait", "fdatasync"} & made and len(made) > 40, made  # it was traced
    # The start of the program is systemd's; lowering the limits, which fails then, is LimitNOFILE's and LimitCORE's.
    assert made - allowed(unit) - {"execve"} <= {"setrlimit"}, made - allowed(unit)
