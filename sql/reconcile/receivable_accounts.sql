-- Purpose: the accounts of what parties owe the clinic. Inputs: $1 book. Touches: ledger.accounts, read only.
SELECT account_code
FROM ledger.accounts
WHERE book = $1 AND account_role = 'receivable'
