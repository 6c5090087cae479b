-- Purpose: close and reopen days of a book, for members of daybook_controller alone. Whoever closes waits for the batches that
--          are being posted (FOR UPDATE on the book, which they hold FOR SHARE); what comes later sees the closed period.
--          soft: may be reopened. hard: never. Both: nothing is posted there, late entries go to the first open day.
-- Touches: books (row lock), periods, period_log; reads sync_master_status and sources, and the queue where it is here.

-- Events that are unfinished, and sources that were not heard of for a minute; of one source, where it is named.
CREATE OR REPLACE FUNCTION ledger.queued_business(asked_book text, asked_source text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here text;
BEGIN
    -- Ours, and not somebody's of the same name: this runs with the owner's rights.
    IF (SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'daybook' AND c.relname IN ('sync_queue', 'sync_configuration') AND c.relkind = 'r'
          AND n.nspowner = 'daybook_owner'::regrole AND c.relowner = 'daybook_owner'::regrole) = 2 THEN
        EXECUTE 'SELECT config_value FROM daybook.sync_configuration WHERE config_key = ''source_name''
                 AND EXISTS (SELECT FROM daybook.sync_configuration WHERE config_key = ''book'' AND config_value = $1)'
            INTO here USING asked_book;
        IF asked_source IS NULL OR asked_source = here THEN
            RETURN QUERY EXECUTE 'SELECT format(''%s %s of source %s is queued since %s'', q.reference_type,
                                                coalesce(q.reference_id, ''(the whole table)''), q.source, q.enqueued_at)
                                  FROM daybook.sync_queue AS q WHERE q.source = $1 ORDER BY q.seq LIMIT 100' USING here;
        END IF;
    END IF;

    RETURN QUERY
    SELECT CASE WHEN s.reported_at > clock_timestamp() - interval '1 minute'
                THEN format('%s events of source %s are queued, such as %s', s.queued, s.source,
                            array_to_string(s.queued_examples, ', '))
                ELSE format('source %s was last heard of at %s: is `daybook run` at work there?', s.source,
                            coalesce(s.reported_at::text, 'no time')) END
    FROM ledger.sources AS s
    WHERE s.book = asked_book AND s.source IS DISTINCT FROM here AND (asked_source IS NULL OR s.source = asked_source)
      AND (s.queued > 0 OR s.reported_at > clock_timestamp() - interval '1 minute' IS NOT TRUE)
    ORDER BY s.source;
END
$$;

-- What keeps days of a book from being closed: the same, and bills that are parked. They count whatever their day is: it may be the very
-- thing that cannot be read.
CREATE OR REPLACE FUNCTION ledger.unfinished_business(asked_book text) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT format('%s %s of source %s is parked: %s', s.reference_type, s.reference_id, s.source, s.reason)
    FROM ledger.sync_master_status AS s
    WHERE s.book = asked_book AND s.state = 'parked'
    ORDER BY s.parked_at LIMIT 100;
    RETURN QUERY SELECT * FROM ledger.queued_business(asked_book);
END
$$;

