"""The same binary where a process serves one request at a time: plain CGI, mod_fcgid, and its kind."""

import json
import os
import shutil
import subprocess
import time

import pytest

from clients import DUMMY, TIMEOUT, Http, fcgi, form, handshake, numbers, poll
from harness import RESPONDER, SLOW, counter, free_port, wait_until

APP = """
CREATE TRIGGER app_echo AFTER INSERT ON dw_inbox WHEN NEW.event = 'test/echo' AND NEW.wants_reply
BEGIN INSERT INTO dw_reply (inbox_id, data) VALUES (NEW.id, NEW.data); END;
"""
HANDSHAKE = '[[:chsk/handshake ["alice" nil nil]] nil]'
APACHE = "/usr/sbin/apache2"
FCGID = "/usr/lib/apache2/modules/mod_fcgid.so"
PROMPT = 5 * SLOW
LP_TIMEOUT_MS = 3000 * SLOW


class Door:
    """How requests get in, whatever stands between."""

    def __init__(self, world, port):
        self.world, self.port = world, port

    def hold(self, query):
        connection = Http(self.port)
        connection.send("GET", "/chsk?" + query)
        return connection

    def get(self, query, timeout=30):
        connection = self.hold(query)
        try:
            return connection.receive(timeout)
        finally:
            connection.close()

    def post(self, payload, client_id="alice"):
        connection = Http(self.port)
        connection.send("POST", "/chsk", {"Content-Type": "application/x-www-form-urlencoded"},
                        form(client_id, payload))
        return connection


def lighttpd_cgi(world):
    return world.lighttpd(cgi=True).port


def lighttpd_fcgid(world):
    """lighttpd that gives every process of many one request at a time, as mod_fcgid does: as many processes
    as the tests have requests at once, each with a socket of its own on descriptor 0."""
    addresses = []
    for _ in range(6):
        listener, address = world.listener()
        world.worker(listener)
        addresses.append(address)
    return world.lighttpd(*addresses).port


def apache_config(world, port, handler, environment, per_request=()):
    modules = "/usr/lib/apache2/modules/mod_%s.so"
    names = ["mpm_event", "authz_core", "alias", "env"] + (["fcgid"] if handler == "fcgid-script" else ["cgid"])
    lines = ["LoadModule %s_module %s" % (name, modules % name) for name in names]
    directive = "FcgidInitialEnv" if handler == "fcgid-script" else "SetEnv"
    lines += ["ServerName localhost", "Listen 127.0.0.1:%d" % port, "PidFile %s" % world.path("apache.pid"),
              "DefaultRuntimeDir %s" % world.folder, "ErrorLog %s" % world.path("apache-error.log"),
              "User www-data", "Group www-data", "DocumentRoot %s" % world.path("root"),
              "Alias /chsk %s" % world.path("dumbwaiter.fcgi"),
              "<Directory %s>" % world.folder, "AllowOverride FileInfo", "</Directory>",
              "<Location /chsk>", "SetHandler %s" % handler, "Options +ExecCGI", "Require all granted"]
    lines += ["SetEnv %s %s" % item for item in per_request]
    lines += ["</Location>"]
    lines += ["%s %s \"%s\"" % (directive, name, value) for name, value in sorted(environment.items())]
    if handler == "fcgid-script":
        lines += ["FcgidIPCDir %s" % world.path("ipc"), "FcgidProcessTableFile %s" % world.path("shm"),
                  "FcgidMaxProcessesPerClass 100", "FcgidIOTimeout 40", "FcgidBusyTimeout 300"]
    else:
        lines += ["ScriptSock %s" % world.path("cgid.sock")]
    return "\n".join(lines) + "\n"


def start_apache(world, handler, per_request=()):
    if not os.path.exists(APACHE) or not os.path.exists(FCGID):
        pytest.skip("apache2-bin and libapache2-mod-fcgid are not installed")
    port = free_port()
    for name in ("root", "ipc"):
        os.makedirs(world.path(name), exist_ok=True)
        os.chmod(world.path(name), 0o777)
    # www-data may not be able to read the build tree.
    shutil.copy(RESPONDER, world.path("dumbwaiter.fcgi"))
    os.chmod(world.path("dumbwaiter.fcgi"), 0o755)
    environment = {key: value for key, value in world.environment().items()
                   if key.startswith("DUMBWAITER_") or key.endswith("SAN_OPTIONS")}
    with open(world.path("apache.conf"), "w") as out:
        out.write(apache_config(world, port, handler, environment, per_request))
    process = world._start("apache", [APACHE, "-DFOREGROUND", "-f", world.path("apache.conf")], dict(os.environ))
    world.wait_listening(process, "127.0.0.1:%d" % port)
    return port


