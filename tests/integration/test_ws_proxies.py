"""Responder and sidecar behind real web servers, on one URL: the Upgrade header decides.  And what a client
meets where there is no sidecar: a quick refusal, so that it falls back to Ajax.

The configurations are those of dumbwaiter-ws(8), and are read from there.
"""

import os
import re
import shutil
import subprocess
import threading
import time

import pytest

import harness
from clients import Http
from harness import SLOW, wait_until
from websocket import Client, Closed, Frames, Refused

pytestmark = pytest.mark.skipif(not os.path.exists(harness.SIDECAR), reason="built without the sidecar")

SETTINGS = {"AUTH_UID": "session", "AUTH_CSRF": "on", "AUTH_ALLOWED_ORIGINS": ""}
APACHE_MODULES = "/usr/lib/apache2/modules"
MISSING = {
    "lighttpd": shutil.which("lighttpd", path=os.environ["PATH"] + ":/usr/sbin") is None,
    "apache": not os.path.exists("/usr/sbin/apache2"),
    "nginx": harness.NGINX is None,
}


def section_of_manual(name):
    """The example in the manual's section on that web server."""
    with open(os.path.join(harness.SOURCE, "man", "dumbwaiter-ws.8"), encoding="utf-8") as manual:
        text = manual.read()
    return re.search(r"^\.SS %s\n\.nf\n(.*?)^\.fi$" % re.escape(name), text, re.M | re.S).group(1).replace("\\-", "-")


def lighttpd(world, responder, port_of_sidecar):
    port = harness.free_port()
    config = world.path("lighttpd.conf")
    with open(config, "w") as out:
        out.write('server.modules = ( "mod_proxy", "mod_fastcgi" )\nserver.bind = "127.0.0.1"\n'
                  'server.port = %d\nserver.document-root = "%s"\nserver.errorlog = "%s"\n'
                  'fastcgi.server = ( "/chsk" => (( "socket" => "%s", "check-local" => "disable" )) )\n%s' % (
                      port, world.folder, world.path("lighttpd-error.log"), responder.address[5:],
                      section_of_manual("lighttpd").replace("8090", str(port_of_sidecar))))
    process = world._start("lighttpd", [shutil.which("lighttpd") or "/usr/sbin/lighttpd", "-D", "-f", config],
                           world.environment())
    process.expected.add(1)
    return process, port


def apache(world, responder, port_of_sidecar):
    port = harness.free_port()
    modules = ["mpm_event", "authz_core", "proxy", "proxy_fcgi", "proxy_http", "proxy_wstunnel", "rewrite"]
    lines = ["LoadModule %s_module %s/mod_%s.so" % (name, APACHE_MODULES, name) for name in modules]
    lines += ["ServerName localhost", "Listen 127.0.0.1:%d" % port, "PidFile %s" % world.path("apache.pid"),
              "ErrorLog %s" % world.path("apache-error.log"), "DocumentRoot %s" % world.folder,
              "DefaultRuntimeDir %s" % world.folder, "User nobody", "Group nogroup", "ProxyPreserveHost On",
              section_of_manual("Apache").replace("8090", str(port_of_sidecar)),
              'ProxyPass /chsk "unix:%s|fcgi://localhost/chsk"' % responder.address[5:]]
    config = world.path("apache.conf")
    with open(config, "w") as out:
        out.write("\n".join(lines) + "\n")
    os.chmod(responder.address[5:], 0o666)
    return world._start("apache", ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config], world.environment()), port


def nginx(world, responder, port_of_sidecar):
    port = harness.free_port()
    section = section_of_manual("nginx").replace("8090", str(port_of_sidecar))
    # Unpacked or installed, etc/ is in the folder that usr/ is in.
    parameters = os.path.join(os.path.abspath(harness.NGINX), "../../../etc/nginx/fastcgi_params")
    section = section.replace("/run/dumbwaiter.sock", responder.address[5:])
    section = section.replace("include fastcgi_params", "include " + os.path.normpath(parameters))
    config = world.path("nginx.conf")
    with open(config, "w") as out:
        out.write("daemon off; pid %s; error_log %s;\nevents { worker_connections 512; }\nhttp {\n"
                  "access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s;\n"
                  "uwsgi_temp_path %s; scgi_temp_path %s;\nserver { listen 127.0.0.1:%d;\n%s}\n}\n" % (
                      world.path("nginx.pid"), world.path("nginx-error.log"), *[world.path("tmp")] * 5, port, section))
    os.chmod(responder.address[5:], 0o666)
    # Else it wants to write where its package says before it has read a word of the configuration.
    command = [harness.NGINX, "-e", world.path("nginx-error.log"), "-p", world.folder, "-c", config]
    return world._start("nginx", command, world.environment()), port


SERVERS = {"lighttpd": lighttpd, "apache": apache, "nginx": nginx}


