"""How a step is run: one file per way."""
