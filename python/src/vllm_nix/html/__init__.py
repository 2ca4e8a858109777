"""Reports as pages: each one file that asks for nothing else, for a browser of any kind."""
