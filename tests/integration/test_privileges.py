"""Started as root: who the programs are afterwards, and what they can still do."""

import os
import pwd
import re
import stat
import subprocess
import time

import pytest

from clients import Fcgi, fcgi, handshake
from harness import CLI, RESPONDER, SIDECAR, SLOW, free_port, unprivileged, wait_until
from websocket import Client

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
NOBODY = "nobody"
PROGRAMS = {"responder": RESPONDER, "sidecar": SIDECAR}


def threads(pid):
    """What the kernel says of each thread of a process."""
    found = []
    for name in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, name)) as lines:
            found.append({key: value.split() for key, _, value in (line.partition(":") for line in lines)})
    assert found
    return found


def assert_is_for_good(pid, uid, gid):
    for thread in threads(pid):
        assert thread["Uid"] == [str(uid)] * 4 and thread["Gid"] == [str(gid)] * 4, thread
        assert "0" not in thread["Groups"], thread
        for kept in ("CapPrm", "CapEff", "CapAmb"):
            assert int(thread[kept][0], 16) == 0, thread


def answers(process):
    """It serves: the descriptors and files that it needs are within its reach."""
    if process.name.startswith("sidecar"):
        return Client(process.address, "alice").handshake.startswith("[[:chsk/handshake ")
    return fcgi(process.address, "GET", handshake("alice")).status == 200


def refused(name, env, *arguments, as_started=True):
    """A server that must not come up: its exit status and what it says."""
    argv = [PROGRAMS[name], "--listen", "127.0.0.1:%d" % free_port(), *arguments]
    done = subprocess.run(argv if as_started else unprivileged(argv), env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=10 * SLOW)
    return done.returncode, done.stderr


@pytest.fixture(params=["responder", "sidecar"])
def start(request, make_world):
    """A function that starts the server in a world with these settings: (world, process)."""
    def run(prepare=None, listen="unix", **settings):
        world = make_world(**settings)
        if prepare is not None:
            prepare(world)
        return world, getattr(world, request.param)(listen=listen)
    run.name = request.param
    return run


# ---- root is left ----

@needs_root
def test_a_server_goes_on_as_the_user_that_it_is_told(start):
    world, process = start(PROCESS_USER=NOBODY)
    nobody = pwd.getpwnam(NOBODY)
    assert answers(process)
    assert_is_for_good(process.pid, nobody.pw_uid, nobody.pw_gid)
    listening = os.stat(process.address[5:])
    assert (listening.st_uid, listening.st_gid) == (nobody.pw_uid, nobody.pw_gid)
    assert stat.S_IMODE(listening.st_mode) == 0o660
    assert os.stat(world.db_path).st_uid == nobody.pw_uid
    assert "goes on as user nobody" in world.tail(process.log)
    assert process.end() is None and not os.path.exists(process.address[5:])


@needs_root
@pytest.mark.parametrize("name", PROGRAMS)
def test_user_and_group_may_be_given_as_an_option_and_as_numbers(world, name):
    address = "127.0.0.1:%d" % free_port()
    process = world._start(name, [PROGRAMS[name], "--listen", address, "--user", "12345:23456"], world.environment())
    process.address = address
    world.wait_listening(process, address)
    wait_until(world.has_queue, 10 * SLOW, "the queue is there")
    assert answers(process)
    assert_is_for_good(process.pid, 12345, 23456)
    assert (os.stat(world.db_path).st_uid, os.stat(world.db_path).st_gid) == (12345, 23456)


def own_folder(world):
    """The queue's folder belongs to nobody, as it belongs to the web server's user on a real site."""
    nobody = pwd.getpwnam(NOBODY)
    os.chown(world.folder, nobody.pw_uid, nobody.pw_gid)
    os.chmod(world.folder, 0o700)


@needs_root
def test_without_a_name_root_becomes_the_owner_of_the_queue(start):
    world, process = start(own_folder)
    nobody = pwd.getpwnam(NOBODY)
    assert answers(process)
    assert_is_for_good(process.pid, nobody.pw_uid, nobody.pw_gid)
    assert os.stat(world.db_path).st_uid == nobody.pw_uid


