-- Purpose: what capture from the WAL needs: of the server, of the login role, of the tables that are captured so, and how their slot stands.
-- Touches: sync_source, wal_progress and the catalog, read only.
SELECT jsonb_build_object(
    'tables', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'name', s.relation_name, 'is_published', daybook.is_published(s.relation),
                   'identity_advice', daybook.replica_identity_advice(s.relation, s.key_columns)) ORDER BY s.relation_name), '[]')
               FROM daybook.sync_source AS s JOIN pg_class AS c ON c.oid = s.relation
               WHERE s.capture_mode <> 'trigger'),
    'wal_level', current_setting('wal_level'),
    'slots_max', current_setting('max_replication_slots')::integer,
    'slots', (SELECT count(*) FROM pg_replication_slots),
    'senders_max', current_setting('max_wal_senders')::integer,
    'senders', (SELECT count(*) FROM pg_stat_replication),
    'keep_megabytes', (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
    'synchronous_standby_names', current_setting('synchronous_standby_names'),
    'role', session_user,
    'may_replicate', (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = session_user),
    'database', current_database(),
    'may_spill', has_database_privilege('daybook_consumer', current_database(), 'TEMPORARY'),
    'slot_name', daybook.slot_name(),
    'slot_statement', daybook.slot_statement(),
    'slot', (SELECT jsonb_build_object('active', active, 'is_lost', coalesce(wal_status, '') = 'lost',
                                       'retained_bytes', pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                                                              ELSE pg_current_wal_lsn() END, restart_lsn)::bigint)
             FROM pg_replication_slots WHERE slot_name = daybook.slot_name()))
