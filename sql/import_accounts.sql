-- Purpose: add accounts to a book's chart, and change those that are there.
-- Inputs: $1 book, $2 codes, $3 names, $4 types, $5 roles, $6 names that they are counted by, pairwise; $7, $8 whether the last two were
--         told at all: else they stay as they are.
-- Touches: ledger.accounts. The type of an account that has lines is guarded.
INSERT INTO ledger.accounts AS a (book, account_code, account_name, account_type, account_role, counted_as)
SELECT $1, n.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS n
ON CONFLICT (book, account_code) DO UPDATE
    SET account_name = excluded.account_name, account_type = excluded.account_type,
        account_role = CASE WHEN $7::boolean THEN excluded.account_role ELSE a.account_role END,
        counted_as = CASE WHEN $8::boolean THEN excluded.counted_as ELSE a.counted_as END
    WHERE (a.account_name, a.account_type) <> (excluded.account_name, excluded.account_type)
       OR ($7 AND a.account_role IS DISTINCT FROM excluded.account_role) OR ($8 AND a.counted_as IS DISTINCT FROM excluded.counted_as)
