-- Purpose: add accounts to a book's chart, and change those that are there. Inputs: $1 book, $2 codes, $3 names, $4 types, pairwise.
-- Touches: ledger.accounts. The type of an account that has lines is guarded.
INSERT INTO ledger.accounts AS a (book, account_code, account_name, account_type)
SELECT $1, n.* FROM unnest($2::text[], $3::text[], $4::text[]) AS n
ON CONFLICT (book, account_code) DO UPDATE SET account_name = excluded.account_name, account_type = excluded.account_type
    WHERE (a.account_name, a.account_type) <> (excluded.account_name, excluded.account_type)
