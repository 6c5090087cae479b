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
           CASE WHEN capture_mode = 'trigger' OR daybook.is_published(relation)
                THEN format('a trigger of daybook on %s or a partition of it is missing or disabled, so changes are lost: run its file '
                            || 'in triggers/ again, which also has it reconciled', relation_name)
                ELSE format('%s is not in publication daybook as it was, so that its changes are not captured from the WAL: run its file '
                            || 'in triggers/ again, which also has it reconciled', relation_name) END,
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
    SELECT NULL, 'SLOT_LOST', daybook.slot_name(), 'critical', 'open',
           format('slot %s is %s, so that changes are not captured from the WAL. `daybook run` makes it anew and has the tables reconciled, '
                  || 'where its role has REPLICATION; else make it: %s', daybook.slot_name(),
                  CASE WHEN s.slot_name IS NULL THEN 'not there' ELSE 'invalidated: the WAL that it needs is gone' END, daybook.slot_statement()),
           '{}', p.moved_at
    FROM daybook.wal_progress AS p
    LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = daybook.slot_name()
    WHERE coalesce(s.wal_status, 'lost') = 'lost' AND EXISTS (SELECT FROM daybook.sync_source WHERE capture_mode <> 'trigger')
      AND NOT EXISTS (SELECT FROM daybook.sync_alerts AS a WHERE a.alert_type = 'SLOT_LOST' AND a.state <> 'resolved')
    UNION ALL
    SELECT NULL, 'SLOT_LAG', s.slot_name, CASE s.wal_status WHEN 'unreserved' THEN 'critical' ELSE 'warning' END, 'open',
           format('the server keeps %s of WAL for slot %s%s: does `daybook run` stream, and what does its log say? Where the tables are to '
                  || 'be captured no longer, detach them', pg_size_pretty(l.lag), s.slot_name,
                  CASE WHEN s.wal_status = 'unreserved' THEN ', and is about to remove it, which loses the slot' ELSE '' END),
           jsonb_build_object('bytes', l.lag, 'wal_status', s.wal_status, 'safe_wal_size', s.safe_wal_size), clock_timestamp()
    FROM pg_catalog.pg_replication_slots AS s
    CROSS JOIN LATERAL (SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                                               s.restart_lsn) AS lag) AS l
    WHERE s.slot_name = daybook.slot_name()
      AND (s.wal_status = 'unreserved'
           OR l.lag > (SELECT config_value::numeric FROM daybook.sync_configuration WHERE config_key = 'alert_threshold_slot_lag_mb') * 1048576)
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
    SELECT NULL, 'RECONCILIATION_OVERDUE', 'source', 'warning', 'open',
           format('nothing was reconciled since %s, although it is to be every %s hours: is `daybook run` at work, and what does its log '
                  || 'say?', coalesce(r.last_at::text, 'the first table was attached'), f.hours),
           jsonb_build_object('last_run_at', r.last_at), coalesce(r.last_at, a.first_at) + (2 * f.hours) * interval '1 hour'
    FROM (SELECT config_value::numeric AS hours FROM daybook.sync_configuration WHERE config_key = 'reconciliation_frequency_hours') AS f
    CROSS JOIN (SELECT min(attached_at) AS first_at FROM daybook.sync_source) AS a
    CROSS JOIN (SELECT max(started_at) AS last_at FROM daybook.reconciliation_runs
                WHERE scope IS NULL AND outcome IN ('proven', 'findings', 'incomplete')) AS r
    WHERE coalesce(r.last_at, a.first_at) < clock_timestamp() - (2 * f.hours) * interval '1 hour'
    UNION ALL
    SELECT NULL, 'SYSTEM_DOWN', c.config_value, 'critical', 'open',
           CASE WHEN h.last_at IS NULL
                THEN 'events are waiting, and no consumer has given a sign of life for a minute: start `daybook run`'
                ELSE 'the last consumer did not end in order, and has given no sign of life for a minute: start `daybook run`' END,
           jsonb_build_object('last_heartbeat_at', h.last_at, 'oldest_event_at', q.oldest_at),
           coalesce(h.last_at, q.oldest_at) + interval '1 minute'
    FROM daybook.sync_configuration AS c
    CROSS JOIN (SELECT max(heartbeat_at) AS last_at FROM daybook.sync_system_health) AS h
    CROSS JOIN LATERAL (SELECT min(enqueued_at) AS oldest_at FROM daybook.sync_queue
                        WHERE due_at < clock_timestamp() - interval '1 minute'
                          AND h.last_at > clock_timestamp() - interval '1 minute' IS NOT TRUE) AS q
    WHERE c.config_key = 'source_name' AND coalesce(h.last_at, q.oldest_at) IS NOT NULL
      AND h.last_at > clock_timestamp() - interval '1 minute' IS NOT TRUE
      AND NOT EXISTS (SELECT FROM daybook.sync_configuration WHERE config_key = 'posting' AND config_value = 'paused');

