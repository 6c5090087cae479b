-- Purpose: bill tables of unusual make beside those of the clinic, the application's own triggers that write again, and a
--          witness that notes every change by itself. Nothing here is daybook's but the calls of attach and apply_rule.

-- Partitioned, with a composite key; an UPDATE of its year moves a bill to another partition.
CREATE TABLE claims (
    year     integer NOT NULL,
    number   integer NOT NULL,
    insurer  text,
    amount   numeric,
    approved numeric,
    status   text,
    filed_on date NOT NULL,
    seen     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (year, number)
) PARTITION BY RANGE (year);
CREATE TABLE claims_2023 PARTITION OF claims FOR VALUES FROM (2023) TO (2024);
CREATE TABLE claims_2024 PARTITION OF claims FOR VALUES FROM (2024) TO (2025);
CREATE TABLE claims_other PARTITION OF claims DEFAULT;

-- Two bills can exchange their keys within a transaction, after which the last event of a live row is a delete.
CREATE TABLE rooms (
    id      bigint NOT NULL,
    total   numeric,
    void_at timestamptz,
    left_on date NOT NULL,
    seen    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED
);

-- The table that its vendor and its DBA cannot leave alone.
CREATE TABLE vouchers (
    code    text PRIMARY KEY,
    value   numeric,
    mode    text,
    sold_at timestamptz NOT NULL DEFAULT now()
);

-- The application's own triggers: one updates the row that was just written, one writes another table, one changes the row
-- before it is stored.
CREATE FUNCTION public.discount_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.pharmacy_bills SET discount_type = 'done', discounted_total = total_amount - 1 WHERE id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_discount_again AFTER INSERT OR UPDATE ON pharmacy_bills FOR EACH ROW
    WHEN (NEW.discount_type = 'again' AND pg_trigger_depth() = 0) EXECUTE FUNCTION public.discount_again();

CREATE FUNCTION public.order_scan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ultrasound_bills (id, visit_id, total_amount, invoice_number) VALUES (NEW.id % 8 + 1, 13, NEW.amount, 'SCAN')
    ON CONFLICT (id) DO UPDATE SET total_amount = excluded.total_amount;
    RETURN NULL;
END
$$;
CREATE TRIGGER z_order_scan AFTER INSERT ON consultation_invoices FOR EACH ROW
    WHEN (NEW.visit_id = 13) EXECUTE FUNCTION public.order_scan();

CREATE FUNCTION public.round_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.amount := ceil(NEW.amount);
    RETURN NEW;
END
$$;
CREATE TRIGGER round_up BEFORE INSERT OR UPDATE ON lab_bills FOR EACH ROW
    WHEN (NEW.discount_type = 'round up') EXECUTE FUNCTION public.round_up();

-- The witness. Arguments: reference type; key columns; the other columns that matter. One row for each key that a write
-- concerns, in the writer's own transaction; none where nothing that matters was changed.
CREATE SCHEMA witness;
CREATE TABLE witness.changes (
    number         bigint GENERATED ALWAYS AS IDENTITY,
    xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    reference_type text NOT NULL,
    reference_id   text NOT NULL,
    what           text NOT NULL
);

CREATE FUNCTION witness.key_of(image jsonb, columns text[]) RETURNS text LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE cardinality(columns)
               WHEN 1 THEN image ->> columns[1]
               ELSE (SELECT jsonb_agg(image ->> c ORDER BY position) FROM unnest(columns) WITH ORDINALITY AS k (c, position))::text
           END
$$;

CREATE FUNCTION witness.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old_image jsonb := to_jsonb(OLD);
    new_image jsonb := to_jsonb(NEW);
    old_key text := witness.key_of(old_image, TG_ARGV[1]::text[]);
    new_key text := witness.key_of(new_image, TG_ARGV[1]::text[]);
BEGIN
    IF TG_OP = 'UPDATE' AND old_key = new_key
       AND NOT EXISTS (SELECT FROM unnest(TG_ARGV[2]::text[]) AS c
                       WHERE old_image ->> c IS DISTINCT FROM new_image ->> c) THEN
        RETURN NULL;
    END IF;
    INSERT INTO witness.changes (reference_type, reference_id, what)
    VALUES (TG_ARGV[0], coalesce(new_key, old_key), lower(TG_OP));
    IF old_key <> new_key THEN
        INSERT INTO witness.changes (reference_type, reference_id, what) VALUES (TG_ARGV[0], old_key, 'key change');
    END IF;
    RETURN NULL;
END
$$;

INSERT INTO ledger.accounts VALUES ('main', '4400', 'Claims revenue', 'income'), ('main', '4401', 'Claims revenue, new', 'income'),
    ('main', '4201', 'Laboratory revenue, new', 'income'), ('main', '4500', 'Room revenue', 'income'),
    ('main', '4600', 'Vouchers sold', 'liability');

SELECT ledger.apply_rule('main', 'CLAIM', $rule$reference_type = "CLAIM"
date = "filed_on"
party = [{ column = "insurer", prefix = "insurer:" }]
not_counted_when = [{ column = "status", is = ["draft", "void"], is_not = ["filed", "paid"] }]
amounts = [{ name = "claimed", first_of = ["approved", "amount"] }]
lines = [{ debit = "claimed", account_from = "settlement", settlement = true }, { credit = "claimed", account = "4400" }]
[[accounts.settlement]]
column = "status"
map = { filed = "1100", paid = "1010" }
$rule$);

SELECT ledger.apply_rule('main', 'ROOM', $rule$reference_type = "ROOM"
date = "left_on"
not_counted_when = [{ column = "void_at", is_null = false }]
amounts = [{ name = "total", first_of = ["total"] }, { name = "tax", tax_inside = "total", rate = "18" },
           { name = "net", of = "total", minus = "tax" }]
lines = [{ debit = "total", account = "1100" }, { credit = "net", account = "4500" }, { credit = "tax", account = "2100" }]
$rule$);

SELECT ledger.apply_rule('main', 'VOUCHER', $rule$reference_type = "VOUCHER"
date = "sold_at"
amounts = [{ name = "value", first_of = ["value"], otherwise = "0" }]
lines = [{ debit = "value", account_from = "settlement", settlement = true }, { credit = "value", account = "4600" }]
[[accounts.settlement]]
column = "mode"
null = "1000"
empty = "1000"
otherwise = "1010"
map = { card = "1020" }
$rule$);

SELECT daybook.attach('claims', 'CLAIM', ARRAY['year', 'number'], ARRAY['insurer', 'amount', 'approved', 'status', 'filed_on']);
SELECT daybook.attach('rooms', 'ROOM', ARRAY['id'], ARRAY['total', 'void_at', 'left_on']);
SELECT daybook.attach('vouchers', 'VOUCHER', ARRAY['code'], ARRAY['value', 'mode', 'sold_at']);

DO $$
DECLARE
    attached daybook.sync_source;
BEGIN
    FOR attached IN SELECT * FROM daybook.sync_source LOOP
        EXECUTE format('CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION witness.note(%L, %L, %L)',
                       attached.relation, attached.reference_type, attached.key_columns, attached.filter_columns);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zz_witness', attached.relation);
    END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO desk;
