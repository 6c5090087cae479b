-- Purpose: parked bills: why, what to do, and how each was resolved.
-- A bill is parked in spells. The spell is the number of the synchronisation that parked it first, synchronisation that
-- of the last one that spoke here. Only a higher number may speak: a slow worker can neither reopen what was healed
-- after it, nor heal what was parked after it (design, rule 7).
CREATE TABLE daybook.sync_dead_letter (
    source          text NOT NULL,
    reference_type  text NOT NULL,
    reference_id    text NOT NULL,
    spell           bigint NOT NULL,
    synchronisation bigint NOT NULL,
    reason          text NOT NULL,
    advice          text NOT NULL,
    event_seq       bigint NOT NULL,
    parked_at       timestamptz NOT NULL,
    resolved_at     timestamptz,
    resolution      text CHECK (resolution IN ('healed', 'retried', 'resolved')),
    resolved_by     text,
    note            text,
    PRIMARY KEY (reference_type, reference_id, spell),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);

CREATE INDEX sync_dead_letter_open_idx ON daybook.sync_dead_letter (parked_at) WHERE resolved_at IS NULL;
