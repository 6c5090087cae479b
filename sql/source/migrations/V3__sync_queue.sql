-- Purpose: events that are not yet finished: which bill changed, and which transaction changed it. Never what it holds.
-- reference_id is null where an event concerns the whole table: a TRUNCATE, a key that could not be read, a reconciliation.
-- The application's transaction inserts here through the capture function and pays for each index, so there are two:
-- the primary key serves the claim (one table's events, oldest first), the other finds the latest event of a bill.
-- There is no lower bound to the claim: ids do not commit in order.
CREATE TABLE daybook.sync_queue (
    seq               bigint GENERATED ALWAYS AS IDENTITY,
    source            text NOT NULL,
    reference_type    text NOT NULL,
    reference_id      text,
    operation         text NOT NULL CHECK (operation IN ('insert', 'update', 'delete', 'truncate',
                                                         'synchronise', 'release', 'reconcile')),
    origin            text NOT NULL DEFAULT 'trigger'
                      CHECK (origin IN ('trigger', 'wal', 'backfill', 'repair', 'retry')),
    xid               xid8 NOT NULL DEFAULT pg_current_xact_id(),
    enqueued_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_user_name text NOT NULL DEFAULT session_user,
    application_name  text NOT NULL DEFAULT coalesce(current_setting('application_name', true), ''),
    due_at            timestamptz NOT NULL DEFAULT now(),
    attempts          integer NOT NULL DEFAULT 0,
    last_error        text,
    PRIMARY KEY (reference_type, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
        autovacuum_vacuum_cost_delay = 0);

CREATE INDEX sync_queue_reference_idx ON daybook.sync_queue (reference_type, reference_id, seq);
