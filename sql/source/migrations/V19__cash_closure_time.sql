-- Purpose: a setting of a kind of its own, a time of day: when a site's day of cash has to be closed.
ALTER TABLE daybook.sync_configuration
    DROP CONSTRAINT sync_configuration_value_kind_check,
    DROP CONSTRAINT config_value_is_of_its_kind_and_within_its_bounds,
    DROP CONSTRAINT numbers_have_bounds,
    ADD CONSTRAINT sync_configuration_value_kind_check CHECK (value_kind IN ('integer', 'number', 'name', 'time')),
    ADD CONSTRAINT config_value_is_of_its_kind_and_within_its_bounds CHECK (
        CASE value_kind
            WHEN 'integer' THEN CASE WHEN config_value ~ '^[0-9]{1,9}$'
                                     THEN config_value::numeric BETWEEN minimum AND maximum ELSE false END
            WHEN 'number'  THEN CASE WHEN config_value ~ '^[0-9]{1,9}(\.[0-9]{1,6})?$'
                                     THEN config_value::numeric BETWEEN minimum AND maximum ELSE false END
            WHEN 'name'    THEN config_value ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'
            WHEN 'time'    THEN config_value ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
            ELSE false
        END),
    ADD CONSTRAINT numbers_have_bounds CHECK (value_kind IN ('name', 'time') OR (minimum IS NOT NULL AND maximum IS NOT NULL));

INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, description) VALUES
    ('cash_closure_time', '23:59', 'time', 'CASH_NOT_CLOSED: a site''s cash is to be closed by then, on the day itself, in the book''s zone');
