-- Purpose: which bill an event concerns; no reference id where it concerns its whole table. Inputs: $1 seq.
-- Touches: sync_queue, sync_audit_log, read only; reads all of them: no index is kept for a question that is asked so rarely.
SELECT reference_type, reference_id, operation FROM daybook.sync_queue WHERE seq = $1
UNION ALL
SELECT reference_type, reference_id, operation FROM daybook.sync_audit_log WHERE seq = $1
LIMIT 1
