-- Purpose: the reference of the benchmark: every bill beside the original entry of its id, by one plain outer join a table: what a person
--          would write first. It sees neither accounts nor dates nor what is on its way. Touches: bill tables and journal, read only.
SELECT count(*)
FROM (SELECT id::text AS reference_id, amount FROM consultation_invoices) AS b
FULL JOIN (SELECT reference_id, total FROM ledger.journal_entries WHERE reference_type = 'CONSULTATION') AS e USING (reference_id)
WHERE b.amount IS DISTINCT FROM e.total;
SELECT count(*)
FROM (SELECT id::text AS reference_id, coalesce(discounted_total, total_amount) AS amount, cost_amount FROM pharmacy_bills) AS b
FULL JOIN (SELECT reference_id, total FROM ledger.journal_entries WHERE reference_type = 'PHARMACY') AS e USING (reference_id)
WHERE b.amount + b.cost_amount IS DISTINCT FROM e.total;
SELECT count(*)
FROM (SELECT id::text AS reference_id, coalesce(discounted_amount, amount) AS amount FROM lab_bills) AS b
FULL JOIN (SELECT reference_id, total FROM ledger.journal_entries WHERE reference_type = 'LAB') AS e USING (reference_id)
WHERE b.amount IS DISTINCT FROM e.total;
SELECT count(*)
FROM (SELECT id::text AS reference_id, coalesce(discounted_total, total_amount) AS amount FROM ultrasound_bills) AS b
FULL JOIN (SELECT reference_id, total FROM ledger.journal_entries WHERE reference_type = 'ULTRASOUND') AS e USING (reference_id)
WHERE b.amount IS DISTINCT FROM e.total;
