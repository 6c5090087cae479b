-- Purpose: resolve the alert of a dirty table once no event of its reconciliation is left. Touches: sync_alerts.
UPDATE daybook.sync_alerts AS a
SET state = 'resolved', resolved_at = clock_timestamp()
WHERE a.alert_type = 'TABLE_DIRTY' AND a.state <> 'resolved'
  AND NOT EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = a.cause AND q.origin = 'repair')
