"""What a site that is not set up yet, or not rightly, does: nothing may be handed out or made unreadable, and
somebody is told what to do."""

import json
import os
import shutil
import socket
import stat
import subprocess

import pytest

from clients import Fcgi, Http, fcgi, handshake, poll
from harness import RESPONDER, SLOW, free_port, wait_until
from test_cgi import APACHE

NOT_SET_UP = "Dumbwaiter is not set up right; its log says why"


class Site:
    """A web root with the program in it, as on a host that has no other place."""

    def __init__(self, world):
        self.world = world
        self.root = world.path("root")
        os.makedirs(self.root, exist_ok=True)
        self.program = os.path.join(self.root, "dumbwaiter.fcgi")
        shutil.copy(RESPONDER, self.program)
        os.chmod(self.program, 0o755)

    def environment(self, **more):
        env = {key: value for key, value in self.world.environment().items() if key != "DUMBWAITER_DB"}
        env.update({"REQUEST_METHOD": "GET", "QUERY_STRING": handshake("alice"), "DOCUMENT_ROOT": self.root})
        env.update(more)
        return {key: value for key, value in env.items() if value is not None}

    def cgi(self, umask=0o022, **more):
        """Runs it as a web server runs a CGI program."""
        return subprocess.run([self.program], env=self.environment(**more), stdin=subprocess.DEVNULL, umask=umask,
                              capture_output=True, text=True, timeout=10 * SLOW)

    def made(self):
        return sorted(set(os.listdir(self.root)) - {"dumbwaiter.fcgi"})


@pytest.fixture
def site(world):
    return Site(world)


# ---- the queue in the web root ----

@pytest.mark.parametrize("name", ["DOCUMENT_ROOT", "CONTEXT_DOCUMENT_ROOT"])
def test_cgi_makes_no_queue_in_the_web_root_by_itself(site, name):
    done = site.cgi(**dict({"DOCUMENT_ROOT": "/nowhere"}, **{name: site.root}))
    assert done.stdout.startswith("Status: 500") and done.stdout.endswith(NOT_SET_UP)
    assert "set DUMBWAITER_DB to a path outside of " + site.root in done.stderr
    assert site.made() == []


def test_a_link_to_the_web_root_is_the_web_root(site):
    link = site.world.path("link")
    os.symlink(site.root, link)
    assert site.cgi(DOCUMENT_ROOT=link).stdout.startswith("Status: 500")
    assert site.made() == []


def test_a_neighbour_of_the_web_root_is_not_in_it(site):
    neighbour = site.root + "-data"
    os.mkdir(neighbour)
    done = site.cgi(DUMBWAITER_DB=os.path.join(neighbour, "q.db"))
    assert done.stdout.startswith("Status: 200") and " error: " not in done.stderr


@pytest.mark.parametrize("way", ["DUMBWAITER_DB", "DUMBWAITER_STORE_PATH", "file"])
def test_a_queue_that_was_set_to_be_in_the_web_root_is_served_and_complained_about(site, way):
    path = os.path.join(site.root, "queue.db")
    if way == "file":
        with open(os.path.join(site.root, "dumbwaiter.conf"), "w") as out:
            out.write("[store]\npath = %s\n" % path)
    done = site.cgi(**({} if way == "file" else {way: path}))
    assert done.stdout.startswith("Status: 200")
    assert " error: the queue file %s is in the web server's folder" % path in done.stderr


def test_fastcgi_makes_no_queue_in_the_web_root_by_itself(site):
    listener, address = site.world.listener()
    env = site.environment(REQUEST_METHOD=None, QUERY_STRING=None, DOCUMENT_ROOT=None)
    worker = site.world._start("worker", [site.program], env, stdin=listener)
    for _ in range(2):
        answer = fcgi(address, "GET", handshake("alice"), DOCUMENT_ROOT=site.root)
        assert (answer.status, answer.text) == (500, NOT_SET_UP)
    assert "set DUMBWAITER_DB to a path outside of" in site.world.tail(worker.log)
    assert site.made() == []
    # The web server is told where, and the same process serves.
    answer = fcgi(address, "GET", handshake("alice"), DOCUMENT_ROOT=site.root, DUMBWAITER_DB=site.world.db_path)
    assert answer.status == 200
    assert site.made() == []


def test_fastcgi_complains_once_about_a_queue_in_the_web_root(site):
    world = site.world
    world.db_path = os.path.join(site.root, "queue.db")
    responder = world.responder()
    for _ in range(3):
        assert fcgi(responder.address, "GET", handshake("alice"), DOCUMENT_ROOT=site.root).status == 200
    assert world.tail(responder.log).count("is in the web server's folder") == 1