CREATE OR REPLACE FUNCTION ledger.close_period(
    book text, first_day date, last_day date, state text DEFAULT 'soft', reason text DEFAULT NULL, force boolean DEFAULT false
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.periods;
    other ledger.periods;
    unfinished text[];
BEGIN
    IF (close_period.first_day <= close_period.last_day) IS NOT TRUE
       OR close_period.first_day < '0001-01-01' OR close_period.last_day >= '9999-12-31' THEN
        RAISE EXCEPTION 'a period goes from a first day to a last day that is not before it'
            USING HINT = 'Such as 2024-03-01 and 2024-03-31.';
    ELSIF (close_period.state IN ('soft', 'hard')) IS NOT TRUE THEN
        RAISE EXCEPTION 'a period is closed as soft or hard, not as %', quote_nullable(close_period.state)
            USING HINT = 'soft may be reopened, hard never.';
    ELSIF close_period.force AND coalesce(trim(close_period.reason), '') = '' THEN
        RAISE EXCEPTION 'forcing takes a reason' USING HINT = 'reason => ''...'', which is kept in ledger.period_log.';
    END IF;
    PERFORM FROM ledger.books AS b WHERE b.book = close_period.book FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no book %', close_period.book USING HINT = 'Books stand in ledger.books.';
    END IF;
    IF close_period.last_day >= (SELECT timezone(b.time_zone, clock_timestamp())::date FROM ledger.books AS b
                                 WHERE b.book = close_period.book) AND NOT close_period.force THEN
        RAISE EXCEPTION 'period % to % is not over yet', close_period.first_day, close_period.last_day
            USING HINT = 'Wait for its end; or force => true with a reason: what is posted meanwhile goes to the day after it.';
    END IF;
    SELECT * INTO other FROM ledger.periods AS p
    WHERE p.book = close_period.book AND p.first_day <= close_period.last_day AND p.last_day >= close_period.first_day
      AND (p.first_day, p.last_day) <> (close_period.first_day, close_period.last_day)
    ORDER BY p.first_day LIMIT 1;
    IF other.book IS NOT NULL THEN
        RAISE EXCEPTION 'period % to % overlaps % to %, which is %', close_period.first_day, close_period.last_day,
            other.first_day, other.last_day, other.state
            USING HINT = 'Periods do not overlap: name that one as it is, or days that it leaves free.';
    END IF;
    SELECT * INTO present FROM ledger.periods AS p
    WHERE p.book = close_period.book AND p.first_day = close_period.first_day;
    IF present.state = close_period.state THEN
        RAISE NOTICE 'period % to % is % already; nothing was changed', present.first_day, present.last_day, present.state;
        RETURN;
    ELSIF present.state = 'hard' THEN
        RAISE EXCEPTION 'period % to % is closed for good', present.first_day, present.last_day
            USING HINT = 'A hard closed period stays so. Corrections are posted on the first open day, marked late.';
    END IF;

    unfinished := ARRAY(SELECT * FROM ledger.unfinished_business(close_period.book) LIMIT 21);
    IF cardinality(unfinished) > 0 AND NOT close_period.force THEN
        RAISE EXCEPTION 'book % cannot be closed yet: %', close_period.book,
            array_to_string(unfinished[1:20], '; ') || CASE WHEN cardinality(unfinished) > 20 THEN '; and more' ELSE '' END
            USING HINT = 'Mend what is parked and let the queue run empty; or force => true with a reason: what comes later is '
                         || 'posted on the first open day, marked late. All of it: SELECT ledger.unfinished_business(book).';
    END IF;
    UPDATE ledger.books AS b SET closings = closings + 1 WHERE b.book = close_period.book;
    INSERT INTO ledger.periods AS p (book, first_day, last_day, state)
    VALUES (close_period.book, close_period.first_day, close_period.last_day, close_period.state)
    ON CONFLICT (book, first_day) DO UPDATE SET state = excluded.state;
    INSERT INTO ledger.period_log (book, first_day, last_day, state, reason, forced)
    VALUES (close_period.book, close_period.first_day, close_period.last_day, close_period.state,
            nullif(trim(close_period.reason), ''), close_period.force AND cardinality(unfinished) > 0);
END
$$;

CREATE OR REPLACE FUNCTION ledger.reopen_period(book text, first_day date, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present ledger.periods;
BEGIN
    IF coalesce(trim(reopen_period.reason), '') = '' THEN
        RAISE EXCEPTION 'reopening takes a reason' USING HINT = 'It is kept in ledger.period_log.';
    END IF;
    PERFORM FROM ledger.books AS b WHERE b.book = reopen_period.book FOR UPDATE;
    SELECT * INTO present FROM ledger.periods AS p
    WHERE p.book = reopen_period.book AND p.first_day = reopen_period.first_day;
    IF present.book IS NULL OR present.state = 'open' THEN
        RAISE EXCEPTION 'no closed period of book % begins on %', reopen_period.book, reopen_period.first_day
            USING HINT = 'Closed periods stand in ledger.periods.';
    ELSIF present.state = 'hard' THEN
        RAISE EXCEPTION 'period % to % is closed for good', present.first_day, present.last_day
            USING HINT = 'A hard closed period stays so. Corrections are posted on the first open day, marked late.';
    END IF;
    UPDATE ledger.books AS b SET closings = closings + 1 WHERE b.book = present.book;
    DELETE FROM ledger.periods AS p WHERE p.book = present.book AND p.first_day = present.first_day;
    INSERT INTO ledger.period_log (book, first_day, last_day, state, reason, forced)
    VALUES (present.book, present.first_day, present.last_day, 'open', trim(reopen_period.reason), false);
END
$$;
