-- Purpose: keep the token of the meeting before, the one that both sides are about to change to, and where the ledger lives.
-- Inputs: $1 the ledger's token, $2 the next one; $3 its cluster's identifier, $4 its database's OID, $5 its timeline.
-- Touches: ledger_meeting.
UPDATE daybook.ledger_meeting
SET token = $1::text::uuid, proposed = $2::text::uuid,
    ledger_system_identifier = $3, ledger_database_oid = $4, ledger_timeline = $5
