-- Purpose: figures over time, one row about each minute while a process lives; partitioned by month, so that retention drops partitions.
CREATE TABLE daybook.sync_health_figures (
    measured_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    source             text NOT NULL,
    processes_alive    integer NOT NULL,
    queued             bigint NOT NULL,
    oldest_due_seconds bigint,          -- how long the event has been due that has been so for longest
    failed             bigint NOT NULL, -- queued events that have failed at least once
    parked             bigint NOT NULL,
    alerts_open        bigint NOT NULL,
    finished_count     numeric NOT NULL -- events finished by the processes alive, each since its start
) PARTITION BY RANGE (measured_at);

CREATE TABLE daybook.sync_health_figures_default PARTITION OF daybook.sync_health_figures DEFAULT;
CREATE INDEX sync_health_figures_measured_idx ON daybook.sync_health_figures (measured_at);
