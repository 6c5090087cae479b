-- Purpose: the journal's entries. Never changed, never deleted: a correction is a reversal and a new entry.
-- revision counts the entries of a bill from 1, without gaps. Its unique key is the database's word that nothing is posted
-- twice: two synchronisations that computed from the same state would both claim the next revision.
CREATE SEQUENCE ledger.journal_entry_id;

CREATE TABLE ledger.journal_entries (
    id                bigint PRIMARY KEY,
    book              text NOT NULL,
    source            text NOT NULL,
    reference_type    text NOT NULL,
    reference_id      text NOT NULL,
    revision          integer NOT NULL CHECK (revision >= 1),
    kind              text NOT NULL CHECK (kind IN ('original', 'reversal', 'correction', 'settlement')),
    effective_date    date NOT NULL CHECK (isfinite(effective_date)),
    posting_date      date NOT NULL CHECK (isfinite(posting_date)),
    late              boolean NOT NULL, -- moved out of a closed period
    reverses_id       bigint,
    line_count        integer NOT NULL CHECK (line_count >= 2),
    total             numeric NOT NULL CHECK (total > 0 AND total < 1e20), -- sum of debits, and of credits
    rule_hash         text NOT NULL,
    -- Provenance: the latest event of the bill that was visible when its row was read, and what it tells of its cause.
    event_seq         bigint NOT NULL,
    event_origin      text NOT NULL,
    event_xid         xid8 NOT NULL,
    changed_at        timestamptz NOT NULL,
    session_user_name text NOT NULL,
    application_name  text NOT NULL,
    posted_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (book, source, reference_type, reference_id, revision),
    CHECK ((kind = 'reversal') = (reverses_id IS NOT NULL))
);

-- An entry is reversed once at most.
CREATE UNIQUE INDEX journal_entries_reverses_id_key ON ledger.journal_entries (reverses_id) WHERE reverses_id IS NOT NULL;
