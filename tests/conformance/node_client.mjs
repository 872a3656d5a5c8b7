// The client `ws` of Node: does what the test asks for and prints what came of it, a JSON line each.
import WebSocket from "ws";

const [url] = process.argv.slice(2);
const say = (what) => console.log(JSON.stringify(what));
const once = (socket, event) => new Promise((resolve) => socket.once(event, (...values) => resolve(values)));

async function open(options = {}) {
  const socket = new WebSocket(url, ["v1.example"], options);
  await once(socket, "open");
  return socket;
}

async function echo(socket, sent) {
  const answer = once(socket, "message");
  socket.send(sent);
  const [data, isBinary] = await answer;
  return data.equals(Buffer.from(sent)) && isBinary === (typeof sent !== "string");
}

const socket = await open();
say({ extensions: socket.extensions, protocol: socket.protocol });
for (const sent of ["", "täglich €𤭢", "long ".repeat(100_000), Buffer.from([0, 255]), Buffer.alloc(4 << 20, 7)]) {
  say({ echoed: await echo(socket, sent), size: Buffer.byteLength(sent) });
}

const whole = once(socket, "message");
socket.send("in ", { fin: false });
socket.ping("between");
const [payload] = await once(socket, "pong");
socket.send("parts", { fin: true });
say({ pong: payload.toString(), message: (await whole)[0].toString() });

const closed = once(socket, "close");
socket.close(4321, "bye");
const [code, reason] = await closed;
say({ code, reason: reason.toString() });

const large = await open({ perMessageDeflate: false });
const refused = once(large, "close");
large.on("error", () => {});
large.send(Buffer.alloc(18 << 20));
say({ code: (await refused)[0] });
