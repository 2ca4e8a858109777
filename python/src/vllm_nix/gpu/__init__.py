"""GPU code: which a file holds, and which of it a device runs."""
