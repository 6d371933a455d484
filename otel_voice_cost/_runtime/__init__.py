"""Threads, locks, forks and the end of a process."""
