// The JavaScript client with a WebSocket and timers that the tests hold in their hands; run by test_client_js.py.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { connect } from "../../../sanic_ws/http/static/sanic-ws.js";

const URL_ = "ws://push.example.com/ws";
const BEGAN = Date.parse("2026-01-01T00:00:00Z");
const settle = () => new Promise(setImmediate);
const window_ = new EventTarget();
globalThis.addEventListener = (...given) => window_.addEventListener(...given);
globalThis.removeEventListener = (...given) => window_.removeEventListener(...given);

let sockets, clients, states, told;

class Socket {
  bufferedAmount = 0;
  sent = [];
  closed = false;

  constructor(url) {
    this.url = new URL(url);
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  // What the node does

  say(type, data, more = {}) {
    this.onmessage({ data: JSON.stringify({ type, data, time: "2026-01-01T00:00:00.000Z", ...more }) });
  }

  greet(more = {}) {
    this.say("connected", { conn: "c", node: "n", user: null, heartbeat_s: 25, max_message_bytes: 1000, ...more });
  }

  drop(code = 1006, reason = "") {
    this.onclose({ code, reason });
  }

  of(type) {
    return this.sent.filter((message) => message.type === type);
  }

  answer(type, data, to) {
    this.say(type, data, { id: this.of(to).at(-1).id });
  }

  pong() {
    this.say("pong", this.of("ping").at(-1).data);
  }
}

const last = () => sockets.at(-1);

function begin(options = {}, url = URL_) {
  const client = connect(url, { WebSocket: Socket, random: () => 0.5, ...options });
  clients.push(client);
  client.when("state", (state, about) => states.push({ state, ...about }));
  for (const event of ["error", "undelivered", "gap", "resumed", "cancelled", "raw"]) {
    client.when(event, (about) => told.push([event, about]));
  }
  return client;
}

async function opened(options, url) {
  const client = begin(options, url);
  await settle();
  last().greet();
  await settle();
  assert.equal(client.state, "open");
  return client;
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}

/** Come back after a connection has ended. */
async function again(ms = 30_000) {
  await pass(ms);
  last().greet();
  await settle();
}

const code = (promise) => promise.then(() => assert.fail("it was not rejected"), (error) => error.code);
const codes = (event) => told.filter(([name]) => name === event).map(([, about]) => (about.error ?? about).code);

beforeEach(() => {
  [sockets, clients, states, told] = [[], [], [], []];
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: BEGAN });
});

afterEach(() => {
  for (const client of clients) client.close();
  mock.timers.reset();
  mock.restoreAll();
});

describe("connecting", () => {
  test("it is open once the node has greeted it", async () => {
    const client = begin();
    assert.equal(client.state, "connecting");
    await settle();
    assert.match(last().url.searchParams.get("sign"), /^[0-9a-f]{32}$/);
    assert.equal(last().url.searchParams.has("since"), false);
    last().greet({ conn: "mine", node: "n1", user: { userId: "7" } });
    await settle();
    assert.deepEqual([client.state, client.conn, client.node, client.user], ["open", "mine", "n1", { userId: "7" }]);
  });

  test("a reconnect is the same connection", async () => {
    await opened();
    last().drop();
    await again();
    assert.equal(sockets.length, 2);
    assert.equal(sockets[0].url.search, sockets[1].url.search.replace("&since=", ""));
  });

  test("an address may be http, and may be asked for anew", async () => {
    let count = 0;
    await opened({ sign: "a" }, async () => `https://push${++count}.example.com/ws?x=1`);
    assert.equal(last().url.href, "wss://push1.example.com/ws?x=1&sign=a");
    last().drop();
    await again();
    assert.equal(last().url.host, "push2.example.com");
  });

  test("what cannot be is refused at once", () => {
    assert.throws(() => connect(URL_, { WebSocket: Socket, sign: "a b" }), { code: "invalid_sign" });
    assert.throws(() => connect("no address", { WebSocket: Socket }), TypeError);
    const own = globalThis.WebSocket;
    globalThis.WebSocket = undefined;
    assert.throws(() => connect(URL_), { code: "no_websocket" });
    globalThis.WebSocket = own;
  });

  test("it takes no longer than it may", async () => {
    begin();
    await settle();
    await pass(10_000);
    assert.equal(states.at(-1).reason, "connecting took too long");
    assert.equal(last().closed, true);
    last().greet(); // too late
    await again(250);
    assert.equal(sockets.length, 2);
    assert.equal(states.at(-1).state, "open");
  });

  test("a token that does not come is not waited for", async () => {
    begin({ token: () => new Promise(() => {}) });
    await pass(10_000);
    assert.deepEqual([states.at(-1).state, sockets.length], ["waiting", 0]);
  });

  test("a token function that fails is asked again", async () => {
    const token = mock.fn(() => Promise.reject(new Error("away")));
    begin({ token });
    await settle();
    assert.deepEqual(codes("error"), ["connect_failed"]);
    await pass(250);
    assert.equal(token.mock.callCount(), 2);
  });
});

