-- Purpose: the steps of a day of cash stay as they are, and follow each other in order, whoever writes them: a superuser, too, and under
--          session_replication_role = replica, where foreign keys do not hold.
-- Touches: SHARE ROW EXCLUSIVE on the tables of cash, only where a guard is missing; reads them by key.
CREATE OR REPLACE FUNCTION ledger.refuse_cash_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on ledger.% is refused: what was counted and closed stays as it is', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Count again, which is another count; or have a controller reopen the day, with a reason.';
END
$$;

CREATE OR REPLACE FUNCTION ledger.guard_cash_step() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    state text := (SELECT c.state FROM ledger.cash_closures AS c
                   WHERE (c.book, c.site, c.day, c.spell) = (NEW.book, NEW.site, NEW.day, NEW.spell));
    former text := (SELECT c.state FROM ledger.cash_closures AS c
                    WHERE (c.book, c.site, c.day, c.spell) = (NEW.book, NEW.site, NEW.day, NEW.spell - 1));
    in_order boolean;
BEGIN
    in_order := CASE TG_TABLE_NAME
        WHEN 'cash_days' THEN CASE WHEN NEW.spell = 1 THEN true ELSE former = 'reopened' END
        WHEN 'cash_counts' THEN state IN ('open', 'counted')
        WHEN 'cash_closing_accounts' THEN state = 'counted'
        WHEN 'cash_closings' THEN state = 'counted'
        WHEN 'cash_reopenings' THEN state = 'closed' END;
    IF in_order AND TG_TABLE_NAME = 'cash_closings' THEN
        -- The difference is posted if there is one, and nothing where there is none.
        in_order := EXISTS (SELECT FROM ledger.cash_closing_accounts AS a
                            WHERE (a.book, a.site, a.day, a.spell) = (NEW.book, NEW.site, NEW.day, NEW.spell))
                    AND (NEW.entry_id IS NOT NULL)
                        = EXISTS (SELECT FROM ledger.cash_closing_accounts AS a
                                  WHERE (a.book, a.site, a.day, a.spell) = (NEW.book, NEW.site, NEW.day, NEW.spell) AND a.difference <> 0);
    END IF;
    IF in_order IS NOT TRUE THEN
        RAISE EXCEPTION 'a row of ledger.% is out of order: the cash of site % on %, spell %, is %', TG_TABLE_NAME, NEW.site, NEW.day,
            NEW.spell, coalesce(state, 'not opened')
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'Days are opened, counted, closed and reopened by the functions of these names.';
    END IF;
    RETURN NEW;
END
$$;

DO $triggers$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT t.table_name, g.*
        FROM (VALUES ('cash_days'), ('cash_counts'), ('cash_closing_accounts'), ('cash_closings'), ('cash_reopenings')) AS t (table_name)
        CROSS JOIN (VALUES ('refuse_cash_change', 'BEFORE UPDATE OR DELETE OR TRUNCATE', 'STATEMENT'),
                           ('guard_cash_step',    'BEFORE INSERT', 'ROW')) AS g (function_name, event, level)
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS p
                          WHERE p.tgrelid = format('ledger.%I', t.table_name)::regclass
                            AND p.tgname = g.function_name AND p.tgenabled = 'A')
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON ledger.%I', guard.function_name, guard.table_name);
        EXECUTE format('CREATE TRIGGER %I %s ON ledger.%I FOR EACH %s EXECUTE FUNCTION ledger.%I()', guard.function_name,
                       guard.event, guard.table_name, guard.level, guard.function_name);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER %I', guard.table_name, guard.function_name);
    END LOOP;
END
$triggers$;
