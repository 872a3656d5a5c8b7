// The client of a sanic_ws gateway: for browsers, and for Node from 20 on. What it takes and gives is in sanic-ws.d.ts.

const STAY_AWAY = new Set([1002, 1007, 1008, 1009, 4403, 4409]);
const EXPIRED = 4401;
const TOO_MANY = 4429;
const LOST = 1006;
const CLOSE_FOLLOWS = new Set(["identity_taken", "replaced", "too_many_connections"]);
const DEFAULTS = {
  resume: true, autoAck: false, groups: [], tokenIn: "message", queueSize: 100, random: Math.random,
  backoffMs: 500, backoffCapMs: 30_000, slowMs: 30_000, stableMs: 10_000, connectTimeoutMs: 10_000, pongTimeoutMs: 10_000,
};
const MEMORY = 1000; // ids of durable messages
const MAX_BUFFERED_BYTES = 1 << 20;
const RATE_HOLD_MS = 1000; // a node tells at most once in this time that it drops messages
const OLD_MS = 60_000; // by how much clocks may differ

/** Why something did not come about: `code` is the node's, or one of those in sanic-ws.d.ts. */
export class GatewayError extends Error {
  constructor(code, message, more = {}) {
    super(message);
    Object.assign(this, { name: "GatewayError", code }, more);
  }
}

/** Connect, and stay connected until `close()` or a close code that forbids it. */
export const connect = (url, options) => new Client(url, options);

const promised = () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {}); // whoever does not look at it hears of it by an event
  return made;
};

const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

export class Client {
  state = "waiting";
  conn = null;
  node = null;
  user = null;
  lastId;
  #url; #options; #WebSocket;
  #socket = null;
  #turn = 0; // of connecting: what belongs to an earlier one is out of date
  #attempts = 0;
  #eager = false; // whether the wait is our own, so that it may be cut short
  #refused = false;
  #afterMs = null;
  #since; // the time, in ms, of the first `connected`
  #maxBytes = Infinity;
  #heard = 0;
  #quietMs = 0;
  #count = 0;
  #prefix = newId().slice(0, 12);
  #timers = new Map();
  #asked = new Map(); // id of a request: who waits for the answer
  #groups = new Map(); // name: {change: "join" | "leave", waits}
  #queue = []; // messages that wait for a connection
  #sent = []; // messages of which it is not known yet that the node has them
  #probe = 0; // the number of the ping that is out
  #seen = new Set();
  #handlers = { push: new Map(), own: new Map() };
  #wake = (event) => this.#awake(event.type);

