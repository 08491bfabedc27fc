"""Every file that our programs make, with its mode: nothing is for others, whatever the umask says."""

import os
import stat

import pytest

import harness
from clients import Fcgi, fcgi, handshake, poll
from harness import SIDECAR, wait_until
from websocket import Client

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket", stat.S_IFIFO: "pipe"}


def listing(folder):
    """name -> (kind, mode) of all that is below `folder`."""
    found = {}
    for root, dirs, files in os.walk(folder):
        for name in dirs + files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            found[os.path.relpath(path, folder)] = (KINDS[stat.S_IFMT(st.st_mode)], stat.S_IMODE(st.st_mode))
    return found


def expected(folder, file):
    """What there is while the programs run."""
    state = ["state.db", "state.db-wal", "state.db-shm", "lock", "claims", "rates", "wake.seats", ".htaccess"]
    table = {"q.db-dw": ("folder", folder), "q.db-dw/wake.bell": ("pipe", file)}
    for name in ["q.db", "q.db-wal", "q.db-shm"] + ["q.db-dw/" + name for name in state]:
        table[name] = ("file", file)
    table["q.db-dw/holder.sock"] = ("socket", 0o600)  # for its owner alone
    # A socket is for the group in any case: that is how the web server gets in.
    for name in ["r.sock"] + ["w.sock"] * os.path.exists(SIDECAR):
        table[name] = ("socket", 0o660)
    return table


@pytest.mark.parametrize("umask, folder, file", [(0o000, 0o770, 0o660), (0o002, 0o770, 0o660), (0o022, 0o770, 0o660),
                                                 (0o077, 0o700, 0o600)])
def test_all_files_of_all_programs_and_their_modes(make_world, umask, folder, file):
    world = make_world()
    site = world.path("site")
    os.mkdir(site)
    os.chmod(site, 0o755)
    world.db_path = os.path.join(site, "q.db")
    holding = []
    before = os.umask(umask)
    try:
        responder = world.responder(address="unix:" + os.path.join(site, "r.sock"))
        assert fcgi(responder.address, "GET", handshake("alice")).status == 200
        for _ in range(3):  # so many that one leads and rings the bell, and one holds for others
            other = world.responder()
            assert fcgi(other.address, "GET", handshake(other.name)).status == 200
            held = Fcgi(other.address)
            held.request("GET", poll(other.name))
            holding.append(held)
        if os.path.exists(SIDECAR):
            sidecar = world.sidecar(address="unix:" + os.path.join(site, "w.sock"))
            assert Client(sidecar.address, "alice").handshake
        for command in (["push", "alice", "t/e", "1"], ["inbox"], ["status"], ["gc"], ["online"], ["doctor"]):
            world.cli(*command)
        wait_until(lambda: {"q.db-dw/wake.bell", "q.db-dw/holder.sock"} <= set(listing(site)), 10 * harness.SLOW,
                   "the bell and the holder's door are there")
    finally:
        os.umask(before)
    assert listing(site) == expected(folder, file)
    for held in holding:
        held.close()
