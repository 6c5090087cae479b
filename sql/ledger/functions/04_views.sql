-- Purpose: what accountants and dashboards ask of the journal.

-- Sums per account over everything posted. balance = debit - credit; the balances of a book add up to zero.
CREATE OR REPLACE VIEW ledger.trial_balance AS
    SELECT e.book, l.account_code, a.account_name, a.account_type, l.currency,
           sum(l.debit) AS debit, sum(l.credit) AS credit, sum(l.debit) - sum(l.credit) AS balance
    FROM ledger.journal_lines AS l
    JOIN ledger.journal_entries AS e ON e.id = l.entry_id
    LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
    GROUP BY e.book, l.account_code, a.account_name, a.account_type, l.currency;

-- What each bill amounts to, per account: debit - credit of all its entries, zeros left out. A closure of cash is no bill.
CREATE OR REPLACE VIEW ledger.reference_balances AS
    SELECT e.book, e.source, e.reference_type, e.reference_id, l.account_code, sum(l.debit) - sum(l.credit) AS balance
    FROM ledger.journal_entries AS e
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    WHERE e.reference_type <> 'CASH_CLOSURE'
    GROUP BY e.book, e.source, e.reference_type, e.reference_id, l.account_code
    HAVING sum(l.debit) <> sum(l.credit);

-- Entries that came after the close of the period that they belong to, by their effective date; marked late are those that would have
-- been posted there, and those that a closed day of cash moved. A correction is posted on the day of the change anyway.
CREATE OR REPLACE VIEW ledger.late_entries AS
    SELECT e.book, e.source, e.reference_type, e.reference_id, e.id AS entry_id, e.kind, e.effective_date, e.posting_date, e.total,
           e.posted_at, e.late
    FROM ledger.journal_entries AS e
    WHERE e.late
       OR EXISTS (SELECT FROM ledger.periods AS p
                  JOIN ledger.period_log AS l ON l.book = p.book AND l.first_day = p.first_day AND l.state <> 'open'
                  WHERE p.book = e.book AND e.effective_date BETWEEN p.first_day AND p.last_day AND p.state <> 'open'
                    AND l.logged_at < e.posted_at);
