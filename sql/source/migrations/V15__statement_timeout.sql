-- Purpose: a setting: how long a statement of a consumer may take. Where no answer comes for five seconds more, the network has
-- swallowed it, and the connection is made anew.
INSERT INTO daybook.sync_configuration (config_key, config_value, value_kind, minimum, maximum, description) VALUES
    ('statement_timeout_seconds', '30', 'integer', 1, 3600, 'longest time that a statement of a consumer may take');