  constructor(url, options = {}) {
    this.#url = url;
    this.#options = { ...DEFAULTS, sign: newId(), ...options };
    this.#WebSocket = this.#options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) {
      throw new GatewayError("no_websocket", "there is no WebSocket here: give a constructor as options.WebSocket");
    }
    this.lastId = this.#options.since || undefined;
    for (const group of this.#options.groups) this.#groups.set(group, { change: "join", waits: promised() });
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  on(type, handler) {
    return this.#add("push", type, handler);
  }

  when(event, handler) {
    return this.#add("own", event, handler);
  }

  send(type, data) {
    const message = this.#message(type, data);
    if (this.state === "closed") this.#fail(message, "closed", "the client is closed");
    else if (this.state === "open" && !this.#timers.has("hold")) this.#transmit(message);
    else if (this.#queue.length < this.#options.queueSize) this.#queue.push(message);
    else this.#fail(message, "queue_full", `${this.#queue.length} messages wait for a connection already`);
    return message.waits.promise;
  }

  join(group) {
    return this.#change("join", group);
  }

  leave(group) {
    return this.#change("leave", group);
  }

  async authenticate(token) {
    if (this.state !== "open") throw new GatewayError("not_open", "a token is asked for at the next connect");
    const { user } = await this.#ask("auth", { token: token ?? (await this.#freshToken()) });
    return (this.user = user);
  }

  close() {
    if (this.state === "closed") return;
    this.#drop();
    this.#stop(1000, "closed by the application");
  }

  // Connecting

  async #connect() {
    const turn = ++this.#turn;
    const current = () => turn === this.#turn;
    this.#eager = false;
    this.#setState("connecting");
    this.#timer("connect", this.#options.connectTimeoutMs, () => this.#end(LOST, "connecting took too long"));
    let token;
    try {
      token = await this.#freshToken();
      const url = typeof this.#url === "function" ? await this.#url() : this.#url;
      if (!current()) return;
      this.#open(this.#address(url, token), token);
    } catch (error) {
      if (!current()) return;
      this.#emit("error", new GatewayError("connect_failed", `could not begin to connect: ${error.message}`, { cause: error }));
      this.#end(LOST, "could not begin to connect");
    }
  }

  async #freshToken() {
    const { token } = this.#options;
    return typeof token === "function" ? token() : token;
  }

  #address(url, token) {
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.searchParams.set("sign", this.#options.sign);
    if (token && this.#options.tokenIn === "query") address.searchParams.set("token", token);
    const since = this.lastId ?? (this.#since === undefined ? this.#options.since : "");
    if (since !== undefined && this.#options.resume) address.searchParams.set("since", since);
    return address.href;
  }

  #open(address, token) {
    const socket = new this.#WebSocket(address);
    this.#socket = socket;
    const mine = (handle) => (event) => this.#socket === socket && handle(event);
    socket.onmessage = mine(({ data }) => this.#receive(data, token));
    socket.onclose = mine(({ code, reason }) => this.#end(code, String(reason)));
    socket.onerror = () => {}; // a close follows
  }

  async #introduce(token) {
    const turn = this.#turn;
    try {
      if (token && this.#options.tokenIn !== "query") await this.#prove(token);
      if (this.#options.identity && !this.user) await this.#name();
    } catch (error) {
      if (turn !== this.#turn || CLOSE_FOLLOWS.has(error.code)) return;
      return this.#end(error.code === "invalid_token" ? EXPIRED : LOST, error.message);
    }
    if (turn === this.#turn) this.#opened();
  }

  async #prove(token) {
    try {
      this.user = (await this.#ask("auth", { token })).user;
    } catch (error) {
      // A node that takes no tokens, such as one that is started for trying things.
      if (error.code !== "unhandled_type") throw error;
      this.#emit("error", error);
    }
  }

  async #name() {
    try {
      this.user = (await this.#ask("user_info", this.#options.identity)).user;
    } catch (error) {
      if (error.code === "connection_lost" || CLOSE_FOLLOWS.has(error.code)) throw error;
      this.#emit("error", error);
    }
  }

  #opened() {
    this.#clear("connect");
    this.#refused = false;
    this.#timer("stable", this.#options.stableMs, () => (this.#attempts = 0));
    this.#setState("open");
    for (const group of this.#groups.keys()) this.#tell(group);
    this.#flush();
    this.#watch();
  }

  /** Take in that the connection has ended, whoever ended it, and do what its close code asks for. */
  #end(code, reason) {
    if (this.state === "closed") return;
    this.#drop();
    const delayMs = this.#delay(code, reason);
    if (delayMs === null) return this.#stop(code, reason);
    this.#timer("wait", delayMs, () => this.#connect());
    this.#setState("waiting", { code, reason, retryMs: delayMs });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#turn++;
    this.#clear(...this.#timers.keys());
    socket?.close();
    const reason = ["connection_lost", "the connection broke: the node may have it, or not"];
    for (const { reject } of this.#asked.values()) reject(new GatewayError(...reason));
    this.#asked.clear();
    this.#probe = 0;
    for (const message of this.#sent.splice(0)) this.#fail(message, ...reason);
  }

  /** Return after how many ms to come back; null: not at all. */
  #delay(code, reason) {
    const { random, backoffMs, backoffCapMs, slowMs, token } = this.#options;
    const told = /retry_after_ms=(\d+)/.exec(reason)?.[1] ?? this.#afterMs;
    this.#afterMs = null;
    this.#eager = false;
    if (STAY_AWAY.has(code)) return null;
    if (code === TOO_MANY) return slowMs * (1 + random());
    if (code === EXPIRED) {
      if (this.#refused || typeof token !== "function") return null;
      this.#refused = true;
    } else if (told !== null) {
      return Number(told);
    }
    this.#eager = true;
    return random() * Math.min(backoffCapMs, backoffMs * 2 ** this.#attempts++);
  }

  #stop(code, reason) {
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.#setState("closed", { code, reason });
    for (const message of this.#queue.splice(0)) this.#fail(message, "closed", `not sent: closed with ${code}`);
    for (const { waits } of this.#groups.values()) waits.reject(new GatewayError("closed", `closed with ${code}`));
    this.#groups.clear();
  }

  #awake(type) {
    if (type === "visibilitychange" && document.visibilityState !== "visible") return;
    if (this.state === "open") this.#ping();
    else if (this.state === "waiting" && this.#eager) {
      this.#clear("wait");
      this.#connect();
    }
  }

  // Receiving

  #receive(text, token) {
    this.#heard = Date.now();
    let message = null;
    try {
      message = typeof text === "string" ? JSON.parse(text) : null;
    } catch {
      // an application's own text
    }
    if (typeof message?.type !== "string") return this.#emit("raw", text);
    if (Object.hasOwn(this.#own, message.type)) this.#own[message.type](message.data ?? {}, message, token);
    else this.#push(message);
  }

  #own = {
    connected: (data, { time }, token) => {
      Object.assign(this, { conn: data.conn, node: data.node, user: data.user });
      this.#since ??= Date.parse(time);
      this.#maxBytes = data.max_message_bytes;
      this.#quietMs = 2500 * data.heartbeat_s;
      this.#introduce(token);
    },
    pong: (number) => this.#confirm(number),
    user_bound: (data, { id }) => this.#answer(id, data),
    joined: (data, { id }) => this.#answer(id, data),
    left: (data, { id }) => this.#answer(id, data),
    reconnect: (data) => (this.#afterMs = data.after_ms),
    cancelled: (data) => this.#emit("cancelled", data),
    resumed: (data) => {
      this.lastId = data.last_id ?? this.lastId;
      this.#emit("resumed", { recovered: data.recovered, count: data.count, lastId: this.lastId });
    },
    error: (data, { id }) => this.#refuse(new GatewayError(data.code, data.message, { id, field: data.field })),
  };
  #push(message) {
    const { id, type, data, prev } = message;
    if (prev !== undefined) {
      if (this.#seen.has(id) || this.#isOld(message)) return this.#keep(id);
      const missing = this.lastId !== undefined && prev !== this.lastId && !this.#seen.has(prev);
      if (missing) this.#emit("gap", { after: this.lastId, before: id });
      this.#keep(id);
    }
    const turn = this.#turn;
    const answer = (kind, more) => this.#respond(turn, kind, { id, ...more });
    message.ack = () => answer("ack");
    message.reply = (reply) => answer("reply", { data: reply });
    const handled = [type, "*"].map((name) => this.#call(this.#handlers.push.get(name), data, message));
    if (this.#options.autoAck && id && handled.includes(true)) message.ack();
  }

  /** Say whether a message is of a time for which nobody has asked. */
  #isOld({ time }) {
    return this.#options.since === undefined && Date.parse(time) < this.#since - OLD_MS;
  }

  #keep(id) {
    this.lastId = id;
    this.#seen.add(id);
    if (this.#seen.size > MEMORY) this.#seen.delete(this.#seen.values().next().value);
  }

  #refuse(error) {
    const sent = this.#sent.findIndex((message) => message.id === error.id);
    if (error.id !== undefined && sent >= 0) this.#fail(this.#sent.splice(sent, 1)[0], error.code, error.message);
    else if (this.#asked.has(error.id)) this.#answer(error.id, error);
    else if (error.code === "rate_limited") this.#hold(error);
    else this.#emit("error", error);
  }

  /** Send nothing for a while; what the node has not confirmed it may have dropped. */
  #hold({ code, message: reason }) {
    this.#clear("pong");
    this.#probe = 0;
    for (const message of this.#sent.splice(0)) this.#fail(message, code, reason);
    this.#timer("hold", RATE_HOLD_MS, () => this.#flush());
  }

  // Sending

  #nextId() {
    return `${this.#prefix}-${++this.#count}`;
  }

  #message(type, data) {
    const id = this.#nextId();
    const text = JSON.stringify({ type, data, id });
    return { id, type, data, text, waits: promised() };
  }

  #write(type, data, id) {
    this.#socket.send(JSON.stringify({ type, data, id }));
  }

  #transmit(message) {
    if (new TextEncoder().encode(message.text).length > this.#maxBytes) {
      return this.#fail(message, "too_large", `a message may have ${this.#maxBytes} bytes`);
    }
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) {
      return this.#fail(message, "queue_full", `${this.#socket.bufferedAmount} bytes wait to be written already`);
    }
    message.number = ++this.#count;
    this.#socket.send(message.text);
    this.#sent.push(message);
    this.#ping();
  }

  #flush() {
    this.#clear("hold");
    for (const message of this.#queue.splice(0)) this.#transmit(message);
  }

  #fail({ id, type, data, waits }, code, reason) {
    const error = new GatewayError(code, reason, { id });
    waits.reject(error);
    this.#emit("undelivered", { type, data, error });
  }

  #respond(turn, type, data) {
    const message = this.#message(type, data);
    if (turn === this.#turn && this.#socket) this.#transmit(message);
    else this.#fail(message, "connection_lost", "the connection that the push came by has ended");
    return message.waits.promise;
  }

  /** Send a request of the gateway's own; return what it answers. */
  #ask(type, data) {
    const waits = promised();
    const id = this.#nextId();
    this.#asked.set(id, waits);
    this.#write(type, data, id);
    return waits.promise;
  }

  #answer(id, answer) {
    const waits = this.#asked.get(id);
    this.#asked.delete(id);
    if (answer instanceof Error) waits?.reject(answer);
    else waits?.resolve(answer);
  }

  #change(change, group) {
    if (this.state === "closed") return Promise.reject(new GatewayError("closed", "the client is closed"));
    const before = this.#groups.get(group);
    before?.waits.reject(new GatewayError("replaced", `${before.change} was followed by ${change}`));
    const waits = promised();
    this.#groups.set(group, { change, waits });
    if (this.state === "open") this.#tell(group);
    return waits.promise;
  }

  /** Join or leave a group; what was not answered is said again after the next connect. */
  async #tell(group) {
    const entry = this.#groups.get(group);
    const isCurrent = () => this.#groups.get(group) === entry;
    try {
      await this.#ask(entry.change, { group });
      entry.waits.resolve();
      if (entry.change === "leave" && isCurrent()) this.#groups.delete(group);
    } catch (error) {
      if (error.code === "connection_lost") return;
      if (isCurrent() && error.code !== "unavailable") this.#groups.delete(group);
      entry.waits.reject(error);
      this.#emit("error", error);
    }
  }

  // Whether the node is there

  /** Ask for a sign of life, by which it is known too that the node has all that was sent before. */
  #ping() {
    if (this.#probe || !this.#socket) return;
    this.#probe = ++this.#count;
    this.#write("ping", this.#probe);
    this.#timer("pong", this.#options.pongTimeoutMs, () => this.#end(LOST, "the node does not answer"));
  }

  #confirm(number) {
    if (number !== this.#probe) return;
    this.#probe = 0;
    this.#clear("pong");
    while (this.#sent[0]?.number < number) {
      const { id, waits } = this.#sent.shift();
      waits.resolve(id);
    }
    if (this.#sent.length) this.#ping();
  }

  /** Ping when nothing was heard for too long. */
  #watch() {
    const quietMs = Date.now() - this.#heard;
    if (quietMs >= this.#quietMs) this.#ping();
    this.#timer("watch", Math.max(this.#quietMs - quietMs, this.#quietMs / 4), () => this.#watch());
  }

  // Telling the application

  #add(kind, name, handler) {
    const handlers = this.#handlers[kind];
    handlers.set(name, (handlers.get(name) ?? new Set()).add(handler));
    return () => handlers.get(name)?.delete(handler);
  }

  /** Call handlers; say whether there were any and none of them failed. What they throw does not come further. */
  #call(handlers, ...values) {
    let well = Boolean(handlers?.size);
    for (const handler of [...(handlers ?? [])]) {
      try {
        handler(...values)?.catch?.((error) => this.#report(error));
      } catch (error) {
        well = false;
        this.#report(error);
      }
    }
    return well;
  }

  #report(error) {
    console.error("sanic-ws: a handler failed", error);
  }

  #emit(event, detail, ...more) {
    this.#call(this.#handlers.own.get(event), detail, ...more);
  }

  #setState(state, about = {}) {
    this.state = state;
    this.#emit("state", state, about);
  }

  #timer(name, ms, act) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(() => (this.#timers.delete(name), act()), ms));
  }

  #clear(...names) {
    for (const name of names) {
      clearTimeout(this.#timers.get(name));
      this.#timers.delete(name);
    }
  }
}
