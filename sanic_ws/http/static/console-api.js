// Calls of the HTTP side. The key stays in sessionStorage: it ends with the tab, and no other tab has it.

const KEY = "sanic_ws.key";
const TIMEOUT_MS = 10_000;

/** JSON that is sent as it was typed: read and written anew, large numbers would become others. */
export class RawJSON {
  constructor(text) {
    this.text = text;
  }
}

function stringify(body) {
  const fields = Object.entries(body).filter(([, value]) => value !== undefined);
  const texts = fields.map(([name, value]) => [name, value instanceof RawJSON ? value.text : JSON.stringify(value)]);
  return `{${texts.map(([name, text]) => `${JSON.stringify(name)}:${text}`).join(",")}}`;
}

/** What a call answered instead of what it was asked for. `field` names the input at fault, if one is. */
export class ApiError extends Error {
  constructor(status, error) {
    super(error?.message ?? `the node answered ${status}`);
    this.status = status;
    this.field = error?.field;
  }
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

/** Try a key, and keep it if it opens the console. */
export async function signIn(key) {
  const ticket = await request("POST", "/api/v1/console/ticket", undefined, { key });
  sessionStorage.setItem(KEY, key);
  return ticket;
}

/** Return a ticket for the feed's socket, or none where the node asks for none. */
export async function ticket() {
  return (await call("POST", "/api/v1/console/ticket")).ticket || undefined;
}

export function call(method, path, body, options = {}) {
  return request(method, path, body, { key: sessionStorage.getItem(KEY), ...options });
}

/** Return the answer's JSON; an answer whose status is in `take` is one, too. */
async function request(method, path, body, { key, timeoutMs = TIMEOUT_MS, take = [] }) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(timeoutMs);
  let response;
  let answer;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      cache: "no-store",
      credentials: "omit",
      body: body === undefined ? undefined : stringify(body),
    });
    answer = await response.json().catch((cause) => (signal.aborted ? Promise.reject(cause) : null));
  } catch (cause) {
    const message = cause.name === "TimeoutError" ? "the node did not answer in time" : "the node is out of reach";
    throw new ApiError(0, { message });
  }
  if (response.ok || (take.includes(response.status) && !answer?.error)) return answer;
  throw new ApiError(response.status, answer?.error);
}
