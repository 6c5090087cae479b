-- Purpose: what doctor asks of either server, before and after installing, as one JSON object: who and where we are, the settings
--          that endanger, room for connections, the age of transaction ids.
-- Touches: the catalog, read only. Settings are those of new sessions, not what this session set for itself.
SELECT jsonb_build_object(
    'user', current_user,
    'database', current_database(),
    'encoding', pg_encoding_to_char(d.encoding),
    'system_identifier', (SELECT system_identifier FROM pg_control_system()),
    'database_oid', d.oid::bigint,
    'timeline', CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
    'in_recovery', pg_is_in_recovery(),
    'settings', (SELECT jsonb_object_agg(s.name, jsonb_build_object('value', s.reset_val, 'source', s.source))
                 FROM pg_settings AS s
                 WHERE s.name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts', 'default_transaction_read_only',
                                  'wal_level', 'max_connections', 'TimeZone')),
    'reserved_connections', (SELECT coalesce(sum(s.setting::integer), 0) FROM pg_settings AS s
                             WHERE s.name IN ('superuser_reserved_connections', 'reserved_connections')),
    'clients', (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database),
    'database_connection_limit', d.datconnlimit,
    'database_clients', (SELECT numbackends FROM pg_stat_database WHERE datid = d.oid),
    'role_connection_limit', r.rolconnlimit,
    'role_clients', (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user),
    'xid_age', age(d.datfrozenxid),
    'may_read_stats', pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'))
FROM pg_database AS d, pg_roles AS r
WHERE d.datname = current_database() AND r.rolname = current_user
