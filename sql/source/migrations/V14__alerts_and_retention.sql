-- Purpose: settings: when an alert opens by itself, and how long what is finished is kept.
-- The queue's size lies above what backfills of a few tables keep waiting on purpose (backfill_queue_max, 10,000 a table).
-- Four hundred days are a year of business and its closing; the journal keeps the cause of every entry anyway, for ever.
INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('alert_threshold_queue_size',        '50000', 'integer', 1, 100000000, 'QUEUE_BACKUP: more events than this are queued'),
    ('alert_threshold_queue_age_seconds', '300',   'integer', 1, 86400,     'QUEUE_BACKUP: an event has been due for longer than this'),
    ('alert_threshold_failed_syncs',      '10',    'integer', 1, 1000000,   'SYNC_FAILURES: so many bills of a table fail or are parked'),
    ('audit_log_retention_days',          '400',   'integer', 1, 36500,     'finished events, healed dead letters and resolved alerts are kept for so long'),
    ('health_retention_days',             '90',    'integer', 1, 36500,     'figures over time are kept for so long');
