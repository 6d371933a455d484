"""Export of cost: span attributes, usage spans, metrics and records."""
