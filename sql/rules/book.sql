-- Purpose: a book with its closed days, without any lock. Inputs: $1 book. Touches: books, periods, read only.
SELECT currency, minor_unit, time_zone,
       ARRAY(SELECT first_day FROM ledger.periods AS p WHERE p.book = b.book AND state <> 'open' ORDER BY first_day) AS closed_from,
       ARRAY(SELECT last_day FROM ledger.periods AS p WHERE p.book = b.book AND state <> 'open' ORDER BY first_day) AS closed_to
FROM ledger.books AS b
WHERE book = $1
