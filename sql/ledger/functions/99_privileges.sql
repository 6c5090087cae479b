-- Purpose: who may do what: the consumer may append to the journal, seal it, and keep the status of bills; the controller closes and
--          reopens periods, applies rules and keeps the chart of accounts; and neither anything else.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;

GRANT USAGE ON SCHEMA ledger TO daybook_consumer, daybook_reader, daybook_controller;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO daybook_consumer, daybook_reader, daybook_controller;
GRANT INSERT ON ledger.journal_entries, ledger.journal_lines, ledger.blocks TO daybook_consumer;
GRANT INSERT, UPDATE ON ledger.sync_master_status, ledger.sources, ledger.reversal_brakes, ledger.chains TO daybook_consumer;
GRANT USAGE ON SEQUENCE ledger.journal_entry_id TO daybook_consumer;
GRANT EXECUTE ON FUNCTION ledger.hold_book(text), ledger.pass_entry_ids(bigint) TO daybook_consumer;
GRANT INSERT, UPDATE, DELETE ON ledger.accounts TO daybook_controller;
GRANT EXECUTE ON FUNCTION ledger.close_period(text, date, date, text, text, boolean),
    ledger.reopen_period(text, date, text), ledger.unfinished_business(text),
    ledger.apply_rule(text, text, text, date, boolean) TO daybook_controller;
GRANT EXECUTE ON FUNCTION ledger.unfinished_business(text) TO daybook_reader;
