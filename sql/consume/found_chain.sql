-- Purpose: have a chain for the book. Inputs: $1 book. Touches: ledger.chains.
INSERT INTO ledger.chains (book) VALUES ($1) ON CONFLICT DO NOTHING
