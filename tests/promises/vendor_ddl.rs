//! The vendor changes its tables: no write fails, no change is lost, and what cannot be read waits with an alert.

use std::time::Duration;

use crate::capture::{forget_queue, queue};
use crate::harness::{Clinic, pharmacy_bill};

/// Every column of the table is added, dropped, renamed or retyped under a session that wrote before, and the session goes
/// on writing.
#[tokio::test]
async fn the_vendors_ddl_never_makes_a_write_fail_nor_is_a_write_lost() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount) VALUES (1, 10)").await;
    clinic.write("UPDATE pharmacy_bills SET total_amount = 11").await;
    let vendor = [
        "ALTER TABLE pharmacy_bills ADD COLUMN note text DEFAULT 'x'",
        "ALTER TABLE pharmacy_bills ALTER COLUMN total_amount TYPE double precision",
        "ALTER TABLE pharmacy_bills ALTER COLUMN total_amount TYPE numeric(12, 2)",
        "ALTER TABLE pharmacy_bills RENAME COLUMN payment_mode TO mode_of_payment",
        "ALTER TABLE pharmacy_bills ALTER COLUMN created_at TYPE timestamp",
        "ALTER TABLE pharmacy_bills DROP COLUMN gst_amount",
        "ALTER TABLE pharmacy_bills ADD COLUMN gst_amount json",
        "ALTER TABLE pharmacy_bills DROP COLUMN printed",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id TYPE integer",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id TYPE text USING 'bill ' || id",
        "ALTER TABLE pharmacy_bills ALTER COLUMN id DROP IDENTITY IF EXISTS",
        "ALTER TABLE pharmacy_bills RENAME COLUMN id TO bill_id",
        "ALTER TABLE pharmacy_bills RENAME TO bills; CREATE VIEW pharmacy_bills AS SELECT * FROM bills; GRANT ALL ON pharmacy_bills TO desk",
        "DROP VIEW pharmacy_bills; ALTER TABLE bills RENAME TO pharmacy_bills",
        "ALTER TABLE pharmacy_bills DROP CONSTRAINT pharmacy_bills_pkey",
        "ALTER TABLE pharmacy_bills DROP COLUMN bill_id",
    ];
    for ddl in vendor {
        if ddl.contains("TYPE text USING") {
            clinic
                .dba
                .batch_execute("ALTER TABLE pharmacy_bills ALTER COLUMN id DROP IDENTITY IF EXISTS")
                .await
                .expect("vendor");
        }
        clinic.dba.batch_execute(ddl).await.unwrap_or_else(|error| panic!("the vendor's DDL fails: {ddl}: {error:?}"));
        forget_queue(&clinic).await;
        clinic.write("UPDATE pharmacy_bills SET total_amount = total_amount + 1").await;
        assert_ne!(queue(&clinic).await, "", "after {ddl}, a change leaves an event");
    }
}

#[tokio::test]
async fn a_retyped_key_marks_the_table_dirty_and_the_table_is_reconciled() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER COLUMN id TYPE integer").await.expect("retypes");
    clinic.write("UPDATE lab_bills SET amount = 15 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB * update");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let alert = "SELECT state FROM daybook.sync_alerts WHERE alert_type = 'TABLE_DIRTY' AND cause = 'LAB'";
    assert_eq!(clinic.text(alert).await, "resolved");
    clinic.write("UPDATE lab_bills SET amount = 16 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB 1 update", "the new type is taken up, in the same session too");
}

#[tokio::test]
async fn a_key_retyped_to_one_without_canonical_text_waits_with_an_alert() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER COLUMN id DROP IDENTITY; ALTER TABLE lab_bills ALTER COLUMN id TYPE double precision").await.expect("retypes");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(queue(&clinic).await, "LAB * insert");
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    let alert = "SELECT message FROM daybook.current_alerts WHERE alert_type = 'TABLE_UNREADABLE' AND cause = 'LAB'";
    let alert = clinic.text(alert).await;
    assert!(alert.contains("double precision") && alert.contains("unique column"), "{alert}");
}

#[tokio::test]
async fn a_renamed_key_waits_with_an_alert_until_the_table_is_attached_anew() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN id TO bill_id").await.expect("renames");
    clinic.write("UPDATE lab_bills SET amount = 15").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1, "the other table goes on");
    let alert = "SELECT message FROM daybook.current_alerts WHERE cause = 'LAB'";
    assert!(
        clinic.text(alert).await.contains("daybook.attach('public.lab_bills', 'LAB'"),
        "{}",
        clinic.text(alert).await
    );
    let attach = "SELECT daybook.attach('lab_bills', 'LAB', ARRAY['bill_id'], ARRAY['visit_id', 'amount', 'paid',
                  'discounted_amount', 'payment_mode', 'invoice_number', 'created_at'])";
    clinic.dba.batch_execute(attach).await.expect("attaches");
    clinic.dba.batch_execute("UPDATE daybook.sync_queue SET due_at = now()").await.expect("is due");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 15.00, 4200 -15.00");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
}

#[tokio::test]
async fn a_dropped_mapped_column_makes_its_table_wait_while_the_application_and_other_tables_go_on() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN discounted_amount TO rebate").await.expect("renames");
    clinic.write("UPDATE lab_bills SET amount = 15 WHERE id = 1").await;
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    assert_eq!(clinic.balances("ULTRASOUND", "1").await, "1000 10.00, 4300 -10.00");
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    let alert = "SELECT severity || ' ' || message FROM daybook.sync_alerts WHERE cause = 'LAB' AND state = 'open'";
    let alert = clinic.text(alert).await;
    assert!(
        alert.starts_with("critical") && alert.contains("column discounted_amount of public.lab_bills is gone"),
        "{alert}"
    );
    assert_eq!(clinic.text("SELECT attempts FROM daybook.sync_queue").await, "0", "waiting uses up no attempt");

    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN rebate TO discounted_amount").await.expect("renames");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 15.00, 4200 -15.00");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0", "it resolves by itself");
}

#[tokio::test]
async fn row_security_stops_the_table_with_an_alert_and_reverses_nothing() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE pharmacy_bills ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON pharmacy_bills TO desk USING (true)").await.expect("secures");
    clinic.write("UPDATE pharmacy_bills SET total_amount = 224").await;
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.00, 2100 -12.00, 4100 -100.00");
    assert!(clinic.text("SELECT message FROM daybook.current_alerts").await.contains("row-level security"));
}
