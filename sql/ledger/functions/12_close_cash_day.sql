-- Purpose: close a site's day of cash, and reopen it. Whoever closes waits for the batches that are being posted (FOR UPDATE on the book,
--          which they hold FOR SHARE), and then sums up; what comes later sees the closed day and goes to the next open one.
--          The difference is an entry of its own, of kind closure, against the account of role over_short; reopening reverses it.
--          Closing is for members of daybook_cashier and daybook_controller, reopening for daybook_controller alone.
-- Touches: books (row lock), cash_closing_accounts, cash_closings, cash_reopenings, cash_days, the journal.

-- Returns the entry that posts the difference, or null where there is none.
CREATE OR REPLACE FUNCTION ledger.close_cash_day(
    book text, site text, day date, note text DEFAULT NULL, force boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.cash_closures := ledger.take_cash_day(close_cash_day.book, close_cash_day.site, close_cash_day.day);
    noted text := nullif(trim(close_cash_day.note), '');
    waiting text[];
    uncounted text;
    entry bigint;
BEGIN
    IF present.book IS NULL THEN
        RAISE EXCEPTION 'the cash of site % on % was not opened', close_cash_day.site, close_cash_day.day
            USING HINT = 'Open it with its float: ledger.open_cash_day, or `daybook closure open`.';
    ELSIF present.state = 'closed' THEN
        RAISE EXCEPTION 'the cash of site % on % is closed already, since % by %', present.site, present.day, present.closed_at, present.closed_by
            USING HINT = 'A controller can reopen it, with a reason.';
    ELSIF present.state = 'open' THEN
        RAISE EXCEPTION 'the cash of site % on % was not counted yet', present.site, present.day
            USING HINT = 'Count it: ledger.count_cash, or `daybook closure count`.';
    ELSIF close_cash_day.force AND noted IS NULL THEN
        RAISE EXCEPTION 'forcing takes a note' USING HINT = 'note => ''...'', which is kept in ledger.cash_closings.';
    END IF;
    -- Of another site's source nothing can come; where sites come from a column, anything can.
    waiting := ARRAY(SELECT * FROM ledger.queued_business(present.book, (SELECT s.source FROM ledger.sources AS s
                                                                         WHERE s.book = present.book AND s.source = present.site)) LIMIT 6);
    IF cardinality(waiting) > 0 AND NOT close_cash_day.force THEN
        RAISE EXCEPTION 'the cash of site % on % cannot be closed yet: %', present.site, present.day,
            array_to_string(waiting[1:5], '; ') || CASE WHEN cardinality(waiting) > 5 THEN '; and more' ELSE '' END
            USING ERRCODE = 'object_in_use',
                  HINT = 'Let the queue run empty; or force => true with a note: what comes later goes to the next open day.';
    END IF;
    PERFORM FROM ledger.books AS b WHERE b.book = present.book FOR UPDATE;

    SELECT coalesce(a.counted_as, a.account_code) INTO uncounted
    FROM ledger.accounts AS a
    LEFT JOIN ledger.expected_cash(present.book, present.site, present.day) AS e ON e.account_code = a.account_code
    WHERE a.book = present.book AND (coalesce(e.expected, 0) <> 0 OR (a.account_code = present.drawer_account AND present.opening_float > 0))
      AND NOT EXISTS (SELECT FROM ledger.cash_counts AS n
                      WHERE (n.book, n.site, n.day, n.spell, n.account_code)
                            = (present.book, present.site, present.day, present.spell, a.account_code))
    ORDER BY a.account_code LIMIT 1;
    IF uncounted IS NOT NULL THEN
        RAISE EXCEPTION '% was not counted, and the journal has something there', uncounted
            USING HINT = 'Count it, also where nothing is there: 0.';
    END IF;
    INSERT INTO ledger.cash_closing_accounts (book, site, day, spell, account_code, expected, opening_float, counted, count_no)
    SELECT present.book, present.site, present.day, present.spell, u.account_code, coalesce(e.expected, 0),
           CASE WHEN u.account_code = present.drawer_account THEN present.opening_float ELSE 0 END, coalesce(n.counted, 0), n.count_no
    FROM ledger.expected_cash(present.book, present.site, present.day) AS e
    FULL JOIN (SELECT * FROM ledger.last_cash_counts AS n
               WHERE (n.book, n.site, n.day, n.spell) = (present.book, present.site, present.day, present.spell)) AS n
         ON n.account_code = e.account_code
    CROSS JOIN LATERAL (SELECT coalesce(n.account_code, e.account_code) AS account_code) AS u;
    entry := ledger.post_cash_difference(present.book, present.site, present.day, present.spell);
    UPDATE ledger.books AS b SET closings = closings + 1 WHERE b.book = present.book;
    INSERT INTO ledger.cash_closings (book, site, day, spell, entry_id, forced, note)
    VALUES (present.book, present.site, present.day, present.spell, entry, close_cash_day.force AND cardinality(waiting) > 0, noted);
    RETURN entry;
END
$$;

-- Posts what a spell's accounts differ by, two lines an account; returns the entry, or null where nothing differs. On the day itself,
-- unless it lies in a closed period. The cause of such an entry is a person, and no event: its number is none that an event has.
CREATE OR REPLACE FUNCTION ledger.post_cash_difference(asked_book text, asked_site text, asked_day date, asked_spell integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    over_short text := (SELECT a.account_code FROM ledger.accounts AS a WHERE a.book = asked_book AND a.account_role = 'over_short');
    reference text := asked_site || '/' || asked_day;
    posting_day date := ledger.first_open_day(asked_book, asked_site, asked_day);
    entry bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.cash_closing_accounts AS a
                   WHERE (a.book, a.site, a.day, a.spell) = (asked_book, asked_site, asked_day, asked_spell) AND a.difference <> 0) THEN
        RETURN NULL;
    ELSIF over_short IS NULL THEN
        RAISE EXCEPTION 'counts differ from the journal, and book % has no account for it', asked_book
            USING HINT = 'Give an account the role over_short: `daybook accounts import`, column account_role.';
    END IF;
    entry := nextval('ledger.journal_entry_id');
    WITH line AS (
        SELECT row_number() OVER (ORDER BY a.account_code, s.side) AS line_no,
               CASE s.side WHEN 1 THEN a.account_code ELSE over_short END AS account_code, a.difference * s.sign AS amount
        FROM ledger.cash_closing_accounts AS a CROSS JOIN (VALUES (1, 1), (2, -1)) AS s (side, sign)
        WHERE (a.book, a.site, a.day, a.spell) = (asked_book, asked_site, asked_day, asked_spell) AND a.difference <> 0
    ), header AS (
        INSERT INTO ledger.journal_entries
            (id, book, source, reference_type, reference_id, revision, kind, effective_date, posting_date, late, line_count, total, rule_hash,
             event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
        SELECT entry, asked_book, '(closure)', 'CASH_CLOSURE', reference, r.revision, 'closure', asked_day, posting_day,
               posting_day <> asked_day, l.line_count, l.total, '', -r.revision, 'closure', pg_current_xact_id(), clock_timestamp(),
               session_user, current_setting('application_name')
        FROM (SELECT count(*) AS line_count, sum(greatest(amount, 0)) AS total FROM line) AS l
        CROSS JOIN ledger.next_closure_revision(asked_book, reference) AS r (revision)
    )
    INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site)
    SELECT entry, l.line_no, l.account_code, round(greatest(l.amount, 0), b.minor_unit), round(greatest(-l.amount, 0), b.minor_unit),
           b.currency, false, asked_site
    FROM line AS l CROSS JOIN ledger.books AS b WHERE b.book = asked_book;
    RETURN entry;
END
$$;

CREATE OR REPLACE FUNCTION ledger.next_closure_revision(asked_book text, asked_reference text) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(e.revision), 0) + 1 FROM ledger.journal_entries AS e
    WHERE (e.book, e.source, e.reference_type, e.reference_id) = (asked_book, '(closure)', 'CASH_CLOSURE', asked_reference)
