"""Conversations of Pipecat's own services with vendors that meter."""
