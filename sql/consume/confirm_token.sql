-- Purpose: the ledger has changed over to the proposed token. Inputs: $1 that token. Touches: ledger_meeting.
UPDATE daybook.ledger_meeting SET token = proposed, proposed = NULL WHERE proposed = $1::text::uuid
