-- Purpose: take whoever comes next under a source's name for it. Inputs: $1 book, $2 source, $3 reason. Touches: ledger.sources.
INSERT INTO ledger.sources (book, source, rejoined_at, rejoined_by, rejoined_because)
VALUES ($1, $2, clock_timestamp(), session_user, $3)
ON CONFLICT (book, source) DO UPDATE
    SET token = NULL, highest_seq = 0, system_identifier = NULL, database_oid = NULL, timeline = NULL, rejoined_at = excluded.rejoined_at,
        rejoined_by = excluded.rejoined_by, rejoined_because = excluded.rejoined_because
