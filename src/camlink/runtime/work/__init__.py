"""What a worker does: its links, its operator, what it keeps for its next attempt."""
