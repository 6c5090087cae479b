-- Purpose: where this source lives, and the token of its last meeting with its ledger. The cluster's identifier and the
--          database's OID tell it from a copy made by SQL, the timeline from one that was restored or promoted.
-- Touches: ledger_meeting, the queue's sequence, read only.
SELECT (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid,
       CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       current_database()::text AS database_name,
       (SELECT last_value FROM daybook.sync_queue_seq_seq) AS highest_seq, token::text, proposed::text,
       ledger_system_identifier, ledger_database_oid, ledger_timeline
FROM daybook.ledger_meeting