@pytest.fixture(params=sorted(SERVERS))
def behind(request, world):
    """(web server's port, sidecar or None to come, function that starts a sidecar there)"""
    if MISSING[request.param]:
        pytest.skip("%s is not installed" % request.param)
    world.settings.update(SETTINGS)
    responder = world.responder()
    port_of_sidecar = harness.free_port()
    process, port = SERVERS[request.param](world, responder, port_of_sidecar)
    world.wait_listening(process, "127.0.0.1:%d" % port)
    world.session("s", "alice", csrf_token="tok")
    return port, lambda **how: world.sidecar(address="127.0.0.1:%d" % port_of_sidecar, **how)


def test_one_url_serves_both_transports(world, behind):
    port, start = behind
    start()
    origin = {"Origin": "http://127.0.0.1:%d" % port, "Cookie": "dw_sid=s"}
    socket = Client("127.0.0.1:%d" % port, "tab1", "csrf-token=tok", headers=origin, host="127.0.0.1:%d" % port)
    assert socket.handshake == '[[:chsk/handshake ["alice" nil nil]] nil]'
    poll = Http(port)
    headers = {"Cookie": "dw_sid=s", "X-CSRF-Token": "tok"}
    assert poll.get("/chsk?udt=1&client-id=tab2&handshake%3F=1", headers).text == socket.handshake
    poll.send("GET", "/chsk?udt=2&client-id=tab2", headers)
    wait_until(lambda: world.sql("SELECT ws, ajax FROM dw_online WHERE uid = 'alice'") == [(1, 1)], 10, "both are here")
    world.push("alice", "t/e", '{"n":1}')
    assert socket.receive() == poll.receive().text == "[[[:t/e {:n 1}]] nil]"
    socket.send('[[:chsk/ws-ping] "c"]')
    assert socket.receive() == '["pong" "c"]'
    wait_until(lambda: socket.pings or socket.nothing(0.05), 5, "pings pass the web server")
    assert socket.close().code == 1000


def test_refusals_and_foreign_origins_pass_the_web_server(world, behind):
    port, start = behind
    start()
    address, host = "127.0.0.1:%d" % port, "127.0.0.1:%d" % port
    for headers, query in [({"Cookie": "dw_sid=s"}, ""), ({}, "&csrf-token=tok"),
                           ({"Cookie": "dw_sid=s", "Origin": "http://evil.example"}, "&csrf-token=tok")]:
        with pytest.raises(Refused) as refused:
            Frames(address, "/chsk?client-id=a" + query, headers, host=host)
        assert refused.value.status == 403


def test_a_dead_sidecar_is_a_quick_refusal_and_ajax_goes_on(world, behind):
    port, _ = behind
    begin = time.monotonic()
    with pytest.raises((Refused, Closed)) as refused:
        Frames("127.0.0.1:%d" % port, "/chsk?client-id=a&csrf-token=tok", {"Cookie": "dw_sid=s"})
    assert time.monotonic() - begin < 3 * SLOW
    assert not isinstance(refused.value, Refused) or refused.value.status >= 400
    answer = Http(port).get("/chsk?udt=1&client-id=a&handshake%3F=1", {"Cookie": "dw_sid=s", "X-CSRF-Token": "tok"})
    assert answer.status == 200


def test_many_clients_and_a_killed_sidecar_behind_the_web_server(world, behind):
    port, start = behind
    sidecar = start()
    headers = {"Cookie": "dw_sid=s"}

    def connect(n):
        for _ in range(200):
            try:
                return Client("127.0.0.1:%d" % port, "tab%d" % n, "csrf-token=tok", headers=headers)
            except (Refused, Closed, OSError):
                time.sleep(0.05)
        raise AssertionError("tab%d did not get through" % n)

    clients = [connect(n) for n in range(20)]
    sidecar.kill()
    world.push("alice", "t/e", "1")
    for client in clients:
        with pytest.raises((Closed, OSError)):
            client.receive(10)
        client.drop()
    start()
    again = [None] * 20
    threads = [threading.Thread(target=lambda n=n: again.__setitem__(n, connect(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in again:
        assert client.receive(10) == "[[[:t/e 1]] nil]"
        client.drop()


def test_without_a_sidecar_the_responder_refuses_at_once(world):
    world.settings.update(SETTINGS)
    responder = world.responder()
    world.session("s", "alice", csrf_token="tok")
    web = world.lighttpd(responder.address)
    poll = Http(web.port)
    headers = {"Cookie": "dw_sid=s", "X-CSRF-Token": "tok"}
    poll.get("/chsk?udt=1&client-id=a&handshake%3F=1", headers)
    poll.send("GET", "/chsk?udt=2&client-id=a", headers)
    wait_until(lambda: world.sql("SELECT 1 FROM dw_online"), 10, "the poll is held")
    begin = time.monotonic()
    with pytest.raises(Refused) as refused:
        Frames("127.0.0.1:%d" % web.port, "/chsk?client-id=a&csrf-token=tok", {"Cookie": "dw_sid=s"})
    assert refused.value.status == 501
    assert time.monotonic() - begin < 1 * SLOW
    world.push("alice", "t/e", "1")
    assert poll.receive().text == "[[[:t/e 1]] nil]", "the client's poll was not disturbed"
