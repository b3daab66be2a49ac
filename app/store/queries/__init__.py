"""Reading the ledger: every SELECT on calls, attempts, scores and their sums, as structs ready for JSON."""
