-- Captures consultation_invoices as CONSULTATION. Run by a superuser, or by its owner as a member of
-- daybook_owner, after `daybook install`:
--     psql --set ON_ERROR_STOP=1 --file triggers/consultation_invoices.sql
-- What it does: two triggers on consultation_invoices (row changes, TRUNCATE) that write the key of each changed bill to
-- daybook.sync_queue, and the right for daybook_consumer to read the columns named here, and no other.
-- Locks: SHARE ROW EXCLUSIVE on consultation_invoices, once writers let it, for 0.8 s at most; else it gives up and changes nothing.
-- Twice is harmless. The code that will run in your transactions: \sf daybook.capture_consultation
-- Off without a lock: SELECT daybook.suspend('consultation_invoices');   and out: SELECT daybook.detach('consultation_invoices');
SELECT daybook.attach(
    'consultation_invoices',
    'CONSULTATION',
    key_columns => ARRAY['id'],
    filter_columns => ARRAY['patient_id', 'amount', 'mode', 'paid', 'created_at']);
