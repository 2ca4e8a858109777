"""How long people wait, beside what they would otherwise run, in one run on one machine."""
