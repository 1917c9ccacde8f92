"""Who is told of what, and the outbox through which it leaves."""
