"""What was agreed and is in force, by two people; and what the law lets be done."""
