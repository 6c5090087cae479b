-- Purpose: the reference of the benchmark: entries and lines of all pharmacy bills from one statement, with primary keys
--          and nothing else. Touches: two tables of its own.
BEGIN;
DROP TABLE IF EXISTS bare_entries, bare_lines;
CREATE TABLE bare_entries (id bigint PRIMARY KEY, reference_id text, effective_date date, line_count int);
CREATE TABLE bare_lines (entry_id bigint, line_no int, account text, debit numeric, credit numeric, currency text,
                         PRIMARY KEY (entry_id, line_no));
WITH entries AS (
    INSERT INTO bare_entries SELECT id, id::text, created_at::date, 5 FROM pharmacy_bills
)
INSERT INTO bare_lines
SELECT b.id, l.line_no, l.account, l.debit, l.credit, 'INR'
FROM pharmacy_bills AS b
CROSS JOIN LATERAL (VALUES
    (1, CASE payment_mode WHEN 'cash' THEN '1000' WHEN 'neft' THEN '1010' WHEN 'card' THEN '1020' WHEN 'upi' THEN '1030'
                          ELSE '1100' END, total_amount, 0),
    (2, '4100', 0, total_amount - gst_amount), (3, '2100', 0, gst_amount), (4, '5100', cost_amount, 0),
    (5, '1200', 0, cost_amount)) AS l (line_no, account, debit, credit);
COMMIT;
