// Publish with Socket.IO's Redis emitter: node socketio_publisher.mjs REDIS_URL
// Takes commands as control.py does: one JSON object a line.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.BENCH_NODE_FOLDER}/package.json`);
const { Emitter } = require("@socket.io/redis-emitter");
const { createClient } = require("redis");

const CHUNK = 500; // emits between two pings
const AHEAD = 4; // chunks that Redis may still have to take

const client = createClient({ url: process.argv[2] });
await client.connect();
const emitter = new Emitter(client);
const reply = (message) => process.stdout.write(JSON.stringify(message) + "\n");

async function push({ targets, data }) {
  const start = process.hrtime.bigint();
  const pings = [];
  for (let at = 0; at < targets.length; at += CHUNK) {
    for (const target of targets.slice(at, at + CHUNK)) emitter.to(`u${target}`).emit("task", data);
    pings.push(client.ping());
    if (pings.length > AHEAD) await pings.shift();
  }
  await Promise.all(pings); // everything is in Redis
  reply({ ok: true, start_ns: Number(start), end_ns: Number(process.hrtime.bigint()) });
}

createInterface({ input: process.stdin })
  .on("line", (line) => push(JSON.parse(line)).catch((error) => reply({ ok: false, error: String(error) })))
  .on("close", () => process.exit(0));
reply({ ok: true });