-- Purpose: open the alerts whose cause is there, and resolve those whose cause is gone. Each keeps its row while its cause stays, which is
--          refreshed twice a minute. Called by each process every few seconds, before it gives its sign of life; one at a time looks.
-- Touches: sync_queue (the oldest thousand events of each table), sync_dead_letter, sync_system_health, reconciliation_findings, sync_alerts.
CREATE OR REPLACE FUNCTION daybook.look_for_alerts() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    source_name text;
    queue_size numeric;
    queue_age numeric;
    failed_syncs numeric;
    slack numeric;
BEGIN
    PERFORM FROM daybook.ledger_meeting FOR UPDATE SKIP LOCKED; -- no number that everybody could lock
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT max(config_value) FILTER (WHERE config_key = 'source_name'),
           max(config_value) FILTER (WHERE config_key = 'alert_threshold_queue_size'),
           max(config_value) FILTER (WHERE config_key = 'alert_threshold_queue_age_seconds'),
           max(config_value) FILTER (WHERE config_key = 'alert_threshold_failed_syncs')
    INTO source_name, queue_size, queue_age, failed_syncs
    FROM daybook.sync_configuration;

    -- Nobody was there to say so: the row is left by whoever comes back, with its life. Once for each death.
    INSERT INTO daybook.sync_alerts (alert_type, cause, severity, state, message, details, opened_at, resolved_at)
    SELECT alert_type, cause, severity, 'resolved', 'no consumer gave a sign of life, and the last one had not ended in order', details, opened_at,
           clock_timestamp()
    FROM daybook.current_alerts AS c
    WHERE c.alert_type = 'SYSTEM_DOWN' AND c.details ->> 'last_heartbeat_at' IS NOT NULL
      AND NOT EXISTS (SELECT FROM daybook.sync_alerts AS a
                      WHERE a.alert_type = 'SYSTEM_DOWN' AND a.cause = c.cause AND a.opened_at = c.opened_at);

    -- A backlog about as long as the threshold would open an alert again and again: it is over at half of it.
    slack := CASE WHEN EXISTS (SELECT FROM daybook.sync_alerts WHERE alert_type = 'QUEUE_BACKUP' AND state <> 'resolved') THEN 2 ELSE 1 END;
    WITH tables AS (
        SELECT s.reference_type, q.oldest_due_at, q.failed, coalesce(d.parked, 0) AS parked
        FROM daybook.sync_source AS s
        CROSS JOIN LATERAL (
            SELECT min(due_at) FILTER (WHERE due_at <= clock_timestamp()) AS oldest_due_at, count(*) FILTER (WHERE attempts > 0) AS failed
            FROM (SELECT due_at, attempts FROM daybook.sync_queue AS e
                  WHERE e.reference_type = s.reference_type ORDER BY seq LIMIT 1000) AS oldest) AS q
        LEFT JOIN (SELECT reference_type, count(*) AS parked FROM daybook.sync_dead_letter
                   WHERE resolved_at IS NULL GROUP BY reference_type) AS d ON d.reference_type = s.reference_type
    ), queue AS (
        SELECT (SELECT min(oldest_due_at) FROM tables) AS oldest_due_at,
               (SELECT count(*) FROM (SELECT FROM daybook.sync_queue LIMIT queue_size::bigint + 1) AS e) AS queued
    ), wanted AS (
        SELECT 'QUEUE_BACKUP' AS alert_type, source_name AS cause, 'warning' AS severity,
               format('changes wait to be posted: more than %s events, or one that has been due for more than %s s. Is `daybook run` at '
                      || 'work, what does its log say, and does it need more --workers?', queue_size, queue_age) AS message,
               jsonb_build_object('queued_at_least', queued, 'oldest_due_at', oldest_due_at) AS details
        FROM queue
        WHERE queued > queue_size / slack OR oldest_due_at < clock_timestamp() - queue_age / slack * interval '1 second'
        UNION ALL
        SELECT 'SYNC_FAILURES', reference_type, 'critical',
               format('%s bills of %s or more could not be posted, and are tried again or parked: `daybook dead list %s`, and column '
                      || 'last_error of daybook.sync_queue, say why', failed_syncs, reference_type, reference_type),
               jsonb_build_object('failed', failed, 'parked', parked)
        FROM tables
        WHERE failed + parked >= failed_syncs
        UNION ALL
        SELECT 'DATA_INCONSISTENCY', coalesce(reference_type, 'ledger'), 'critical',
               format('reconciliation found %s differences between bills and ledger%s: `daybook reconcile`, and '
                      || 'daybook.reconciliation_findings, say which', count(*), ' of ' || reference_type),
               jsonb_build_object('findings', count(*), 'since', min(first_seen_at))
        FROM daybook.reconciliation_findings
        WHERE resolved_at IS NULL AND severity = 'critical'
        GROUP BY reference_type
    ), resolved AS (
        UPDATE daybook.sync_alerts AS a SET state = 'resolved', resolved_at = clock_timestamp()
        WHERE a.state <> 'resolved'
          AND CASE WHEN a.alert_type IN ('QUEUE_BACKUP', 'SYNC_FAILURES')
                   THEN NOT EXISTS (SELECT FROM wanted AS w WHERE w.alert_type = a.alert_type AND w.cause = a.cause)
                   -- Raised by the worker that meets it, each time: over when nothing of the table fails or is parked any more.
                   WHEN a.alert_type = 'DATA_INCONSISTENCY'
                   THEN NOT EXISTS (SELECT FROM wanted AS w WHERE w.alert_type = a.alert_type AND w.cause = a.cause)
                        AND (a.details ? 'findings' OR a.last_seen_at < clock_timestamp() - interval '10 seconds')
                        AND NOT EXISTS (SELECT FROM tables AS t WHERE t.reference_type = a.cause AND t.failed + t.parked > 0)
                   ELSE false END
    )
    INSERT INTO daybook.sync_alerts AS a (alert_type, cause, severity, message, details)
    SELECT alert_type, cause, severity, message, details FROM wanted
    ON CONFLICT (alert_type, cause) WHERE state <> 'resolved'
    DO UPDATE SET last_seen_at = clock_timestamp(), message = excluded.message, details = excluded.details
       WHERE a.last_seen_at < clock_timestamp() - interval '30 seconds' OR a.message <> excluded.message;
