"""Who acts: accounts, roles and where they reach, tokens, and that nobody decides on his own."""
