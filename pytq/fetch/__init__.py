"""Moving files between this machine and URIs, for workers, people and programs."""
