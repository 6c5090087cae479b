-- Purpose: what the ledger knows of a source, held until the meeting is over. Inputs: $1 book, $2 source.
-- Touches: row lock in ledger.sources.
SELECT system_identifier, database_oid, timeline, database_name, highest_seq, token::text, gen_random_uuid()::text AS next_token,
       coalesce(reported_at > clock_timestamp() - interval '10 seconds', false) AS was_just_heard_of
FROM ledger.sources
WHERE book = $1 AND source = $2
FOR UPDATE
