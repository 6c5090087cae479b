-- Purpose: what accountants and dashboards ask of the journal.

-- Sums per account over everything posted. balance = debit - credit; the balances of a book add up to zero.
CREATE OR REPLACE VIEW ledger.trial_balance AS
    SELECT e.book, l.account_code, a.account_name, a.account_type, l.currency,
           sum(l.debit) AS debit, sum(l.credit) AS credit, sum(l.debit) - sum(l.credit) AS balance
    FROM ledger.journal_lines AS l
    JOIN ledger.journal_entries AS e ON e.id = l.entry_id
    LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
    GROUP BY e.book, l.account_code, a.account_name, a.account_type, l.currency;

-- What each bill amounts to, per account: debit - credit of all its entries, zeros left out.
CREATE OR REPLACE VIEW ledger.reference_balances AS
    SELECT e.book, e.source, e.reference_type, e.reference_id, l.account_code, sum(l.debit) - sum(l.credit) AS balance
    FROM ledger.journal_entries AS e
    JOIN ledger.journal_lines AS l ON l.entry_id = e.id
    GROUP BY e.book, e.source, e.reference_type, e.reference_id, l.account_code
    HAVING sum(l.debit) <> sum(l.credit);

-- Entries that a closed period moved: their effective date says when they belong, their posting date when they count.
CREATE OR REPLACE VIEW ledger.late_entries AS
    SELECT book, source, reference_type, reference_id, id AS entry_id, kind, effective_date, posting_date, total, posted_at
    FROM ledger.journal_entries
    WHERE late;
