-- Purpose: tell the ledger how much of this source is unfinished, and the number of its last event. Inputs: $1 book, $2 source,
--          $3 events, $4 some of them, $5 the number. Touches: ledger.sources.
UPDATE ledger.sources SET queued = $3, queued_examples = $4, highest_seq = $5, reported_at = clock_timestamp()
WHERE book = $1 AND source = $2