END
$$;

-- Purpose: one row of figures about each minute, whoever comes first. Touches: sync_health_figures; reads what it counts.
CREATE OR REPLACE FUNCTION daybook.measure_health() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM daybook.ledger_meeting FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR EXISTS (SELECT FROM daybook.sync_health_figures WHERE measured_at > clock_timestamp() - interval '58 seconds') THEN
        RETURN;
    END IF;
    INSERT INTO daybook.sync_health_figures (source, processes_alive, queued, oldest_due_seconds, failed, parked, alerts_open, finished_count)
    SELECT c.config_value, p.alive, q.queued, q.oldest_due_seconds, q.failed,
           (SELECT count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL),
           (SELECT count(*) FROM daybook.sync_alerts WHERE state <> 'resolved'), p.finished
    FROM daybook.sync_configuration AS c
    CROSS JOIN (SELECT count(*) AS alive, coalesce(sum(finished_count), 0) AS finished FROM daybook.sync_system_health
                WHERE heartbeat_at > clock_timestamp() - interval '1 minute') AS p
    CROSS JOIN (SELECT count(*) AS queued, count(*) FILTER (WHERE attempts > 0) AS failed,
                       extract(epoch FROM clock_timestamp() - min(due_at) FILTER (WHERE due_at <= clock_timestamp()))::bigint AS oldest_due_seconds
                FROM daybook.sync_queue) AS q
    WHERE c.config_key = 'source_name';
END
$$;
