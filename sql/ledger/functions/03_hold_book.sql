-- Purpose: hold the book against closing while a batch is posted, and learn its currency, zone and closed periods; and whether days of cash
--          are closed there at all, which are asked for by site and day once it is known what is to be posted.
-- Inputs: the book. Touches: FOR SHARE on the row of books until the transaction ends.
-- Runs as daybook_owner, so that the consumer needs no right to change books. Its second query has a snapshot of its own,
-- taken after the wait for the lock: it sees what was closed meanwhile.
DROP FUNCTION IF EXISTS ledger.lock_book(text); -- consumers of the first version, which know no policies, stop here
DO $drop$
BEGIN
    IF EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure('ledger.hold_book(text)') AND NOT 'closes_cash' = ANY (proargnames)) THEN
        DROP FUNCTION ledger.hold_book(text); -- it returned less
    END IF;
END
$drop$;
CREATE OR REPLACE FUNCTION ledger.hold_book(
    locked_book text, OUT currency text, OUT minor_unit smallint, OUT time_zone text,
    OUT closed_from date[], OUT closed_to date[], OUT closes_cash boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT b.currency, b.minor_unit, b.time_zone INTO currency, minor_unit, time_zone
    FROM ledger.books AS b WHERE b.book = locked_book FOR SHARE;
    SELECT coalesce(array_agg(p.first_day ORDER BY p.first_day), '{}'),
           coalesce(array_agg(p.last_day ORDER BY p.first_day), '{}')
    INTO closed_from, closed_to
    FROM ledger.periods AS p WHERE p.book = locked_book AND p.state <> 'open';
    closes_cash := EXISTS (SELECT FROM ledger.cash_closings AS c WHERE c.book = locked_book);
END
$$;