def test_apache_hands_out_neither_the_state_nor_what_the_readme_denies(site):
    if not os.path.exists(APACHE):
        pytest.skip("apache2-bin is not installed")
    world, port = site.world, free_port()
    assert site.cgi(DUMBWAITER_DB=os.path.join(site.root, "queue.db")).stdout.startswith("Status: 200")
    with open(os.path.join(site.root, ".htaccess"), "w") as out:
        out.write('<FilesMatch "\\.(db|db-wal|db-shm|conf|key)$">\nRequire all denied\n</FilesMatch>\n')
    for name in ("page.html", "dumbwaiter.conf", "token.key", "queue.db-dw/token.key"):
        with open(os.path.join(site.root, name), "w") as out:
            out.write("hello")
    subprocess.run(["chmod", "-R", "a+rX", site.root], check=True)
    modules = "".join("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n" % (name, name)
                      for name in ("mpm_event", "authz_core"))
    with open(world.path("apache.conf"), "w") as out:
        out.write(modules + "ServerName localhost\nListen 127.0.0.1:%d\nPidFile %s\nDefaultRuntimeDir %s\nErrorLog %s\n"
                  "User www-data\nGroup www-data\nDocumentRoot %s\n<Directory %s>\nAllowOverride AuthConfig\n"
                  "Require all granted\n</Directory>\n"
                  % (port, world.path("apache.pid"), world.folder, world.path("apache-error.log"), site.root, site.root))
    apache = world._start("apache", [APACHE, "-DFOREGROUND", "-f", world.path("apache.conf")], dict(os.environ))
    world.wait_listening(apache, "127.0.0.1:%d" % port)

    def status(path):
        connection = Http(port)
        try:
            return connection.get(path).status
        finally:
            connection.close()
    assert status("/page.html") == 200
    for path in ("/queue.db", "/queue.db-wal", "/dumbwaiter.conf", "/queue.db-dw/state.db", "/queue.db-dw/claims",
                 "/queue.db-dw/lock", "/queue.db-dw/token.key", "/token.key"):
        assert status(path) == 403, path


# ---- settings that can't be used ----

@pytest.mark.parametrize("setting, sentence", [
    (("DUMBWAITER_CHSK_LP_TIMEOUT", "400"), "DUMBWAITER_CHSK_LP_TIMEOUT names no setting"),
    (("DUMBWAITER_LIMITS_BATCH", "many"), "limits.batch must be a whole number"),
    (("DUMBWAITER_CONF", "/no/such.conf"), "cannot open the settings file /no/such.conf"),
])
def test_cgi_answers_500_and_logs_what_is_wrong_with_the_settings(site, setting, sentence):
    done = site.cgi(**dict([setting]))
    assert done.stdout.startswith("Status: 500 ") and done.stdout.endswith("\n\n" + NOT_SET_UP)
    assert sentence in done.stderr
    assert done.returncode == 1


# ---- sentences that say what to do ----

def test_a_settings_file_that_begins_without_a_section_is_told_so(site):
    with open(os.path.join(site.root, "dumbwaiter.conf"), "w") as out:
        out.write("path = /somewhere/q.db\n")
    assert 'dumbwaiter.conf, line 1: "path" stands before the first [section]' in site.cgi().stderr


def test_an_apps_own_table_with_our_name_is_named_and_left_alone(site):
    db = site.world.db_path
    site.world.script("CREATE TABLE dw_member (name); INSERT INTO dw_member VALUES ('theirs');")
    done = site.cgi(DUMBWAITER_DB=db)
    assert done.stdout.startswith("Status: 500")
    assert db + " has something of its own with a name of Dumbwaiter's (table dw_member already exists)" in done.stderr
    assert "store.path" in done.stderr
    assert site.world.sql("SELECT * FROM dw_member") == [("theirs",)]
    assert site.world.sql("SELECT count(*) FROM sqlite_master") == [(1,)]


def test_a_file_in_the_place_of_the_socket_is_told_apart_from_a_stale_socket(world):
    path = world.path("r.sock")
    open(path, "w").close()
    done = subprocess.run([RESPONDER, "--listen", "unix:" + path], env=world.environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=10 * SLOW)
    assert done.returncode == 1 and path + " exists and is no socket" in done.stderr
    assert os.path.isfile(path)


# ---- why somebody is refused ----

