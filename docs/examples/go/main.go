// A receiver for webhooks. Start it with the signing secret of the webhook:
//
//	WEBHOOK_SECRET=whsec_… PORT=3000 go run .
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	bodyLimit  = 1 << 20
	remembered = 10_000 // calls
)

// The answers to what has been worked on, by webhook-id. In earnest: a table with a unique column,
// written in the same transaction as the work.
var (
	lock  sync.Mutex
	done  = map[string]any{}
	order []string
)

func main() {
	secret := os.Getenv("WEBHOOK_SECRET")
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil || secret == "" {
		log.Fatal("WEBHOOK_SECRET must be the signing secret of the webhook, whsec_…")
	}
	http.HandleFunc("/webhook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		// The bytes as they came: JSON that was read and written anew is another text.
		if err := webhook.Verify(body, r.Header); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		switch r.Method {
		case http.MethodGet: // verification: the answer is the challenge, nothing else
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			fmt.Fprint(w, r.URL.Query().Get("challenge"))
		case http.MethodPost:
			call(w, r.Header.Get("webhook-id"), body)
		default:
			http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
		}
	})
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s/webhook\n", listener.Addr())
	server := http.Server{ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

// A call may come twice, with the same webhook-id: it is worked on once.
func call(w http.ResponseWriter, id string, body []byte) {
	lock.Lock()
	defer lock.Unlock()
	answer, known := done[id]
	if !known {
		var value any // a delivery may be any JSON
		if json.Unmarshal(body, &value) != nil {
			http.Error(w, "the body is no JSON", http.StatusBadRequest)
			return
		}
		answer = work(value)
		// Only now: what failed is sent again, and must be worked on then.
		done[id] = answer
		if order = append(order, id); len(order) > remembered {
			delete(done, order[0])
			order = order[1:]
		}
		fmt.Printf("worked on %s\n", id)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// The first generation of interactions holds `result`, the present one does not.
func work(value any) any {
	if object, ok := value.(map[string]any); ok {
		if _, first := object["result"]; first {
			return map[string]any{
				"responses": []any{map[string]any{
					"type":     "text",
					"elements": []string{"Hello " + name(object, "result", "parameters", "name")},
				}},
				"parameters": map[string]string{"greeted": "yes"},
			}
		}
	}
	return map[string]any{
		"responses": []any{map[string]any{
			"type": "text", "delay": 1000,
			"message": "Hello " + name(value, "userAttributes", "default_name"),
		}},
		"attributes": map[string]string{"greeted": "yes"},
	}
}

// The text at the end of a path of keys; "you" where the body has another shape.
func name(value any, path ...string) string {
	for _, key := range path {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	if text, ok := value.(string); ok && text != "" {
		return text
	}
	return "you"
}