def apache_fcgid(world):
    return start_apache(world, "fcgid-script")


def apache_cgi(world):
    return start_apache(world, "cgi-script")


@pytest.fixture(params=[lighttpd_cgi, lighttpd_fcgid, apache_fcgid, apache_cgi], ids=lambda kind: kind.__name__)
def door(make_world, request):
    world = make_world(CHSK_LP_TIMEOUT_MS=LP_TIMEOUT_MS, CHSK_CLOSE_GRACE_AJAX_MS=500)
    door = Door(world, request.param(world))
    # Under www-data the first request makes the queue file.
    assert door.get(handshake("alice")).text == HANDSHAKE
    return door


def test_a_held_poll_is_woken_by_a_push(door):
    for n in range(3):
        held = door.hold(poll("alice"))
        time.sleep(0.3 * SLOW)
        begin = time.monotonic()
        door.world.push("alice", "test/n", str(n))
        assert numbers(held.receive(PROMPT).text) == [n]
        print("commit to answer: %.1f ms" % ((time.monotonic() - begin) * 1000))
        held.close()


def test_a_push_between_two_polls_is_not_lost(door):
    door.world.push("alice", "test/n", "1")
    assert numbers(door.get(poll("alice")).text) == [1]
    door.world.push("alice", "test/n", "2")
    assert numbers(door.get(poll("alice")).text) == [2]


def test_a_poll_times_out(door):
    begin = time.monotonic()
    assert door.get(poll("alice")).text == TIMEOUT
    assert LP_TIMEOUT_MS - 100 <= (time.monotonic() - begin) * 1000 <= LP_TIMEOUT_MS + PROMPT * 1000


def test_messages_callbacks_and_replies(door):
    door.world.script(APP)
    assert door.post("[[:chat/say 1] nil]").receive(PROMPT).text == DUMMY
    assert door.post("[[:test/echo {:x 1}] :ajax]").receive(PROMPT).text == "[{:x 1} nil]"
    held = door.post("[[:ask/this 1] :ajax]")
    row = wait_until(lambda: door.world.sql("SELECT id FROM dw_inbox WHERE event = 'ask/this'"), PROMPT, "it is there")
    door.world.sql("INSERT INTO dw_reply (inbox_id, data) VALUES (?, '42')", row[0][0])
    assert held.receive(PROMPT).text == "[42 nil]"


def test_several_tabs_poll_at_once(door):
    tabs = ["tab%d" % n for n in range(4)]
    for tab in tabs:
        door.get(handshake(tab))
    held = [door.hold(poll(tab)) for tab in tabs]
    time.sleep(1)
    door.world.push("*", "test/n", "1", column="room")
    assert [numbers(connection.receive(PROMPT).text) for connection in held] == [[1]] * 4


def test_presence_opens_and_closes(door):
    def events():
        return [row[0] for row in door.world.sql("SELECT event FROM dw_inbox WHERE uid = 'alice' ORDER BY id")]
    held = door.hold(poll("alice"))
    wait_until(lambda: events() == ["chsk/uidport-open"], PROMPT, "uidport-open")
    assert door.world.sql("SELECT uid, ajax FROM dw_online") == [("alice", 1)]
    door.world.push("alice", "test/n", "1")
    assert numbers(held.receive(PROMPT).text) == [1]
    held.close()
    # Nothing resident may be there: others' requests do the housekeeping as they come.

    def closed():
        door.get(handshake("other"))
        return events() == ["chsk/uidport-open", "chsk/uidport-close"]
    wait_until(closed, 15 * SLOW, "uidport-close")
    assert door.world.sql("SELECT uid FROM dw_online WHERE uid = 'alice'") == []


def test_bad_input_is_answered_4xx(door):
    assert door.get("handshake%3F=1").status == 400
    assert door.post("[[:a/b \"").receive(PROMPT).status == 400
    assert door.get(handshake("alice")).text == HANDSHAKE


def test_a_cgi_process_does_its_housekeeping_although_the_web_server_ends_it(make_world):
    """lighttpd sends SIGTERM as soon as it has the whole answer."""
    world = make_world()
    door = Door(world, lighttpd_cgi(world))
    for _ in range(20):
        assert door.get(handshake("alice")).text == HANDSHAKE
    wait_until(lambda: counter(world, "handshakes") == 20, PROMPT, "20 handshakes are counted")


# ---- settings ----

