"""How the web server of the site is started. docs/deploy/ says the same."""

# --http 1: the search for HTTP/2 on a fresh connection waits for ever, and so does whoever holds a
#   thousand of them open. A proxy in front speaks HTTP/1.1 to us.
# --no-ws: nothing here speaks WebSocket.
# --http1-header-read-timeout: milliseconds for a whole head, on a kept connection too.
# --http1-buffer-size: bytes of a head that are held for a connection; of 16 KiB to this the answer
#   is ours, past it the server's own.
# --backlog, --backpressure: connections, of which the second are open in a process at once. As many
#   again must the limit of open files allow (`ulimit -n`).
GRANIAN = (
    *("--interface", "asginl", "--http", "1", "--no-ws"),
    *("--http1-header-read-timeout", "10000", "--http1-buffer-size", "65536"),
    *("--backlog", "4096", "--backpressure", "4096"),
)
