#!/bin/sh
# Register a webhook, verify it, call it, send it a delivery, by curl alone.
#   SITE=http://127.0.0.1:8000 TOKEN=whk_… RECEIVER=http://127.0.0.1:8001/any sh client.sh
set -eu

call() { # METHOD PATH [BODY]
  curl -sS --fail-with-body --request "$1" --url "$SITE$2" \
    --header "Authorization: Bearer $TOKEN" --header 'Content-Type: application/json' \
    ${3:+--data "$3"}
}
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

ID=$(call POST /webhooks "{\"name\": \"curl\", \"url\": \"$RECEIVER\"}" | grep -o '[0-9a-f]\{24\}')
echo "verified: $(call POST "/webhooks/$ID/verify" | field ok)"
echo "answered: $(call POST "/webhooks/$ID/interactions" '{"userAttributes": {"default_name": "Ada"}}' | field message)"
DELIVERY=$(call POST "/webhooks/$ID/deliveries?type=order.created" '{"order": 4711}' | field id)
STATE=pending
while [ "$STATE" = pending ]; do
  sleep 0.2
  STATE=$(call GET "/deliveries/$DELIVERY" | field state)
done
echo "delivery: $STATE"
call DELETE "/webhooks/$ID" >/dev/null
