"""What a terminal, a log and a notebook without widgets show of a transfer."""
