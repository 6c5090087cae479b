-- Purpose: what the odd tables say that the ledger should hold, per bill and account, as debit minus credit; an independent
--          word in plain SQL, like sql/demo/expected_balances.sql. A bill that cannot be posted has the account 'PARKED'.
-- Touches: the bill tables, read only.
CREATE TEMPORARY VIEW expected_odd_balances AS
WITH claims_judged AS (
    SELECT jsonb_build_array(year::text, number::text)::text AS id, coalesce(approved, amount) AS claimed, status,
           status IS NULL OR status NOT IN ('filed', 'paid') OR coalesce(approved, amount) IS NULL
           OR coalesce(approved, amount) = 'NaN' OR abs(coalesce(approved, amount)) >= 1e18 OR coalesce(approved, amount) <> round(coalesce(approved, amount), 2) AS is_parked
    FROM public.claims
    WHERE status IS NULL OR status NOT IN ('draft', 'void')
), rooms_judged AS (
    SELECT id::text AS id, total, total - round(total * 100 / 118, 2) AS tax,
           total IS NULL OR total = 'NaN' OR abs(total) >= 1e18 OR total <> round(total, 2) AS is_parked
    FROM public.rooms WHERE void_at IS NULL
), vouchers_judged AS (
    SELECT code::text AS id, coalesce(value, 0) AS value, mode,
           coalesce(value, 0) = 'NaN' OR abs(coalesce(value, 0)) >= 1e18 OR coalesce(value, 0) <> round(coalesce(value, 0), 2) AS is_parked
    FROM public.vouchers
), lines AS (
    SELECT 'CLAIM' AS reference_type, id AS reference_id, CASE status WHEN 'paid' THEN '1010' ELSE '1100' END AS account_code,
           claimed AS amount FROM claims_judged WHERE NOT is_parked
    UNION ALL SELECT 'CLAIM', id, '4400', -claimed FROM claims_judged WHERE NOT is_parked
    UNION ALL SELECT 'ROOM', id, '1100', total FROM rooms_judged WHERE NOT is_parked
    UNION ALL SELECT 'ROOM', id, '4500', tax - total FROM rooms_judged WHERE NOT is_parked
    UNION ALL SELECT 'ROOM', id, '2100', -tax FROM rooms_judged WHERE NOT is_parked
    UNION ALL SELECT 'VOUCHER', id, CASE WHEN mode IS NULL OR btrim(mode) = '' THEN '1000'
                                         WHEN lower(btrim(mode)) = 'card' THEN '1020' ELSE '1010' END, value
              FROM vouchers_judged WHERE NOT is_parked
    UNION ALL SELECT 'VOUCHER', id, '4600', -value FROM vouchers_judged WHERE NOT is_parked
)
SELECT reference_type, reference_id, account_code, sum(amount) AS balance
FROM lines GROUP BY reference_type, reference_id, account_code HAVING sum(amount) <> 0
UNION ALL SELECT 'CLAIM', id, 'PARKED', NULL FROM claims_judged WHERE is_parked
UNION ALL SELECT 'ROOM', id, 'PARKED', NULL FROM rooms_judged WHERE is_parked
UNION ALL SELECT 'VOUCHER', id, 'PARKED', NULL FROM vouchers_judged WHERE is_parked;
