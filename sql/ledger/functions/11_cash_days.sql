-- Purpose: a site's day of cash: opened with a float, counted by a person. Closing and reopening it: 12_close_cash_day.sql.
--          For members of daybook_cashier and daybook_controller.
-- Touches: cash_days, cash_counts; reads books, accounts, sources, the journal.

-- The first day from the given one on, on which the site's entries can be posted: in no closed period, and no closed day of its cash.
CREATE OR REPLACE FUNCTION ledger.first_open_day(asked_book text, asked_site text, asked_day date) RETURNS date
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    open_day date := asked_day;
    next_day date;
BEGIN
    LOOP
        SELECT max(of.last_day) + 1 INTO next_day
        FROM (SELECT p.last_day FROM ledger.periods AS p
              WHERE p.book = asked_book AND p.state <> 'open' AND open_day BETWEEN p.first_day AND p.last_day
              UNION ALL
              SELECT c.day FROM ledger.closed_cash_days AS c
              WHERE c.book = asked_book AND c.site = asked_site AND c.day = open_day) AS of;
        IF next_day IS NULL THEN
            RETURN open_day;
        END IF;
        open_day := next_day;
    END LOOP;
END
$$;

-- What the journal says was taken on each account that is counted, or was on that day: everything that is posted on the day, but differences
-- of other days.
-- The planner is held to the headers of the day, by the index of ranges, and then to their lines by key: nobody can post meanwhile.
CREATE OR REPLACE FUNCTION ledger.expected_cash(asked_book text, asked_site text, asked_day date)
RETURNS TABLE (account_code text, expected numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
    WITH counted AS MATERIALIZED (
        SELECT a.account_code
        FROM ledger.accounts AS a
        WHERE a.book = asked_book
          AND (a.counted_as IS NOT NULL
               OR EXISTS (SELECT FROM ledger.cash_counts AS n
                          WHERE (n.book, n.site, n.day, n.account_code) = (asked_book, asked_site, asked_day, a.account_code)))
    ), entries AS MATERIALIZED (
        SELECT e.id
        FROM ledger.journal_entries AS e
        WHERE e.book = asked_book AND e.posting_date = asked_day AND e.reference_type <> 'CASH_CLOSURE'
    )
    SELECT l.account_code, sum(l.debit) - sum(l.credit)
    FROM entries AS e
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    WHERE l.site = asked_site AND l.account_code IN (SELECT c.account_code FROM counted AS c)
    GROUP BY l.account_code
$$;

-- Takes the day of a site for a step, until the transaction ends, and returns its last spell. Each statement after it sees what others
-- did meanwhile; in an older snapshot it would not.
CREATE OR REPLACE FUNCTION ledger.take_cash_day(asked_book text, asked_site text, asked_day date) RETURNS ledger.cash_closures
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present ledger.cash_closures;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a day of cash cannot be told in a transaction of isolation level %', current_setting('transaction_isolation')
            USING HINT = 'Use READ COMMITTED: what is posted meanwhile must be seen.';
    ELSIF NOT EXISTS (SELECT FROM ledger.books AS b WHERE b.book = asked_book) THEN
        RAISE EXCEPTION 'there is no book %', quote_nullable(asked_book) USING HINT = 'Books stand in ledger.books.';
    ELSIF coalesce(trim(asked_site), '') = '' THEN
        RAISE EXCEPTION 'which site?' USING HINT = 'Name one that lines of the journal name; the default of a bill is its source.';
    ELSIF (asked_day BETWEEN '0001-01-01' AND '9999-12-30') IS NOT TRUE THEN
        RAISE EXCEPTION 'which day?' USING HINT = 'Such as 2024-03-05.';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended(format('daybook cash of %L %L %s', asked_book, asked_site, asked_day), 0));
    SELECT * INTO present FROM ledger.cash_closures AS c
    WHERE c.book = asked_book AND c.site = asked_site AND c.day = asked_day ORDER BY c.spell DESC LIMIT 1;
    RETURN present;
END
$$;

-- Refuses an amount that is none in the book's currency.
CREATE OR REPLACE FUNCTION ledger.check_cash_amount(asked_book text, what text, amount numeric, may_be_negative boolean) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of ledger.books;
BEGIN
    SELECT * INTO of FROM ledger.books AS b WHERE b.book = asked_book;
    IF (amount > -1e18 AND amount < 1e18) IS NOT TRUE THEN
        RAISE EXCEPTION '% is no amount', what USING HINT = 'A number, such as 1250.50.';
    ELSIF amount < 0 AND NOT may_be_negative THEN
        RAISE EXCEPTION '% is negative', what USING HINT = 'A drawer holds nothing at least. Count what is there, with the float.';
    ELSIF scale(trim_scale(amount)) > of.minor_unit THEN
        RAISE EXCEPTION '% has more decimals than % has (%)', what, of.currency, of.minor_unit USING HINT = 'Give it in full minor units.';
    END IF;
END
$$;

