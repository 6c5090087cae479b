-- Purpose: keep what was fixed at installation, and note who changed a setting.
CREATE OR REPLACE FUNCTION daybook.guard_configuration() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.fixed OR TG_OP = 'DELETE'
       OR (OLD.config_key, OLD.value_kind, OLD.minimum, OLD.maximum, OLD.fixed)
          IS DISTINCT FROM (NEW.config_key, NEW.value_kind, NEW.minimum, NEW.maximum, NEW.fixed) THEN
        RAISE EXCEPTION 'setting % cannot be changed this way', OLD.config_key
            USING HINT = CASE WHEN OLD.fixed THEN 'It was fixed at installation, because the ledger knows bills by it.'
                              ELSE 'Change config_value alone.' END;
    END IF;
    NEW.updated_at := clock_timestamp();
    NEW.updated_by := session_user;
    RETURN NEW;
END
$$;

DO $trigger$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'daybook.sync_configuration'::regclass
                   AND tgname = 'guard_configuration' AND tgenabled = 'A') THEN
        DROP TRIGGER IF EXISTS guard_configuration ON daybook.sync_configuration;
        CREATE TRIGGER guard_configuration BEFORE UPDATE OR DELETE ON daybook.sync_configuration
            FOR EACH ROW EXECUTE FUNCTION daybook.guard_configuration();
        ALTER TABLE daybook.sync_configuration ENABLE ALWAYS TRIGGER guard_configuration;
    END IF;
END
$trigger$;
