-- Purpose: the ledger can be reached again, and nobody has found it unreachable for a while: where some connections are refused and
--          others not, the alert stays. Inputs: $1 the source's name. Touches: sync_alerts.
UPDATE daybook.sync_alerts SET state = 'resolved', resolved_at = clock_timestamp()
WHERE alert_type = 'LEDGER_UNREACHABLE' AND cause = $1 AND state <> 'resolved'
  AND last_seen_at < clock_timestamp() - interval '15 seconds'
