-- Purpose: the attached tables that can be reconciled or say why not. Inputs: $1 a reference type, null for all.
-- Touches: sync_source, sync_queue and the catalog, read only.
SELECT s.reference_type, s.relation_name, s.suspended_at IS NOT NULL AS is_suspended, s.reconciled_at IS NOT NULL AS is_backfilled, s.capture_mode <> 'trigger' AS is_streamed,
       greatest(c.reltuples, 0)::bigint AS rows, c.oid IS NOT NULL AS exists
FROM daybook.sync_source AS s
LEFT JOIN pg_class AS c ON c.oid = s.relation
WHERE $1::text IS NULL OR s.reference_type = $1
ORDER BY s.reference_type
