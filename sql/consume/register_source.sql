-- Purpose: give a source that comes for the first time its place in the ledger. Inputs: $1 book, $2 source.
-- Touches: ledger.sources.
INSERT INTO ledger.sources (book, source) VALUES ($1, $2) ON CONFLICT DO NOTHING
