-- Purpose: keep the token of the meeting before, and the one that both sides are about to change to.
-- Inputs: $1 the ledger's token, $2 the next one. Touches: ledger_meeting.
UPDATE daybook.ledger_meeting SET token = $1::text::uuid, proposed = $2::text::uuid
