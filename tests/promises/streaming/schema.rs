//! What the vendor does to the tables while they are streamed: what is unaffected goes on, what is affected is looked at as a whole.

use super::{LAB, attach_by, clinic, gaps};
use crate::harness::attach_lab_with;

#[tokio::test]
async fn columns_added_dropped_renamed_and_retyped_while_streaming_leave_every_bill_right() {
    for mode in ["wal", "both"] {
        let clinic = clinic(mode).await;
        clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 10) AS g")).await;
        clinic.drain().await;
        for ddl in [
            "ALTER TABLE lab_bills ADD COLUMN remark text DEFAULT 'none'",
            "ALTER TABLE lab_bills DROP COLUMN discount_type",
            "ALTER TABLE lab_bills RENAME COLUMN printed TO is_printed",
            "ALTER TABLE lab_bills ALTER COLUMN amount TYPE numeric(14, 2)",
            "ALTER TABLE lab_bills ALTER COLUMN id TYPE integer",
            "ALTER TABLE lab_bills ALTER COLUMN id TYPE bigint",
            "ALTER TABLE lab_bills RENAME TO laboratory_bills",
            "ALTER TABLE laboratory_bills RENAME TO lab_bills",
        ] {
            let now = if ddl.ends_with("laboratory_bills") { "laboratory_bills" } else { "lab_bills" };
            let before = if ddl.starts_with("ALTER TABLE laboratory") { "laboratory_bills" } else { "lab_bills" };
            clinic.write(&format!("UPDATE {before} SET amount = amount + 1 WHERE id <= 3")).await;
            clinic.dba.batch_execute(ddl).await.expect("alters");
            clinic.write(&format!("UPDATE {now} SET amount = amount + 1 WHERE id IN (3, 4, 5); DELETE FROM {now} WHERE id = 10;
                                   INSERT INTO {now} (amount, paid, payment_mode, invoice_number) VALUES (50, true, 'cash', 'N')")).await;
            if now == "lab_bills" {
                clinic.drain().await;
                clinic.assert_bills_of_the_ledger(&format!("{mode}: {ddl}")).await;
            }
        }
        assert_eq!(gaps(&clinic).await, "", "{mode}");
    }
}

#[tokio::test]
async fn a_renamed_key_makes_its_table_dirty_with_an_alert_and_the_others_go_on() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 10) AS g")).await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN id TO bill_id").await.expect("renames");
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE bill_id = 1").await;
    clinic
        .write("INSERT INTO ultrasound_bills (total_amount, payment_mode, invoice_number) VALUES (700, 'cash', 'U1')")
        .await;
    let drained = clinic.drain_for(std::time::Duration::from_secs(4)).await;
    assert!(drained.unfinished > 0, "the laboratory's wait");
    assert!(clinic.balances("ULTRASOUND", "1").await.contains("700"), "the others go on");
    let alerts = "SELECT string_agg(DISTINCT alert_type, ',') FROM daybook.current_alerts WHERE cause = 'LAB'";
    assert_eq!(clinic.text(alerts).await, "TABLE_UNREADABLE");
    clinic.dba.batch_execute("ALTER TABLE lab_bills RENAME COLUMN bill_id TO id").await.expect("renames back");
    attach_by(&clinic, "lab_bills", "wal").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn partitions_are_captured_through_their_root_also_those_that_come_and_go() {
    for mode in ["wal", "both"] {
        let clinic = clinic(mode).await;
        clinic.drain().await;
        let partitioned = format!(
            "SELECT daybook.detach('lab_bills'); ALTER TABLE lab_bills RENAME TO lab_before;
             CREATE TABLE lab_bills (LIKE lab_before INCLUDING DEFAULTS, PRIMARY KEY (id)) PARTITION BY RANGE (id);
             CREATE TABLE lab_1 PARTITION OF lab_bills FOR VALUES FROM (1) TO (100);
             CREATE TABLE lab_2 PARTITION OF lab_bills FOR VALUES FROM (100) TO (200);
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON lab_bills, lab_1, lab_2 TO desk;
             {}",
            attach_lab_with(&format!("capture_mode => '{mode}'"))
        );
        clinic.dba.batch_execute(&partitioned).await.unwrap_or_else(|error| panic!("{error:?}"));
        let bill = "INSERT INTO lab_bills (id, amount, paid, payment_mode, invoice_number) VALUES";
        clinic.drain().await;
        clinic.write(&format!("{bill} (1, 10, true, 'cash', 'A'), (150, 20, true, 'cash', 'B')")).await;
        clinic.write("INSERT INTO lab_1 (id, amount, paid, payment_mode, invoice_number) VALUES (2, 30, true, 'cash', 'C'); UPDATE lab_2 SET amount = 25").await;
        clinic.write("UPDATE lab_bills SET id = 160 WHERE id = 1").await; // moves to another partition
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        clinic
            .dba
            .batch_execute(
                "CREATE TABLE lab_3 PARTITION OF lab_bills FOR VALUES FROM (200) TO (300); GRANT ALL ON lab_3 TO desk",
            )
            .await
            .expect("adds");
        clinic.write(&format!("{bill} (250, 40, true, 'cash', 'D')")).await;
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        clinic.dba.batch_execute("ALTER TABLE lab_bills DETACH PARTITION lab_2").await.expect("detaches");
        clinic.write(&format!("{bill} (251, 41, true, 'cash', 'E')")).await;
        clinic.configure("reversal_brake", "1000").await;
        let running = super::Running::start(&clinic).await;
        super::until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE operation = 'reconcile' AND reference_type = 'LAB' AND finished_at > now() - interval '1 minute')").await;
        running.end().await;
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        assert_eq!(gaps(&clinic).await, "", "{mode}");
    }
}