-- Opens a day with what lies in the drawer in the morning. drawer is the account of the drawer's money, by code or counted_as.
-- Returns the day's spell: 1, unless it was reopened.
CREATE OR REPLACE FUNCTION ledger.open_cash_day(
    book text, site text, day date, opening_float numeric DEFAULT 0, drawer text DEFAULT 'cash'
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.cash_closures := ledger.take_cash_day(open_cash_day.book, open_cash_day.site, open_cash_day.day);
    today date := (SELECT timezone(b.time_zone, clock_timestamp())::date FROM ledger.books AS b WHERE b.book = open_cash_day.book);
    drawer_code text;
BEGIN
    IF present.book IS NOT NULL THEN
        RAISE EXCEPTION 'the cash of site % on % is % already', present.site, present.day, present.state
            USING HINT = CASE present.state WHEN 'closed' THEN 'A controller can reopen it, with a reason.' ELSE 'Count it.' END;
    ELSIF open_cash_day.day > today THEN
        RAISE EXCEPTION '% lies in the future', open_cash_day.day USING HINT = format('Today is %s in the zone of book %s.', today, book);
    END IF;
    PERFORM ledger.check_cash_amount(open_cash_day.book, 'the opening float', open_cash_day.opening_float, false);
    SELECT a.account_code INTO drawer_code FROM ledger.accounts AS a
    WHERE a.book = open_cash_day.book AND a.counted_as IS NOT NULL 
      AND (a.account_code = open_cash_day.drawer OR a.counted_as = lower(open_cash_day.drawer));
    IF drawer_code IS NULL AND (open_cash_day.opening_float <> 0 OR open_cash_day.drawer IS DISTINCT FROM 'cash') THEN
        RAISE EXCEPTION 'book % has no account % that is counted, to put the float in', open_cash_day.book, quote_nullable(open_cash_day.drawer)
            USING HINT = ledger.counted_accounts_hint(open_cash_day.book);
    END IF;
    -- A new site has no lines before its first bill; its source is known before.
    IF NOT EXISTS (SELECT FROM ledger.cash_days AS d WHERE d.book = open_cash_day.book AND d.site = open_cash_day.site)
       AND NOT EXISTS (SELECT FROM ledger.sources AS s WHERE s.book = open_cash_day.book AND s.source = open_cash_day.site)
       AND NOT EXISTS (SELECT FROM ledger.journal_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id
                       WHERE l.site = open_cash_day.site AND e.book = open_cash_day.book) THEN
        RAISE EXCEPTION 'site % has no lines in book %, and no source has its name', open_cash_day.site, open_cash_day.book
            USING HINT = 'Check its name: upper and lower case differ.';
    END IF;
    INSERT INTO ledger.cash_days (book, site, day, spell, opening_float, drawer_account)
    VALUES (open_cash_day.book, open_cash_day.site, open_cash_day.day, 1, open_cash_day.opening_float, drawer_code);
    RETURN 1;
END
$$;

CREATE OR REPLACE FUNCTION ledger.counted_accounts_hint(asked_book text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE count(*) WHEN 0 THEN 'No account of the book is counted: give some a name in column counted_as, by `daybook accounts import`.'
           ELSE format('Counted are: %s.', string_agg(format('%s (%s)', a.counted_as, a.account_code), ', ' ORDER BY a.account_code)) END
    FROM ledger.accounts AS a WHERE a.book = asked_book AND a.counted_as IS NOT NULL
$$;

-- Keeps what a person counted, as an object of accounts, by code or counted_as, and amounts: '{"cash": 12500.50, "card": 300}'. What lies
-- in the drawer is counted with the float. A recount is another count; what is not named keeps its last one. Returns the count's number.
CREATE OR REPLACE FUNCTION ledger.count_cash(book text, site text, day date, counted jsonb, note text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.cash_closures := ledger.take_cash_day(count_cash.book, count_cash.site, count_cash.day);
    number integer := coalesce(present.last_count_no, 0) + 1;
    named record;
    code text;
BEGIN
    IF present.book IS NULL THEN
        RAISE EXCEPTION 'the cash of site % on % was not opened', count_cash.site, count_cash.day
            USING HINT = 'Open it with its float: ledger.open_cash_day, or `daybook closure open`.';
    ELSIF present.state = 'closed' THEN
        RAISE EXCEPTION 'the cash of site % on % is closed already', present.site, present.day
            USING HINT = 'A controller can reopen it, with a reason.';
    ELSIF coalesce(jsonb_typeof(count_cash.counted), '') <> 'object' OR count_cash.counted = '{}' THEN
        RAISE EXCEPTION 'what was counted?' USING HINT = ledger.counted_accounts_hint(present.book);
    END IF;
    FOR named IN SELECT key, value #>> '{}' AS amount FROM jsonb_each(count_cash.counted) LOOP
        SELECT a.account_code INTO code FROM ledger.accounts AS a
        WHERE a.book = present.book AND a.counted_as IS NOT NULL 
          AND (a.account_code = named.key OR a.counted_as = lower(named.key));
        IF code IS NULL THEN
            RAISE EXCEPTION 'no account that is counted is called %', quote_literal(named.key)
                USING HINT = ledger.counted_accounts_hint(present.book);
        ELSIF (named.amount ~ '^-?[0-9]{1,18}(\.[0-9]{1,20})?$') IS NOT TRUE THEN
            RAISE EXCEPTION 'what was counted of % is no amount', named.key USING HINT = 'A number, such as 1250.50.';
        END IF;
        -- Of a terminal more may have been paid back than was taken.
        PERFORM ledger.check_cash_amount(present.book, 'what was counted of ' || named.key, named.amount::numeric,
                                         code IS DISTINCT FROM present.drawer_account);
        BEGIN
            INSERT INTO ledger.cash_counts (book, site, day, spell, count_no, account_code, counted, note)
            VALUES (present.book, present.site, present.day, present.spell, number, code, named.amount::numeric,
                    nullif(trim(count_cash.note), ''));
        EXCEPTION WHEN unique_violation THEN
            RAISE EXCEPTION 'account % was counted twice at once', code USING HINT = 'Name each account once, by its code or its name.';
        END;
    END LOOP;
    RETURN number;
END
$$;