@needs_root
def test_root_stays_root_only_with_a_warning_or_by_name(start):
    world, process = start()
    assert "warn: running as root" in world.tail(process.log)
    assert threads(process.pid)[0]["Uid"][1] == "0"
    _, silent = start(PROCESS_USER="root")
    assert "running as root" not in world.tail(silent.log)


@needs_root
def test_a_worker_that_a_web_server_starts_as_root_leaves_it_too(world):
    """The listening socket is inherited then, and there is nothing to bind."""
    own_folder(world)
    os.chmod(world.folder, 0o711)
    listener, address = world.listener()
    worker = world.worker(listener)
    assert fcgi(address, "GET", handshake("alice")).status == 200
    nobody = pwd.getpwnam(NOBODY)
    assert_is_for_good(worker.pid, nobody.pw_uid, nobody.pw_gid)


@needs_root
def test_a_worker_that_learns_its_queue_from_a_request_leaves_root_then(world):
    """SetEnv: the settings come as parameters; by then it has threads, and all of them must change."""
    own_folder(world)
    listener, address = world.listener()
    env = {key: value for key, value in world.environment().items() if not key.startswith("DUMBWAITER_")}
    worker = world._start("worker", [RESPONDER], env, stdin=listener)
    connection = Fcgi(address)
    connection.request("GET", handshake("alice"), **world.responder_environment())
    assert connection.receive().status == 200
    nobody = pwd.getpwnam(NOBODY)
    assert len(threads(worker.pid)) > 2
    assert_is_for_good(worker.pid, nobody.pw_uid, nobody.pw_gid)


