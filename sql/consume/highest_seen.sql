-- Purpose: the highest number of an event of a source that the ledger has seen. Inputs: $1 book, $2 source. Touches: ledger.sources,
--          sync_master_status, read only; all of the source's bills, after a promotion only.
SELECT greatest(
    (SELECT highest_seq FROM ledger.sources WHERE book = $1 AND source = $2),
    (SELECT max(last_event_seq) FROM ledger.sync_master_status WHERE book = $1 AND source = $2), 0)
