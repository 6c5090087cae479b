//! Transactions of any size, in bounded memory, and none of them lost.

use super::{LAB, attach_by, clinic, gaps};

#[tokio::test]
async fn the_two_channels_of_a_large_transaction_are_matched_outside_of_memory() {
    let clinic = clinic("both").await;
    clinic.drain().await;
    clinic.configure("queue_batch_size", "10000").await;
    // All rows come first, then all queue rows; five bills bypass the triggers in the same transaction.
    let write = format!(
        "BEGIN; SELECT pg_current_xact_id(); {LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 130000) AS g;
         ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
         {LAB} SELECT 200, true, 'cash', 'M' || g FROM generate_series(1, 5) AS g;
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture; COMMIT"
    );
    clinic.dba.batch_execute(&write).await.expect("writes");
    let drained = clinic.drain_for(std::time::Duration::from_secs(300)).await;
    assert_eq!(drained.unfinished, 0);
    let found = "SELECT count(*) || ' ' || min(reference_id::bigint) FROM daybook.sync_audit_log WHERE origin = 'wal'";
    assert_eq!(clinic.text(found).await, "5 130001");
    assert_eq!(gaps(&clinic).await, "LAB 130001, LAB 130002, LAB 130003, LAB 130004, LAB 130005");
}

#[tokio::test]
async fn a_transaction_that_is_larger_than_memory_is_enqueued_with_the_last_of_what_it_did() {
    let clinic = clinic("trigger").await;
    attach_by(&clinic, "lab_bills", "wal").await;
    clinic.drain().await;
    let write = format!(
        "BEGIN; {LAB} SELECT 100, true, 'cash', 'L' || g FROM generate_series(1, 120000) AS g;
         UPDATE lab_bills SET amount = 101 WHERE id <= 110000; DELETE FROM lab_bills WHERE id <= 119990; COMMIT"
    );
    clinic.write(&write).await;
    let options = clinic.options(2);
    let drained = daybook::consumer::drain(options, std::time::Duration::from_secs(300)).await.expect("drains");
    assert_eq!(drained.unfinished, 0);
    let operations = "SELECT string_agg(operation || ' ' || count, ', ' ORDER BY operation)
                      FROM (SELECT operation, count(*) FROM daybook.sync_audit_log WHERE origin = 'wal' GROUP BY 1) AS o";
    assert_eq!(clinic.text(operations).await, "delete 119990, insert 10");
    clinic.assert_ledger_equals_bills().await;
}
