"""What a contract asks for, line by line; what became of it; who lost."""
