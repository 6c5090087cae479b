-- Purpose: every finished event with its one outcome; partitioned by month of finishing, so that retention drops
-- partitions. The default partition only catches what came before its month was made: finishing never fails.
CREATE TABLE daybook.sync_audit_log (
    seq               bigint NOT NULL,
    source            text NOT NULL,
    reference_type    text NOT NULL,
    reference_id      text,
    operation         text NOT NULL,
    origin            text NOT NULL,
    outcome           text NOT NULL CHECK (outcome IN ('posted', 'no_effect', 'covered', 'parked', 'retained')),
    entry_id          bigint,
    xid               xid8 NOT NULL,
    enqueued_at       timestamptz NOT NULL,
    session_user_name text NOT NULL,
    application_name  text NOT NULL,
    attempts          integer NOT NULL,
    finished_at       timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (finished_at);

CREATE TABLE daybook.sync_audit_log_default PARTITION OF daybook.sync_audit_log DEFAULT;
CREATE INDEX sync_audit_log_reference_idx ON daybook.sync_audit_log (reference_type, reference_id);
