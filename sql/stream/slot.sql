-- Purpose: the slot of this database as the server has it, and how far the stream was: what tells whether anything was lost. Null where
-- there is none. Touches: wal_progress and the catalog, read only.
SELECT daybook.slot_name()::text AS slot_name, daybook.slot_statement() AS statement,
       c.system_identifier, (p.commit_lsn - '0/0')::bigint AS progress, p.system_identifier AS progress_system_identifier,
       s.slot_name IS NOT NULL AS exists, coalesce(s.database = current_database() AND s.plugin = 'pgoutput' AND NOT s.temporary, false) AS is_ours,
       s.active, s.wal_status, (s.confirmed_flush_lsn - '0/0')::bigint AS confirmed,
       (SELECT count(*) FROM daybook.sync_source WHERE capture_mode <> 'trigger') AS wanted,
       (SELECT count(*) FROM pg_publication WHERE pubname IN ('daybook', 'daybook_queue')) AS publications,
       current_setting('synchronous_standby_names') AS synchronous_standby_names
FROM pg_control_system() AS c
LEFT JOIN daybook.wal_progress AS p ON true
LEFT JOIN pg_replication_slots AS s ON s.slot_name = daybook.slot_name()
