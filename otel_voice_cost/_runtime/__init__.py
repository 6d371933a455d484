"""Threads, locks, forks and process exit."""
