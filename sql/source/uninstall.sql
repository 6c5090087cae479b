-- Purpose: take daybook out of the source without a trace: triggers, privileges and schema. Unfinished events are
--          given up. The ledger stays.
-- Touches: ACCESS EXCLUSIVE on each attached table for an instant; the slot and the publications, where a table was captured from the WAL.
SET lock_timeout = '800ms';
-- Whoever still streams is ended first, before any lock is taken.
DO $stream$
BEGIN
    IF to_regprocedure('daybook.drop_slot()') IS NOT NULL THEN
        FOR try IN 1..50 LOOP
            EXIT WHEN daybook.drop_slot();
            PERFORM pg_terminate_backend(active_pid), pg_sleep(0.1)
            FROM pg_replication_slots WHERE slot_name = daybook.slot_name() AND active_pid IS NOT NULL;
        END LOOP;
    END IF;
END
$stream$;
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
