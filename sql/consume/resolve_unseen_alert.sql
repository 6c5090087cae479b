-- Purpose: resolve an alert unless a worker has raised it again since it was read. Inputs: $1 type, $2 cause, $3 when it was seen last.
-- Touches: sync_alerts.
UPDATE daybook.sync_alerts SET state = 'resolved', resolved_at = clock_timestamp()
WHERE alert_type = $1 AND cause = $2 AND last_seen_at = $3 AND state <> 'resolved'
