"""One door out: a webhook and a payload become a request (`message`), and a request an exchange
(`sender`). Nothing else opens a connection to a receiver."""
