// A receiver for webhooks. Start it with the token you entered at the webhook:
//   WEBHOOK_TOKEN=my-token PORT=3000 npm start
const crypto = require("node:crypto");
const express = require("express");

const token = process.env.WEBHOOK_TOKEN || "";
const port = Number(process.env.PORT || 3000);
const remembered = 10_000; // calls

const app = express();
// Not strict: a delivery may be any JSON, a text or a number too. Of any type: a webhook may have
// a Content-Type of its own.
app.use(express.json({ limit: "1mb", strict: false, type: () => true }));

// The token comes as ?token=… with the verification and with every call.
function checkToken(req, res, next) {
  const digest = (text) => crypto.createHash("sha256").update(String(text)).digest();
  if (crypto.timingSafeEqual(digest(req.query.token || ""), digest(token))) return next();
  return res.status(401).end();
}

// Verification: the answer is the challenge, nothing else.
app.get("/webhook", checkToken, (req, res) => {
  res.type("text/plain").send(String(req.query.challenge || ""));
});

// The answers to what has been worked on, by webhook-id. In earnest: a table with a unique column,
// written in the same transaction as the work.
const done = new Map();

// A call may come twice, with the same webhook-id: it is worked on once.
app.post("/webhook", checkToken, (req, res) => {
  const id = req.get("webhook-id") || "";
  if (done.has(id)) return res.json(done.get(id));
  const answer = work(req.body);
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
