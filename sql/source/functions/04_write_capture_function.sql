-- Purpose: write the capture function of one attached table from its row in sync_source. This is the only code of
--          daybook that runs inside an application's transaction; read what it wrote with \sf daybook.capture_pharmacy
--          (the name is capture_ and the reference type in lower case). Its text stands apart, so that `daybook doctor` can
--          compare what is there with what would be written.
--          Replacing a function takes no lock on the bill table. That is how suspend works, and how a retyped key is
--          taken up: no plan, no trigger argument and no snapshot of the application can hold on to the old one.
-- Inputs: the attached table. Touches: the catalog only. Needs: the row in sync_source, locked by the caller.
-- What is guarded: reading the key, and comparing the filter columns. A key that cannot be read as it was attached gives
--          an event without key, which makes the consumer reconcile the table; a comparison that fails gives an event.
--          The INSERT stands outside the guards: inside, it would cost the application a subtransaction id per row. If
--          the queue itself cannot be written, the application's write fails: nothing is swallowed.
CREATE OR REPLACE FUNCTION daybook.capture_function_body(attached regclass) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $write$
DECLARE
    definition daybook.sync_source;
    old_key_has_its_type text;
    new_key_has_its_type text;
    nothing_watched_changed text;
BEGIN
    SELECT * INTO STRICT definition FROM daybook.sync_source WHERE relation = attached;

    IF definition.suspended_at IS NOT NULL THEN
        RETURN 'BEGIN
    -- Suspended by daybook.suspend: nothing is captured until daybook.resume.
    RETURN NULL;
END';
    ELSE
        SELECT string_agg(format('pg_typeof(OLD.%I) = %L::regtype', k.c, k.t::text), ' AND ' ORDER BY k.position),
               string_agg(format('pg_typeof(NEW.%I) = %L::regtype', k.c, k.t::text), ' AND ' ORDER BY k.position)
        INTO old_key_has_its_type, new_key_has_its_type
        FROM unnest(definition.key_columns, definition.key_types) WITH ORDINALITY AS k (c, t, position);

        -- Images are compared: they know every type and NULL, and may only err towards an event.
        SELECT format('NOT pg_catalog.record_image_ne(ROW(%s), ROW(%s))',
                      string_agg(format('OLD.%I', f.c), ', ' ORDER BY f.position),
                      string_agg(format('NEW.%I', f.c), ', ' ORDER BY f.position))
        INTO nothing_watched_changed
        FROM unnest(definition.filter_columns) WITH ORDINALITY AS f (c, position)
        -- A virtual column has no value in a trigger: then every update is an event.
        HAVING count(*) > 0 AND NOT EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = definition.relation AND a.attname = ANY (definition.filter_columns) AND a.attgenerated = 'v');

        RETURN format($template$DECLARE
    old_key text;
    new_key text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO daybook.sync_queue (source, reference_type, operation) VALUES (%1$L, %2$L, 'truncate');
        RETURN NULL;
    END IF;

    BEGIN
        IF TG_OP <> 'INSERT' AND %3$s THEN
            old_key := %4$s;
        END IF;
        IF TG_OP <> 'DELETE' AND %5$s THEN
            new_key := %6$s;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        old_key := NULL;
        new_key := NULL;
    END;
    IF (TG_OP <> 'INSERT' AND (old_key IS NULL OR octet_length(old_key) > 1024))
       OR (TG_OP <> 'DELETE' AND (new_key IS NULL OR octet_length(new_key) > 1024)) THEN
        INSERT INTO daybook.sync_queue (source, reference_type, operation) VALUES (%1$L, %2$L, lower(TG_OP));
        RETURN NULL;
    END IF;

    IF TG_OP = 'UPDATE' AND old_key = new_key THEN
        BEGIN
            IF %7$s THEN
                RETURN NULL;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END IF;

    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation)
    VALUES (%1$L, %2$L, coalesce(new_key, old_key), lower(TG_OP));
    IF old_key <> new_key THEN
        INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation)
        VALUES (%1$L, %2$L, old_key, 'delete'); -- no row has this key any more
    END IF;
    RETURN NULL;
END$template$,
            definition.source, definition.reference_type,
            old_key_has_its_type, daybook.key_expression('OLD', definition.key_columns),
            new_key_has_its_type, daybook.key_expression('NEW', definition.key_columns),
            coalesce(nothing_watched_changed, 'false'));
    END IF;
END
$write$;

CREATE OR REPLACE FUNCTION daybook.write_capture_function(attached regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $write$
DECLARE
    definition daybook.sync_source;
BEGIN
    SELECT * INTO STRICT definition FROM daybook.sync_source WHERE relation = attached;
    IF definition.capture_mode = 'wal' THEN
        RETURN; -- without triggers
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION daybook.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER '
                   || 'SET search_path = pg_catalog, pg_temp AS %L',
                   'capture_' || lower(definition.reference_type), daybook.capture_function_body(attached));
    -- When the application makes or attaches a partition, the trigger is cloned, and PostgreSQL asks whether the application
    -- may execute its function. Nobody else can name it: that takes USAGE on the schema.
    EXECUTE format('GRANT EXECUTE ON FUNCTION daybook.%I() TO PUBLIC', 'capture_' || lower(definition.reference_type));
END
$write$;