$$;

-- Opens a closed day again, with the same float, as its next spell. Its difference is reversed; its counts stay where they are, and the
-- bills that were moved to later days, too. Returns the reversal, or null where there was no difference.
CREATE OR REPLACE FUNCTION ledger.reopen_cash_day(book text, site text, day date, reason text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.cash_closures := ledger.take_cash_day(reopen_cash_day.book, reopen_cash_day.site, reopen_cash_day.day);
    entry bigint;
BEGIN
    IF coalesce(trim(reopen_cash_day.reason), '') = '' THEN
        RAISE EXCEPTION 'reopening takes a reason' USING HINT = 'It is kept in ledger.cash_reopenings.';
    ELSIF present.state IS DISTINCT FROM 'closed' THEN
        RAISE EXCEPTION 'the cash of site % on % is not closed', reopen_cash_day.site, reopen_cash_day.day
            USING HINT = 'Days and their state stand in ledger.cash_closures.';
    END IF;
    PERFORM FROM ledger.books AS b WHERE b.book = present.book FOR UPDATE;
    IF EXISTS (SELECT FROM ledger.periods AS p
               WHERE p.book = present.book AND p.state <> 'open' AND present.day BETWEEN p.first_day AND p.last_day) THEN
        RAISE EXCEPTION '% lies in a closed period of book %', present.day, present.book
            USING HINT = 'Reopen the period first, where it is a soft closed one: what is counted anew could not be posted there.';
    END IF;
    UPDATE ledger.books AS b SET closings = closings + 1 WHERE b.book = present.book;
    IF present.entry_id IS NOT NULL THEN
        entry := nextval('ledger.journal_entry_id');
    END IF;
    INSERT INTO ledger.cash_reopenings (book, site, day, spell, entry_id, reason)
    VALUES (present.book, present.site, present.day, present.spell, entry, trim(reopen_cash_day.reason));
    INSERT INTO ledger.cash_days (book, site, day, spell, opening_float, drawer_account)
    VALUES (present.book, present.site, present.day, present.spell + 1, present.opening_float, present.drawer_account);
    IF entry IS NOT NULL THEN
        WITH header AS (
            INSERT INTO ledger.journal_entries
                (id, book, source, reference_type, reference_id, revision, kind, effective_date, posting_date, late, reverses_id, line_count,
                 total, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
            SELECT entry, e.book, e.source, e.reference_type, e.reference_id, r.revision, 'reversal', e.effective_date, p.posting_day,
                   p.posting_day <> e.effective_date, e.id, e.line_count, e.total, e.rule_hash, -r.revision, 'closure',
                   pg_current_xact_id(), clock_timestamp(), session_user, current_setting('application_name')
            FROM ledger.journal_entries AS e
            CROSS JOIN ledger.next_closure_revision(e.book, e.reference_id) AS r (revision)
            -- Not before what it reverses, which may have come late.
            CROSS JOIN ledger.first_open_day(e.book, present.site, e.posting_date) AS p (posting_day)
            WHERE e.id = present.entry_id
        )
        INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site)
        SELECT entry, l.line_no, l.account_code, l.credit, l.debit, l.currency, l.is_settlement, l.site
        FROM ledger.journal_lines AS l WHERE l.entry_id = present.entry_id;
    END IF;
    RETURN entry;
END
$$;