describe("identity", () => {
  test("a token goes in a message, is asked for anew, and makes the user", async () => {
    let count = 0;
    const client = begin({ token: async () => `token-${++count}` });
    await settle();
    last().greet();
    assert.equal(client.state, "connecting");
    assert.deepEqual(last().of("auth")[0].data, { token: "token-1" });
    last().answer("user_bound", { user: { userId: "7" } }, "auth");
    await settle();
    assert.deepEqual([client.state, client.user], ["open", { userId: "7" }]);
    last().drop();
    await again();
    assert.deepEqual(last().of("auth")[0].data, { token: "token-2" });
    assert.equal(last().url.searchParams.has("token"), false);
  });

  test("a token goes in the address where that is asked for", async () => {
    await opened({ token: "t", tokenIn: "query" });
    assert.equal(last().url.searchParams.get("token"), "t");
    assert.deepEqual(last().of("auth"), []);
  });

  test("a node that takes no tokens is told of, and used", async () => {
    const client = begin({ token: "t" });
    await settle();
    last().greet();
    last().answer("error", { code: "unhandled_type", message: "no tokens" }, "auth");
    await settle();
    assert.deepEqual([client.state, codes("error")], ["open", ["unhandled_type"]]);
  });

  test("keys that are away are waited for", async () => {
    const client = begin({ token: "t" });
    await settle();
    last().greet();
    last().answer("error", { code: "unavailable", message: "no keys" }, "auth");
    await settle();
    assert.deepEqual([client.state, states.at(-1).reason], ["waiting", "no keys"]);
  });

  test("a refusal's close code decides", async () => {
    const client = begin({ token: "t" });
    await settle();
    last().greet();
    last().answer("error", { code: "identity_taken", message: "another's" }, "auth");
    await settle();
    assert.equal(client.state, "connecting");
    last().drop(1008, "this id is bound to another user");
    assert.deepEqual([client.state, states.at(-1).code], ["closed", 1008]);
  });

  test("a user is named where the connection is not bound", async () => {
    const client = begin({ identity: { userId: 7 } });
    await settle();
    last().greet();
    assert.deepEqual(last().of("user_info")[0].data, { userId: 7 });
    last().answer("user_bound", { user: { userId: "7" } }, "user_info");
    await settle();
    assert.equal(client.state, "open");
    last().drop();
    await pass(30_000);
    last().greet({ user: { userId: "7" } });
    await settle();
    assert.deepEqual([client.state, last().sent], ["open", []]);
  });

  test("a fresh token prolongs the session", async () => {
    const client = await opened({ token: () => "fresh", tokenIn: "query" });
    const user = client.authenticate();
    await settle();
    last().answer("user_bound", { user: { userId: "8" } }, "auth");
    assert.deepEqual([await user, client.user], [{ userId: "8" }, { userId: "8" }]);
    last().drop();
    assert.equal(await code(client.authenticate()), "not_open");
  });
});