def test_a_held_cgi_poll_does_not_keep_others_from_keeping_house(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=40000 * SLOW)
    door = Door(world, lighttpd_cgi(world))
    assert "handshake" in door.get(handshake("alice")).text
    connection = door.hold(poll("alice"))
    wait_until(lambda: world.sql("SELECT 1 FROM dw_online"), PROMPT, "the poll is held")
    world.responder()
    world.sql("INSERT INTO dw_push (uid, event, created_at) VALUES ('bob', 'test/n', 1600000000000)")
    wait_until(lambda: world.sql("SELECT count(*) FROM dw_push") == [(0,)], 12 * SLOW, "the other has kept house")
    connection.close()


def test_setenv_of_apache_sets_a_setting(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=20000)
    door = Door(world, start_apache(world, "fcgid-script", [("DUMBWAITER_CHSK_LP_TIMEOUT_MS", "400")]))
    door.get(handshake("alice"))
    begin = time.monotonic()
    assert door.get(poll("alice")).text == TIMEOUT
    assert time.monotonic() - begin < 3 * SLOW


def test_setenv_of_lighttpd_sets_a_setting(make_world):
    world = make_world()
    world.init()
    extra = 'setenv.add-environment = ( "DUMBWAITER_CHSK_LP_TIMEOUT_MS" => "400" )'
    door = Door(world, world.lighttpd(spawn=1, extra=extra).port)
    assert door.get(handshake("alice")).text == HANDSHAKE
    assert door.get(poll("alice"), timeout=3 * SLOW).text == TIMEOUT


@pytest.mark.parametrize("first, second", [("1", None), (None, "1"), ("1", "2")])
def test_a_process_serves_no_request_of_another_site(make_world, first, second):
    """One process may be reached from two virtual hosts that are set up differently."""
    world = make_world(AUTH_CSRF="on")
    world.init()
    listener, address = world.listener()
    worker = world.worker(listener)
    sites = {None: {}, "1": {"DUMBWAITER_DB": world.path("1.db"), "DUMBWAITER_AUTH_CSRF": "off"},
             "2": {"DUMBWAITER_DB": world.path("2.db"), "DUMBWAITER_AUTH_CSRF": "off"}}
    for _ in range(3):
        assert fcgi(address, "GET", handshake("alice"), **sites[first]).status == (403 if first is None else 200)
    answer = fcgi(address, "GET", handshake("alice"), **sites[second])
    assert answer.status == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert second is None or not os.path.exists(world.path(second + ".db"))
    wait_until(lambda: not worker.alive(), 10 * SLOW, "the process makes room for one with the other settings")
    assert worker.popen.returncode == 0
    world.worker(listener)
    assert fcgi(address, "GET", handshake("alice"), **sites[second]).status == (403 if second is None else 200)


def test_a_site_that_is_set_up_anew_is_served_at_once(make_world):
    """mod_fcgid keeps its processes when .htaccess changes."""
    world = make_world(CHSK_LP_TIMEOUT_MS=20000)
    def set_up(timeout_ms):
        with open(world.path(".htaccess"), "w") as out:
            out.write("SetEnv DUMBWAITER_CHSK_LP_TIMEOUT_MS %d\n" % timeout_ms)
    set_up(60000)
    door = Door(world, start_apache(world, "fcgid-script"))
    assert door.get(handshake("alice")).text == HANDSHAKE
    held = door.hold(poll("alice"))
    time.sleep(0.3 * SLOW)
    set_up(400)

    def timed_out():
        door.get(handshake("bob"))
        begin = time.monotonic()
        return door.get(poll("bob")).text == TIMEOUT and time.monotonic() - begin < 5 * SLOW
    wait_until(timed_out, 20 * SLOW, "the new setting holds")
    held.close()


def test_a_bad_setting_is_answered_500_and_logged(make_world):
    world = make_world()
    world.init()
    extra = 'setenv.add-environment = ( "DUMBWAITER_CHSK_LP_TIMEOUT" => "400" )'
    door = Door(world, world.lighttpd(spawn=1, extra=extra).port)
    assert door.get(handshake("alice")).status == 500
    wait_until(lambda: "DUMBWAITER_CHSK_LP_TIMEOUT names no setting" in world.logs(), 5, "the log says which")


# ---- the capacity of such a host ----

def test_under_mod_fcgid_one_of_many_processes_holds_the_polls_of_all(make_world):
    world = make_world(CHSK_LP_TIMEOUT_MS=20000)
    door = Door(world, apache_fcgid(world))
    clients = ["c%d" % n for n in range(10)]

    def workers():
        return [w for w in json.loads(world.cli("status", "--json").stdout)["workers"] if w["alive"]]
    for client in clients:
        door.get(handshake(client))
    for n in range(4):
        held = [door.hold(poll(client)) for client in clients]
        wait_until(lambda: sum(w["parked"] for w in workers()) == len(clients), 20 * SLOW, "all are held")
        most = max(w["parked"] for w in workers())
        world.push("*", "test/n", str(n), column="room")
        assert [numbers(connection.receive(PROMPT).text) for connection in held] == [[n]] * len(clients)
        for connection in held:
            connection.close()
    assert len(workers()) >= len(clients)
    assert most >= len(clients) // 2


