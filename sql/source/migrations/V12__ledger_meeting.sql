-- Purpose: the token of this source's last meeting with its ledger, which keeps the same one. A restored or exchanged
-- database on either side has another token, and is told by it. proposed holds the next one while both sides change over.
CREATE TABLE daybook.ledger_meeting (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    token    uuid,
    proposed uuid
);
INSERT INTO daybook.ledger_meeting DEFAULT VALUES;