describe("coming back", () => {
  for (const stays of [1002, 1007, 1008, 1009, 4403, 4409]) {
    test(`${stays} is for good`, async () => {
      const client = await opened();
      last().drop(stays, "why");
      await pass(1e6);
      assert.deepEqual([client.state, sockets.length, states.at(-1)], ["closed", 1, { state: "closed", code: stays, reason: "why" }]);
    });
  }

  for (const comes of [1000, 1001, 1005, 1006, 1011, 4408]) {
    test(`${comes} is not`, async () => {
      await opened();
      last().drop(comes);
      assert.deepEqual(states.at(-1), { state: "waiting", code: comes, reason: "", retryMs: 250 });
      await again(250);
      assert.equal(states.at(-1).state, "open");
    });
  }

  test("waits grow up to the bound, and begin anew after a connection that lasted", async () => {
    await opened({ random: () => 1 });
    const waits = [];
    for (let count = 0; count < 8; count++) {
      last().drop();
      waits.push(states.at(-1).retryMs);
      await again(waits.at(-1));
    }
    assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    await pass(10_000);
    last().drop();
    assert.equal(states.at(-1).retryMs, 500);
  });

  test("the whole of a wait is by chance", async () => {
    await opened({ random: () => 0 });
    last().drop();
    assert.equal(states.at(-1).retryMs, 0);
  });

  test("a node that leaves says when", async () => {
    await opened();
    last().say("reconnect", { after_ms: 1234 });
    last().drop(1012, "retry_after_ms=1300");
    assert.equal(states.at(-1).retryMs, 1300);
    await pass(1299);
    assert.equal(sockets.length, 1);
    await again(1);
    last().say("reconnect", { after_ms: 1234 });
    last().drop();
    assert.equal(states.at(-1).retryMs, 1234);
    await again(1234);
    last().drop();
    assert.equal(states.at(-1).retryMs, 250);
  });

  test("4429 is slow", async () => {
    await opened();
    last().drop(4429);
    assert.equal(states.at(-1).retryMs, 45_000);
  });

  test("4401 asks for a fresh token once", async () => {
    let count = 0;
    const client = begin({ token: () => `t${++count}`, tokenIn: "query" });
    await settle();
    last().greet();
    await settle();
    last().drop(4401);
    await pass(250);
    assert.equal(last().url.searchParams.get("token"), "t2");
    last().drop(4401);
    assert.deepEqual([client.state, count], ["closed", 2]);
  });

  test("4401 after a connection that was open asks again", async () => {
    const client = await opened({ token: () => "t", tokenIn: "query" });
    for (let count = 0; count < 3; count++) {
      last().drop(4401);
      await again(10_000);
    }
    assert.equal(client.state, "open");
  });

  test("4401 with nothing fresh to be had is for good", async () => {
    const client = begin({ token: "t" });
    await settle();
    last().greet();
    last().answer("error", { code: "invalid_token", message: "expired" }, "auth");
    await settle();
    assert.deepEqual([client.state, states.at(-1).code], ["closed", 4401]);
  });

  test("a browser that is online again does not wait, unless the node says so", async () => {
    await opened();
    last().drop();
    window_.dispatchEvent(new Event("online"));
    await settle();
    assert.equal(sockets.length, 2);
    last().greet();
    await settle();
    last().drop(1012, "retry_after_ms=5000");
    window_.dispatchEvent(new Event("online"));
    await settle();
    assert.equal(sockets.length, 2);
  });

  test("nothing comes back after close()", async () => {
    const client = await opened();
    client.close();
    assert.equal(last().closed, true);
    last().drop();
    window_.dispatchEvent(new Event("online"));
    await pass(1e6);
    client.close();
    assert.deepEqual([client.state, sockets.length], ["closed", 1]);
    assert.equal(states.filter(({ state }) => state === "closed").length, 1);
  });
});

describe("signs of life", () => {
  test("a quiet node is asked", async () => {
    await opened();
    await pass(62_000);
    assert.deepEqual(last().sent, []);
    await pass(500);
    assert.equal(last().of("ping").length, 1);
    last().pong();
    for (let count = 0; count < 6; count++) await pass(12_500);
    assert.equal(last().of("ping").length, 2);
  });

  test("one that speaks is not", async () => {
    await opened();
    for (let count = 0; count < 10; count++) {
      await pass(30_000);
      last().say("tick", count);
    }
    assert.deepEqual(last().sent, []);
  });

  test("one that does not answer is left", async () => {
    const client = await opened();
    await pass(62_500);
    await pass(10_000);
    assert.deepEqual([client.state, states.at(-1).reason], ["waiting", "the node does not answer"]);
    assert.equal(last().closed, true);
  });

  test("a browser that is online again asks", async () => {
    await opened();
    window_.dispatchEvent(new Event("online"));
    assert.equal(last().of("ping").length, 1);
  });
});

