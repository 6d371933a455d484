"""Step 1: what LiveKit Agents reports → usage. Releases 1.2 to 1.8."""
