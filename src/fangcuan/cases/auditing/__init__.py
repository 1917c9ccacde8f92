"""What auditors do: samples, reviews, and whether equal cases were treated equally."""
