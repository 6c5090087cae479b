-- Purpose: an unbalanced or incomplete entry cannot be stored. Header and lines come in one statement; at its end
--          seal_lines demands that the lines of each entry are as many as the header says, numbered from 1, balanced,
--          in the book's currency and scale, on accounts of the book; seal_headers demands that each header has lines, and
--          that a reversal mirrors an entry of its own bill, line by line, and that no entry lies in a closed period, nor in a
--          closed day of cash of one of its sites. It holds the books FOR SHARE, so that whoever closes waits for this transaction, or
--          this one sees it closed.
-- Touches: reads the journal, books, accounts, periods and closed days of cash by key, for the new rows only; row locks in books.
-- The planner is held to nested loops over indexes: statistics lag behind, and a plan from when the journal was small would
-- read all of it for each batch once it is large.
CREATE OR REPLACE FUNCTION ledger.seal_lines() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    broken_entry bigint;
    stray_account text;
BEGIN
    SELECT l.entry_id INTO broken_entry
    FROM (SELECT entry_id, count(*) AS lines, max(line_no) AS highest_line_no, sum(debit) AS debit, sum(credit) AS credit,
                 min(currency) AS currency, max(currency) AS other_currency,
                 max(scale(trim_scale(greatest(debit, credit)))) AS decimals
          FROM new_lines GROUP BY entry_id) AS l
    LEFT JOIN ledger.journal_entries AS e ON e.id = l.entry_id
    LEFT JOIN ledger.books AS b ON b.book = e.book
    WHERE (l.lines = e.line_count AND l.highest_line_no = e.line_count AND l.debit = l.credit AND l.debit = e.total
           AND l.currency = b.currency AND l.other_currency = b.currency AND l.decimals <= b.minor_unit) IS NOT TRUE
    LIMIT 1;
    IF broken_entry IS NOT NULL THEN
        RAISE EXCEPTION 'entry % is unbalanced, incomplete, sealed already, without header, or not in its book''s currency',
            broken_entry USING ERRCODE = 'integrity_constraint_violation',
            HINT = 'Header and lines go in with one statement: as many lines as line_count says, numbered from 1, debits '
                   || 'and credits both equal to total.';
    END IF;

    SELECT u.account_code INTO stray_account
    FROM (SELECT DISTINCT e.book, l.account_code
          FROM new_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id) AS u
    LEFT JOIN ledger.accounts AS a ON a.book = u.book AND a.account_code = u.account_code
    WHERE a.account_code IS NULL
    LIMIT 1;
    IF stray_account IS NOT NULL THEN
        RAISE EXCEPTION 'account % is not in the chart of accounts', stray_account
            USING ERRCODE = 'foreign_key_violation', HINT = 'Add it to ledger.accounts, or correct the posting rule.';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION ledger.seal_headers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    broken_entry bigint;
BEGIN
    PERFORM FROM ledger.books AS b WHERE b.book IN (SELECT e.book FROM new_entries AS e) ORDER BY b.book FOR SHARE;
    SELECT e.id INTO broken_entry
    FROM new_entries AS e
    JOIN ledger.periods AS p ON p.book = e.book AND e.posting_date BETWEEN p.first_day AND p.last_day AND p.state <> 'open'
    LIMIT 1;
    IF broken_entry IS NOT NULL THEN
        RAISE EXCEPTION 'entry % would be posted into a closed period', broken_entry
            USING ERRCODE = 'integrity_constraint_violation', HINT = 'Post it on the first open day, marked late.';
    END IF;

    -- Lines are looked up only where some site's cash is closed on such a day.
    IF EXISTS (SELECT FROM (SELECT DISTINCT e.book, e.posting_date FROM new_entries AS e) AS d
               JOIN ledger.cash_closings AS c ON c.book = d.book AND c.day = d.posting_date) THEN
        SELECT e.id INTO broken_entry
        FROM new_entries AS e
        JOIN ledger.journal_lines AS l ON l.entry_id = e.id
        JOIN ledger.closed_cash_days AS c ON c.book = e.book AND c.site = l.site AND c.day = e.posting_date
        LIMIT 1;
        IF broken_entry IS NOT NULL THEN
            RAISE EXCEPTION 'entry % would be posted into a closed day of its site''s cash', broken_entry
                USING ERRCODE = 'integrity_constraint_violation', HINT = 'Post it on the first open day, marked late.';
        END IF;
    END IF;

    SELECT e.id INTO broken_entry
    FROM new_entries AS e
    WHERE NOT EXISTS (SELECT FROM ledger.journal_lines AS l WHERE l.entry_id = e.id AND l.line_no = 1)
    LIMIT 1;
    IF broken_entry IS NOT NULL THEN
        RAISE EXCEPTION 'entry % has no lines', broken_entry USING ERRCODE = 'integrity_constraint_violation',
            HINT = 'Header and lines go in with one statement.';
    END IF;

    SELECT e.id INTO broken_entry
    FROM new_entries AS e
    LEFT JOIN ledger.journal_entries AS reversed ON reversed.id = e.reverses_id
    WHERE e.reverses_id IS NOT NULL
      AND ((reversed.book, reversed.source, reversed.reference_type, reversed.reference_id, reversed.line_count)
           = (e.book, e.source, e.reference_type, e.reference_id, e.line_count)
           AND reversed.kind <> 'reversal' AND reversed.effective_date = e.effective_date
           AND e.line_count = (SELECT count(*)
                               FROM ledger.journal_lines AS l
                               JOIN ledger.journal_lines AS r ON r.entry_id = reversed.id AND r.line_no = l.line_no
                               WHERE l.entry_id = e.id
                                 AND (l.account_code, l.currency, l.debit, l.credit)
                                     = (r.account_code, r.currency, r.credit, r.debit))) IS NOT TRUE
    LIMIT 1;
    IF broken_entry IS NOT NULL THEN
        RAISE EXCEPTION 'entry % does not reverse an entry of its own bill, line by line', broken_entry
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'The same accounts with debit and credit exchanged; a reversal itself cannot be reversed.';
    END IF;
    RETURN NULL;
END
$$;
