"""What README.md and docs/php.md tell people to write, written literally: only paths, ports and users are replaced.
Each block runs against a real queue, and what it pushes is received by a poll."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import harness
from clients import Http, fcgi, handshake, poll
from harness import CLI, RESPONDER, SLOW, SOURCE, free_port, wait_until
from test_cgi import APACHE

DB = "/srv/site/data/queue.db"
PROMPT = 10 * SLOW
JSON = "&packer=json"


def page(name):
    with open(os.path.join(SOURCE, name)) as text:
        return text.read()


def blocks(name, language):
    """The fenced blocks of a language, in order."""
    return re.findall(r"^```%s\n(.*?)^```$" % language, page(name), re.MULTILINE | re.DOTALL)


def block(name, language, word):
    found = [text for text in blocks(name, language) if word in text]
    assert len(found) == 1, "%d %s blocks of %s have %r" % (len(found), language, name, word)
    return found[0]


class Site:
    """/srv/site, somewhere else."""

    def __init__(self, world):
        self.world = world
        self.base = world.path("site")
        self.www, self.data = os.path.join(self.base, "www"), os.path.join(self.base, "data")
        os.makedirs(self.www)
        world.db_path = os.path.join(self.data, "queue.db")
        # `dumbwaiter` and the program are where make install puts them.
        self.bin = world.path("bin")
        os.mkdir(self.bin)
        os.symlink(CLI, os.path.join(self.bin, "dumbwaiter"))

    def here(self, text):
        return text.replace("/srv/site", self.base).replace("/usr/libexec/dumbwaiter/dumbwaiter.fcgi", RESPONDER)

    def shell(self, text, cwd=None):
        env = dict(self.world.environment(), PATH=self.bin + ":" + os.environ["PATH"])
        return subprocess.run(["sh", "-e", "-c", text], env=env, cwd=cwd or self.base, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60)

    def make_queue(self):
        os.makedirs(self.data)
        assert self.world.cli("init").returncode == 0

    def run(self, argv, text, cwd=None):
        done = subprocess.run(argv, input=self.here(text), capture_output=True, text=True, cwd=cwd, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(make_world):
    # As a site has it: sessions, tokens, the page's own host.
    return Site(make_world(AUTH_UID=None, AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None))


class Poll:
    """A client of `uid` with a poll that is held."""

    def __init__(self, site, uid, client_id="tab1"):
        world = site.world
        self.responder = world.responder()
        world.session("sid", uid, "token")
        self.variables = {"HTTP_COOKIE": "dw_sid=sid", "HTTP_X_CSRF_TOKEN": "token"}
        self.client_id = client_id
        answer = fcgi(self.responder.address, "GET", handshake(client_id, JSON), **self.variables)
        assert answer.status == 200, answer

    def receive(self):
        return fcgi(self.responder.address, "GET", poll(self.client_id, JSON), **self.variables).text


# ---- README.md ----

def test_the_sqlite3_line(site):
    site.make_queue()
    client = Poll(site, "alice")
    done = site.shell(block("README.md", "sh", "sqlite3 queue.db"), cwd=site.data)
    assert (done.returncode, done.stderr) == (0, "")
    assert client.receive() == '[[["deploy/done",{"rev":42}]],null]'


def test_the_dumbwaiter_lines(site):
    site.make_queue()
    client = Poll(site, "alice")
    site.world.sql("INSERT INTO dw_inbox (uid, client_id, event, data) VALUES ('alice', 'tab1', 'chat/say', '1')")
    log = site.world.path("follow.log")
    env = dict(site.world.environment(), PATH=site.bin + ":" + os.environ["PATH"])
    with open(log, "wb") as out:
        follow = subprocess.Popen(["sh", "-e", "-c", block("README.md", "sh", "inbox --db")], cwd=site.data, env=env,
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        assert client.receive() == '[[["deploy/done",{"rev":42}]],null]'
        site.world.sql("INSERT INTO dw_inbox (uid, client_id, event, data) VALUES ('alice', 'tab1', 'chat/later', '2')")
        wait_until(lambda: "chat/later" in site.world.tail(log), PROMPT, "the second line follows the inbox")
        assert follow.poll() is None
    finally:
        os.killpg(follow.pid, signal.SIGTERM)
        follow.wait(10)


def test_the_php_block(site):
    site.make_queue()
    site.world.sql("CREATE TABLE orders (customer, item)")
    client = Poll(site, "alice")
    site.run(["php"], "<?php $customer = 'alice'; $item = 'tea';\n" + block("README.md", "php", "orders"))
    assert client.receive() == '[[["shop/ordered",{"item":"tea"}]],null]'
    assert site.world.sql("SELECT * FROM orders") == [("alice", "tea")]


def test_the_python_block(site):
    site.make_queue()
    site.world.sql("INSERT INTO dw_member (room, uid) VALUES ('lobby', 'alice')")
    client = Poll(site, "alice")
    site.run(["/usr/bin/python3", "-"], "import json, sqlite3\n" + block("README.md", "python", "dw_push"))
    assert client.receive() == '[[["chat/message",{"text":"hi"}]],null]'


def test_the_perl_block(site):
    site.make_queue()
    client = Poll(site, "alice")
    site.run(["perl"], "use strict; use warnings; use DBI; my $tab = 'tab1';\n" + block("README.md", "perl", "DBI"))
    assert client.receive() == '[[["form/saved",{"ok":true}]],null]'


def test_the_sql_block(site):
    site.make_queue()
    site.world.sql("INSERT INTO dw_inbox (id, event, data, wants_reply) VALUES (7, 'a/b', '1', 1)")
    select, insert = block("README.md", "sql", "dw_reply").strip().splitlines()
    db = site.world.db()
    assert db.execute(select, {"last": 6}).fetchall() == [(7, None, "a/b", "1")]
    db.execute(insert, {"id": 7})


@pytest.mark.parametrize("name", ["README.md", "docs/php.md"])
def test_every_block_in_a_language_is_tried_here(name):
    tried = {"README.md": {"sh": 2, "php": 1, "python": 1, "perl": 1, "sql": 1, "lighttpd": 1, "apache": 2},
             "docs/php.md": {"sh": 2, "php": 3, "js": 1}}[name]
    found = re.findall(r"^```([a-z]+)$", page(name), re.MULTILINE)
    assert {language: found.count(language) for language in found} == tried


# ---- web servers ----

def request(port, path, headers):
    connection = Http(port)
    try:
        return connection.get(path, headers)
    finally:
        connection.close()


def push_and_receive(site, port, path):
    world = site.world
    world.session("sid", "alice", "token")
    headers = {"Cookie": "dw_sid=sid", "X-CSRF-Token": "token"}
    assert request(port, path + "?" + handshake("tab1", JSON), headers).text == '[["chsk/handshake",["alice",null,null]],null]'
    connection = Http(port)
    connection.send("GET", path + "?" + poll("tab1", JSON), headers)
    world.push("alice", "test/n", "1")
    assert connection.receive(PROMPT).text == '[[["test/n",1]],null]'
    connection.close()
    assert request(port, path + "?" + poll("tab1", JSON), {}).text == "Bad CSRF token"


def lighttpd(site, more=""):
    """README's block, in a server that has a port and a root."""
    world, port = site.world, free_port()
    text = site.here(block("README.md", "lighttpd", "fastcgi.server"))
    text = text.replace("/var/log/lighttpd/dumbwaiter.log", world.path("breakage.log"))
    text = text.replace("/run/lighttpd/dumbwaiter", world.path("s"))
    with open(world.path("lighttpd.conf"), "w") as out:
        out.write('server.bind = "127.0.0.1"\nserver.port = %d\nserver.document-root = "%s"\nserver.modules = ()\n'
                  'server.errorlog = "%s"\n%s\n%s' % (port, site.www, world.path("lighttpd-error.log"), text, more))
    env = {key: value for key, value in world.environment().items() if not key.startswith("DUMBWAITER_")}
    process = world._start("lighttpd", ["lighttpd", "-D", "-f", world.path("lighttpd.conf")], env)
    process.expected.add(1)
    world.wait_listening(process, "127.0.0.1:%d" % port)
    return port


