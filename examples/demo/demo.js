// The smallest client of the channel-socket protocol over Ajax, with the JSON packer.
//
//   connect: GET handshake -> GET poll, held by the server until there are events -> GET poll -> ...
//   send:    POST, answered at once, or with the application's reply when a callback was asked for
//
// It leaves out what the client library does: WebSocket, resume, sharing one connection among tabs.
(function () {
  "use strict";

  const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
  const byId = (id) => document.getElementById(id);
  const csrfToken = meta("csrf-token");
  const url = meta("chsk-url");
  // One id for each open page: it names the client, never the user.
  const clientId = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

  // ---- the protocol ----

  class Refused extends Error {}
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function request(parameters, body) {
    const query = new URLSearchParams({ packer: "json", "client-id": clientId, udt: Date.now(), ...parameters });
    const response = await fetch(`${url}?${query}`, {
      method: body ? "POST" : "GET",
      body,
      headers: { "X-CSRF-Token": csrfToken },
      credentials: "same-origin",
      cache: "no-store",
    });
    if (response.status === 401 || response.status === 403) throw new Refused(await response.text());
    if (!response.ok) {
      const error = new Error(`HTTP ${response.status}`);
      error.retryMs = 1000 * Number(response.headers.get("Retry-After"));
      throw error;
    }
    return (await response.json())[0]; // the envelope is [value, callback id]
  }

  // What a GET brings: a handshake, a time-out, or a list of events.
  function receive(value) {
    if (value === "chsk/timeout") return;
    if (value[0] === "chsk/handshake") showOpen(value[1][0]);
    else value.forEach(([name, data]) => showEvent(name, data));
  }

  async function connect() {
    // A request with "handshake?" tells the server that the last answer may not have arrived.
    let parameters = { "handshake?": "1" };
    let failures = 0;
    for (;;) {
      try {
        receive(await request(parameters));
        parameters = {};
        failures = 0;
      } catch (error) {
        if (error instanceof Refused) return showRefused(error.message);
        parameters = { "handshake?": "1" };
        failures++;
        showClosed();
        const backOff = error.retryMs || Math.min(500 * 2 ** failures, 15000);
        await pause(backOff * (0.5 + Math.random()));
      }
    }
  }

  const send = (event, wantsReply) =>
    request({}, new URLSearchParams({ ppstr: JSON.stringify([event, wantsReply ? "ajax" : null]) }));

  // ---- the page ----

  const status = (state, text) => {
    byId("status").dataset.state = state;
    byId("status").textContent = text;
  };

  function showOpen(uid) {
    status("open", "connected, waiting for events");
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
  connect();
})();
