"""Past calls: read what was recorded, price it again, and report where the money went. Needs the extra ``analysis``."""
