"""Cost, as others see it."""
