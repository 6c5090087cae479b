-- Purpose: raise CASH_NOT_CLOSED for these sites, and resolve it for all others. The names of sites are those that a person opened a day
--          for. Inputs: $1 sites, $2 messages, pairwise. Touches: sync_alerts.
WITH resolved AS (
    UPDATE daybook.sync_alerts AS a SET state = 'resolved', resolved_at = clock_timestamp()
    WHERE a.alert_type = 'CASH_NOT_CLOSED' AND a.state <> 'resolved' AND a.cause <> ALL ($1::text[])
)
INSERT INTO daybook.sync_alerts AS a (alert_type, cause, severity, message)
SELECT 'CASH_NOT_CLOSED', w.site, 'warning', w.message
FROM unnest($1::text[], $2::text[]) AS w (site, message)
ON CONFLICT (alert_type, cause) WHERE state <> 'resolved'
DO UPDATE SET last_seen_at = clock_timestamp(), message = excluded.message
