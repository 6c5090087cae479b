-- Purpose: stop posting for a source, from the next batch on, and go on. Changes go on being captured meanwhile.
-- Touches: sync_configuration. Consumers look at it before each batch.
CREATE OR REPLACE FUNCTION daybook.pause() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.sync_configuration SET config_value = 'paused' WHERE config_key = 'posting' AND config_value <> 'paused'
$$;

CREATE OR REPLACE FUNCTION daybook.resume() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.sync_configuration SET config_value = 'running' WHERE config_key = 'posting' AND config_value <> 'running'
$$;
