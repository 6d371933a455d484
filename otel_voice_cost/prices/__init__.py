"""Step 3: usage → rate."""
