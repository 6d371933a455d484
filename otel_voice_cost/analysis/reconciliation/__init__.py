"""Parts of a reconciliation: periods, both sides, their comparison and its explanations."""
