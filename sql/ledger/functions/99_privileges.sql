-- Purpose: who may do what: the consumer may append to the journal, seal it, and keep the status of bills; the controller closes and
--          reopens periods, applies rules and keeps the chart of accounts; the cashier counts and closes the day's cash, which the controller
--          may, too, and alone reopens; and none anything else.
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
GRANT USAGE ON SCHEMA ledger TO daybook_cashier;
GRANT SELECT ON ledger.books, ledger.accounts, ledger.cash_closures, ledger.cash_counts, ledger.last_cash_counts,
    ledger.cash_closing_accounts, ledger.late_cash_entries TO daybook_cashier;
GRANT EXECUTE ON FUNCTION ledger.open_cash_day(text, text, date, numeric, text), ledger.count_cash(text, text, date, jsonb, text),
    ledger.close_cash_day(text, text, date, text, boolean) TO daybook_cashier, daybook_controller;
GRANT EXECUTE ON FUNCTION ledger.reopen_cash_day(text, text, date, text) TO daybook_controller;
-- Who counts does not know beforehand what should be there.
GRANT EXECUTE ON FUNCTION ledger.expected_cash(text, text, date) TO daybook_controller, daybook_reader, daybook_consumer;
