"""What the tests of attacks share: a site with a victim and an attacker, and each way in of a browser.

Requests are described once, with the headers that a browser sends, and are made over FastCGI for the responder or over
HTTP for the sidecar.  A web server stands in between only where it matters."""

import os
from urllib.parse import quote

import harness
from clients import Answer, Fcgi, fcgi
from websocket import Client, Closed, Frames, Refused

HOST = "example.org"
ORIGIN = "https://" + HOST
VICTIM = {"Cookie": "dw_sid=v-sid"}
VICTIM_TOKEN, ATTACKER_TOKEN = "v-token-8Hq2", "m-token-3Zk9"
ATTACKER = {"Cookie": "dw_sid=m-sid"}

# Every way in that a browser has.
AJAX = ["handshake", "poll", "post", "binary post"]
KINDS = AJAX + (["websocket"] if os.path.exists(harness.SIDECAR) else [])
EVENT = "[[:t/attack 1] nil]"


def variable(name):
    return "HTTP_" + name.upper().replace("-", "_")


class Site:
    """https://example.org: alice is the victim, mallory has a session of his own."""

    def __init__(self, make_world, sidecar=True, **settings):
        both = dict(AUTH_UID="session", AUTH_CSRF="on", AUTH_ALLOWED_ORIGINS=None, CHSK_LP_TIMEOUT_MS=20000)
        both.update(settings)
        self.world = make_world(**both)
        self.responder = self.world.responder()
        self.sidecar = self.world.sidecar() if sidecar and "websocket" in KINDS else None
        self.world.session("v-sid", "alice", VICTIM_TOKEN)
        self.world.session("m-sid", "mallory", ATTACKER_TOKEN)

    def query(self, kind, client_id, params):
        fields = {} if kind == "websocket" else {"client-id": client_id, "udt": str(harness.now_ms())}
        if kind == "handshake":
            fields["handshake?"] = "1"
        if kind == "binary post":
            fields["binary?"] = "true"
        fields.update(params)
        return "&".join("%s=%s" % (quote(key, safe=""), quote(value, safe="")) for key, value in fields.items())

    def ask(self, kind, headers=(), params=(), client_id="tab-v", https=True, payload=EVENT):
        """Makes the request; its answer.  For a WebSocket that is let in, status 101 and the first message."""
        headers, query = dict(headers), self.query(kind, client_id, dict(params))
        if kind == "websocket":
            if https:
                headers.setdefault("X-Forwarded-Proto", "https")
            try:
                client = Client(self.sidecar.address, quote(client_id, safe=""), query, host=HOST, headers=headers)
            except Refused as refused:
                return Answer(refused.status, refused.headers, refused.body)
            client.drop()
            return Answer(101, client.frames.headers, client.handshake.encode())
        variables = {variable(name): value for name, value in headers.items()}
        variables["HTTP_HOST"] = HOST
        if https:
            variables["HTTPS"] = "on"
        body = b""
        if kind == "post":
            body, query = (query + "&ppstr=" + quote(payload, safe="")).encode(), ""
        elif kind == "binary post":
            body = payload.encode()
            variables["CONTENT_TYPE"] = "application/octet-stream"
        return fcgi(self.responder.address, "GET" if kind in ("handshake", "poll") else "POST", query, body, **variables)

    def tab(self, headers, token, client_id):
        return Tab(self, dict(headers, **{"X-CSRF-Token": token, "Origin": ORIGIN}), client_id)

    def victim(self, client_id="tab-v"):
        return self.tab(VICTIM, VICTIM_TOKEN, client_id)

    def attacker(self, client_id="tab-v"):
        """With the victim's client id, which he has seen or guessed."""
        return self.tab(ATTACKER, ATTACKER_TOKEN, client_id)

    def rows(self):
        """What requests leave behind, where they are let in."""
        return self.world.sql("SELECT uid, client_id, event FROM dw_inbox ORDER BY id")


class Tab:
    """One tab of a user: polls that are held, messages, a WebSocket."""

    def __init__(self, site, headers, client_id):
        self.site, self.headers, self.client_id = site, headers, client_id
        self.variables = {variable(name): value for name, value in headers.items()}
        self.variables.update(HTTP_HOST=HOST, HTTPS="on")

    def ask(self, kind, params=(), **how):
        return self.site.ask(kind, self.headers, params, self.client_id, **how)

    def hold(self, **params):
        """Sends a poll and returns its connection."""
        connection = Fcgi(self.site.responder.address)
        connection.request("GET", self.site.query("poll", self.client_id, params), **self.variables)
        return connection

    def call(self, payload):
        """Sends a message that wants a reply and returns its connection."""
        connection = Fcgi(self.site.responder.address)
        query = self.site.query("post", self.client_id, {}) + "&ppstr=" + quote(payload, safe="")
        connection.request("POST", "", query.encode(), **self.variables)
        return connection

    def websocket(self):
        headers = dict(self.headers, **{"X-Forwarded-Proto": "https"})
        return Client(self.site.sidecar.address, quote(self.client_id, safe=""), host=HOST, headers=headers)


def raw_websocket(address, target, headers, host=HOST):
    """The answer to an opening, whatever it is; status 0 for a connection that was closed without one."""
    try:
        frames = Frames(address, target, headers, host=host)
    except Closed:
        return Answer(0, {}, b"")
    except Refused as refused:
        return Answer(refused.status, refused.headers, refused.body)
    frames.close()
    return Answer(101, frames.headers, b"")
