"""The same phone call with Pipecat: ``python -m otel_voice_cost.demo.pipecat``."""
