-- Purpose: how much is posted in a book, and that it balances. Inputs: $1 book. Touches: the journal, read only.
SELECT (SELECT count(*) FROM ledger.journal_entries WHERE book = $1) AS entries,
       (SELECT coalesce(sum(balance), 0)::text FROM ledger.trial_balance WHERE book = $1) AS balance
