-- Purpose: everything that was committed before the position is in the queue, or was: in the transaction that enqueues it.
-- Inputs: $1 the position, in bytes. Touches: wal_progress. Returns no row where the slot was given up meanwhile.
UPDATE daybook.wal_progress
SET commit_lsn = greatest(commit_lsn, '0/0'::pg_lsn + $1::bigint), moved_at = clock_timestamp()
