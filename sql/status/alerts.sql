-- Purpose: what needs a person, the most severe and oldest first. Touches: current_alerts, read only.
SELECT alert_type, cause, severity, state, message, opened_at
FROM daybook.current_alerts
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), opened_at