def test_over_the_limit_of_processes_a_cgi_poll_is_answered_at_once(make_world):
    world = make_world(LIMITS_HOLDERS=2)
    world.init()
    door = Door(world, lighttpd_cgi(world))
    held = []
    for n in range(2):
        door.get(handshake("c%d" % n))
        held.append(door.hold(poll("c%d" % n)))
    door.get(handshake("late"))
    time.sleep(0.5 * SLOW)
    answer = door.get(poll("late"))
    assert answer.status == 503
    assert 3 <= int(answer.headers["retry-after"]) <= 8
    world.push("*", "test/n", "1", column="room")
    assert [numbers(connection.receive(PROMPT).text) for connection in held] == [[1], [1]]
    assert numbers(door.get(poll("late")).text) == [1]


def test_one_later_request_closes_the_client_of_a_cgi_process_that_has_ended(make_world):
    """Nobody else keeps house on such a host."""
    grace_ms = 500 * SLOW
    world = make_world(CHSK_LP_TIMEOUT_MS=200, CHSK_CLOSE_GRACE_AJAX_MS=grace_ms)
    world.init()
    web = world.lighttpd(cgi=True)
    door = Door(world, web.port)
    door.get(handshake("alice"))
    assert door.get(poll("alice")).text == TIMEOUT
    wait_until(lambda: not world.children(web), PROMPT, "the poll's process has ended")
    assert world.sql("SELECT uid FROM dw_online") == [("alice",)]
    time.sleep(grace_ms / 1000)  # what is waited for is that nothing happens
    door.get(handshake("bob"))
    wait_until(lambda: not world.sql("SELECT uid FROM dw_online"), PROMPT, "the request has closed alice")
    assert world.sql("SELECT event FROM dw_inbox ORDER BY id") == [("chsk/uidport-open",), ("chsk/uidport-close",)]


def test_a_cgi_process_whose_client_left_ends(make_world):
    world = make_world()
    world.init()
    web = world.lighttpd(cgi=True, extra='server.stream-response-body = 0')
    door = Door(world, web.port)
    door.get(handshake("alice"))
    wait_until(lambda: not world.children(web), PROMPT, "the handshake's process has ended")
    held = door.hold(poll("alice"))
    children = wait_until(lambda: world.children(web), PROMPT, "the poll's process runs")
    held.close()
    # It ends with the next event or at its deadline at the latest; nothing is lost by that.
    world.push("alice", "test/n", "1")
    wait_until(lambda: not os.path.exists("/proc/%d" % children[0]), 10 * SLOW, "it has ended")
    door.get(handshake("alice"))
    assert numbers(door.get(poll("alice")).text) == [1]


def test_a_cgi_process_that_is_terminated_answers_a_time_out(make_world):
    world = make_world()
    world.init()
    web = world.lighttpd(cgi=True)
    door = Door(world, web.port)
    door.get(handshake("alice"))
    wait_until(lambda: not world.children(web), PROMPT, "the handshake's process has ended")
    held = door.hold(poll("alice"))
    children = wait_until(lambda: world.children(web), PROMPT, "the poll's process runs")
    time.sleep(0.3 * SLOW)
    os.kill(children[0], 15)
    assert held.receive(PROMPT).text == TIMEOUT


def test_started_by_hand_it_says_what_it_needs():
    done = subprocess.run([RESPONDER], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
                          env={key: value for key, value in os.environ.items() if key != "REQUEST_METHOD"})
    assert done.returncode == 2
    assert "--listen" in done.stderr


def test_a_query_without_equals_sign_can_not_become_an_option(make_world):
    """A CGI program is given such a query as arguments (RFC 3875, section 4.4)."""
    world = make_world()
    env = world.environment()
    env.update({"REQUEST_METHOD": "GET", "QUERY_STRING": "--help", "GATEWAY_INTERFACE": "CGI/1.1"})
    done = subprocess.run([RESPONDER, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
                          env=env)
    assert done.stdout.startswith("Status: 400")


def test_a_database_that_can_not_be_opened_is_answered_500(make_world):
    world = make_world()
    env = world.environment()
    env.update({"REQUEST_METHOD": "GET", "QUERY_STRING": handshake("alice"), "GATEWAY_INTERFACE": "CGI/1.1",
                "DUMBWAITER_DB": world.path("no/such/folder/q.db")})
    done = subprocess.run([RESPONDER], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, env=env)
    assert done.stdout.startswith("Status: 500")
    assert "no/such/folder" in done.stderr
