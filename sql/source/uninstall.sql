-- Purpose: take daybook out of the source without a trace: triggers, privileges and schema. Unfinished events are
--          given up. The ledger stays.
-- Touches: ACCESS EXCLUSIVE on each attached table for an instant.
SET lock_timeout = '800ms';
DO $uninstall$
DECLARE
    attached regclass;
BEGIN
    IF to_regclass('daybook.sync_source') IS NOT NULL THEN
        FOR attached IN SELECT relation FROM daybook.sync_source ORDER BY relation LOOP
            PERFORM daybook.detach(attached, discard_unfinished => true);
        END LOOP;
    END IF;
    DROP SCHEMA IF EXISTS daybook CASCADE;
END
$uninstall$;
