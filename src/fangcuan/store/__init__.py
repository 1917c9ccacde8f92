"""The casebook database."""
