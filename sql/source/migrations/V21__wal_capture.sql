-- Purpose: capture from the WAL: the modes 'wal' and 'both', and how far the stream is.
-- capture_mode_since is the WAL position at which the present mode began, under a lock that no writer passes: what was committed
-- before it was captured in another way, and says nothing of the triggers.
ALTER TABLE daybook.sync_source
    DROP CONSTRAINT sync_source_capture_mode_check,
    ADD CONSTRAINT sync_source_capture_mode_check CHECK (capture_mode IN ('trigger', 'wal', 'both')),
    ADD COLUMN capture_mode_since pg_lsn;

-- One row, from the moment on at which the first stream began: every change committed before commit_lsn is in the queue, or was. It
-- moves in the transaction that enqueues. A slot that has confirmed more was made anew, and has changes behind it that nobody saw.
CREATE TABLE daybook.wal_progress (
    is_only           boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    slot_name         name NOT NULL,
    system_identifier bigint NOT NULL,
    commit_lsn        pg_lsn NOT NULL,
    moved_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('alert_threshold_slot_lag_mb', '1024', 'integer', 1, 100000000, 'SLOT_LAG: the server keeps more WAL than this for the stream of changes')
ON CONFLICT (config_key) DO NOTHING;
