"""The bench that detection is measured on: worlds at the level of counts, rules to beat, scores by scheme."""
