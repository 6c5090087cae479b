-- Purpose: the tables whose brake is alerted. Touches: sync_alerts, read only.
SELECT cause FROM daybook.sync_alerts WHERE alert_type = 'REVERSAL_BRAKE' AND state <> 'resolved'
