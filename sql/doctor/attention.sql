-- Purpose: who this source is, its last meeting with the ledger, and what waits for a person: alerts and parked bills.
-- Touches: sync_configuration, ledger_meeting, sync_alerts, sync_dead_letter, read only.
SELECT jsonb_build_object(
    'source', (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'source_name'),
    'book', (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'book'),
    'token', (SELECT token FROM daybook.ledger_meeting),
    'highest_seq', (SELECT last_value FROM daybook.sync_queue_seq_seq),
    'proposed', (SELECT proposed FROM daybook.ledger_meeting),
    'ledger_system_identifier', (SELECT ledger_system_identifier FROM daybook.ledger_meeting),
    'ledger_database_oid', (SELECT ledger_database_oid::bigint FROM daybook.ledger_meeting),
    'ledger_timeline', (SELECT ledger_timeline FROM daybook.ledger_meeting),
    'alerts', (SELECT coalesce(jsonb_agg(jsonb_build_object('alert_id', alert_id, 'alert_type', alert_type, 'cause', cause,
                                                            'state', state, 'message', message) ORDER BY alert_id), '[]')
               FROM daybook.sync_alerts WHERE state <> 'resolved'),
    'parked', (SELECT coalesce(jsonb_agg(jsonb_build_object('reference_type', reference_type, 'bills', bills)), '[]')
               FROM (SELECT reference_type, count(*) AS bills FROM daybook.sync_dead_letter
                     WHERE resolved_at IS NULL GROUP BY 1 ORDER BY 1) AS p))