describe("sending", () => {
  test("a message is sent for certain once the node answers what came after it", async () => {
    const client = await opened();
    const ids = [];
    for (const number of [1, 2]) client.send("note", number).then((id) => ids.push(id));
    assert.deepEqual(last().of("note").map(({ data }) => data), [1, 2]);
    assert.equal(last().of("ping").length, 1);
    last().pong();
    await settle();
    assert.deepEqual(ids, [last().of("note")[0].id]);
    assert.equal(last().of("ping").length, 2);
    last().pong();
    await settle();
    assert.deepEqual(ids, last().of("note").map(({ id }) => id));
    assert.equal(last().of("ping").length, 2);
  });

  test("what the node had not confirmed is told", async () => {
    const client = await opened();
    const sent = client.send("note", 1);
    last().drop();
    assert.equal(await code(sent), "connection_lost");
    assert.deepEqual(told.map(([event, { type, data }]) => [event, type, data]), [["undelivered", "note", 1]]);
  });

  test("what is sent while away waits, in order, up to a bound", async () => {
    const client = await opened({ queueSize: 2 });
    last().drop();
    const sent = [1, 2, 3].map((number) => client.send("note", number));
    assert.equal(await code(sent[2]), "queue_full");
    assert.deepEqual(codes("undelivered"), ["queue_full"]);
    await again();
    assert.deepEqual(last().of("note").map(({ data }) => data), [1, 2]);
    last().pong();
    last().pong();
    await Promise.all(sent.slice(0, 2));
  });

  test("what waits at the end is told", async () => {
    const client = begin();
    const sent = client.send("note", 1);
    client.close();
    assert.deepEqual([await code(sent), codes("undelivered")], ["closed", ["closed"]]);
    assert.equal(await code(client.send("note", 2)), "closed");
  });

  test("a message that the node refuses is told", async () => {
    const client = await opened();
    const [bad, good] = [client.send("bad"), client.send("good")];
    last().answer("error", { code: "unhandled_type", message: "nobody" }, "bad");
    assert.equal(await code(bad), "unhandled_type");
    last().pong();
    last().pong();
    assert.equal(await good, last().of("good")[0].id);
  });

  test("an error that comes late is an event with the message's id", async () => {
    const client = await opened();
    const sent = client.send("note");
    last().pong();
    const id = await sent;
    last().say("error", { code: "invalid_data", message: "n", field: "n" }, { id });
    assert.deepEqual(told.map(([event, error]) => [event, error.code, error.id, error.field]), [["error", "invalid_data", id, "n"]]);
  });

  test("what the node may have dropped is told, and then nothing is sent for a while", async () => {
    const client = await opened();
    const sent = client.send("note", 1);
    last().say("error", { code: "rate_limited", message: "too much" });
    assert.equal(await code(sent), "rate_limited");
    client.send("note", 2);
    await pass(999);
    assert.equal(last().of("note").length, 1);
    await pass(1);
    assert.equal(last().of("note").length, 2);
    await pass(9000);
    assert.equal(client.state, "open"); // the ping that was dropped too is not waited for
  });

  test("handlers may send and close whenever they are told something", async () => {
    const client = await opened();
    client.when("undelivered", ({ type, data }) => type === "again" && client.send(type, data));
    client.send("again", 1);
    last().drop();
    await again();
    assert.deepEqual(last().of("again").map(({ data }) => data), [1]);
    client.when("state", (state) => state === "open" && client.close());
    client.join("news");
    client.send("note");
    last().drop();
    await again();
    assert.deepEqual([client.state, last().of("note")], ["closed", []]);
  });

  test("what is too large, or too much, is not sent", async () => {
    const client = await opened();
    assert.equal(await code(client.send("note", "ä".repeat(500))), "too_large");
    last().bufferedAmount = 2 << 20;
    assert.equal(await code(client.send("note")), "queue_full");
    assert.deepEqual(last().of("note"), []);
  });
});

