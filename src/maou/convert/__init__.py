"""Making training data from game records."""
