// The smallest client of the channel-socket protocol, with the JSON packer: WebSocket where it works, else Ajax.
//
//   WebSocket: connect -> handshake -> events ...; answering the server's pings proves what has arrived
//   Ajax:      GET handshake -> GET poll, held by the server until there are events -> GET poll -> ...
//              and POST to send, answered at once, or with the application's reply when one was asked for
//
// A WebSocket that fails is followed by Ajax at once, and tried again later.  Every connection goes on where
// the proof of the one before ends, so nothing is lost.
//
// It leaves out what the client library does: resume, sharing one connection among tabs.
(function () {
  "use strict";

  const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
  const byId = (id) => document.getElementById(id);
  const csrfToken = meta("csrf-token");
  const url = meta("chsk-url");
  const ajaxOnly = new URLSearchParams(location.search).has("ajax");
  // One id for each open page: it names the client, never the user.
  const clientId = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

  // ---- the protocol ----

  class Refused extends Error {}
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const spread = (ms) => ms * (0.5 + Math.random()); // many pages must not come back all at once
  const query = (more) => new URLSearchParams({ packer: "json", "client-id": clientId, udt: Date.now(), ...more });

  // What the server says unasked: a handshake, a time-out, or a list of events.
  function receive(transport, value) {
    if (value === "chsk/timeout") return;
    if (value[0] === "chsk/handshake") showOpen(transport, value[1][0]);
    else value.forEach(([name, data]) => showEvent(name, data));
  }

  // ---- over WebSocket ----

  let socket = null; // while it is open
  let callbacks = 0;
  const waiting = new Map(); // callback id: who waits for the reply

  // Resolves when the connection is over: true if it had been open.
  function overSocket() {
    return new Promise((resolve) => {
      const ws = new WebSocket(`${location.origin.replace(/^http/, "ws")}${url}?${query({ "csrf-token": csrfToken })}`);
      let silence;
      const over = () => {
        clearTimeout(silence);
        ws.onmessage = ws.onclose = null; // what comes too late stays unproven, and comes again
        ws.close();
        const opened = socket === ws;
        socket = null;
        waiting.forEach(({ reject }) => reject(new Error("the connection was lost")));
        waiting.clear();
        resolve(opened);
      };
      const expectWithin = (ms) => {
        clearTimeout(silence);
        silence = setTimeout(over, ms);
      };
      ws.onclose = over;
      ws.onmessage = (message) => {
        expectWithin(30000); // the server pings every 12.5 s
        const [value, callback] = JSON.parse(message.data);
        if (callback) {
          waiting.get(callback).resolve(value);
          waiting.delete(callback);
        } else if (value === "chsk/ws-ping") {
          ws.send('[["chsk/ws-pong"],null]');
        } else {
          socket = ws;
          receive("WebSocket", value);
        }
      };
      expectWithin(5000);
    });
  }

  // ---- over Ajax ----

  async function request(parameters, body, limitMs = 30000) {
    const response = await fetch(`${url}?${query(parameters)}`, {
      method: body ? "POST" : "GET",
      body,
      headers: { "X-CSRF-Token": csrfToken },
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(limitMs), // the server answers within 20 s
    });
    if (response.status === 401 || response.status === 403) throw new Refused(await response.text());
    if (!response.ok) {
      const error = new Error(`HTTP ${response.status}`);
      error.retryMs = 1000 * Number(response.headers.get("Retry-After"));
      throw error;
    }
    return (await response.json())[0]; // the envelope is [value, callback id]
  }

  // Polls until that time.  It then leaves from a poll that has been held for a moment: its request proved
  // whatever came before, so nothing comes twice.
  async function overAjax(end) {
    // A request with "handshake?" tells the server that the last answer may not have arrived.
    let parameters = { "handshake?": "1" };
    let failures = 0;
    for (;;) {
      try {
        const limitMs = Math.min(Math.max(end - Date.now(), 1000), 30000);
        receive("Ajax", await request(parameters, null, limitMs));
        parameters = {};
        failures = 0;
      } catch (error) {
        if (error instanceof Refused) throw error;
        if (error.name === "TimeoutError" && Date.now() >= end) return;
        parameters = { "handshake?": "1" };
        failures++;
        showClosed();
        await pause(spread(error.retryMs || Math.min(500 * 2 ** failures, 15000)));
        if (Date.now() >= end) return;
      }
    }
  }

  // ---- whichever works ----

  async function connect() {
    let retryMs = 5000;
    for (;;) {
      if (ajaxOnly) await overAjax(Infinity);
      if (await overSocket()) {
        retryMs = 5000;
        showClosed();
      }
      await overAjax(Date.now() + spread(retryMs));
      retryMs = Math.min(2 * retryMs, 60000);
    }
  }

  function send(event, wantsReply) {
    if (!socket) return request({}, new URLSearchParams({ ppstr: JSON.stringify([event, wantsReply ? "ajax" : null]) }));
    const callback = wantsReply ? String(++callbacks) : null;
    socket.send(JSON.stringify([event, callback]));
    return wantsReply ? new Promise((resolve, reject) => waiting.set(callback, { resolve, reject })) : Promise.resolve();
  }

  // ---- the page ----

  const status = (state, text) => {
    byId("status").dataset.state = state;
    byId("status").textContent = text;
  };

  function showOpen(transport, uid) {
    status("open", `connected over ${transport}`);
    byId("status").dataset.transport = transport;
    byId("uid").textContent = uid;
  }

  const showClosed = () => status("connecting", "connection lost, trying again …");
  const showRefused = (reason) => status("refused", `${reason}: the session is gone, load the page again`);

  let count = 0;
  function showEvent(name, data) {
    const row = document.createElement("li");
    const cell = (tag, className, text) => {
      const node = document.createElement(tag);
      node.className = className;
      node.textContent = text;
      row.append(node);
    };
    const now = new Date();
    cell("time", "time", now.toTimeString().slice(0, 8) + "." + String(now.getMilliseconds()).padStart(3, "0"));
    cell("span", "name", name);
    cell("span", "data", data && typeof data.text === "string" ? data.text : JSON.stringify(data));
    byId("events").prepend(row);
    byId("empty").hidden = true;
    count++;
    byId("count").textContent = count === 1 ? "1 event" : `${count} events`;
  }

  const text = () => ({ text: byId("text").value });
  const answer = (sentence) => (byId("answer").textContent = sentence);
  const explain = (error) => answer(`Not sent: ${error.message}`);

  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    answer("");
    send(["demo/say", text()], false).catch(explain);
  });

  byId("ask").addEventListener("click", () => {
    const start = performance.now();
    send(["demo/ask", text()], true)
      .then((reply) => {
        if (reply === "chsk/timeout") return answer("No reply within the time limit.");
        answer(`Reply after ${(performance.now() - start).toFixed(1)} ms: ${reply.text}`);
      })
      .catch(explain);
  });

  byId("copy").addEventListener("click", async () => {
    const command = byId("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
      byId("copy").textContent = "Copied";
      setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(command); // no permission: selected, ready for Ctrl-C
    }
  });

  byId("client").textContent = clientId.slice(0, 8);
  connect().catch((error) => showRefused(error.message));
})();
