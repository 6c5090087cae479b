-- Purpose: take daybook out of the source without a trace: triggers, privileges, schema and roles. Unfinished events are
--          given up. The ledger stays; where it lives in the same cluster, the roles stay with it.
-- Touches: ACCESS EXCLUSIVE on each attached table for an instant.
SET lock_timeout = '800ms';
DO $uninstall$
DECLARE
    attached regclass;
    role_name text;
BEGIN
    IF to_regclass('daybook.sync_source') IS NOT NULL THEN
        FOR attached IN SELECT relation FROM daybook.sync_source ORDER BY relation LOOP
            PERFORM daybook.detach(attached, discard_unfinished => true);
        END LOOP;
    END IF;
    DROP SCHEMA IF EXISTS daybook CASCADE;
    FOREACH role_name IN ARRAY ARRAY['daybook_consumer', 'daybook_reader', 'daybook_owner'] LOOP
        IF to_regrole(role_name) IS NOT NULL THEN
            BEGIN
                EXECUTE format('DROP ROLE %I', role_name);
            EXCEPTION WHEN dependent_objects_still_exist THEN
                RAISE NOTICE 'role % stays, because something else depends on it: %', role_name, SQLERRM;
            END;
        END IF;
    END LOOP;
END
$uninstall$;
