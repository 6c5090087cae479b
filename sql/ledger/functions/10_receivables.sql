-- Purpose: who owes us, and whom we owe: what stands on the accounts of role receivable, per bill and per party. Parties are as the
--          rules name them (patient:7, visit:7); null are those whom no bill names, such as walk-ins.

-- What is open of each bill. A bill that is paid or reversed is not here. bill_date is the bill's own, as its last word says.
CREATE OR REPLACE VIEW ledger.open_bills AS
    SELECT o.book, o.party, o.source, o.reference_type, o.reference_id, o.currency, o.balance,
           (SELECT b.effective_date FROM ledger.journal_entries AS b
            WHERE (b.book, b.source, b.reference_type, b.reference_id) = (o.book, o.source, o.reference_type, o.reference_id)
              AND b.kind IN ('original', 'correction')
            ORDER BY b.revision DESC LIMIT 1) AS bill_date
    FROM (SELECT e.book, l.party, e.source, e.reference_type, e.reference_id, l.currency, sum(l.debit) - sum(l.credit) AS balance
          FROM ledger.accounts AS a
          JOIN ledger.journal_lines AS l ON l.account_code = a.account_code
          JOIN ledger.journal_entries AS e ON e.id = l.entry_id AND e.book = a.book
          WHERE a.account_role = 'receivable'
          GROUP BY e.book, l.party, e.source, e.reference_type, e.reference_id, l.currency
          HAVING sum(l.debit) <> sum(l.credit)) AS o;

-- The balance of each party over all its bills. Ages count from the bill's date to today in the book's zone; the four add up to the
-- balance, and a bill in credit lessens that of its own age.
CREATE OR REPLACE VIEW ledger.party_balances AS
    SELECT o.book, o.party, o.currency, sum(o.balance) AS balance, count(*) AS open_bills,
           min(o.bill_date) FILTER (WHERE o.balance > 0) AS oldest_open_date,
           coalesce(sum(o.balance) FILTER (WHERE o.age <= 30), 0) AS days_0_to_30,
           coalesce(sum(o.balance) FILTER (WHERE o.age BETWEEN 31 AND 60), 0) AS days_31_to_60,
           coalesce(sum(o.balance) FILTER (WHERE o.age BETWEEN 61 AND 90), 0) AS days_61_to_90,
           coalesce(sum(o.balance) FILTER (WHERE o.age > 90), 0) AS days_over_90
    FROM (SELECT o.*, timezone(b.time_zone, clock_timestamp())::date - o.bill_date AS age
          FROM ledger.open_bills AS o JOIN ledger.books AS b ON b.book = o.book) AS o
    GROUP BY o.book, o.party, o.currency;

CREATE OR REPLACE VIEW ledger.open_receivables AS
    SELECT * FROM ledger.party_balances WHERE balance > 0;

-- What we owe: paid too much, or credited after payment. credit is positive.
CREATE OR REPLACE VIEW ledger.credit_balances AS
    SELECT book, party, currency, -balance AS credit, open_bills FROM ledger.party_balances WHERE balance < 0;
