-- Purpose: where the ledger differs from what the bills say, per bill and account; no row when it is equal. A bill that
--          cannot be posted must have an open dead letter, and no other bill may.
-- Inputs: the temporary view expected_balances. Touches: ledger.reference_balances, daybook.sync_dead_letter, read only.
SELECT reference_type, reference_id, account_code, e.balance::text AS expected, l.balance::text AS posted
FROM (SELECT * FROM expected_balances WHERE account_code <> 'PARKED') AS e
FULL JOIN (SELECT * FROM ledger.reference_balances AS b
           WHERE NOT EXISTS (SELECT FROM expected_balances AS p
                             WHERE (p.reference_type, p.reference_id, p.account_code)
                                   = (b.reference_type, b.reference_id, 'PARKED'))) AS l
     USING (reference_type, reference_id, account_code)
WHERE e.balance IS DISTINCT FROM l.balance
UNION ALL
SELECT reference_type, reference_id, 'PARKED', p.reference_id, d.reference_id
FROM (SELECT * FROM expected_balances WHERE account_code = 'PARKED') AS p
FULL JOIN (SELECT * FROM daybook.sync_dead_letter WHERE resolved_at IS NULL) AS d USING (reference_type, reference_id)
WHERE p.reference_id IS NULL OR d.reference_id IS NULL
ORDER BY 1, 2, 3
