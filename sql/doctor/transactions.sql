-- Purpose: what keeps dead rows of the source from being removed: transactions of this database that have a snapshot or an id,
--          prepared ones, and replication slots, which hold the whole cluster.
-- Touches: the catalog, read only. Other roles' sessions are seen by members of pg_read_all_stats.
SELECT jsonb_build_object(
    'sessions', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                     'pid', pid, 'user', usename, 'application', application_name, 'state', coalesce(state, ''),
                     'seconds', extract(epoch FROM clock_timestamp() - xact_start)::bigint) ORDER BY xact_start), '[]')
                 FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                   AND xact_start IS NOT NULL AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)),
    'prepared', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                     'gid', gid, 'owner', owner,
                     'seconds', extract(epoch FROM clock_timestamp() - prepared)::bigint) ORDER BY prepared), '[]')
                 FROM pg_prepared_xacts
                 WHERE database = current_database()),
    'slots', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                  'name', slot_name, 'active', active, 'wal_status', coalesce(wal_status, ''),
                  'xid_age', greatest(age(xmin), age(catalog_xmin)),
                  'retained_bytes', (pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                                          ELSE pg_current_wal_lsn() END, restart_lsn))::bigint)), '[]')
              FROM pg_replication_slots
              WHERE slot_name <> daybook.slot_name())) -- ours is looked at with the stream
