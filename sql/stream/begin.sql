-- Purpose: the stream begins anew at a position: what came before is told by a reconciliation of each table that it serves.
-- Inputs: $1 the position, in bytes. Touches: wal_progress, sync_queue. Returns the number of tables.
WITH begun AS (
    INSERT INTO daybook.wal_progress AS p (slot_name, system_identifier, commit_lsn)
    SELECT daybook.slot_name(), system_identifier, '0/0'::pg_lsn + $1::bigint FROM pg_control_system()
    ON CONFLICT (is_only) DO UPDATE
        SET slot_name = excluded.slot_name, system_identifier = excluded.system_identifier, commit_lsn = excluded.commit_lsn,
            moved_at = clock_timestamp()
)
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT source, reference_type, 'reconcile', 'repair'
FROM daybook.sync_source
WHERE capture_mode <> 'trigger' AND suspended_at IS NULL
