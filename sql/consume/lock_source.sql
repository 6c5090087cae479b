-- Purpose: what the ledger knows of a source, held until the meeting is over, and where the ledger itself lives.
-- Inputs: $1 book, $2 source. Touches: row lock in ledger.sources.
SELECT system_identifier, database_oid, timeline, database_name, highest_seq, token::text, gen_random_uuid()::text AS next_token,
       coalesce(reported_at > clock_timestamp() - interval '10 seconds', false) AS was_just_heard_of,
       coalesce(met_at > clock_timestamp() - interval '1 hour', false) AS has_met_lately,
       (SELECT c.system_identifier FROM pg_control_system() AS c) AS own_system_identifier,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS own_database_oid,
       CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS own_timeline
FROM ledger.sources
WHERE book = $1 AND source = $2
FOR UPDATE
