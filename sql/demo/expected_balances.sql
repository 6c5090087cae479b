-- Purpose: what the four bill tables say that the ledger should hold, per bill and account, as debit minus credit.
--          An independent word: written in plain SQL from the meaning of the columns, it shares nothing with the posting
--          core or the rule files. A bill whose values cannot be posted has the account 'PARKED' and no amount.
-- Touches: the bill tables, read only. For a currency with two decimals.
CREATE TEMPORARY VIEW expected_balances AS
WITH bills AS (
    SELECT 'CONSULTATION' AS reference_type, id::text AS reference_id, created_at, amount AS charged, 0::numeric AS tax,
           0::numeric AS cost, paid, mode, '4000' AS revenue_account
    FROM consultation_invoices
    UNION ALL
    SELECT 'PHARMACY', id::text, created_at, coalesce(discounted_total, total_amount), coalesce(gst_amount, 0),
           coalesce(cost_amount, 0), NULL, payment_mode, '4100'
    FROM pharmacy_bills WHERE invoice_number IS NOT NULL
    UNION ALL
    SELECT 'LAB', id::text, created_at, coalesce(discounted_amount, amount), 0, 0, paid, payment_mode, '4200'
    FROM lab_bills WHERE invoice_number IS NOT NULL
    UNION ALL
    SELECT 'ULTRASOUND', id::text, created_at, coalesce(discounted_total, total_amount), 0, 0, NULL, payment_mode, '4300'
    FROM ultrasound_bills WHERE invoice_number IS NOT NULL
), settled AS (
    SELECT *, CASE WHEN paid IS FALSE THEN '1100'
                   WHEN mode IS NULL OR btrim(mode) = '' THEN '1000'
                   WHEN lower(btrim(mode)) = 'cash' THEN '1000'
                   WHEN lower(btrim(mode)) IN ('bank', 'bank transfer', 'neft', 'cheque') THEN '1010'
                   WHEN lower(btrim(mode)) IN ('card', 'credit card', 'debit card') THEN '1020'
                   WHEN lower(btrim(mode)) IN ('upi', 'mobile', 'gpay', 'phonepe', 'paytm') THEN '1030'
                   WHEN lower(btrim(mode)) IN ('credit', 'due') THEN '1100' END AS settlement_account
    FROM bills
), judged AS (
    SELECT *, settlement_account IS NULL OR charged IS NULL OR NOT isfinite(created_at)
              OR 'NaN' IN (charged, tax, cost) OR abs(charged) >= 1e18 OR abs(tax) >= 1e18 OR abs(cost) >= 1e18
              OR charged <> round(charged, 2) OR tax <> round(tax, 2) OR cost <> round(cost, 2)
              OR sign(tax) * sign(charged) < 0 OR abs(tax) > abs(charged) OR sign(cost) * sign(charged) < 0 AS is_parked
    FROM settled
), lines AS (
    SELECT reference_type, reference_id, settlement_account AS account_code, charged AS amount
    FROM judged WHERE NOT is_parked
    UNION ALL SELECT reference_type, reference_id, revenue_account, tax - charged FROM judged WHERE NOT is_parked
    UNION ALL SELECT reference_type, reference_id, '2100', -tax FROM judged WHERE NOT is_parked
    UNION ALL SELECT reference_type, reference_id, '5100', cost FROM judged WHERE NOT is_parked
    UNION ALL SELECT reference_type, reference_id, '1200', -cost FROM judged WHERE NOT is_parked
)
SELECT reference_type, reference_id, account_code, sum(amount) AS balance
FROM lines GROUP BY reference_type, reference_id, account_code HAVING sum(amount) <> 0
UNION ALL
SELECT reference_type, reference_id, 'PARKED', NULL FROM judged WHERE is_parked;
