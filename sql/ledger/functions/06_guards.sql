-- Purpose: what the journal depends on cannot be changed beneath it: a book's currency, decimals and zone once it has
--          entries; an account that has lines; a posting rule, of which only its replacement can be noted.
-- Touches: reads the journal, only where one of these is changed.
CREATE OR REPLACE FUNCTION ledger.guard_book() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (TG_OP = 'DELETE' OR (OLD.book, OLD.currency, OLD.minor_unit, OLD.time_zone)
                            IS DISTINCT FROM (NEW.book, NEW.currency, NEW.minor_unit, NEW.time_zone))
       AND EXISTS (SELECT FROM ledger.journal_entries AS e WHERE e.book = OLD.book) THEN
        RAISE EXCEPTION 'book % has entries in % with % decimals and days of %: none of it can be changed, nor the book deleted',
            OLD.book, OLD.currency, OLD.minor_unit, OLD.time_zone
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'Another currency is another book. Days of another zone: time_zone in a new version of the rule.';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;

CREATE OR REPLACE FUNCTION ledger.guard_account() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (OLD.book, OLD.account_code, OLD.account_type) = (NEW.book, NEW.account_code, NEW.account_type) THEN
            RETURN NEW;
        END IF;
    END IF;
    -- Whoever is posting holds the book FOR SHARE, and commits first.
    PERFORM FROM ledger.books AS b WHERE b.book = OLD.book FOR UPDATE;
    IF EXISTS (SELECT FROM ledger.journal_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id
                   WHERE e.book = OLD.book AND l.account_code = OLD.account_code) THEN
        RAISE EXCEPTION 'account % of book % has lines: its code and type stay, and it cannot be deleted',
            OLD.account_code, OLD.book
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'Change its name; or add another account, and map to that one in a new version of the rule.';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;

CREATE OR REPLACE FUNCTION ledger.guard_posting_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.replaced_at IS NULL
           AND (OLD.book, OLD.reference_type, OLD.version, OLD.valid_from, OLD.rule_hash, OLD.definition, OLD.applied_at, OLD.applied_by)
               = (NEW.book, NEW.reference_type, NEW.version, NEW.valid_from, NEW.rule_hash, NEW.definition, NEW.applied_at, NEW.applied_by)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'version % of posting rule % stays as it is: entries name it', OLD.version, OLD.reference_type
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'Apply another version: `daybook rules apply FILE`.';
END
$$;

CREATE OR REPLACE FUNCTION ledger.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE on ledger.% is refused: the journal depends on it', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'Delete what no entry needs, row by row.';
END
$$;

DO $triggers$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('books',         'guard_book',         'BEFORE UPDATE OR DELETE', 'ROW'),
            ('accounts',      'guard_account',      'BEFORE UPDATE OR DELETE', 'ROW'),
            ('posting_rules', 'guard_posting_rule', 'BEFORE UPDATE OR DELETE', 'ROW'),
            ('accounts',      'refuse_truncate',    'BEFORE TRUNCATE', 'STATEMENT'),
            ('posting_rules', 'refuse_truncate',    'BEFORE TRUNCATE', 'STATEMENT'),
            ('periods',       'refuse_truncate',    'BEFORE TRUNCATE', 'STATEMENT'),
            ('period_log',    'refuse_change',      'BEFORE UPDATE OR DELETE OR TRUNCATE', 'STATEMENT')
        ) AS g (table_name, function_name, event, level)
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                          WHERE t.tgrelid = format('ledger.%I', g.table_name)::regclass
                            AND t.tgname = g.function_name AND t.tgenabled = 'A')
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON ledger.%I', guard.function_name, guard.table_name);
        EXECUTE format('CREATE TRIGGER %I %s ON ledger.%I FOR EACH %s EXECUTE FUNCTION ledger.%I()', guard.function_name,
                       guard.event, guard.table_name, guard.level, guard.function_name);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER %I', guard.table_name, guard.function_name);
    END LOOP;
END
$triggers$;
