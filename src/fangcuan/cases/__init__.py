"""Cases, commands, events and evidence."""
