"""What goes out to a partner, and what he answers."""
