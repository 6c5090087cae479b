-- Purpose: put the journal's guards in place where they are missing. ENABLE ALWAYS: session_replication_role = replica
--          does not switch them off.
-- Touches: SHARE ROW EXCLUSIVE on the two tables of the journal, only where a guard is missing.
DO $triggers$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('journal_entries', 'append_only', 'BEFORE UPDATE OR DELETE OR TRUNCATE', '', 'refuse_change'),
            ('journal_lines',   'append_only', 'BEFORE UPDATE OR DELETE OR TRUNCATE', '', 'refuse_change'),
            ('journal_entries', 'sealed', 'AFTER INSERT', 'REFERENCING NEW TABLE AS new_entries', 'seal_headers'),
            ('journal_lines',   'sealed', 'AFTER INSERT', 'REFERENCING NEW TABLE AS new_lines', 'seal_lines')
        ) AS g (table_name, trigger_name, event, transition, function_name)
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                          WHERE t.tgrelid = format('ledger.%I', g.table_name)::regclass
                            AND t.tgname = g.trigger_name AND t.tgenabled = 'A')
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON ledger.%I', guard.trigger_name, guard.table_name);
        EXECUTE format('CREATE TRIGGER %I %s ON ledger.%I %s FOR EACH STATEMENT EXECUTE FUNCTION ledger.%I()',
                       guard.trigger_name, guard.event, guard.table_name, guard.transition, guard.function_name);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER %I', guard.table_name, guard.trigger_name);
    END LOOP;
END
$triggers$;
