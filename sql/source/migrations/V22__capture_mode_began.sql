-- Purpose: when a table's present mode began, under a lock that no writer passes. A change that was committed before, and that the stream
-- found and enqueued in another mode, says nothing of the triggers.
ALTER TABLE daybook.sync_source
    ADD COLUMN capture_mode_began_at timestamptz NOT NULL DEFAULT clock_timestamp();
