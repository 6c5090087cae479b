-- Purpose: the heartbeat of each process that works on this source.
CREATE TABLE daybook.sync_system_health (
    process        text PRIMARY KEY, -- host name and process id
    version        text NOT NULL,
    workers        integer NOT NULL,
    started_at     timestamptz NOT NULL,
    heartbeat_at   timestamptz NOT NULL,
    finished_count bigint NOT NULL -- events finished since started_at
);