describe("pushes", () => {
  test("handlers get those of their type, until they do not want them", async () => {
    const client = await opened();
    const got = [];
    const off = client.on("a", (data, message) => got.push(["a", data, message.id]));
    client.on("*", (data, { type }) => got.push(["*", data, type]));
    last().say("a", 1, { id: "x" });
    last().say("constructor", 2);
    off();
    last().say("a", 3);
    assert.deepEqual(got, [["a", 1, "x"], ["*", 1, "a"], ["*", 2, "constructor"], ["*", 3, "a"]]);
  });

  test("a handler that fails keeps nobody from anything", async () => {
    const said = mock.method(console, "error", () => {});
    const client = await opened();
    const got = [];
    client.on("a", () => assert.fail("at once"));
    client.on("a", async () => assert.fail("later"));
    client.on("a", (data) => got.push(data));
    last().say("a", 1);
    last().say("a", 2);
    await settle();
    assert.deepEqual([got, said.mock.callCount(), client.state], [[1, 2], 4, "open"]);
  });

  test("they are confirmed and answered on the connection by which they came", async () => {
    const client = await opened();
    const got = [];
    client.on("a", (_, message) => got.push(message));
    last().say("a", 1, { id: "x" });
    got[0].ack();
    got[0].reply({ yes: true });
    assert.deepEqual(last().of("ack")[0].data, { id: "x" });
    assert.deepEqual(last().of("reply")[0].data, { id: "x", data: { yes: true } });
    last().drop();
    await again();
    assert.equal(await code(got[0].ack()), "connection_lost");
    assert.deepEqual(last().of("ack"), []);
  });

  test("they are confirmed by themselves only where that is asked for, and all went well", async () => {
    mock.method(console, "error", () => {});
    const client = await opened({ autoAck: true });
    client.on("good", async () => {});
    client.on("bad", async () => assert.fail());
    for (const type of ["good", "bad", "nobody"]) last().say(type, 1, { id: type });
    await settle();
    assert.deepEqual(last().of("ack").map(({ data }) => data.id), ["good"]);
    const other = await opened();
    other.on("good", () => {});
    last().say("good", 1, { id: "y" });
    await settle();
    assert.deepEqual(last().of("ack"), []);
  });

  test("what is no message is raw", async () => {
    const client = await opened();
    const binary = new ArrayBuffer(1);
    for (const data of ["text", "[1]", "null", '{"type":1}', binary]) last().onmessage({ data });
    assert.deepEqual(told, ["text", "[1]", "null", '{"type":1}', binary].map((data) => ["raw", data]));
    assert.equal(client.state, "open");
  });

  test("another device was quicker", async () => {
    await opened();
    last().say("cancelled", { id: "x" });
    assert.deepEqual(told, [["cancelled", { id: "x" }]]);
  });
});

