"""How good is a generated shape? Metrics, the trivial answers it has to beat, and the suites that print both."""
