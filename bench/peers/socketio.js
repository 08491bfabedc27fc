// A plain socket.io server for bench/ws: WebSocket only, each client in a room of its own name.
// POST /one?id=NAME or /all publishes one event, the same that the other servers are given.
"use strict";

const http = require("http");
const { Server } = require("socket.io");

let io = null;
const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://localhost");
  const target = url.pathname === "/all" ? io : io.to(url.searchParams.get("id"));
  target.emit("bench/tick", { text: "hi" });
  response.writeHead(200, { "Content-Length": 2 });
  response.end("ok");
});
server.keepAliveTimeout = 600000;
io = new Server(server, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
io.on("connection", (socket) => socket.join(socket.handshake.query.id));
server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
