-- Purpose: the state of each bill in the ledger. Its row's lock is what a bill is synchronised under.
-- synchronisation rises with each one; parked_spell is the number at which the bill was last parked anew.
CREATE TABLE ledger.sync_master_status (
    book            text NOT NULL,
    source          text NOT NULL,
    reference_type  text NOT NULL,
    reference_id    text NOT NULL,
    state           text NOT NULL DEFAULT 'current' CHECK (state IN ('current', 'parked', 'retained')),
    synchronisation bigint NOT NULL DEFAULT 0,
    revision        integer NOT NULL DEFAULT 0, -- of the bill's last entry
    live_entry_ids  bigint[] NOT NULL DEFAULT '{}',
    last_entry_id   bigint,                     -- of the last synchronisation that posted
    last_event_seq  bigint,                     -- and the event that it was attributed to
    parked_spell    bigint,
    parked_at       timestamptz,
    reason          text,
    advice          text,
    PRIMARY KEY (book, source, reference_type, reference_id)
) WITH (fillfactor = 70);
