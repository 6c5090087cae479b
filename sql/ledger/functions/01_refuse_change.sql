-- Purpose: what is in the journal stays as it is. Fires for every UPDATE, DELETE and TRUNCATE statement, also for ON
--          CONFLICT DO UPDATE and MERGE, for superusers, and under session_replication_role = replica.
CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on ledger.% is refused: the journal is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Correct the bill, and daybook posts a reversal and a correction.';
END
$$;
