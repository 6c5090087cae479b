-- Purpose: take up the key's present types where the vendor changed them, by writing the capture function anew.
-- Inputs: an attached reference type. Returns null when the key can be captured, else what is wrong and what to do.
-- Touches: the row in sync_source; no lock on the bill table. Called by the consumer when a key could not be read.
CREATE OR REPLACE FUNCTION daybook.refresh_capture(dirty_reference_type text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition daybook.sync_source;
    present_types regtype[];
    advice text;
BEGIN
    SELECT * INTO STRICT definition FROM daybook.sync_source WHERE reference_type = dirty_reference_type FOR UPDATE;
    PERFORM daybook.check_attachable(definition.relation, definition.reference_type, definition.key_columns,
                                     definition.key_columns, definition.capture_mode);
    IF definition.capture_mode <> 'trigger' THEN
        advice := daybook.replica_identity_advice(definition.relation, definition.key_columns);
        IF advice IS NOT NULL THEN
            RETURN format('the replica identity of %s does not cover its key. %s', definition.relation, advice);
        END IF;
    END IF;
    SELECT array_agg(a.atttypid::regtype ORDER BY k.position) INTO present_types
    FROM unnest(definition.key_columns) WITH ORDINALITY AS k (c, position)
    JOIN pg_attribute AS a ON a.attrelid = definition.relation AND a.attname = k.c;
    IF present_types <> definition.key_types THEN
        UPDATE daybook.sync_source SET key_types = present_types WHERE relation = definition.relation;
        PERFORM daybook.write_capture_function(definition.relation);
    END IF;
    RETURN NULL;
EXCEPTION WHEN raise_exception THEN
    GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
    RETURN SQLERRM || '. ' || advice;
END
$$;
