-- Purpose: what reconciliation did, and what it found: no row of a bill, but money by account, dates and ids.
-- A run that is under way gives signs of life; one that is silent was interrupted. Of those by schedule one is under way at most.
CREATE TABLE daybook.reconciliation_runs (
    run_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text NOT NULL,
    is_full       boolean NOT NULL,           -- whether each row went through the posting function, and totals and journal were proven
    is_scheduled  boolean NOT NULL,
    scope         text,                       -- reference type and site, where it looked at less than the whole source
    process       text NOT NULL,              -- host name and process id
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    -- proven: no finding. findings: some. incomplete: none, and not everything could be looked at. failed, interrupted: it did not end.
    outcome       text CHECK (outcome IN ('proven', 'findings', 'incomplete', 'failed', 'interrupted')),
    proven_until  timestamptz,                -- whatever was committed before is in the ledger, to the cent
    covered       jsonb NOT NULL DEFAULT '[]', -- per table: how it was looked at, bills, candidates, pending ones, findings
    findings      bigint NOT NULL DEFAULT 0,
    repairs       bigint NOT NULL DEFAULT 0,   -- keys that were enqueued
    error         text,
    CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CHECK (proven_until IS NULL OR outcome = 'proven')
);
CREATE UNIQUE INDEX reconciliation_runs_under_way_key ON daybook.reconciliation_runs (source) WHERE ended_at IS NULL AND is_scheduled;
CREATE INDEX reconciliation_runs_ended_idx ON daybook.reconciliation_runs (ended_at);

-- One row for the same thing found again and again, and after it was gone: its key is made of its kind and what it is about.
CREATE TABLE daybook.reconciliation_findings (
    finding_key      text PRIMARY KEY,
    kind             text NOT NULL CHECK (kind IN (
                         'missing', 'stale', 'wrong_amount', 'wrong_account', 'wrong_date', 'wrong_dimension', 'orphan', 'duplicate',
                         'late', 'capture_gap', 'unbalanced', 'tampered', 'proof_disagrees',
                         'receivable_overdue', 'draft_overdue', 'tax_differs', 'discount_missing')),
    severity         text NOT NULL CHECK (severity IN ('warning', 'critical')),
    found_by         text NOT NULL CHECK (found_by IN ('bills', 'status', 'capture', 'totals', 'journal', 'clinic')), -- the look that sees it
    source           text NOT NULL,
    reference_type   text,
    reference_id     text,
    site             text,
    day              date,
    entry_id         bigint,
    message          text NOT NULL,
    details          jsonb NOT NULL DEFAULT '{}', -- by account what the bill says and what the ledger has, amounts as texts
    first_seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_seen       integer NOT NULL DEFAULT 1,
    times_returned   integer NOT NULL DEFAULT 0, -- how often it was gone, and came back
    run_id           bigint NOT NULL,            -- the last that saw it
    repaired_at      timestamptz,                -- when its bill was last enqueued
    resolved_at      timestamptz,
    resolution       text CHECK (resolution IN ('repaired', 'gone', 'resolved')),
    resolved_by      text,
    note             text,
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
CREATE INDEX reconciliation_findings_open_idx ON daybook.reconciliation_findings (found_by, reference_type) WHERE resolved_at IS NULL;

INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('reconciliation_frequency_hours', '1', 'number',  0.01, 168, 'every bill is reconciled with the ledger so often, by digests'),
    ('full_reconciliation_hour',       '2', 'integer', 0,    23,  'hour of the book''s day from which each night every row goes through the posting function');
