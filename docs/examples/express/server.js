// A receiver for webhooks. Start it with the token you entered at the webhook:
//   WEBHOOK_TOKEN=my-token PORT=3000 npm start
const crypto = require("node:crypto");
const express = require("express");

const token = process.env.WEBHOOK_TOKEN || "";
const port = Number(process.env.PORT || 3000);

const app = express();
app.use(express.json({ limit: "1mb" }));

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

// A call. The first generation of bodies holds `result`, the present one does not.
app.post("/webhook", checkToken, (req, res) => {
  const body = req.body || {};
  if (body.result) {
    const name = body.result.parameters?.name || "you";
    return res.json({
      responses: [{ type: "text", elements: [`Hello ${name}`] }],
      parameters: { greeted: "yes" },
    });
  }
  const name = body.userAttributes?.default_name || "you";
  return res.json({
    responses: [{ type: "text", delay: 1000, message: `Hello ${name}` }],
    attributes: { greeted: "yes" },
  });
});

const server = app.listen(port, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/webhook`);
});