@needs_root
def test_a_cgi_program_that_root_starts_leaves_it_too(world):
    own_folder(world)
    env = dict(world.environment(), REQUEST_METHOD="GET", QUERY_STRING=handshake("alice"))
    done = subprocess.run([RESPONDER], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout.startswith("Status: 200") and "goes on as user nobody" in done.stderr
    assert os.stat(world.db_path).st_uid == pwd.getpwnam(NOBODY).pw_uid


# ---- who can't be become ----

def test_a_user_that_is_not_there_ends_the_start(start):
    world, _ = start(PROCESS_USER=None)
    status, said = refused(start.name, world.environment(PROCESS_USER="no-such-user"))
    assert status == 1 and 'there is no user "no-such-user"' in said
    status, said = refused(start.name, world.environment(), "--user", "root:no-such-group")
    assert status == 1 and 'there is no group "no-such-group"' in said


def test_who_is_not_root_can_not_become_another_user(start):
    world, _ = start()
    status, said = refused(start.name, world.environment(PROCESS_USER="root"), as_started=False)
    assert status == 1 and "process.user is root, but only root can become another user" in said


def test_who_is_not_root_may_be_told_its_own_name(world):
    if AS_ROOT:
        own_folder(world)
    name = NOBODY if AS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
    path = world.path("own.sock")
    program = [RESPONDER, "--listen", "unix:" + path, "--user", name]
    process = world._start("responder", unprivileged(program), world.environment())
    process.address = "unix:" + path
    world.wait_listening(process, process.address)
    wait_until(world.has_queue, 10 * SLOW, "the queue is there")
    assert answers(process)


# ---- what no program can do ----

def test_no_server_can_gain_privileges_or_leave_a_core_file(start):
    _, process = start()
    assert answers(process)
    for thread in threads(process.pid):
        assert thread["NoNewPrivs"] == ["1"]
    with open("/proc/%d/limits" % process.pid) as limits:
        assert re.search(r"Max core file size +0 +0 ", limits.read())


# ---- the command ----

@needs_root
def test_root_works_on_a_queue_of_another_user_as_that_user(world):
    """In that user's folder links could lead root elsewhere."""
    own_folder(world)
    assert world.cli("init").returncode == 0
    env = world.environment()
    with open(world.path("follow.out"), "wb") as out:
        follower = subprocess.Popen([CLI, "inbox", "--follow"], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        nobody = pwd.getpwnam(NOBODY)
        wait_until(lambda: threads(follower.pid)[0]["Uid"][1] == str(nobody.pw_uid), 10 * SLOW, "it has left root")
        assert_is_for_good(follower.pid, nobody.pw_uid, nobody.pw_gid)
    finally:
        follower.terminate()
        follower.wait()
    # A state file that leads to a file of root's: the owner can't reach it, so it stays as it is.
    precious = os.path.join(os.path.dirname(world.folder), "dwp%d-%d" % (os.getpid(), time.monotonic_ns()))
    with open(precious, "w") as out:
        out.write("root's")
    try:
        os.chmod(precious, 0o600)
        state = world.db_path + "-dw/state.db"
        os.rename(state, state + ".before")
        os.symlink(precious, state)
        world.cli("push", "alice", "a/b", "1")
        world.cli("gc")
        world.cli("status")
        assert open(precious).read() == "root's" and os.stat(precious).st_uid == 0
    finally:
        os.remove(precious)


@needs_root
def test_root_may_insist_on_being_root(world):
    own_folder(world)
    assert world.cli("init").returncode == 0
    assert world.cli("push", "alice", "a/b", "1", PROCESS_USER="root").returncode == 0
    assert world.cli("push", "alice", "a/b", "1").returncode == 0
    assert world.sql("SELECT count(*) FROM dw_push") == [(2,)]


@needs_root
@pytest.mark.parametrize("leads", ["state", "queue and state", "state of a new queue", "state of root's queue"])
@pytest.mark.parametrize("command", [("token", "--uid", "alice", "--ttl", "60"), ("init",)])
def test_the_owner_of_a_queue_chooses_no_folder_for_root(world, command, leads):
    """The folder of the state, and with "queue" the queue itself, are links of the owner's to what is root's."""
    own_folder(world)
    if leads != "state of a new queue":
        assert world.cli("init").returncode == 0
        os.rename(world.db_path + "-dw", world.path("old-dw"))
    if leads == "state of root's queue":
        os.chown(world.db_path, 0, 0)
    of_root = os.path.join(os.path.dirname(world.folder), "dwr%d-%d" % (os.getpid(), time.monotonic_ns()))
    os.mkdir(of_root, 0o755)
    try:
        with open(of_root + ".db", "w"):
            pass
        if leads == "queue and state":
            os.rename(world.db_path, world.path("old.db"))
            os.symlink(of_root + ".db", world.db_path)
        os.symlink(of_root, world.db_path + "-dw")
        for path in (world.db_path, world.db_path + "-dw"):
            if os.path.islink(path):
                os.lchown(path, pwd.getpwnam(NOBODY).pw_uid, -1)
        done = world.cli(*command)
        assert done.returncode != 0 and done.stdout == "", done
        assert os.listdir(of_root) == [] and os.stat(of_root).st_uid == 0
        assert os.stat(of_root + ".db").st_size == 0 and os.stat(of_root + ".db").st_uid == 0
    finally:
        os.remove(of_root + ".db")
        for name in os.listdir(of_root):
            os.remove(os.path.join(of_root, name))
        os.rmdir(of_root)


@needs_root
def test_root_makes_a_queue_and_a_token_as_the_owner_of_the_folder(world):
    own_folder(world)
    assert world.cli("init").returncode == 0
    assert world.cli("token", "--uid", "alice", "--ttl", "60").returncode == 0
    os.remove(world.db_path + "-dw/token.key")
    assert world.cli("token", "--uid", "alice", "--ttl", "60").returncode == 0
    nobody = pwd.getpwnam(NOBODY)
    for path in (world.db_path, world.db_path + "-dw", world.db_path + "-dw/token.key"):
        assert (os.stat(path).st_uid, os.stat(path).st_gid) == (nobody.pw_uid, nobody.pw_gid)
