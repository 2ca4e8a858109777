"""Binaries: ELF files and static libraries, read from the bytes; no GPU is known here."""
