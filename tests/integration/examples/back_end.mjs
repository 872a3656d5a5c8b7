// A back end on Node: npm install amqplib
import { randomUUID } from "node:crypto";
import amqp from "amqplib";

const { SANIC_WS_AMQP_URL: url = "amqp://127.0.0.1/", SANIC_WS_PREFIX: prefix = "sanic_ws" } = process.env;
const connection = await amqp.connect(url);
const channel = await connection.createChannel();

const waiting = new Map();
const { queue: replyTo } = await channel.assertQueue("", { exclusive: true });
await channel.consume(replyTo, ({ properties, content }) => {
  waiting.get(properties.correlationId)?.(JSON.parse(content));
  waiting.delete(properties.correlationId);
}, { noAck: true });

function push(request) {
  const correlationId = randomUUID();
  const message = Buffer.from(JSON.stringify(request));
  channel.sendToQueue(`${prefix}.rpc`, message, { replyTo, correlationId, expiration: 5000 });
  return new Promise((resolve) => waiting.set(correlationId, resolve));
}

const { queue } = await channel.assertQueue("chat", { durable: true });
await channel.bindQueue(queue, `${prefix}.inbound`, "chat.*");
await channel.consume(queue, async (message) => {
  const { conn, user, type, data } = JSON.parse(message.content);
  const receipt = await push({ to: { conn }, type: "chat.sent", data: { user, type, data } });
  console.log(JSON.stringify(receipt)); // {"id":"…","outcome":"delivered",…} or {"error":{…}}
  channel.ack(message);
});
