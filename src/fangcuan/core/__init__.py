"""Value objects and pure functions. Nothing here reads a file, a database or a clock."""
