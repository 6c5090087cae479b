-- Purpose: the alerts that are over when the ledger has no such bill of their table any more. A TRUNCATE that is still being told to its
--          bills counts as one. Touches: sync_alerts, sync_queue, read only.
SELECT alert_type, cause, last_seen_at FROM daybook.sync_alerts AS a
WHERE alert_type IN ('REVERSAL_BRAKE', 'TABLE_TRUNCATED', 'BILLS_DELETED', 'TAX_DIFFERS') AND state <> 'resolved'
  AND NOT (alert_type = 'TABLE_TRUNCATED'
           AND EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = a.cause AND q.operation = 'truncate'))
