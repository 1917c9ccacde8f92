"""Files by their digest, wherever they are kept, and what is put beside a case."""
