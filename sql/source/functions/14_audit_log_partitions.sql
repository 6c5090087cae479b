-- Purpose: make the audit log's partitions for this month and the next two. A month whose rows reached the default
--          partition first is left there.
-- Touches: the catalog, and a brief lock on sync_audit_log. Called by install, and by consumers once a day.
CREATE OR REPLACE FUNCTION daybook.make_audit_log_partitions(from_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first_day date;
    partition_name text;
BEGIN
    FOR first_day IN SELECT (date_trunc('month', from_day) + n * interval '1 month')::date FROM generate_series(0, 2) AS n
    LOOP
        partition_name := 'sync_audit_log_' || to_char(first_day, 'YYYY_MM');
        IF to_regclass(format('daybook.%I', partition_name)) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE daybook.%I PARTITION OF daybook.sync_audit_log FOR VALUES FROM (%L) TO (%L)',
                               partition_name, first_day::timestamp AT TIME ZONE 'UTC',
                               (first_day + interval '1 month') AT TIME ZONE 'UTC');
            EXCEPTION WHEN duplicate_table OR check_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;
