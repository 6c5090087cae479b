-- Purpose: the life of an alert. Raising one that is not resolved refreshes it; a resolved one opens anew.
-- Touches: sync_alerts. Messages and details carry names and ids, never row values.
CREATE OR REPLACE FUNCTION daybook.raise_alert(
    alert_type text, cause text, severity text, message text, details jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO daybook.sync_alerts AS a (alert_type, cause, severity, message, details)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (alert_type, cause) WHERE state <> 'resolved'
    DO UPDATE SET last_seen_at = clock_timestamp(), severity = excluded.severity, message = excluded.message,
                  details = excluded.details
$$;

CREATE OR REPLACE FUNCTION daybook.resolve_alert(alert_type text, cause text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.sync_alerts AS a SET state = 'resolved', resolved_at = clock_timestamp()
    WHERE a.alert_type = $1 AND a.cause = $2 AND a.state <> 'resolved'
$$;

CREATE OR REPLACE FUNCTION daybook.acknowledge(alert_id bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE daybook.sync_alerts AS a
    SET state = 'acknowledged', acknowledged_at = clock_timestamp(), acknowledged_by = session_user
    WHERE a.alert_id = acknowledge.alert_id AND a.state = 'open';
    RETURN FOUND;
END
$$;

-- What needs a person now: the alerts that are not resolved, and, without alert_id, what no process need be alive to report.
CREATE OR REPLACE VIEW daybook.current_alerts AS
    SELECT alert_id, alert_type, cause, severity, state, message, details, opened_at
    FROM daybook.sync_alerts
    WHERE state <> 'resolved'
    UNION ALL
    SELECT NULL, 'BILLS_PARKED', reference_type, 'warning', 'open',
           format('%s bills of %s are parked; reasons and advice stand in daybook.sync_dead_letter',
                  count(*), reference_type),
           jsonb_build_object('bills', count(*)), min(parked_at)
    FROM daybook.sync_dead_letter
    WHERE resolved_at IS NULL
    GROUP BY reference_type
    UNION ALL
    SELECT NULL, 'CAPTURE_INCOMPLETE', reference_type, 'critical', 'open',
           format('a trigger of daybook on %s or a partition of it is missing or disabled, so changes are lost: run its file '
                  || 'in triggers/ again, which also has it reconciled', relation_name),
           '{}', clock_timestamp()
    FROM daybook.sync_source
    JOIN pg_catalog.pg_class AS c ON c.oid = relation
    WHERE suspended_at IS NULL AND NOT daybook.capture_is_whole(relation, 'daybook_capture')
    UNION ALL
    SELECT NULL, 'TRUNCATE_NOT_CAPTURED', reference_type, 'warning', 'open',
           format('a partition of %s was made after it was attached, and a TRUNCATE of it alone would leave no event: run the '
                  || 'table''s file in triggers/ again', relation_name),
           '{}', clock_timestamp()
    FROM daybook.sync_source
    JOIN pg_catalog.pg_class AS c ON c.oid = relation
    WHERE suspended_at IS NULL AND daybook.capture_is_whole(relation, 'daybook_capture')
      AND NOT daybook.capture_is_whole(relation, 'daybook_capture_truncate')
    UNION ALL
    SELECT NULL, 'TABLE_SUSPENDED', reference_type, 'warning', 'open',
           format('changes of %s are not captured: SELECT daybook.resume(%L)', relation_name, relation_name),
           '{}', suspended_at
    FROM daybook.sync_source
    WHERE suspended_at IS NOT NULL
    UNION ALL
    SELECT NULL, 'TABLE_DROPPED', reference_type, 'critical', 'open',
           format('%s was dropped; its bills keep their entries. Give it up: SELECT daybook.detach(relation, '
                  || 'discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = %L',
                  relation_name, reference_type),
           '{}', clock_timestamp()
    FROM daybook.sync_source AS s
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = s.relation)
    UNION ALL
    SELECT NULL, 'POSTING_PAUSED', 'source', 'warning', 'open',
           format('nothing is posted since %s paused it; changes go on being captured. Go on: SELECT daybook.resume()', updated_by),
           '{}', updated_at
    FROM daybook.sync_configuration
    WHERE config_key = 'posting' AND config_value = 'paused'
    UNION ALL
    SELECT NULL, 'SYSTEM_DOWN', source, 'critical', 'open',
           'events are waiting, and no consumer has given a sign of life for a minute: start `daybook run`',
           jsonb_build_object('oldest_event_at', min(enqueued_at)), min(enqueued_at) + interval '1 minute'
    FROM daybook.sync_queue
    WHERE due_at < clock_timestamp() - interval '1 minute'
      AND NOT EXISTS (SELECT FROM daybook.sync_configuration WHERE config_key = 'posting' AND config_value = 'paused')
      AND NOT EXISTS (SELECT FROM daybook.sync_system_health
                      WHERE heartbeat_at > clock_timestamp() - interval '1 minute')
    GROUP BY source;
