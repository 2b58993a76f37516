"""What time does, beside the sending of a worker: jobs, notices, retention, totals."""
