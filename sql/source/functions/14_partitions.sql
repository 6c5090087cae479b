-- Purpose: make the partitions of the audit log and of the figures for this month and the next two, and drop what is older than its
--          retention. Only what is finished is ever dropped: no event of the queue, no open dead letter, no alert that is not resolved;
--          and none that an operator resolved with a note, which says why a bill is not in the ledger.
-- Inputs: the day, by the server's clock: a consumer's own may be wrong, and it has no right to name one. Returns how much was left for
-- another time. keep_partitions is called by install, and by consumers once a day. What cannot be dropped, because somebody's view reads
-- it, is alerted, and keeps nothing else from its turn.
-- Touches: sync_audit_log and sync_health_figures; sync_dead_letter, sync_alerts. Making and dropping a partition takes ACCESS EXCLUSIVE
-- on its table, behind which consumers and readers would queue: it is waited for as briefly as here, and else left.
DROP FUNCTION IF EXISTS daybook.make_audit_log_partitions(date); -- that of an earlier version
CREATE OR REPLACE FUNCTION daybook.keep_partitions_of(today date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET DateStyle = iso, ymd SET TimeZone = utc AS $$
-- Bounds are written into statements as texts, and read again: under one DateStyle and zone.
DECLARE
    most_rows CONSTANT integer := 10000; -- deleted at once
    lock_timeout_before CONSTANT text := current_setting('lock_timeout');
    kept record;
    first_day date;
    partition_name text;
    deleted bigint;
    unfinished integer := 0;
    stuck text;
BEGIN
    PERFORM FROM daybook.ledger_meeting FOR UPDATE SKIP LOCKED; -- no number that everybody could lock
    IF NOT FOUND THEN
        RETURN 1; -- another process is at it
    END IF;
    PERFORM set_config('lock_timeout', '200ms', true);
    -- Rows first, which locks out nobody.
    FOR kept IN
        SELECT r.table_name, r.time_column, r.condition, (today - c.config_value::integer)::timestamp AT TIME ZONE 'UTC' AS oldest
        FROM (VALUES ('sync_audit_log_default',      'finished_at', 'true',                               'audit_log_retention_days'),
                     ('sync_health_figures_default', 'measured_at', 'true',                               'health_retention_days'),
                     ('sync_dead_letter',            'resolved_at', $c$resolution <> 'resolved'$c$,       'audit_log_retention_days'),
                     ('sync_alerts',                 'resolved_at', $c$state = 'resolved'$c$,             'audit_log_retention_days'),
                     ('reconciliation_findings',     'resolved_at', $c$resolution <> 'resolved'$c$,       'audit_log_retention_days'),
                     ('reconciliation_runs',         'ended_at',    'true',                               'audit_log_retention_days')
             ) AS r (table_name, time_column, condition, setting)
        JOIN daybook.sync_configuration AS c ON c.config_key = r.setting
    LOOP
        EXECUTE format('DELETE FROM daybook.%1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM daybook.%1$I WHERE %2$I < $1 AND %3$s LIMIT $2))',
                       kept.table_name, kept.time_column, kept.condition) USING kept.oldest, most_rows;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        unfinished := unfinished + (deleted = most_rows)::integer;
    END LOOP;

    FOR kept IN
        SELECT r.table_name, (today - c.config_value::integer)::timestamp AT TIME ZONE 'UTC' AS oldest
        FROM (VALUES ('sync_audit_log', 'audit_log_retention_days'), ('sync_health_figures', 'health_retention_days'))
             AS r (table_name, setting)
        JOIN daybook.sync_configuration AS c ON c.config_key = r.setting
    LOOP
        FOR first_day IN SELECT (date_trunc('month', today) + n * interval '1 month')::date FROM generate_series(0, 2) AS n LOOP
            partition_name := kept.table_name || to_char(first_day, '_YYYY_MM');
            CONTINUE WHEN to_regclass(format('daybook.%I', partition_name)) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE daybook.%I PARTITION OF daybook.%I FOR VALUES FROM (%L) TO (%L)',
                               partition_name, kept.table_name, first_day::timestamp AT TIME ZONE 'UTC',
                               (first_day + interval '1 month') AT TIME ZONE 'UTC');
            EXCEPTION
                WHEN duplicate_table THEN NULL;  -- another process made it
                WHEN check_violation THEN NULL;  -- a month whose rows reached the default partition first is left there
                WHEN invalid_object_definition THEN NULL; -- and one that overlaps what somebody made
                WHEN lock_not_available THEN unfinished := unfinished + 1;
            END;
        END LOOP;
        FOR partition_name IN
            SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = format('daybook.%I', kept.table_name)::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
              AND (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= kept.oldest
            ORDER BY c.relname
        LOOP
            BEGIN
                EXECUTE format('DROP TABLE IF EXISTS daybook.%I', partition_name);
            EXCEPTION
                WHEN lock_not_available THEN unfinished := unfinished + 1;
                WHEN dependent_objects_still_exist THEN stuck := partition_name;
            END;
        END LOOP;
    END LOOP;
    IF stuck IS NULL THEN
        PERFORM daybook.resolve_alert('RETENTION_STUCK', 'daybook');
    ELSE
        PERFORM daybook.raise_alert('RETENTION_STUCK', 'daybook', 'warning', format(
            'partition %s is past its retention and cannot be dropped: a view or another object depends on it. Drop that, or have it '
            || 'read the whole table', stuck));
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout_before, true);
    RETURN unfinished;
END
$$;

CREATE OR REPLACE FUNCTION daybook.keep_partitions() RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.keep_partitions_of((clock_timestamp() AT TIME ZONE 'UTC')::date)
$$;
