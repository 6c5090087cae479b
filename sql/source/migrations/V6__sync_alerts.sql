-- Purpose: alerts with their life; at most one that is not resolved per type and cause.
CREATE TABLE daybook.sync_alerts (
    alert_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_type      text NOT NULL,
    cause           text NOT NULL, -- what the alert is about: a reference type, a process
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state           text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'resolved')),
    message         text NOT NULL,
    details         jsonb NOT NULL DEFAULT '{}',
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    acknowledged_at timestamptz,
    acknowledged_by text,
    resolved_at     timestamptz,
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL))
);

CREATE UNIQUE INDEX sync_alerts_unresolved_idx ON daybook.sync_alerts (alert_type, cause) WHERE state <> 'resolved';
