"""`dumbwaiter listen`: what a client of a URL would receive, over both transports."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading

import pytest

import harness
from harness import CLI, SLOW, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without libwebsockets")
PROMPT = 10 * SLOW


class Listener:
    def __init__(self, *arguments, **environment):
        self.popen = subprocess.Popen([CLI, "listen", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment})
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))

    def expect(self, count):
        wait_until(lambda: len(self.lines) >= count, PROMPT, "%d lines, not %r" % (count, self.lines))
        return self.lines[:count]

    def objects(self, count):
        """Without the time and the reason of what ended."""
        lines = [json.loads(line) for line in self.expect(count)]
        assert all(abs(line.pop("at") - harness.now_ms()) < 60000 for line in lines)
        return [{key: value for key, value in line.items() if key != "why"} for line in lines]

    def end(self, sent=None):
        if sent is not None:
            self.popen.send_signal(sent)
        status = self.popen.wait(PROMPT)
        self.thread.join(PROMPT)
        return status


@pytest.fixture
def listen():
    started = []

    def start(*arguments, **environment):
        started.append(Listener(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            one.popen.kill()
            one.popen.wait()


@pytest.fixture(params=["ajax", "ws"])
def site(request, world):
    """(option, transport, URL), with a server that wants a session and its token"""
    world.settings.update(AUTH_UID="session", AUTH_CSRF="on")
    if request.param == "ws":
        url = "http://%s/chsk" % world.sidecar().address
    else:
        url = "http://127.0.0.1:%d/chsk" % world.lighttpd(world.responder().address).port
    world.session("s", "alice", csrf_token="a+b&c", handshake_data='{"n":1}')
    return "--" + request.param, request.param, url


def test_it_prints_the_handshake_and_events(world, listen, site):
    option, transport, url = site
    listener = listen(option, "--json", "--cookie", "dw_sid=s", "--csrf-token", "a+b&c", url)
    assert listener.objects(1) == [{"what": "handshake", "transport": transport, "uid": "alice", "data": {"n": 1}}]
    world.push("alice", "t/e", '{"text":"h\u00e9"}')
    listener.expect(2)
    world.push("alice", "t/f")
    assert listener.objects(3)[1:] == [
        {"what": "event", "transport": transport, "event": "t/e", "data": {"text": "h\u00e9"}},
        {"what": "event", "transport": transport, "event": "t/f", "data": None}]
    assert listener.end(signal.SIGTERM) == 0 and len(listener.lines) == 3


def test_text_can_not_command_a_terminal(world, listen, site):
    option, transport, url = site
    listener = listen(option, "--cookie", "dw_sid=s", "--csrf-token", "a+b&c", "--client-id", "tab 1&x", url)
    listener.expect(1)
    world.push("alice", "t/e", json.dumps("\x1b[31m\x9b31m\x7f\n"))
    handshake, event = listener.expect(2)
    assert re.fullmatch(r'....-..-..T..:..:..\....Z %-4s handshake "alice" {"n":1}' % transport, handshake)
    assert re.search(r'event     "t/e" "', event) and event.isprintable()
    assert json.loads(event.split('"t/e" ')[1]) == "\x1b[31m\x9b31m\x7f\n"


def test_a_refusal_is_told_and_ends_it(listen, site):
    option, transport, url = site
    listener = listen(option, "--cookie", "dw_sid=s", "--csrf-token", "wrong", url)
    assert listener.end() == 1
    assert re.search(r'%s +refused +"HTTP 403, ' % transport, listener.lines[0]) and len(listener.lines) == 1


def test_without_a_sidecar_it_goes_on_by_ajax(world, listen):
    listener = listen("--json", "--client-id", "a", "http://127.0.0.1:%d/chsk" % world.lighttpd(
        world.responder().address).port)
    assert listener.objects(2) == [{"what": "closed", "transport": "ws"},
                                   {"what": "handshake", "transport": "ajax", "uid": "a", "data": None}]


def test_it_comes_back_and_misses_nothing(world, listen):
    sidecar = world.sidecar()
    listener = listen("--json", "--client-id", "a", "http://%s/chsk" % sidecar.address)
    listener.expect(1)
    sidecar.kill()
    listener.expect(2)
    world.push("a", "t/e", "1")
    world.sidecar(address=sidecar.address)
    wait_until(lambda: "event" in "".join(listener.lines), 3 * PROMPT, "it is back")
    what = [line for line in listener.objects(len(listener.lines)) if line["what"] != "closed"]
    assert what == [{"what": "handshake", "transport": "ws", "uid": "a", "data": None}] * 2 + [
        {"what": "event", "transport": "ws", "event": "t/e", "data": 1}]


class Tls:
    """A web server's TLS, in front of `port`: a certificate for localhost that signs itself."""

    def __init__(self, world, port):
        self.certificate, key, self.port = world.path("cert.pem"), world.path("key.pem"), harness.free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", self.certificate],
                       check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)
        self.behind = port
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        try:
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()
        except OSError:
            pass  # closed

    def _serve(self, plain):
        try:
            with self.context.wrap_socket(plain, server_side=True) as client, \
                    socket.create_connection(("127.0.0.1", self.behind)) as server:
                threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
                self._copy(client, server)
        except OSError:
            pass

    @staticmethod
    def _copy(of, to):
        try:
            while piece := of.recv(65536):
                to.sendall(piece)
            to.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


@pytest.fixture
def secure(world, site):
    option, transport, url = site
    front = Tls(world, int(re.search(r":(\d+)/", url).group(1)))
    yield option, transport, "%s://%%s:%%d/chsk" % ("wss" if transport == "ws" else "https"), front
    front.close()


def test_over_https_with_a_certificate_that_the_system_trusts(world, listen, secure):
    option, transport, url, front = secure
    listener = listen(option, "--json", "--cookie", "dw_sid=s", "--csrf-token", "a+b&c", url % ("localhost", front.port),
                      SSL_CERT_FILE=front.certificate)
    assert listener.objects(1) == [{"what": "handshake", "transport": transport, "uid": "alice", "data": {"n": 1}}]
    world.push("alice", "t/e", "1")
    assert listener.objects(2)[1] == {"what": "event", "transport": transport, "event": "t/e", "data": 1}
    assert listener.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("host, trusted", [("localhost", False), ("127.0.0.1", True)])
def test_over_https_nothing_is_sent_to_a_stranger(world, listen, secure, host, trusted):
    """A certificate that nobody vouches for; one that is for another name."""
    option, transport, url, front = secure
    listener = listen(option, "--json", "--cookie", "dw_sid=s", "--csrf-token", "a+b&c", url % (host, front.port),
                      SSL_CERT_FILE=front.certificate if trusted else os.devnull)
    assert listener.objects(1) == [{"what": "closed", "transport": transport}]
    assert "handshake" not in "".join(listener.lines)


@pytest.mark.parametrize("arguments, said", [
    ([], "an argument is missing"),
    (["--ajax", "--ws", "http://localhost/"], "exclude each other"),
    (["localhost/chsk"], "URL must begin with http://"),
    (["ftp://localhost/chsk"], "URL must begin with http://"),
    (["--client-id", "", "http://localhost/"], "--client-id must not be empty"),
])
def test_wrong_usage(world, arguments, said):
    result = world.cli("listen", *arguments)
    assert result.returncode == 2 and said in result.stderr
