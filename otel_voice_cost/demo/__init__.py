"""A priced phone call without a server, key or network: ``python -m otel_voice_cost.demo``."""
