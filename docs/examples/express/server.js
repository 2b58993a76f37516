// A receiver for webhooks. Start it with the signing secret of the webhook:
//   WEBHOOK_SECRET=whsec_… PORT=3000 npm start
// Without a secret it goes by the token that you entered at the webhook, WEBHOOK_TOKEN=my-token.
const crypto = require("node:crypto");
const express = require("express");
const { Webhook } = require("standardwebhooks");

const secret = process.env.WEBHOOK_SECRET || "";
const token = process.env.WEBHOOK_TOKEN || "";
const port = Number(process.env.PORT || 3000);
const remembered = 10_000; // calls

const app = express();
// The bytes as they came, of any type: what is signed is the body itself, and JSON that was read
// and written anew is another text.
app.use(express.raw({ limit: "1mb", type: () => true }));

// The verification and every call are signed, and carry ?token=… (unless it is empty).
function check(req, res, next) {
  if (secret) {
    try {
      new Webhook(secret).verify(req.body || "", req.headers, { jsonParse: false });
      return next();
    } catch (reason) {
      return res.status(401).type("text/plain").send(reason.message);
    }
  }
  const digest = (text) => crypto.createHash("sha256").update(String(text)).digest();
  if (crypto.timingSafeEqual(digest(req.query.token || ""), digest(token))) return next();
  return res.status(401).end();
}

// Verification: the answer is the challenge, nothing else.
app.get("/webhook", check, (req, res) => {
  res.type("text/plain").send(String(req.query.challenge || ""));
});

// The answers to what has been worked on, by webhook-id. In earnest: a table with a unique column,
// written in the same transaction as the work.
const done = new Map();

// A call may come twice, with the same webhook-id: it is worked on once.
app.post("/webhook", check, (req, res) => {
  const id = req.get("webhook-id") || "";
  if (done.has(id)) return res.json(done.get(id));
  let body;
  try {
    body = JSON.parse(req.body);
  } catch {
    return res.status(400).end();
  }
  const answer = work(body);
  if (id) {
    // Only now: what failed is sent again, and must be worked on then.
    done.set(id, answer);
    if (done.size > remembered) done.delete(done.keys().next().value);
  }
  console.log(`worked on ${id}`);
  return res.json(answer);
});

// The first generation of interactions holds `result`, the present one does not; the body of a
// delivery is any JSON: an object, a list, a text, a number, null.
function work(body) {
  if (body?.result !== undefined) {
    const name = text(body.result?.parameters?.name) || "you";
    return {
      responses: [{ type: "text", elements: [`Hello ${name}`] }],
      parameters: { greeted: "yes" },
    };
  }
  const name = text(body?.userAttributes?.default_name) || "you";
  return {
    responses: [{ type: "text", delay: 1000, message: `Hello ${name}` }],
    attributes: { greeted: "yes" },
  };
}

function text(value) {
  return typeof value === "string" ? value : "";
}

const server = app.listen(port, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhook`);
});
