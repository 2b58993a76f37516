/** The types that openapi-typescript makes of /schema: a wrong path, field or status does not compile. */
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const { SITE, TOKEN, RECEIVER } = process.env as Record<string, string>;
const client = createClient<paths>({
  baseUrl: SITE,
  headers: { Authorization: `Bearer ${TOKEN}` },
});

function sure<T>(value: T | undefined, what: unknown): T {
  if (value === undefined) throw new Error(JSON.stringify(what));
  return value;
}

const created = await client.POST("/webhooks", { body: { name: "Generated", url: RECEIVER } });
const { id } = sure(created.data, created.error);
const params = { path: { id } };

const verified = await client.POST("/webhooks/{id}/verify", { params });
if (!sure(verified.data, verified.error).ok) throw new Error("not verified");

const interaction = { userAttributes: { default_name: "Ada" } };
const answered = await client.POST("/webhooks/{id}/interactions", { params, body: interaction });
const [first] = sure(answered.data, answered.error).responses as { message: string }[];
console.log(`answered: ${first.message}`);

const body = { order: 4711 };
const sent = await client.POST("/webhooks/{id}/deliveries", { params, body });
let delivery = sure(sent.data, sent.error);
for (const until = Date.now() + 30_000; delivery.state === "pending"; ) {
  if (Date.now() > until) throw new Error("still pending");
  await new Promise((wake) => setTimeout(wake, 100));
  const asked = await client.GET("/deliveries/{id}", { params: { path: { id: delivery.id } } });
  delivery = sure(asked.data, asked.error);
}
console.log(`delivery: ${delivery.state}`);

const refused = await client.POST("/webhooks", { body: { name: "", url: RECEIVER } });
if (!sure(refused.error, refused.data).status.details) throw new Error("not refused");

await client.DELETE("/webhooks/{id}", { params });
const gone = await client.GET("/webhooks/{id}", { params });
if (gone.response.status !== 404) throw new Error("still there");
