//! Bills whose rows are gone without the application saying so: TRUNCATE, DROP TABLE.

use std::time::Duration;

use crate::harness::{Clinic, pharmacy_bill};

#[tokio::test]
async fn a_truncate_is_recorded_and_alerted_and_reverses_nothing() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("TRUNCATE pharmacy_bills").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    assert_eq!(
        clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_type = 'PHARMACY'").await,
        "retained"
    );
    let outcomes = "SELECT string_agg(operation || ' ' || outcome, ', ' ORDER BY seq) FROM daybook.sync_audit_log";
    assert_eq!(clinic.text(outcomes).await, "insert posted, truncate covered, truncate retained");
    let alert = "SELECT severity || ' ' || message FROM daybook.current_alerts WHERE alert_type = 'TABLE_TRUNCATED'";
    assert!(clinic.text(alert).await.starts_with("critical the table of PHARMACY was truncated. 1 bills"));

    // Reconciling keeps it, a row that is back makes it ordinary again, and only an operator's word reverses it.
    clinic.dba.batch_execute(&format!("SELECT daybook.enqueue('PHARMACY', '{id}')")).await.expect("enqueues");
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    clinic.dba.batch_execute(&format!("SELECT daybook.release('PHARMACY', '{id}')")).await.expect("releases");
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "");
}

#[tokio::test]
async fn a_row_that_is_back_after_a_truncate_is_ordinary_again() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic
        .write(
            "BEGIN; CREATE TEMPORARY TABLE kept AS SELECT * FROM pharmacy_bills; TRUNCATE pharmacy_bills;
                  INSERT INTO pharmacy_bills SELECT * FROM kept; COMMIT",
        )
        .await;
    clinic.drain().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1, "a refresh of the table posts nothing");
    assert_eq!(
        clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_type = 'PHARMACY'").await,
        "current"
    );
    clinic.write("DELETE FROM pharmacy_bills").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn an_operators_release_is_applied_only_if_the_row_is_still_absent() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("CREATE TEMPORARY TABLE kept AS SELECT * FROM pharmacy_bills; TRUNCATE pharmacy_bills").await;
    clinic.drain().await;
    clinic.write("INSERT INTO pharmacy_bills SELECT * FROM kept").await;
    clinic.dba.batch_execute(&format!("SELECT daybook.release('PHARMACY', '{id}')")).await.expect("releases");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.entries("PHARMACY", &id).await.len(), 1);
}

#[tokio::test]
async fn a_dropped_table_waits_with_an_alert_and_can_be_given_up() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.dba.batch_execute("DROP TABLE lab_bills").await.expect("the vendor's DROP TABLE does not fail");
    assert_eq!(clinic.drain_for(Duration::from_millis(300)).await.unfinished, 1);
    let alert = clinic
        .text("SELECT string_agg(alert_type || ' ' || message, ' ' ORDER BY 1) FROM daybook.current_alerts AS a")
        .await;
    assert!(alert.contains("TABLE_DROPPED") && alert.contains("TABLE_UNREADABLE"), "{alert}");
    assert_eq!(alert.matches("lab_bills was dropped").count(), 2, "{alert}");
    clinic.dba.batch_execute("SELECT daybook.detach(relation, discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = 'LAB'").await.expect("detaches");
    clinic.drain().await;
}

/// The bill's own DELETE is the application's word, whatever of ours follows it in the queue.
#[tokio::test]
async fn a_delete_beside_a_truncate_is_reversed_and_the_truncate_alone_is_not() {
    let clinic = Clinic::new().await;
    let bill = "INSERT INTO lab_bills (id, amount, invoice_number) VALUES";
    clinic.write(&format!("{bill} (1, 10, 'A'), (2, 20, 'B'), (3, 30, 'C')")).await;
    clinic.drain().await;
    let sql = format!(
        "DELETE FROM lab_bills WHERE id = 1; TRUNCATE lab_bills; {bill} (2, 50, 'B'); DELETE FROM lab_bills WHERE id = 2"
    );
    clinic.write(&sql).await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "");
    assert_eq!(clinic.balances("LAB", "2").await, "");
    assert_eq!(clinic.balances("LAB", "3").await, "1000 30.00, 4200 -30.00");
}

/// Create, copy, drop, rename: the vendor's way to rebuild a table.
#[tokio::test]
async fn a_table_that_replaces_a_dropped_one_is_attached_in_its_place_and_reconciled() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    let vendor =
        "BEGIN; CREATE TABLE lab_new (LIKE lab_bills INCLUDING ALL); INSERT INTO lab_new SELECT * FROM lab_bills;
        DROP TABLE lab_bills; ALTER TABLE lab_new RENAME TO lab_bills; GRANT ALL ON lab_bills TO desk; COMMIT";
    clinic.dba.batch_execute(vendor).await.expect("rebuilds");
    clinic.write("UPDATE lab_bills SET amount = 999 WHERE id = 1; DELETE FROM lab_bills WHERE id = 2").await;
    let alert = "SELECT alert_type || ' ' || message FROM daybook.current_alerts";
    assert!(clinic.text(alert).await.starts_with("TABLE_DROPPED public.lab_bills was dropped"));
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches the new one");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
}
