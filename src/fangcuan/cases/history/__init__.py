"""What happened, in a chain nobody rewrites unnoticed: events, checkpoints, proofs, and tables rebuilt from them."""
