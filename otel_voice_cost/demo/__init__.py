"""A phone call without a server, a key or a network, priced: ``python -m otel_voice_cost.demo``."""
