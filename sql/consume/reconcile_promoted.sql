-- Purpose: have every captured table reconciled after the source was promoted: the old primary may have committed what never came here.
-- Touches: sync_source, sync_queue.
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT source, reference_type, 'reconcile', 'repair'
FROM daybook.sync_source
WHERE suspended_at IS NULL
