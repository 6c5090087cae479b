-- Purpose: who may do what. PUBLIC, and so every application role, has no right here at all: the capture functions run
--          as daybook_owner. Attaching, suspending, retrying and resolving is for superusers and members of daybook_owner.
GRANT USAGE ON SCHEMA daybook TO daybook_consumer, daybook_reader, daybook_controller;
GRANT SELECT ON daybook.sync_configuration, daybook.sync_source, daybook.sync_system_health, daybook.clinic_rules,
    daybook.reconciliation_runs, daybook.reconciliation_findings TO daybook_controller;
GRANT INSERT, UPDATE, DELETE ON daybook.clinic_rules TO daybook_controller;
GRANT SELECT ON daybook.sync_configuration, daybook.sync_source, daybook.sync_queue, daybook.sync_dead_letter,
    daybook.sync_audit_log, daybook.sync_alerts, daybook.sync_system_health, daybook.sync_health_figures, daybook.ledger_meeting,
    daybook.schema_history, daybook.reconciliation_runs, daybook.reconciliation_findings,
    daybook.clinic_rules, daybook.wal_progress
    TO daybook_consumer, daybook_reader;
GRANT SELECT ON daybook.current_alerts, daybook.dead_letters TO daybook_reader, daybook_consumer;
GRANT INSERT, UPDATE, DELETE ON daybook.sync_queue TO daybook_consumer;
GRANT INSERT ON daybook.sync_audit_log, daybook.sync_health_figures TO daybook_consumer;
GRANT INSERT, UPDATE ON daybook.sync_dead_letter, daybook.sync_alerts, daybook.reconciliation_runs,
    daybook.reconciliation_findings TO daybook_consumer;
GRANT INSERT, UPDATE, DELETE ON daybook.sync_system_health TO daybook_consumer;
GRANT SELECT ON SEQUENCE daybook.sync_queue_seq_seq TO daybook_consumer, daybook_reader;
GRANT UPDATE ON daybook.ledger_meeting TO daybook_consumer;
GRANT INSERT, UPDATE, DELETE ON daybook.wal_progress TO daybook_consumer;
GRANT UPDATE (rules, partitions, reconciled_at) ON daybook.sync_source TO daybook_consumer;

DO $grants$
DECLARE
    function_to_call regprocedure;
BEGIN
    -- All but the capture functions, which daybook.write_capture_function sees to.
    FOR function_to_call IN
        SELECT p.oid FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'daybook'::regnamespace
          AND NOT (p.prorettype = 'trigger'::regtype AND starts_with(p.proname, 'capture_'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function_to_call);
    END LOOP;
    FOR function_to_call IN
        SELECT p.oid FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'daybook'::regnamespace
          AND p.proname IN ('key_text', 'bounded_text', 'amount_text', 'local_date', 'key_expression', 'older_transactions_ended',
                            'refresh_capture', 'backfill', 'attached', 'put_in_queue', 'relation_parts', 'begin_numbers_anew',
                            'code_in_plans', 'raise_alert', 'resolve_alert', 'keep_partitions', 'look_for_alerts', 'measure_health',
                            'unpublish_unidentified')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO daybook_consumer', function_to_call);
    END LOOP;
    -- A controller tries rules on tables that a DBA let them read.
    FOR function_to_call IN
        SELECT p.oid FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'daybook'::regnamespace
          AND p.proname IN ('key_text', 'bounded_text', 'amount_text', 'local_date', 'key_expression', 'check_attachable', 'relation_parts',
                            'code_in_plans')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO daybook_controller', function_to_call);
    END LOOP;
    -- A view's functions run with the rights of whoever looks at it.
    GRANT EXECUTE ON FUNCTION daybook.capture_is_whole(regclass, text), daybook.relation_parts(regclass),
        daybook.code_in_plans(regclass), daybook.partition_triggers(regclass), daybook.partition_marks(regclass),
        daybook.is_published(regclass), daybook.slot_name(), daybook.slot_statement(), daybook.replica_identity_advice(regclass, text[]) TO daybook_consumer, daybook_reader;
    -- `daybook doctor` and `daybook dead` look with the rights of either.
    GRANT EXECUTE ON FUNCTION daybook.capture_function_body(regclass), daybook.key_expression(text, text[]),
        daybook.canonical_id(text, text) TO daybook_consumer, daybook_reader;
END
$grants$;
