-- Purpose: a block goes in only at the end of its book's chain, with the hash that its content has. What is in the chain stays as
--          it is, and its mark never goes back.

-- What a block's hash is made of, version 1: the texts and the hashes with their length before them, the numbers as 8 bytes, the
-- time as microseconds since 2000-01-01. src/chain/encoding.rs says the same.
CREATE OR REPLACE FUNCTION ledger.block_hash(block ledger.blocks) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(int4send(15) || convert_to('daybook block 1', 'UTF8')
                  || int4send(octet_length(convert_to(block.book, 'UTF8'))) || convert_to(block.book, 'UTF8')
                  || int8send(block.block_number) || int8send(block.first_entry_number) || int8send(block.passed_entry_id)
                  || timestamptz_send(block.sealed_at)
                  || int4send(octet_length(block.previous_hash)) || block.previous_hash
                  || int4send(cardinality(block.entry_ids))
                  || (SELECT string_agg(int8send(i.id), '' ORDER BY i.position)
                      FROM unnest(block.entry_ids) WITH ORDINALITY AS i (id, position))
                  || block.entry_hashes)
$$;

CREATE OR REPLACE FUNCTION ledger.chain_block() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    problem text;
    before ledger.blocks;
BEGIN
    SELECT * INTO before FROM ledger.blocks AS b WHERE b.book = NEW.book ORDER BY b.block_number DESC LIMIT 1;
    problem := CASE
        WHEN NEW.block_number <> coalesce(before.block_number, 0) + 1 THEN 'another number than the next'
        WHEN NEW.first_entry_number <> coalesce(before.first_entry_number + cardinality(before.entry_ids), 1)
            THEN 'another first entry number than the next'
        WHEN NEW.previous_hash <> coalesce(before.block_hash, decode(repeat('00', 32), 'hex')) THEN 'another previous hash'
        WHEN NEW.passed_entry_id < before.passed_entry_id THEN 'a mark that goes back'
        WHEN NEW.lowest_entry_id <= before.passed_entry_id THEN 'an entry below the mark'
        WHEN NEW.encoding <> 1 THEN 'an encoding that this schema does not know'
        WHEN NEW.block_hash <> ledger.block_hash(NEW) THEN 'another hash than its content'
        WHEN EXISTS (SELECT FROM (SELECT i.id, lag(i.id) OVER (ORDER BY i.position) AS id_before
                                  FROM unnest(NEW.entry_ids) WITH ORDINALITY AS i (id, position)) AS o
                     WHERE o.id <= o.id_before) THEN 'entries that are not in the order of their ids'
        WHEN cardinality(NEW.entry_ids) <> (SELECT count(*) FROM unnest(NEW.entry_ids) AS i (id)
                                            JOIN ledger.journal_entries AS e ON e.id = i.id AND e.book = NEW.book)
            THEN 'entries that are not in the journal'
        WHEN EXISTS (SELECT FROM ledger.blocks AS b CROSS JOIN LATERAL unnest(b.entry_ids) AS i (id)
                     WHERE b.book = NEW.book AND b.highest_entry_id >= NEW.lowest_entry_id AND b.lowest_entry_id <= NEW.highest_entry_id
                       AND i.id BETWEEN NEW.lowest_entry_id AND NEW.highest_entry_id AND i.id = ANY (NEW.entry_ids))
            THEN 'entries that are sealed already'
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'block % of book % has %', NEW.block_number, NEW.book, problem
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'Only `daybook run` and `daybook drain` seal entries; `daybook verify` says what is wrong with the chain.';
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION ledger.guard_chain() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.book = OLD.book AND NEW.passed_entry_id >= OLD.passed_entry_id THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the mark of the chain of book % never goes back', OLD.book
        USING ERRCODE = 'integrity_constraint_violation', HINT = 'Entries are sealed in the order in which they become final.';
END
$$;

DO $triggers$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('blocks', 'append_only',     'refuse_change',   'BEFORE UPDATE OR DELETE OR TRUNCATE', 'STATEMENT'),
            ('blocks', 'chain_block',     'chain_block',     'BEFORE INSERT', 'ROW'),
            ('chains', 'guard_chain',     'guard_chain',     'BEFORE UPDATE OR DELETE', 'ROW'),
            ('chains', 'refuse_truncate', 'refuse_truncate', 'BEFORE TRUNCATE', 'STATEMENT')
        ) AS g (table_name, trigger_name, function_name, event, level)
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                          WHERE t.tgrelid = format('ledger.%I', g.table_name)::regclass
                            AND t.tgname = g.trigger_name AND t.tgenabled = 'A')
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON ledger.%I', guard.trigger_name, guard.table_name);
        EXECUTE format('CREATE TRIGGER %I %s ON ledger.%I FOR EACH %s EXECUTE FUNCTION ledger.%I()', guard.trigger_name,
                       guard.event, guard.table_name, guard.level, guard.function_name);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER %I', guard.table_name, guard.trigger_name);
    END LOOP;
END
$triggers$;
