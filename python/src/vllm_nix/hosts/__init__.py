"""Several hosts as one: where each stands, whether they are alike, and that all are still there."""
