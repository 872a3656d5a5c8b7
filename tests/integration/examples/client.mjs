// A client on Node: save /static/sanic-ws.js as sanic-ws.mjs; before Node 22 also: npm install ws
import WebSocket from "ws";
import { connect } from "./sanic-ws.mjs";

const [url = "ws://127.0.0.1:8000/ws"] = process.argv.slice(2);
const client = connect(url, { WebSocket, identity: { userId: 1001, fromType: "service" }, groups: ["news"], since: "" });

client.when("state", (state, { code, retryMs }) => console.log(JSON.stringify({ state, code, retryMs })));
client.when("resumed", ({ recovered }) => recovered || console.error("something is missing: fetch all anew"));
client.on("task_count", ({ count }) => console.log(JSON.stringify({ count })));
client.on("ring", ({ from }, message) => message.reply({ accepted: from === "eve" }));
client.on("stop", (data, message) => message.ack().then(() => client.close()));
