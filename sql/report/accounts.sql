-- Purpose: the chart of accounts of a book. Inputs: $1 book. Touches: accounts, read only.
SELECT account_code, account_name, account_type FROM ledger.accounts WHERE book = $1 ORDER BY account_code COLLATE "C"
