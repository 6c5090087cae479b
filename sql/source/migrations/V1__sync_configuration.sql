-- Purpose: operating settings, changed by SQL and taken up by running consumers within seconds.
-- A value that is not of its kind or out of its bounds is refused here, so that no reader has to guess. A row needs
-- value_kind, minimum and maximum, so an INSERT that misspells a key fails instead of being ignored.
CREATE TABLE daybook.sync_configuration (
    config_key   text PRIMARY KEY,
    config_value text NOT NULL,
    value_kind   text NOT NULL CHECK (value_kind IN ('integer', 'number', 'name')),
    minimum      numeric,
    maximum      numeric,
    fixed        boolean NOT NULL DEFAULT false, -- set once, at installation
    description  text NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by   text NOT NULL DEFAULT session_user,
    CONSTRAINT config_value_is_of_its_kind_and_within_its_bounds CHECK (
        CASE value_kind
            WHEN 'integer' THEN CASE WHEN config_value ~ '^[0-9]{1,9}$'
                                     THEN config_value::numeric BETWEEN minimum AND maximum ELSE false END
            WHEN 'number'  THEN CASE WHEN config_value ~ '^[0-9]{1,9}(\.[0-9]{1,6})?$'
                                     THEN config_value::numeric BETWEEN minimum AND maximum ELSE false END
            WHEN 'name'    THEN config_value ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'
            ELSE false
        END),
    CONSTRAINT numbers_have_bounds CHECK (value_kind = 'name' OR (minimum IS NOT NULL AND maximum IS NOT NULL))
);

INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('max_retry_attempts',       '5',    'integer', 1,   100,    'a bill that failed so often is parked'),
    ('retry_delay_seconds',      '60',   'number',  0,   86400,  'wait before the first retry'),
    ('retry_backoff_multiplier', '2',    'number',  1,   100,    'each further wait is this many times the last'),
    ('queue_batch_size',         '1000', 'integer', 1,   10000,  'most events that one worker claims at once'),
    ('poll_interval_ms_max',     '250',  'integer', 5,   60000,  'longest sleep of an idle consumer'),
    ('table_retry_seconds',      '5',    'number',  0.1, 3600,   'wait before a table that could not be read is tried again');
