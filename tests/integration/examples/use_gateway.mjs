// React hooks: a client for as long as a component is there, and what it hears.
//   const client = useGateway("wss://push.example.com/ws", { token: fetchToken });
//   const { count } = usePush(client, "task_count", { count: 0 });
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { connect } from "./sanic-ws.js"; // or "https://push.example.com/static/sanic-ws.js"

/** Stay connected to a URL; `options` are those of the first render. */
export function useGateway(url, options) {
  const [client, setClient] = useState(null);
  const [first] = useState(options);
  useEffect(() => {
    const made = connect(url, first);
    setClient(made);
    return () => made.close();
  }, [url, first]);
  return client;
}

/** Return the data of the newest push of a type. */
export function usePush(client, type, initial = null) {
  const [data, setData] = useState(initial);
  useEffect(() => client?.on(type, (heard) => setData(() => heard)), [client, type]);
  return data;
}

/** Return "connecting", "open", "waiting" or "closed". */
export function useGatewayState(client) {
  const subscribe = useCallback((changed) => client?.when("state", changed) ?? (() => {}), [client]);
  return useSyncExternalStore(subscribe, () => client?.state ?? "connecting");
}
