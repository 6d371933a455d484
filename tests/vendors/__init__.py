"""Vendors' servers on the loopback: they speak the protocols of LiveKit's plugins and meter as the vendors publish."""
