"""From findings of a night to cases: keys, epochs, storms, suppressions, labels, splits."""
