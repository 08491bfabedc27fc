"""Signed tokens (docs/tokens.md): by FastCGI, CGI and WebSocket, from this file, the recipes and the command."""

import base64
import hashlib
import hmac
import json
import os
import re
import stat
import subprocess
import time
from urllib.parse import quote

import pytest

from clients import Http, fcgi, form, handshake, poll
from harness import CLI, RESPONDER, SIDECAR, SLOW, SOURCE, wait_until
from websocket import Client, Refused

OK, FAILED, USAGE, REFUSED, NOQUEUE = range(5)
with_sidecar = pytest.mark.skipif(not os.path.exists(SIDECAR), reason="built without libwebsockets")
HEADER = {"alg": "HS256", "typ": "JWT"}
MORE = "&packer=json"


def encode(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def sign(key, claims, header=HEADER):
    text = b".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return (text + b"." + encode(hmac.new(key, text, hashlib.sha256).digest())).decode()


class Site:
    """A world with a key, and tokens made by this file."""

    def __init__(self, make_world, **settings):
        given = dict(AUTH_UID="token", AUTH_CSRF=None, AUTH_ALLOWED_ORIGINS=None)
        given.update(settings)
        self.world = make_world(**given)
        assert self.world.cli("init").returncode == OK
        self.key_path = self.world.db_path + "-dw/token.key"

    def key(self):
        with open(self.key_path, "rb") as keys:
            return keys.readline().strip()

    def put_keys(self, *keys):
        """As an editor does, or a script: another file in its place."""
        with open(self.key_path + ".new", "wb") as out:
            out.write(b"".join(key + b"\n" for key in keys))
        os.replace(self.key_path + ".new", self.key_path)

    def token(self, uid="alice", ttl=600, key=None, header=HEADER, **claims):
        return sign(key or self.key(), dict({"sub": uid, "exp": int(time.time()) + ttl}, **claims), header)


@pytest.fixture
def site(make_world):
    return Site(make_world)


def by_param(responder, token, **variables):
    return fcgi(responder.address, "GET", handshake("c1", MORE + "&token=" + quote(token)), **variables)


def by_cookie(responder, token, csrf=None, query="", **variables):
    variables["HTTP_COOKIE"] = "a=b; dw_token=%s; c=d" % token
    if csrf is not None:
        variables["HTTP_X_CSRF_TOKEN"] = csrf
    return fcgi(responder.address, "GET", handshake("c1", MORE + query), **variables)


def shook(answer):
    """(uid, handshake data) of a handshake."""
    assert answer.status == 200, answer
    (event, (uid, _, data)), _ = json.loads(answer.text)
    assert event == "chsk/handshake"
    return uid, data


# ---- as a parameter ----

def test_a_token_among_the_parameters_tells_uid_and_handshake_data_and_stands_for_a_csrf_token(site):
    responder = site.world.responder()
    data = {"theme": ["dark", 1.5, None], "\u00fc": True}
    assert shook(by_param(responder, site.token("al\"ice \u00fc", data=data))) == ("al\"ice \u00fc", data)
    assert shook(by_param(responder, site.token())) == ("alice", None)


def test_events_come_and_messages_go_in_the_name_of_the_token(site):
    responder, token = site.world.responder(), site.token()
    assert by_param(responder, token).status == 200
    site.world.push("alice", "a/b", "1")
    assert fcgi(responder.address, "GET", poll("c1", MORE + "&token=" + token)).text == '[[["a/b",1]],null]'
    sent = fcgi(responder.address, "POST", "", form("c1", '[["a/c",2],null]', "&token=" + token))
    assert sent.status == 200, sent
    assert site.world.sql("SELECT uid, event FROM dw_inbox WHERE event = 'a/c'") == [("alice", "a/c")]


def test_a_page_of_another_host_is_still_refused(site):
    answer = by_param(site.world.responder(), site.token(), HTTP_ORIGIN="https://elsewhere.example")
    assert (answer.status, answer.text) == (403, "Unauthorized origin")


def test_no_table_is_looked_at(make_world):
    site = Site(make_world, AUTH_SESSION_SQL="SELECT nothing FROM nowhere")
    assert shook(by_param(site.world.responder(), site.token())) == ("alice", None)


def test_names_of_parameter_and_cookie_can_be_set(make_world):
    site = Site(make_world, AUTH_TOKEN_PARAM="who", AUTH_TOKEN_COOKIE="shop")
    responder, token = site.world.responder(), site.token(csrf="c")
    assert by_param(responder, token).status == 403
    assert fcgi(responder.address, "GET", handshake("c1", "&who=" + token)).status == 200
    assert by_cookie(responder, token, "c").status == 403
    assert fcgi(responder.address, "GET", handshake("c1"), HTTP_COOKIE="shop=" + token, HTTP_X_CSRF_TOKEN="c").status == 200


# ---- as a cookie ----

def test_a_token_in_a_cookie_needs_the_csrf_token_that_it_names(site):
    responder, token = site.world.responder(), site.token(csrf="secret")
    assert shook(by_cookie(responder, token, "secret")) == ("alice", None)
    assert shook(by_cookie(responder, token, query="&csrf-token=secret")) == ("alice", None)
    assert by_cookie(responder, token).status == 403
    assert by_cookie(responder, token, "secre").status == 403
    assert by_cookie(responder, token, "").status == 403
    assert by_cookie(responder, site.token(), "").status == 403
    assert by_cookie(responder, site.token(), "secret").status == 403


def test_a_parameter_counts_before_the_cookie_even_if_it_is_worth_nothing(site):
    responder = site.world.responder()
    cookie = site.token("carol", csrf="c")
    query = "&token=%s"
    assert shook(by_cookie(responder, cookie, "c", query % site.token("alice"))) == ("alice", None)
    assert by_cookie(responder, cookie, "c", query % site.token("alice", -1)).status == 403
    assert shook(by_cookie(responder, cookie, "c", query % "")) == ("carol", None)
    assert by_cookie(responder, cookie, None, query % "").status == 403


# ---- what is refused ----

def ways_to_be_refused(site):
    key = site.key()
    good = site.token()
    head, payload, mac = good.split(".")
    return [
        ("it expired", site.token(ttl=-5)),
        ("signature is of another key", site.token(key=b"k" * 64)),
        ("signature is of another key", "%s.%s.%s" % (head, encode(b'{"sub":"root","exp":9999999999}').decode(), mac)),
        ("signature is none of HS256", "%s.%s." % (encode(b'{"alg":"none"}').decode(), payload)),
        ("signature is none of HS256", good[:-1]),
        ("signature is none of HS256", good + "="),
        ("no three parts", "%s.%s" % (head, payload)),
        ("the alg in its header is not HS256", sign(key, {"sub": "alice", "exp": 9999999999}, {"alg": "none"})),
        ("not valid before", site.token(nbf=int(time.time()) + 100)),
        ("no claim sub", sign(key, {"exp": 9999999999})),
        ("no claim exp", sign(key, {"sub": "alice"})),
        ("no Unix time in seconds", sign(key, {"sub": "alice", "exp": 1000 * int(time.time() + 600)})),
        ("longer than 4096 bytes", site.token(data="x" * 5000)),
    ]


def test_what_is_worth_nothing_is_nobody(make_world):
    site = Site(make_world)
    open_site = Site(make_world, AUTH_CSRF="off")
    strict = Site(make_world, AUTH_CSRF="off", AUTH_REQUIRE_UID="on")
    for where, status in ((site, 403), (strict, 401), (open_site, 200)):
        responder = where.world.responder(LIMITS_QUERY_BYTES=16384)
        for _, token in ways_to_be_refused(where):
            answer = by_param(responder, token)
            assert answer.status == status, (status, answer, token)
            if status == 200:
                assert shook(answer) == ("sente/nil-uid", None)
            else:
                assert answer.text == {403: "Bad CSRF token", 401: "Unauthorized request"}[status]
            assert by_cookie(responder, token, "x").status == status
        assert fcgi(responder.address, "GET", handshake("c1")).status == status


@pytest.mark.parametrize("which", range(13))
def test_the_log_says_which_and_has_no_part_of_a_token(site, which):
    sentence, token = ways_to_be_refused(site)[which]
    responder = site.world.responder(LIMITS_QUERY_BYTES=16384, LOG_LEVEL="debug")
    for _ in range(3):
        assert by_param(responder, token).status == 403
        assert by_cookie(responder, token, "xyzzy").status == 403
    log = site.world.tail(responder.log)
    assert log.count(sentence) == 1, log
    assert "in the parameter token is not taken" in log
    assert not any(part in log for part in re.split(r"[.=]", token) if len(part) > 3), log
    assert site.key().decode() not in log and "xyzzy" not in log


def test_each_way_to_fail_the_csrf_check_is_logged(site):
    responder = site.world.responder()
    token = site.token(csrf="secret")
    ways = [("the request has no token, neither a parameter token", fcgi(responder.address, "GET", handshake("c1"))),
            ("has no claim csrf", by_cookie(responder, site.token(), "secret")),
            ("the request has no CSRF token", by_cookie(responder, token)),
            ("is not that in the token's claim", by_cookie(responder, token, "wrong"))]
    log = site.world.tail(responder.log)
    for sentence, answer in ways:
        assert answer.status == 403 and log.count(sentence) == 1, log
    assert "secret" not in log and "wrong" not in log


def test_a_poll_is_refused_once_its_token_has_expired(make_world):
    site = Site(make_world, CHSK_LP_TIMEOUT_MS=100)
    responder, token = site.world.responder(), site.token(ttl=2)
    answers = []

    def refused():
        answers.append(fcgi(responder.address, "GET", poll("c1", MORE + "&token=" + token)).status)
        return answers[-1] != 200
    wait_until(refused, 10 * SLOW, "the token expires")
    assert answers[0] == 200 and answers[-1] == 403


# ---- keys ----

def test_another_key_is_noticed_without_a_restart(site):
    responder = site.world.responder()
    old_key, new_key = site.key(), b"a-new-key-of-more-than-32-bytes.."
    old, new = site.token("old"), site.token("new", key=new_key)
    assert (by_param(responder, old).status, by_param(responder, new).status) == (200, 403)
    site.put_keys(new_key, old_key)
    assert [shook(by_param(responder, token))[0] for token in (old, new)] == ["old", "new"]
    site.put_keys(new_key)
    assert (by_param(responder, old).status, by_param(responder, new).status) == (403, 200)


def test_the_lines_of_the_documentation_change_the_key(site):
    responder, old = site.world.responder(), site.token("old")
    old_key = site.key()
    lines = re.search(r"```sh\n(cd queue\.db-dw\n.*?)```", text_of("docs/tokens.md"), re.S).group(1)
    done = subprocess.run(["sh", "-e", "-c", lines.replace("queue.db", site.world.db_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.key() != old_key and re.fullmatch(rb"[0-9a-f]{64}", site.key())
    assert stat.S_IMODE(os.stat(site.key_path).st_mode) == 0o660
    assert shook(by_param(responder, old)) == ("old", None)
    assert shook(by_param(responder, site.token("new"))) == ("new", None)


def test_a_key_file_that_is_missing_or_no_good_is_the_servers_failure(site):
    responder, token = site.world.responder(), site.token()
    key = site.key()
    os.unlink(site.key_path)
    assert by_param(responder, token).status == 500
    assert fcgi(responder.address, "GET", handshake("c1")).status == 403
    site.put_keys(b"too-short")
    assert by_param(responder, token).status == 500
    site.put_keys(key)
    assert by_param(responder, token).status == 200
    log = site.world.tail(responder.log)
    assert "there is no key file %s" % site.key_path in log and "a key has 9 bytes" in log and "too-short" not in log


def test_a_key_file_elsewhere(make_world):
    site = Site(make_world)
    path = site.world.path("elsewhere.key")
    site.world.settings["AUTH_TOKEN_KEY_FILE"] = path
    made = site.world.cli("token", "--uid", "alice", "--ttl", "60")
    assert made.returncode == OK and stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert shook(by_param(site.world.responder(), made.stdout.strip())) == ("alice", None)
    for program in ([CLI, "token", "--check"], [RESPONDER, "--listen", "unix:" + site.world.path("x")]):
        done = subprocess.run(program, env=site.world.environment(AUTH_TOKEN_KEY_FILE="token.key"), text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
        assert done.returncode == 1 and "auth.token_key_file must be an absolute path" in done.stderr


def test_whoever_comes_first_makes_the_one_key(make_world):
    site = Site(make_world)
    for _ in range(5):
        os.unlink(site.key_path)
        env = site.world.environment()
        programs = [subprocess.Popen([CLI, "token", "--uid", "u%d" % n, "--ttl", "60"], env=env, text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(8)]
        tokens = [program.communicate(timeout=60 * SLOW) for program in programs]
        assert all(program.returncode == OK for program in programs), tokens
        for token, _ in tokens:
            assert site.world.cli("token", "--check", stdin=token).returncode == OK
        assert [name for name in os.listdir(os.path.dirname(site.key_path)) if "token" in name] == ["token.key"]


# ---- WebSocket, CGI ----

def open_socket(sidecar, query, **headers):
    return Client(sidecar.address, "w1", query, headers=headers)


@with_sidecar
def test_a_websocket_by_parameter_and_by_cookie(site):
    sidecar = site.world.sidecar(LOG_LEVEL="debug")
    tokens = [site.token("alice", data={"n": 1}), site.token("bob", csrf="c c"), site.token(ttl=-1)]
    ws = open_socket(sidecar, "token=" + tokens[0])
    assert ws.handshake == '[[:chsk/handshake ["alice" nil {:n 1}]] nil]'
    site.world.push("alice", "a/b", "1")
    assert ws.receive() == "[[[:a/b 1]] nil]"
    ws.close()
    ws = open_socket(sidecar, "csrf-token=c%20c", Cookie="dw_token=" + tokens[1])
    assert ws.handshake == '[[:chsk/handshake ["bob" nil nil]] nil]'
    ws.close()
    for query, cookie in (("", tokens[1]), ("csrf-token=x", tokens[1]), ("token=" + tokens[2], ""), ("", "")):
        with pytest.raises(Refused) as refused:
            open_socket(sidecar, query, Cookie="dw_token=" + cookie)
        assert (refused.value.status, refused.value.body) == (403, b"Bad CSRF token")
    log = site.world.tail(sidecar.log)
    assert "the token in the parameter token is not taken: it expired" in log
    assert not any(part in log for token in tokens for part in token.split("."))


@with_sidecar
def test_the_listening_command_takes_a_token_in_its_url(site):
    sidecar = site.world.sidecar()
    url = "http://%s/chsk?token=%s" % (sidecar.address, site.token())
    listener = subprocess.Popen([CLI, "listen", "--ws", "--json", url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                text=True)
    try:
        line = json.loads(listener.stdout.readline())
    finally:
        listener.terminate()
        listener.communicate(timeout=30)
    assert line["uid"] == "alice", line


def test_plain_cgi(site):
    web = site.world.lighttpd(cgi=True)
    http = Http(web.port)
    try:
        assert shook(http.get("/chsk?" + handshake("c1", MORE + "&token=" + site.token()))) == ("alice", None)
        assert http.get("/chsk?" + handshake("c1", MORE + "&token=" + site.token(ttl=-1))).status == 403
    finally:
        http.close()


# ---- recipes ----

def text_of(path):
    with open(os.path.join(SOURCE, path)) as text:
        return text.read()


RECIPES = {
    "php": ["php", "-r", 'require $argv[1]; echo dw_token($argv[2], $argv[3], 60, json_decode($argv[4], true));', "--"],
    "py": ["python3", "-B", "-c", "import json, sys; exec(open(sys.argv[1]).read()); "
           "print(dw_token(sys.argv[2], sys.argv[3], 60, **json.loads(sys.argv[4])))"],
    "pl": ["perl", "-Mutf8", "-MEncode", "-MJSON::PP", "-e",
           "my ($file, $key, $uid, $more) = @ARGV; do $file; die $@ if $@; "
           "print dw_token($key, Encode::decode('UTF-8', $uid), 60, %{decode_json($more)});"],
}


def run_recipe(site, name, uid, **more):
    argv = RECIPES[name] + [os.path.join(SOURCE, "examples/tokens/token." + name), site.key_path, uid, json.dumps(more)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_makes_tokens_that_are_taken(site, name):
    responder = site.world.responder()
    old_key = site.key()
    site.put_keys(b"0123456789abcdef" * 4, old_key)
    for uid in ("alice", "7", "J\u00fcrgen \"?>~\" \u20ac"):
        data = {"name": uid, "list": [1, None]}
        token = run_recipe(site, name, uid, csrf="c", data=data)
        assert shook(by_param(responder, token)) == (uid, data)
        assert by_cookie(responder, token, "c").status == 200
        assert by_cookie(responder, token, "d").status == 403
    site.put_keys(old_key)
    assert by_param(responder, token).status == 403


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_documentation_has_the_recipes_as_they_are_and_they_are_short(name):
    recipe = text_of("examples/tokens/token." + name)
    assert "\n%s```\n" % recipe in text_of("docs/tokens.md") and len(recipe.splitlines()) <= 10


# ---- the command ----

def test_the_command_makes_a_token_and_says_what_it_is_worth(site):
    responder = site.world.responder()
    data = {"a": [1, "\u00fc"]}
    made = site.world.cli("token", "--uid", "al ice", "--ttl", "60", "--data", json.dumps(data), "--csrf", "c\tc")
    assert (made.returncode, made.stderr) == (OK, "") and made.stdout.count("\n") == 1
    assert shook(by_param(responder, made.stdout.strip())) == ("al ice", data)
    checked = site.world.cli("token", "--check", stdin=made.stdout)
    assert checked.returncode == OK
    assert re.fullmatch(r'uid       al ice\nexpires   20\S+Z\ncsrf      c\\x09c\ndata      {"a":\[1,"\u00fc"\]}\n', checked.stdout)
    assert made.stdout.strip() not in checked.stdout


def test_the_command_checks_as_the_server_does(site):
    for sentence, token in ways_to_be_refused(site):
        checked = site.world.cli("token", "--check", stdin=token + "\n")
        assert (checked.returncode, checked.stdout) == (REFUSED, "")
        assert checked.stderr.startswith("dumbwaiter: the token is not taken: ") and sentence in checked.stderr


@pytest.mark.parametrize("arguments, status, text", [
    ((), USAGE, "--uid and --ttl are needed"),
    (("--uid", "a"), USAGE, "--uid and --ttl are needed"),
    (("--uid", "a", "--ttl", "0"), USAGE, "--ttl must be a whole number from 1 up"),
    (("--uid", "a", "--ttl", "1h"), USAGE, "--ttl must be a whole number"),
    (("--uid", "a", "--ttl", "9223372036854775807"), USAGE, "hundred years"),
    (("--uid", "a", "--ttl", "60", "b"), USAGE, "unexpected argument"),
    (("--check", "--uid", "a"), USAGE, "--check takes no other option"),
    (("--uid", "", "--ttl", "60"), REFUSED, "the user id"),
    (("--uid", "a", "--ttl", "60", "--csrf", ""), REFUSED, "CSRF token"),
    (("--uid", "a", "--ttl", "60", "--data", "{"), REFUSED, "--data is not valid JSON"),
    (("--uid", "a", "--ttl", "60", "--data", '"%s"' % ("x" * 4000)), REFUSED, "more than the 4096"),
])
def test_what_the_command_refuses(site, arguments, status, text):
    done = site.world.cli("token", *arguments)
    assert (done.returncode, done.stdout) == (status, "") and text in done.stderr, done.stderr


def test_the_command_without_a_queue(world):
    for arguments in (("--uid", "a", "--ttl", "60"), ("--check",)):
        done = world.cli("token", *arguments)
        assert done.returncode == NOQUEUE and "`dumbwaiter init` makes" in done.stderr, done.stderr


def test_init_keeps_a_key_that_is_there(site):
    key = site.key()
    again = site.world.cli("init")
    assert again.returncode == OK and "Key:    %s\n" % site.key_path in again.stdout
    assert site.key() == key and key.decode() not in again.stdout
    assert stat.S_IMODE(os.stat(site.key_path).st_mode) == 0o660


# ---- doctor ----

def finding(site, **settings):
    text = site.world.cli("doctor", **settings).stdout
    return [line for line in text.splitlines() if line.split()[1:2] == ["token"]]


def test_doctor_looks_at_the_key_file(site):
    assert [line.split()[0] for line in finding(site)] == ["ok"]
    assert finding(site, AUTH_UID="session") == []
    os.chmod(site.key_path, 0o664)
    for uid in ("token", "session"):  # it may be used later, and be known by then
        assert finding(site, AUTH_UID=uid)[0].startswith("FAIL") and "mode 0664" in finding(site)[0]
    os.chmod(site.key_path, 0o660)
    site.put_keys(b"short")
    os.chmod(site.key_path, 0o660)
    assert finding(site)[0].startswith("FAIL") and "a key has 5 bytes" in finding(site)[0]
    os.unlink(site.key_path)
    assert finding(site)[0].startswith("FAIL") and "there is no key file" in finding(site)[0]
    assert finding(site, AUTH_UID="session") == []
