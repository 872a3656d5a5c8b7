// A page with the hooks of use_gateway.mjs, for the tests: a line for each thing that it shows.
import { createElement, useEffect } from "react";
import renderer from "react-test-renderer";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { useGateway, useGatewayState, usePush } from "./use_gateway.mjs";

globalThis.IS_REACT_ACT_ENVIRONMENT = false;
const [url, sign, group] = process.argv.slice(2);
const options = { WebSocket, sign, groups: [group] };

function Page() {
  const client = useGateway(url, options);
  const state = useGatewayState(client);
  const count = usePush(client, "task_count", { count: 0 });
  const shown = JSON.stringify({ state, count: count.count });
  useEffect(() => console.log(shown), [shown]);
  return null;
}

const page = renderer.create(createElement(Page));
// The component goes at the end of the input; the process ends if nothing is left running.
createInterface({ input: process.stdin }).once("close", () => page.unmount());
