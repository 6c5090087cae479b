-- Captures lab_bills as LAB. Run by a superuser, or by its owner as a member of
-- daybook_owner, after `daybook install`:
--     psql --set ON_ERROR_STOP=1 --file triggers/lab_bills.sql
-- What it does: two triggers on lab_bills (row changes, TRUNCATE) that write the key of each changed bill to
-- daybook.sync_queue, and the right for daybook_consumer to read the columns named here, and no other.
-- Locks: SHARE ROW EXCLUSIVE on lab_bills, once writers let it, for 0.8 s at most; else it gives up and changes nothing.
-- Twice is harmless. The code that will run in your transactions: \sf daybook.capture_lab
-- Off without a lock: SELECT daybook.suspend('lab_bills');   and out: SELECT daybook.detach('lab_bills');
SELECT daybook.attach(
    'lab_bills',
    'LAB',
    key_columns => ARRAY['id'],
    filter_columns => ARRAY['visit_id', 'amount', 'paid', 'discounted_amount', 'discount_value', 'payment_mode', 'invoice_number', 'created_at']);
