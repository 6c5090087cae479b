-- Purpose: who may do what: the consumer may append to the journal and keep the status of bills, and nothing else.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;

GRANT USAGE ON SCHEMA ledger TO daybook_consumer, daybook_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO daybook_consumer, daybook_reader;
GRANT INSERT ON ledger.journal_entries, ledger.journal_lines TO daybook_consumer;
GRANT INSERT, UPDATE ON ledger.sync_master_status TO daybook_consumer;
GRANT USAGE ON SEQUENCE ledger.journal_entry_id TO daybook_consumer;
GRANT EXECUTE ON FUNCTION ledger.lock_book(text) TO daybook_consumer;