def test_the_lighttpd_block_serves_and_keeps_the_log(site):
    site.make_queue()
    push_and_receive(site, lighttpd(site), "/chsk")
    log = site.world.tail(site.world.path("breakage.log"))
    assert "refused: the request has no cookie dw_sid" in log


def apache(site, text, modules):
    """`text` in a server that has a port and a root; returns the port."""
    if not os.path.exists(APACHE):
        pytest.skip("apache2-bin is not installed")
    world, port = site.world, free_port()
    lines = ["LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so" % (name, name)
             for name in ["mpm_event", "authz_core", "env", "mime"] + modules]
    lines += ["ServerName localhost", "Listen 127.0.0.1:%d" % port, "PidFile %s" % world.path("apache.pid"),
              "DefaultRuntimeDir %s" % world.folder, "ErrorLog %s" % world.path("apache-error.log"), "TypesConfig /dev/null",
              "User www-data", "Group www-data", "DocumentRoot %s" % site.www]
    with open(world.path("apache.conf"), "w") as out:
        out.write("\n".join(lines) + "\n" + text)
    process = world._start("apache", [APACHE, "-DFOREGROUND", "-f", world.path("apache.conf")], dict(os.environ))
    world.wait_listening(process, "127.0.0.1:%d" % port)
    return port


