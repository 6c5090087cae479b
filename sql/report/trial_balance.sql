-- Purpose: what the accounts of a book amount to: movement within a span of posting dates, and the balances before and after
--          it. The last row is the total.
-- Inputs: $1 book, $2 site or null for all, $3 first and $4 last day or null, $5 decimals of the currency.
-- Touches: the journal and accounts, read only. Sums are exact and come as texts: nothing rounds, whatever their size.
SELECT t.account_code, t.account_name, t.account_type, t.debit = t.credit AND t.opening = 0 AS is_balanced,
       round(t.opening, $5)::text AS opening, round(t.debit, $5)::text AS debit, round(t.credit, $5)::text AS credit,
       round(t.debit - t.credit, $5)::text AS balance, round(t.opening + t.debit - t.credit, $5)::text AS closing
FROM (
    SELECT l.account_code, a.account_name, a.account_type, grouping(l.account_code) = 1 AS is_total,
           coalesce(sum(l.debit - l.credit) FILTER (WHERE e.posting_date < $3), 0) AS opening,
           coalesce(sum(l.debit) FILTER (WHERE $3::date IS NULL OR e.posting_date >= $3), 0) AS debit,
           coalesce(sum(l.credit) FILTER (WHERE $3::date IS NULL OR e.posting_date >= $3), 0) AS credit
    FROM ledger.journal_entries AS e
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
    WHERE e.book = $1 AND ($2::text IS NULL OR l.site = $2) AND ($4::date IS NULL OR e.posting_date <= $4)
    GROUP BY GROUPING SETS ((l.account_code, a.account_name, a.account_type), ())
) AS t
ORDER BY t.is_total, t.account_code COLLATE "C"
