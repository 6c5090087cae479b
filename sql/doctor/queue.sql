-- Purpose: the state of the queue as a table, and whether somebody works on it.
-- Touches: sync_queue, sync_system_health, sync_configuration and the catalog, read only.
SELECT jsonb_build_object(
    'dead_rows', coalesce(pg_stat_get_dead_tuples(c.oid), 0),
    'live_rows', coalesce(pg_stat_get_live_tuples(c.oid), 0),
    'table_bytes', pg_relation_size(c.oid),
    'index_bytes', pg_indexes_size(c.oid),
    'xid_age', age(c.relfrozenxid),
    'autovacuum_is_off', EXISTS (SELECT FROM unnest(c.reloptions) AS o
                                 WHERE o LIKE 'autovacuum_enabled=%' AND NOT split_part(o, '=', 2)::boolean),
    'oldest_due_seconds', (SELECT extract(epoch FROM clock_timestamp() - min(q.due_at))::bigint FROM daybook.sync_queue AS q
                           WHERE EXISTS (SELECT FROM daybook.sync_source AS s WHERE s.reference_type = q.reference_type)),
    'consumers_alive', (SELECT count(*) FROM daybook.sync_system_health
                        WHERE heartbeat_at > clock_timestamp() - interval '1 minute'),
    'paused_by', (SELECT updated_by FROM daybook.sync_configuration WHERE config_key = 'posting' AND config_value = 'paused'))
FROM pg_class AS c
WHERE c.oid = 'daybook.sync_queue'::regclass