def test_the_apache_proxy_line(site):
    site.make_queue()
    responder = site.world.responder()
    path = responder.address[len("unix:"):]
    os.chmod(path, 0o666)  # in earnest both run as www-data
    line = block("README.md", "apache", "ProxyPass").replace("/run/dumbwaiter/chsk.sock", path)
    push_and_receive(site, apache(site, line, ["proxy", "proxy_fcgi"]), "/chsk")


@pytest.mark.parametrize("handler", ["cgi-script", "fcgid-script"])
def test_the_htaccess_block(site, handler):
    site.make_queue()
    subprocess.run(["chown", "-R", "www-data:", site.data], check=os.geteuid() == 0)
    os.chmod(site.data, 0o770)
    shutil.copy(RESPONDER, site.www)
    os.chmod(os.path.join(site.www, "dumbwaiter.fcgi"), 0o755)
    text = block("README.md", "apache", "ExecCGI").replace("/home/me/data/queue.db", site.world.db_path)
    with open(os.path.join(site.www, ".htaccess"), "w") as out:
        out.write(text.replace("cgi-script", handler))
    with open(os.path.join(site.www, "other.db"), "w") as out:
        out.write("secret")
    allow = re.search(r"AllowOverride ([\w\s]+)`", page("README.md")).group(1).split()
    server = "<Directory %s>\nRequire all granted\nAllowOverride %s\n</Directory>\n" % (site.www, " ".join(allow))
    if handler == "cgi-script":
        modules, server = ["cgid"], server + "ScriptSock %s\n" % site.world.path("cgid.sock")
    else:
        modules = ["fcgid"]
        os.mkdir(site.world.path("ipc"))
        os.chmod(site.world.path("ipc"), 0o777)
        server += "FcgidIPCDir %s\nFcgidProcessTableFile %s\n" % (site.world.path("ipc"), site.world.path("shm"))
    port = apache(site, server, modules)
    push_and_receive(site, port, "/dumbwaiter.fcgi")
    assert request(port, "/other.db", {}).status == 403


# ---- docs/php.md ----

def make_php_site(site):
    """Everything that the page tells to make, by its headings: "## 2. ...: `/srv/site/www/dw.php`"."""
    setup, doctor = blocks("docs/php.md", "sh")
    if os.geteuid() != 0:  # only root can give files away
        setup = setup.replace("-o www-data -g www-data ", "")
    done = site.shell(site.here(setup))
    assert done.returncode == 0, done.stderr
    written = []
    for path, text in re.findall(r"^## \d\. [^\n]*`/srv/site/www/([a-z.]+)`\n.*?^```(?:php|js)\n(.*?)^```$", page("docs/php.md"),
                                 re.MULTILINE | re.DOTALL):
        with open(os.path.join(site.www, path), "w") as out:
            out.write(site.here(text))
        written.append(path)
    assert written == ["dw.php", "index.php", "client.js", "order.php"]
    return doctor


def start_php_site(site):
    """PHP's own server makes the pages, behind the lighttpd that has README's block: one host for both."""
    php = free_port()
    process = site.world._start("php", ["php", "-S", "127.0.0.1:%d" % php, "-t", site.www], dict(os.environ))
    process.expected.add(255)
    site.world.wait_listening(process, "127.0.0.1:%d" % php)
    return lighttpd(site, 'server.modules += ( "mod_proxy" )\nindex-file.names = ( "index.php" )\n'
                          '$HTTP["url"] =~ "\\.php$" { proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => %d )) ) }\n'
                          'mimetype.assign = ( ".js" => "text/javascript" )\n' % php)


def test_the_php_site_from_nothing_to_a_push(site):
    doctor = make_php_site(site)
    port = start_php_site(site)
    home = request(port, "/index.php", {})
    assert home.status == 200 and "Signed in as alice." in home.text
    cookie = home.headers["set-cookie"].split(";")[0]
    token = re.search('name="csrf-token" content="([0-9a-f]{32})"', home.text).group(1)
    path = re.search('name="chsk-url" content="([^"]*)"', home.text).group(1)
    headers = {"Cookie": cookie, "X-CSRF-Token": token}
    # The second visit finds the session.
    assert token in request(port, "/index.php", {"Cookie": cookie}).text
    assert request(port, path + "?" + handshake("tab1", JSON), headers).text == '[["chsk/handshake",["alice",null,null]],null]'
    held = Http(port)
    held.send("GET", path + "?" + poll("tab1", JSON), headers)
    assert request(port, "/order.php", {}).text == "Nobody is logged in."
    assert request(port, "/order.php", {"Cookie": cookie}).text == "Ordered."
    assert held.receive(PROMPT).text == '[[["shop/ordered",{"item":"tea"}]],null]'
    held.close()
    assert request(port, "/client.js", {}).status == 200
    if os.geteuid() == 0:
        done = site.shell(site.here(doctor))
        failed = [line for line in done.stdout.splitlines() if "FAIL" in line and "folder" not in line]
        assert failed == [], done.stdout
