-- Purpose: settings: the brake on disappearances, the throttle of enqueueing whole tables, and the pause of posting.
INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('reversal_brake',     '100',     'integer', 0,    999999999, 'more bills of a table than this whose rows are gone within an hour keep their entries until somebody decides'),
    ('backfill_queue_max', '10000',   'integer', 1000, 10000000,  'a whole table is enqueued no further while so many of its events wait'),
    ('posting',            'running', 'name',    NULL, NULL,      'running or paused: daybook.pause, daybook.resume');
ALTER TABLE daybook.sync_configuration ADD CONSTRAINT posting_is_running_or_paused
    CHECK (config_key <> 'posting' OR config_value IN ('running', 'paused'));
