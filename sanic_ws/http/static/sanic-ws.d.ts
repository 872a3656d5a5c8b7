/** The client of a sanic_ws gateway: for browsers, and for Node from 20 on. */

export type State = "connecting" | "open" | "waiting" | "closed";

/** A code of README's table, or one of the client's own. */
export type ErrorCode =
  | "closed" // the client is closed for good
  | "connect_failed" // `url` or `token` failed, or made no address; it is tried again
  | "connection_lost" // it broke before the node confirmed; the node may have the message
  | "no_websocket" // there is no WebSocket here, and no constructor was given
  | "not_open" // there is no connection at this moment
  | "queue_full" // too much waits to be sent
  | "replaced" // a join was followed by a leave, or the other way round, before it was answered
  | "too_large" // more than the node takes
  | (string & {});

export class GatewayError extends Error {
  code: ErrorCode;
  /** Of the message at fault. */
  id?: string;
  /** Dotted path of the value at fault. */
  field?: string;
}

export interface User {
  userId: number | string;
  tenantId?: number | string | null;
  bankId?: number | string | null;
  fromType?: string | null;
}

/** A push. */
export interface Message<T = unknown> {
  type: string;
  data: T;
  /** The push's id. */
  id?: string;
  /** When it was made, RFC 3339. */
  time?: string;
  /** Of durable messages: the id of the one before; null: there was none. */
  prev?: string | null;
  /** Confirm it; resolves once the node has that. Only by the connection by which the push came. */
  ack(): Promise<string>;
  /** Answer it, as `ack`. */
  reply(data: unknown): Promise<string>;
}

/** What the client itself tells. */
export interface Events {
  /** The state has changed; `about` says why there is no connection, and when the next one is tried. */
  state: (state: State, about: { code?: number; reason?: string; retryMs?: number }) => void;
  /** The node could not handle something, or the client could not begin to connect. */
  error: (error: GatewayError) => void;
  /** All that was stored meanwhile is here; `recovered` false: something is missing, fetch your state anew. */
  resumed: (resumed: { recovered: boolean; count: number; lastId?: string }) => void;
  /** While connected: durable messages are missing between these two. Fetch your state anew. */
  gap: (gap: { after: string; before: string }) => void;
  /** A message was given up; its promise was rejected with the same error. */
  undelivered: (message: { type: string; data: unknown; error: GatewayError }) => void;
  /** Another device was quicker to answer the push `id`. */
  cancelled: (cancelled: { id: string }) => void;
  /** A push that was made with `raw` or `raw_base64`. */
  raw: (data: string | ArrayBuffer | Blob) => void;
}

type Later<T> = T | (() => T | Promise<T>);

export interface Options {
  /** Who the client is; a function is asked anew before every connect. */
  token?: Later<string | undefined>;
  /** "message" (default): in an `auth` message, which no log of a proxy sees; "query": in the address. */
  tokenIn?: "message" | "query";
  /** The connection's id; made if left out, and kept for as long as the client lives. */
  sign?: string;
  /** The durable message behind which to begin; "": all there is; left out: with those that come from now on. */
  since?: string;
  /** Whether to ask for durable messages that were missed (true). */
  resume?: boolean;
  /** Sent as `user_info` where the connection is not bound to a user. */
  identity?: User;
  /** Joined after every connect. */
  groups?: string[];
  /** Messages that may wait while there is no connection (100). */
  queueSize?: number;
  /** Whether a push is confirmed once its handlers have run and none has thrown (false). */
  autoAck?: boolean;
  /** The n-th try to reconnect comes after 0 to `backoffMs` * 2^n ms (500), at most `backoffCapMs` (30,000). */
  backoffMs?: number;
  backoffCapMs?: number;
  /** A connection that has lived for so long (10,000) is a success: counting begins anew. */
  stableMs?: number;
  /** Come back after once or twice this where the node has too many connections (30,000). */
  slowMs?: number;
  /** Until the connection is open (10,000). */
  connectTimeoutMs?: number;
  /** Until a ping is answered (10,000). */
  pongTimeoutMs?: number;
  /** For Node before 22: a constructor, such as that of the package `ws`. */
  WebSocket?: unknown;
  /** Gives 0 to 1. */
  random?: () => number;
}

export class Client {
  constructor(url: Later<string>, options?: Options);
  readonly state: State;
  /** The connection's id, the node that has it, and the user that it is bound to; as the node said last. */
  readonly conn: string | null;
  readonly node: string | null;
  readonly user: User | null;
  /** The last durable message. */
  readonly lastId?: string;
  /** Handle pushes of a type, "*": of any. Returns what ends that. */
  on<T = any>(type: string, handler: (data: T, message: Message<T>) => unknown): () => void;
  /** Handle what the client itself tells. Returns what ends that. */
  when<E extends keyof Events>(event: E, handler: Events[E]): () => void;
  /**
   * Send a message; while there is no connection it waits. Resolves to its id once the node has it. Rejected:
   * it was not sent, or (`connection_lost`, `rate_limited`) the node may not have it. What a back end says of it comes as an
   * `error` with that id, or as a message of its own.
   */
  send(type: string, data?: unknown): Promise<string>;
  /** Join a group, now and after every connect; resolves once every push that follows comes. */
  join(group: string): Promise<void>;
  leave(group: string): Promise<void>;
  /** Prolong the session with a fresh token, by default the one that `token` gives. */
  authenticate(token?: string): Promise<User>;
  /** Leave, for good. */
  close(): void;
}

/** Connect, and stay connected until `close()` or a close code that forbids it. `url` is asked anew before every connect. */
export function connect(url: Later<string>, options?: Options): Client;
