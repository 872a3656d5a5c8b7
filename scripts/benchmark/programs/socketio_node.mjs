// Serve Socket.IO on Node with the Redis adapter: node socketio_node.mjs REDIS_URL PORT
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.BENCH_NODE_FOLDER}/package.json`);
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");

const [url, port] = process.argv.slice(2);
const publishing = createClient({ url });
const subscribing = publishing.duplicate();
await Promise.all([publishing.connect(), subscribing.connect()]);

const http = createServer((_, response) => response.writeHead(404).end());
const server = new Server(http, { adapter: createAdapter(publishing, subscribing), transports: ["websocket"] });
server.on("connection", (socket) => {
  socket.join(`u${socket.handshake.auth.user}`);
  socket.emit("bound");
});
http.listen(Number(port), "127.0.0.1");
