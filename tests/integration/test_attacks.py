"""Attacks by other sites' pages and by other users, one a test and named after it; docs/security.md lists them.

Captured refusals of Sente's own server are compared in test_wire.py and test_ws_wire.py (csrf, origin, unauthorized)."""

import socket
import time

import pytest

from attacks import (ATTACKER, ATTACKER_TOKEN, KINDS, ORIGIN, VICTIM, VICTIM_TOKEN, Site, raw_websocket)
from clients import DUMMY, Http
from harness import SLOW, wait_until
from websocket import Client

NOTHING = 0.3  # seconds in which something that must not come would have come
PROMPT = 5 * SLOW
needs_sidecar = pytest.mark.skipif("websocket" not in KINDS, reason="built without the sidecar")


def refused(answer, status, body):
    """Sente's bytes, and nothing that a browser would run or keep."""
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("no-store")


def let_in(answer):
    assert answer.status in (101, 200), answer
    assert b"chsk/handshake" in answer.body or answer.text == DUMMY


@pytest.fixture
def site(make_world):
    return Site(make_world)


# ---- CSRF: a page of another site makes the victim's browser send requests with the victim's cookie ----

WRONG_TOKENS = {
    "none": ({}, {}),
    "the client's word for none": ({"X-CSRF-Token": "null"}, {}),
    "wrong parameter": ({}, {"csrf-token": "wrong"}),
    "wrong X-CSRF-Token": ({"X-CSRF-Token": "wrong"}, {}),
    "wrong X-XSRF-Token": ({"X-XSRF-Token": "wrong"}, {}),
    "wrong parameter, right headers": ({"X-CSRF-Token": VICTIM_TOKEN, "X-XSRF-Token": VICTIM_TOKEN},
                                       {"csrf-token": "wrong"}),
    "wrong X-CSRF-Token, right X-XSRF-Token": ({"X-CSRF-Token": "wrong", "X-XSRF-Token": VICTIM_TOKEN}, {}),
    "empty parameter": ({}, {"csrf-token": ""}),
    "the beginning of it": ({}, {"csrf-token": VICTIM_TOKEN[:-1]}),
    "more than it": ({}, {"csrf-token": VICTIM_TOKEN + "x"}),
    "in other case": ({}, {"csrf-token": VICTIM_TOKEN.swapcase()}),
    "the attacker's own": ({}, {"csrf-token": ATTACKER_TOKEN}),
    "the session's id": ({}, {"csrf-token": "v-sid"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_csrf_without_the_right_token(site, kind):
    for name, (headers, params) in WRONG_TOKENS.items():
        answer = site.ask(kind, dict(VICTIM, Origin=ORIGIN, **headers), params)
        assert answer.status == 403, name
        refused(answer, 403, b"Bad CSRF token")
    assert site.rows() == []
    for headers, params in [({}, {"csrf-token": VICTIM_TOKEN}), ({"X-CSRF-Token": VICTIM_TOKEN}, {}),
                            ({"X-XSRF-Token": VICTIM_TOKEN}, {})]:
        let_in(site.ask(kind, dict(VICTIM, Origin=ORIGIN, **headers), params))
        site.world.push("alice", "t/e", "1")  # a poll need not wait then
        kind = "handshake" if kind == "poll" else kind


@pytest.mark.parametrize("kind", KINDS)
def test_csrf_where_the_session_has_no_token_or_does_not_exist(site, kind):
    site.world.session("tokenless", "alice")
    site.world.session("empty", "alice", "")
    for sid in ("tokenless", "empty", "unknown", ""):
        for token in ("", "null", "None", VICTIM_TOKEN):
            refused(site.ask(kind, {"Cookie": "dw_sid=" + sid, "Origin": ORIGIN, "X-CSRF-Token": token}), 403,
                    b"Bad CSRF token")
    refused(site.ask(kind, {"Origin": ORIGIN, "X-CSRF-Token": VICTIM_TOKEN}), 403, b"Bad CSRF token")


@pytest.mark.parametrize("limit", ["REQUESTS_PER_S", "REQUESTS_PER_S_UID"])
@pytest.mark.parametrize("kind", KINDS)
def test_spending_the_victims_rate_from_another_site(make_world, kind, limit):
    site = Site(make_world, **{"LIMITS_" + limit: 5})
    for n in range(40):
        foreign = {"Origin": "https://evil.example"} if n % 2 else {"Origin": ORIGIN}
        token = {"X-CSRF-Token": VICTIM_TOKEN} if n % 2 else {"X-CSRF-Token": "wrong"}
        answer = site.ask(kind, {**VICTIM, **foreign, **token})
        refused(answer, 403, b"Unauthorized origin" if n % 2 else b"Bad CSRF token")
    let_in(site.victim().ask(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_login_csrf(site, kind):
    """The attacker plants his own session in the victim's browser, or his own token in a link: token and session
    must belong together, so neither is taken with the other's."""
    for cookie, token in [(VICTIM, ATTACKER_TOKEN), (ATTACKER, VICTIM_TOKEN)]:
        refused(site.ask(kind, dict(cookie, Origin=ORIGIN), {"csrf-token": token}), 403, b"Bad CSRF token")
    assert site.rows() == []


# ---- the Origin check, which must hold alone where the token is known or switched off ----

@pytest.mark.parametrize("kind", KINDS)
def test_cross_site_request(make_world, kind):
    """GETs, POSTs and WebSockets (cross-site WebSocket hijacking) of a foreign page, with the victim's cookie and
    even with the right token."""
    for settings in ({}, {"AUTH_CSRF": "off"}, {"AUTH_ALLOWED_ORIGINS": ORIGIN}):
        site = Site(make_world, **settings)
        for foreign in ({"Origin": "https://evil.example"}, {"Referer": "https://evil.example/" + ORIGIN + "/"},
                        {"Origin": "https://evil.example", "Referer": ORIGIN + "/page"}):
            refused(site.ask(kind, dict(VICTIM, **foreign), {"csrf-token": VICTIM_TOKEN}), 403, b"Unauthorized origin")
        assert site.rows() == []
        if kind != "poll":
            let_in(site.ask(kind, dict(VICTIM, Origin=ORIGIN), {"csrf-token": VICTIM_TOKEN}))


@pytest.mark.parametrize("kind", KINDS)
def test_cross_site_request_of_a_page_that_hides_its_address(make_world, kind):
    """Referrer-Policy: no-referrer takes Origin and Referer from a cross-site GET; Sec-Fetch-Site no page can take."""
    site = Site(make_world, AUTH_CSRF="off")
    for word in ("cross-site", "same-site"):
        refused(site.ask(kind, dict(VICTIM, **{"Sec-Fetch-Site": word})), 403, b"Unauthorized origin")
    assert site.rows() == []
    if kind != "poll":
        let_in(site.ask(kind, dict(VICTIM, **{"Sec-Fetch-Site": "same-origin"})))


ODD_ORIGINS = [
    "null", "file://", "https://example.org.evil.example", "https://evil.example.org", "https://evilexample.org",
    "https://example.org:8443", "https://example.org:443", "http://example.org", "http://example.org:443",
    "wss://example.org", "https://user@example.org", "https://example.org@evil.example",
    "https://evil.example#https://example.org", "https://evil.example?https://example.org", "https://example.org/",
    "https://example.org/page", "https://example.org.", "https://example.org ", "https://example.org,https://evil.example",
    "https://evil.example, https://example.org", "https://evil.example https://example.org", "https:/example.org",
    "https://", "https", "example.org", "//example.org", "https://example.org%00.evil.example", "https://example",
    "https://example.org\\.evil.example", "https://[::1]", "https://еxample.org", "*",
]


@pytest.mark.parametrize("allowed", [None, ORIGIN + " https://www.example.org"], ids=["own host", "list"])
@pytest.mark.parametrize("kind", ["post"] + KINDS[4:])
def test_odd_origins(make_world, kind, allowed):
    site = Site(make_world, AUTH_CSRF="off", AUTH_ALLOWED_ORIGINS=allowed)
    for origin in ODD_ORIGINS:
        answer = site.ask(kind, dict(VICTIM, Origin=origin))
        assert answer.status == 403, origin
        refused(answer, 403, b"Unauthorized origin")
    for referer in ["https://example.org", "https://example.org.evil.example/", "https://example.org@evil.example/",
                    "https://example.org:8443/", "http://example.org/", "https://evil.example/?https://example.org/"]:
        answer = site.ask(kind, dict(VICTIM, Referer=referer))
        assert answer.status == 403, referer
    assert site.rows() == []
    let_in(site.ask(kind, dict(VICTIM, Origin=ORIGIN)))
    let_in(site.ask(kind, dict(VICTIM, Referer=ORIGIN + "/")))


def test_case_counts_in_a_list_of_origins(make_world):
    site = Site(make_world, AUTH_CSRF="off", AUTH_ALLOWED_ORIGINS=ORIGIN)
    for origin in ("HTTPS://EXAMPLE.ORG", "https://Example.org"):
        refused(site.ask("post", dict(VICTIM, Origin=origin)), 403, b"Unauthorized origin")


@pytest.mark.parametrize("kind", ["handshake"] + KINDS[4:])
def test_a_forwarded_host_is_believed_of_nobody_who_is_no_proxy(make_world, kind):
    """X-Forwarded-Host names the attacker's page: the responder never reads it, the sidecar only from a proxy."""
    site = Site(make_world, AUTH_CSRF="off", WS_PROXY="off")
    spoof = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
             "X-Forwarded-For": "127.0.0.1", "Forwarded": "host=evil.example;proto=https", "X-Host": "evil.example"}
    refused(site.ask(kind, dict(VICTIM, **spoof)), 403, b"Unauthorized origin")


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_site_may_read_an_answer(site, kind):
    """No CORS: neither what is let in nor what is refused names an origin that may read it; nor does a preflight."""
    for origin in (ORIGIN, "https://evil.example", "null"):
        answer = site.ask("handshake" if kind == "poll" else kind, dict(VICTIM, Origin=origin),
                          {"csrf-token": VICTIM_TOKEN})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_where_a_user_is_required(make_world, kind):
    site = Site(make_world, AUTH_CSRF="off", AUTH_REQUIRE_UID="on")
    for cookie in ({}, {"Cookie": "dw_sid=guess"}, {"Cookie": "dw_sid="}, {"Cookie": "dw_sid"},
                   {"Cookie": "xdw_sid=v-sid"}, {"Cookie": "DW_SID=v-sid"}):
        refused(site.ask(kind, dict(cookie, Origin=ORIGIN), {"uid": "alice", "dw_sid": "v-sid"}), 401,
                b"Unauthorized request")
    assert site.rows() == []


# ---- another user, who knows the victim's client id ----

def test_reading_with_anothers_client_id(site):
    victim, attacker = site.victim(), site.attacker()
    victim.ask("handshake")
    assert "mallory" in attacker.ask("handshake").text
    held, spying = victim.hold(), attacker.hold()
    time.sleep(0.15 * SLOW)
    site.world.push("alice", "t/secret", "1")
    assert held.receive(PROMPT).text == "[[[:t/secret 1]] nil]"
    with pytest.raises(socket.timeout):
        spying.receive(NOTHING)


@needs_sidecar
def test_reading_with_anothers_client_id_over_websockets_and_crosswise(site):
    victim, attacker = site.victim(), site.attacker()
    mine, spying = victim.websocket(), attacker.websocket()
    attacker.ask("handshake")
    spying_too = attacker.hold()
    time.sleep(0.15 * SLOW)
    site.world.push("alice", "t/secret", "1")
    assert mine.receive(PROMPT) == "[[[:t/secret 1]] nil]"
    spying.nothing(NOTHING)
    with pytest.raises(socket.timeout):
        spying_too.receive(NOTHING)
    # A victim over Ajax, an attacker over WebSocket: what is kept for the next poll is not for him either.
    mine.drop()
    victim.ask("handshake")
    site.world.push("alice", "t/secret", "2")
    attacker.websocket().nothing(NOTHING)
    assert "[:t/secret 2]" in victim.ask("poll").text


@pytest.mark.parametrize("how", ["waits", "polls later"] + ["websocket"] * ("websocket" in KINDS))
def test_reading_what_is_for_one_tab_with_its_client_id(site, how):
    """A push that names uid and client_id is for that tab only while it is that user's; another tab of the user has
    nothing of it, nor has another user with that client id."""
    tabs = [site.victim(), site.victim("tab-other"), site.attacker()]
    push = "INSERT INTO dw_push (uid, client_id, event, data) VALUES ('alice', 'tab-v', 't/secret', '1')"
    if how == "websocket":
        clients = [tab.websocket() for tab in tabs]
        site.world.sql(push)
        assert clients[0].receive(PROMPT) == "[[[:t/secret 1]] nil]"
        for client in clients[1:]:
            client.nothing(NOTHING)
        return
    for tab in tabs:
        tab.ask("handshake")
    if how == "polls later":
        site.world.sql(push)
    held = [tab.hold() for tab in tabs]
    time.sleep(0.15 * SLOW)
    if how == "waits":
        site.world.sql(push)
    assert held[0].receive(PROMPT).text == "[[[:t/secret 1]] nil]"
    for connection in held[1:]:
        with pytest.raises(socket.timeout):
            connection.receive(NOTHING)


def test_superseding_anothers_poll(site):
    victim, attacker = site.victim(), site.attacker()
    victim.ask("handshake")
    attacker.ask("handshake")
    held = victim.hold()
    time.sleep(0.15 * SLOW)
    attackers = [attacker.hold() for _ in range(3)]
    time.sleep(0.15 * SLOW)
    site.world.push("alice", "t/e", "1")
    assert held.receive(PROMPT).text == "[[[:t/e 1]] nil]"
    assert attackers


@needs_sidecar
def test_superseding_and_closing_anothers_websocket(site):
    victim, attacker = site.victim(), site.attacker()
    mine = victim.websocket()
    for _ in range(3):
        other = attacker.websocket()
        other.send("[[:chsk/close] nil]")
        other.close()
        attacker.ask("handshake")
    site.world.push("mallory", "chsk/close")
    site.world.push("alice", "t/e", "1")
    assert mine.receive(PROMPT) == "[[[:t/e 1]] nil]"
    mine.send('[[:chsk/ws-ping] "c1"]')
    assert mine.receive(PROMPT) == '["pong" "c1"]'


def test_acknowledging_for_another(site):
    """Polls of the attacker prove nothing of the victim's: an answer that got lost comes again."""
    victim, attacker = site.victim(), site.attacker()
    victim.ask("handshake")
    attacker.ask("handshake")
    site.world.push("alice", "t/e", "1")
    assert "[:t/e 1]" in victim.ask("poll").text  # and say that it got lost
    site.world.push("mallory", "t/m", "1")
    attacker.ask("poll", {"resume": "999", "cursor": "999"})
    attacker.hold().close()
    victim.ask("handshake")
    assert "[:t/e 1]" in victim.ask("poll").text


@needs_sidecar
def test_acknowledging_for_another_over_a_websocket(site):
    victim, attacker = site.victim(), site.attacker()
    mine = victim.websocket()
    mine.answer_pings = False
    site.world.push("alice", "t/e", "1")
    assert mine.receive(PROMPT) == "[[[:t/e 1]] nil]"
    other = attacker.websocket()
    other.send("[[:chsk/ws-pong] nil]")
    other.send('["dw/ack" 999]')
    other.send('[[:chsk/ws-ping] "c"]')
    assert other.receive(PROMPT) == '["pong" "c"]'
    mine.drop()
    assert victim.websocket().receive(PROMPT) == "[[[:t/e 1]] nil]"


def test_making_another_count_as_gone_or_as_here(make_world):
    """Presence is the victim's own: the attacker's coming and going with the same client id changes only his."""
    site = Site(make_world, CHSK_CLOSE_GRACE_AJAX_MS=100, CHSK_CLOSE_GRACE_WS_MS=100)
    victim, attacker = site.victim(), site.attacker()
    victim.ask("handshake")
    held = victim.hold()
    online = "SELECT uid FROM dw_online ORDER BY uid"
    wait_until(lambda: site.world.sql(online) == [("alice",)], PROMPT, "the victim is here")
    attacker.ask("handshake")
    poll = attacker.hold()
    wait_until(lambda: site.world.sql(online) == [("alice",), ("mallory",)], PROMPT, "the attacker is here")
    poll.close()
    site.world.push("mallory", "chsk/close")
    wait_until(lambda: site.world.sql(online) == [("alice",)], PROMPT, "the attacker has gone, and nobody else")
    assert ("alice", None, "chsk/uidport-close") not in site.rows()
    held.close()


def test_sending_in_anothers_name(site):
    """The uid of a message is its session's, whatever it claims; and it changes nothing of the victim's tab."""
    victim, attacker = site.victim(), site.attacker()
    victim.ask("handshake")
    attacker.ask("post", {"uid": "alice", "user": "alice", "dw_sid": "v-sid", "packer": "edn"},
                 payload="+[[:t/attack 1]]")  # written as the oldest clients do
    attacker.ask("post", payload='[[:chsk/uidport-open "alice"] nil]')
    attacker.ask("post", payload='[[:chsk/uidport-close "alice"] nil]')
    assert [row for row in site.rows() if row[1] is not None] == [
        ("mallory", "tab-v", "t/attack"), ("mallory", "tab-v", "chsk/bad-event"), ("mallory", "tab-v", "chsk/bad-event")]
    site.world.push("alice", "t/e", "1")
    assert victim.ask("poll").text == "[[[:t/e 1]] nil]"  # not in the attacker's generation


def test_choosing_ones_own_uid(site):
    attacker = site.attacker("tab-m")
    for params in ({"uid": "alice"}, {"user": "alice"}, {"user-id": "alice"}, {"dw_sid": "v-sid"},
                   {"session": "v-sid"}, {"REMOTE_USER": "alice"}, {"auth.uid": "client_id"}, {"DUMBWAITER_AUTH_UID": "client_id"}):
        assert '["mallory"' in attacker.ask("handshake", params).text
    # Of two cookies of that name one decides, the same for session and token.
    both = dict(ATTACKER, Cookie="dw_sid=m-sid; dw_sid=v-sid", Origin=ORIGIN)
    assert '["mallory"' in site.ask("handshake", both, {"csrf-token": ATTACKER_TOKEN}).text
    assert site.ask("handshake", both, {"csrf-token": VICTIM_TOKEN}).status == 403


@pytest.mark.parametrize("params", [{"resume": "0"}, {"resume": ""}, {"resume": "-1"}, {"cursor": "0"}, {"after": "0"},
                                    {"last-event-id": "0"}, {"id": "0"}, {"udt": "0"}, {"udt": "-9223372036854775808"}],
                         ids=str)
def test_cursors_that_a_client_makes_up(site, params):
    """A new client starts now: nothing that was pushed before comes, of its own user or of others."""
    site.world.push("alice", "t/secret", "1")
    site.world.push("mallory", "t/old", "2")
    site.world.push("*", "t/old", "3", column="room")
    attacker = site.attacker("tab-new")
    assert "[:chsk/handshake" in attacker.ask("handshake", params).text
    held = attacker.hold(**params)
    with pytest.raises(socket.timeout):
        held.receive(NOTHING)
    site.world.push("mallory", "t/new", "4")
    assert held.receive(PROMPT).text == "[[[:t/new 4]] nil]"


def test_reading_anothers_reply_over_ajax(site):
    """Callbacks with one client id, before and after the victim's: each reply goes to the request that asked, and ids
    can't be asked for."""
    victim, attacker = site.victim(), site.attacker()
    others = [attacker.call("[[:t/spy] :ajax]")]
    wait_until(lambda: len(site.rows()) == 1, PROMPT, "the attacker has asked")
    mine = victim.call("[[:t/ask] :ajax]")
    wait_until(lambda: len(site.rows()) == 2, PROMPT, "the victim has asked")
    inbox_id = site.world.sql("SELECT id FROM dw_inbox WHERE uid = 'alice'")[0][0]
    others += [attacker.call("[[:t/spy] %s]" % word) for word in (str(inbox_id), '"%d"' % inbox_id)]
    others.append(attacker.hold(**{"inbox-id": str(inbox_id), "inbox_id": str(inbox_id), "reply": str(inbox_id)}))
    wait_until(lambda: len(site.rows()) == 4, PROMPT, "the attacker has asked")
    site.world.sql("INSERT INTO dw_reply (inbox_id, data) VALUES (?, '\"secret\"')", inbox_id)
    assert mine.receive(PROMPT).text == '["secret" nil]'
    for other in others[:3]:
        with pytest.raises(socket.timeout):
            other.receive(NOTHING / 3)
    # (The poll of an unknown client is a handshake.)
    assert "secret" not in others[3].receive(PROMPT).text


@needs_sidecar
def test_reading_anothers_reply_over_a_websocket(site):
    mine, other = site.victim().websocket(), site.attacker().websocket()
    other.send('[[:t/early] "c1"]')
    wait_until(lambda: ("mallory", "tab-v", "t/early") in site.rows(), PROMPT, "the attacker has asked")
    mine.send('[[:t/ask] "c1"]')
    wait_until(lambda: ("alice", "tab-v", "t/ask") in site.rows(), PROMPT, "the victim has asked")
    other.send('[[:t/spy] "c1"]')
    wait_until(lambda: ("mallory", "tab-v", "t/spy") in site.rows(), PROMPT, "the attacker has asked")
    site.world.sql("INSERT INTO dw_reply (inbox_id, data) SELECT id, '\"secret\"' FROM dw_inbox WHERE event = 't/ask'")
    assert mine.receive(PROMPT) == '["secret" "c1"]'
    other.nothing(NOTHING)


# ---- the user's name in a header ----

USER_HEADERS = ["Remote-User", "X-Remote-User", "REMOTE_USER", "Remote_User", "X_Remote_User", "X-Forwarded-User",
                "Auth-User", "AUTHENTICATED-USER", "Http-Remote-User"]


def test_a_user_name_in_a_header(make_world):
    """auth.uid = remote_user: only what the web server itself has found counts."""
    site = Site(make_world, sidecar=False, AUTH_UID="remote_user", AUTH_CSRF="off", AUTH_ALLOWED_ORIGINS="*")
    web = site.world.lighttpd(site.responder.address)
    for name in USER_HEADERS:
        text = Http(web.port).get("/chsk?client-id=a&handshake%3F=1", {name: "alice"}).text
        assert "alice" not in text and ":sente/nil-uid" in text, name
    basic = {"Authorization": "Basic YWxpY2U6eA=="}  # nobody has checked it
    assert "alice" not in Http(web.port).get("/chsk?client-id=a&handshake%3F=1", basic).text


@needs_sidecar
@pytest.mark.parametrize("settings, believed", [
    ({}, []), ({"WS_USER_HEADER": "x-remote-user", "WS_PROXY": "off"}, []),
    ({"WS_USER_HEADER": "x-remote-user"}, ["X-Remote-User"])], ids=["no header set", "no proxy", "behind a proxy"])
def test_a_user_name_in_a_header_of_a_websocket(make_world, settings, believed):
    """Only the header of ws.user_header, only from a proxy, which removes it from clients' requests."""
    world = make_world(AUTH_UID="remote_user", **settings)
    sidecar = world.sidecar()
    found = []
    for name in USER_HEADERS:
        handshake = Client(sidecar.address, "a", headers={name: "alice"}).handshake
        if "alice" in handshake:
            found.append(name)
    assert found == believed


@needs_sidecar
def test_a_websocket_to_another_host_name(make_world):
    """DNS rebinding: the attacker's own name leads to us.  Its page has that origin and none of our cookies; a list
    of origins refuses it besides."""
    site = Site(make_world, AUTH_ALLOWED_ORIGINS=ORIGIN)
    headers = {"Origin": "https://evil.example", "X-Forwarded-Proto": "https"}
    refused(raw_websocket(site.sidecar.address, "/chsk?client-id=a&csrf-token=x", headers, host="evil.example"), 403,
            b"Bad CSRF token")
    headers.update(VICTIM)
    refused(raw_websocket(site.sidecar.address, "/chsk?client-id=a&csrf-token=" + VICTIM_TOKEN, headers,
                          host="evil.example"), 403, b"Unauthorized origin")
