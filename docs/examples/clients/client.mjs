// Register a webhook, verify it, call it, send it a delivery. Node.js 18 or newer, no package.
//   SITE=http://127.0.0.1:8000 TOKEN=whk_… RECEIVER=http://127.0.0.1:8001/any node client.mjs
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";

const { SITE, TOKEN, RECEIVER } = process.env;

async function call(method, path, body, headers = {}) {
  const answer = await fetch(SITE + path, {
    method,
    headers: { ...headers, Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.status.message);
  return value;
}

const { id } = await call("POST", "/webhooks", { name: "JavaScript", url: RECEIVER });
console.log("verified:", (await call("POST", `/webhooks/${id}/verify`)).ok);
const answer = await call("POST", `/webhooks/${id}/interactions`, {
  userAttributes: { default_name: "Ada" },
});
console.log("answered:", answer.responses[0].message);

// With a key of your own a request may be sent again after a broken connection: one delivery.
const key = { "Idempotency-Key": randomUUID() };
let delivery;
for (let sent = 0; sent < 2; sent += 1) {
  const path = `/webhooks/${id}/deliveries?type=order.created`;
  delivery = await call("POST", path, { order: 4711 }, key);
}
while (delivery.state === "pending") {
  await setTimeout(200);
  delivery = await call("GET", `/deliveries/${delivery.id}`);
}
console.log("delivery:", delivery.state);
await call("DELETE", `/webhooks/${id}`);