def test_each_way_of_being_refused_is_logged_once_and_says_which_it_is(make_world):
    world = make_world(AUTH_UID="session", AUTH_CSRF="on", AUTH_ALLOWED_ORIGINS=None)
    responder = world.responder()
    world.session("s1", "alice", "token")
    world.session("s2", "bob")
    good = {"HTTP_COOKIE": "dw_sid=s1", "HTTP_X_CSRF_TOKEN": "token"}
    ways = [
        ("no cookie dw_sid", 403, {}),
        ("names no session", 403, {"HTTP_COOKIE": "dw_sid=other", "HTTP_X_CSRF_TOKEN": "token"}),
        ("the session has no csrf_token", 403, {"HTTP_COOKIE": "dw_sid=s2", "HTTP_X_CSRF_TOKEN": "token"}),
        ("the request has no CSRF token", 403, {"HTTP_COOKIE": "dw_sid=s1"}),
        ("is not that of the session", 403, {"HTTP_COOKIE": "dw_sid=s1", "HTTP_X_CSRF_TOKEN": "tok"}),
        ("origin is not allowed", 403, dict(good, HTTP_ORIGIN="https://elsewhere.example")),
    ]
    for _ in range(3):
        for _, status, variables in ways:
            answer = fcgi(responder.address, "GET", handshake("c"), **variables)
            assert answer.status == status
            assert answer.text == ("Unauthorized origin" if "HTTP_ORIGIN" in variables else "Bad CSRF token")
    assert fcgi(responder.address, "GET", handshake("c"), **good).status == 200
    log = world.tail(responder.log)
    assert [log.count(sentence) for sentence, _, _ in ways] == [1] * len(ways), log
    assert "s1" not in log and "token\"" not in log  # no secrets


# ---- a tab is closed ----

def test_a_poll_whose_client_has_left_is_ended_and_not_cut_off(world):
    """A web server half-closes the connection then; one that is cut off is logged as the death of a responder."""
    responder = world.responder()
    assert fcgi(responder.address, "GET", handshake("alice")).status == 200
    connection = Fcgi(responder.address)
    connection.request("GET", poll("alice"))
    wait_until(lambda: held(world) == 1, 5 * SLOW, "it is held")
    connection.sock.shutdown(socket.SHUT_WR)
    answer = connection.receive(5 * SLOW)  # whole, with FCGI_END_REQUEST
    assert (answer.status, answer.body) == (200, b"")
    assert connection.is_closed()
    connection.close()
    wait_until(lambda: held(world) == 0, 5 * SLOW, "it is held no more")


def held(world):
    return sum(worker["parked"] for worker in json.loads(world.cli("status", "--json").stdout)["workers"])


# ---- owner, group, umask ----

def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def modes(db):
    state = db + "-dw"
    return {mode(state)}, {mode(os.path.join(state, name)) for name in os.listdir(state)} | {mode(db)}


@pytest.mark.parametrize("umask, folder, file", [(0o022, 0o770, 0o660), (0o002, 0o770, 0o660), (0o077, 0o700, 0o600)])
def test_files_are_shared_with_the_group_unless_the_umask_shuts_it_out(world, umask, folder, file):
    listener, address = world.listener()
    before = os.umask(umask)
    try:
        os.chmod(world.folder, 0o755)
        workers = [world.worker(listener) for _ in range(3)]  # the third makes the bell
    finally:
        os.umask(before)
    assert all(fcgi(address, "GET", handshake("c%d" % n)).status == 200 for n in range(9))
    assert len(workers) == 3
    assert modes(world.db_path) == ({folder}, {file})
    # While it is open there are -wal and -shm, which SQLite makes like the file.
    for suffix in ("-wal", "-shm"):
        assert mode(world.db_path + suffix) == file


def test_a_queue_that_the_group_shares_gets_a_state_that_it_shares(site):
    db = site.world.path("q.db")
    assert site.cgi(DUMBWAITER_DB=db).stdout.startswith("Status: 200")
    shutil.rmtree(db + "-dw")
    assert site.cgi(umask=0o077, DUMBWAITER_DB=db).stdout.startswith("Status: 200")
    assert modes(db) == ({0o770}, {0o660})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_an_app_of_another_user_of_the_group_can_push(world):
    """www-data serves; the app is nobody, and a member of www-data's group."""
    import grp
    import pwd
    web, app = pwd.getpwnam("www-data"), pwd.getpwnam("nobody")
    group = grp.getgrnam("www-data").gr_gid
    data = world.path("data")
    os.mkdir(data)
    os.chown(data, web.pw_uid, group)
    os.chmod(data, 0o2770)
    site = Site(world)
    db = os.path.join(data, "q.db")
    done = subprocess.run([site.program], env=site.environment(DUMBWAITER_DB=db), user=web.pw_uid, group=group,
                          extra_groups=[], stdin=subprocess.DEVNULL, umask=0o022, capture_output=True, text=True)
    assert done.stdout.startswith("Status: 200"), done.stderr
    assert mode(db + "-dw") == 0o2770
    push = "INSERT INTO dw_push (uid, event, data) VALUES ('alice', 'a/b', '1')"
    done = subprocess.run(["sqlite3", db, push], user=app.pw_uid, group=app.pw_gid, extra_groups=[group], umask=0o022,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert world.path("data/q.db") == db and os.path.exists(db)
