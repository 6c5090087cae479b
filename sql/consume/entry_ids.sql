-- Purpose: ids for new entries. Inputs: $1 how many. Touches: the sequence. Gaps are normal.
SELECT nextval('ledger.journal_entry_id') FROM generate_series(1, $1::integer)
