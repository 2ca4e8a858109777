"""One module per command: arguments in, printing out; the work is done by the library."""
