"""Programs that an environment's own Python runs: the standard library, and what is there to try."""
