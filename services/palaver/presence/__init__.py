"""The presence service: who is connected, and what the others see of it."""
