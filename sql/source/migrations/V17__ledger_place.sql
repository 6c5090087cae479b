-- Purpose: where the ledger lived at the last meeting. A standby of it that was promoted has the last token, and may lack what was posted
-- last and acknowledged here.
ALTER TABLE daybook.ledger_meeting
    ADD COLUMN ledger_system_identifier bigint,
    ADD COLUMN ledger_database_oid oid,
    ADD COLUMN ledger_timeline text;