describe("durable messages", () => {
  const since = () => last().url.searchParams.get("since");
  const letter = (id, prev) => last().say("note", id, { id, prev });

  async function reading(options) {
    const client = await opened(options);
    const got = [];
    client.on("note", (data) => got.push(data));
    return [client, got];
  }

  test("the last one is where it goes on", async () => {
    const [client, got] = await reading();
    letter("a", null);
    letter("b", "a");
    last().say("note", "other", { id: "other" });
    assert.equal(client.lastId, "b");
    last().drop();
    await again();
    assert.equal(since(), "b");
    letter("b", "a");
    letter("c", "b");
    last().say("resumed", { recovered: true, count: 1, last_id: "c" });
    assert.deepEqual(got, ["a", "b", "other", "c"]);
    assert.deepEqual(told, [["resumed", { recovered: true, count: 1, lastId: "c" }]]);
  });

  test("it begins where it is told to", async () => {
    await opened({ since: "z" });
    assert.equal(since(), "z");
    await opened({ since: "" });
    assert.equal(since(), "");
    await opened({ since: "z", resume: false });
    assert.equal(since(), null);
  });

  test("where there was none it asks for all, and drops what is older than itself", async () => {
    const [client, got] = await reading();
    last().drop();
    await again();
    assert.equal(since(), "");
    last().say("note", "old", { id: "old", prev: null, time: "2025-12-31T23:58:00.000Z" });
    letter("new", "old");
    assert.deepEqual([got, client.lastId, told], [["new"], "new", []]);
  });

  test("what is missing is told", async () => {
    const [, got] = await reading();
    letter("a", "before");
    letter("c", "b");
    letter("d", null);
    assert.deepEqual(told, [["gap", { after: "a", before: "c" }], ["gap", { after: "c", before: "d" }]]);
    last().say("resumed", { recovered: false, count: 0, last_id: null });
    assert.deepEqual(told.at(-1), ["resumed", { recovered: false, count: 0, lastId: "d" }]);
    assert.deepEqual(got, ["a", "c", "d"]);
  });

  test("what comes again is dropped, for as long as it is remembered", async () => {
    const [, got] = await reading();
    for (let number = 0; number < 1001; number++) letter(`m${number}`, number ? `m${number - 1}` : null);
    assert.equal(got.length, 1001);
    letter("m1", "m0");
    assert.equal(got.length, 1001);
    letter("m0", null);
    assert.equal(got.length, 1002);
  });

  test("an id is not remembered of what is not durable", async () => {
    const [, got] = await reading();
    last().say("note", 1, { id: "a" });
    last().say("note", 2, { id: "a" });
    assert.deepEqual(got, [1, 2]);
  });
});

describe("groups", () => {
  const changes = () => last().sent.map(({ type, data }) => [type, data.group]);

  test("they are joined after every connect", async () => {
    const client = await opened({ groups: ["news"] });
    const joined = client.join("sports");
    last().answer("joined", { group: "sports" }, "join");
    await joined;
    last().drop();
    await again();
    assert.deepEqual(changes(), [["join", "news"], ["join", "sports"]]);
  });

  test("one that is joined, or left, while away is so at the next connect", async () => {
    const client = await opened({ groups: ["news"] });
    last().drop();
    const [left, joined] = [client.leave("news"), client.join("sports")];
    await again();
    assert.deepEqual(changes(), [["leave", "news"], ["join", "sports"]]);
    last().say("left", { group: "news" }, { id: last().of("leave")[0].id });
    last().say("joined", { group: "sports" }, { id: last().of("join")[0].id });
    await Promise.all([left, joined]);
    last().drop();
    await again();
    assert.deepEqual(changes(), [["join", "sports"]]);
  });

  test("one that may not be joined is not joined again", async () => {
    const client = await opened();
    const joined = client.join("secret");
    last().answer("error", { code: "not_allowed", message: "no" }, "join");
    assert.equal(await code(joined), "not_allowed");
    assert.deepEqual(codes("error"), ["not_allowed"]);
    last().drop();
    await again();
    assert.deepEqual(changes(), []);
  });

  test("one that cannot be joined now is, later", async () => {
    await opened({ groups: ["news"] });
    last().answer("error", { code: "unavailable", message: "not now" }, "join");
    await settle();
    last().drop();
    await again();
    assert.deepEqual(changes(), [["join", "news"]]);
  });

  test("one whose join was dropped is joined a little later", async () => {
    const client = await opened();
    const joined = client.join("news");
    last().say("error", { code: "rate_limited", message: "too much" });
    await pass(1000);
    assert.equal(last().of("join").length, 2);
    last().answer("joined", { group: "news" }, "join");
    await joined;
  });

  test("the last word counts", async () => {
    const client = await opened();
    const joined = client.join("news");
    const left = client.leave("news");
    assert.equal(await code(joined), "replaced");
    const [join, leave] = last().sent;
    last().say("joined", { group: "news" }, { id: join.id });
    last().say("left", { group: "news" }, { id: leave.id });
    await left;
    client.close();
    assert.equal(await code(client.join("news")), "closed");
  });
});
