"""Lock files: what they resolve, how they are written, and read (PEP 751)."""
