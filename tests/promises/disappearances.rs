//! Bills whose rows are gone without the application saying so: TRUNCATE, DROP TABLE.

use std::time::Duration;

use crate::harness::{Clinic, attach_lab_with, pharmacy_bill};

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
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
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

async fn lab_bills(clinic: &Clinic, count: u32) {
    let sql = format!(
        "INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, {count}) AS g"
    );
    clinic.write(&sql).await;
    clinic.drain().await;
}

async fn alerts(clinic: &Clinic) -> String {
    clinic
        .text(
            "SELECT string_agg(alert_type || ': ' || message, E'\\n' ORDER BY alert_type) FROM daybook.current_alerts",
        )
        .await
}

#[tokio::test]
async fn the_brake_holds_a_yearly_archive_delete_until_an_operator_decides() {
    let clinic = Clinic::new().await;
    lab_bills(&clinic, 400).await;
    clinic.write("DELETE FROM lab_bills WHERE id <= 60").await;
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries WHERE kind = 'reversal'").await, "60");
    clinic.write("DELETE FROM lab_bills WHERE id BETWEEN 61 AND 300").await;
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries WHERE kind = 'reversal'").await, "60");
    let held = "SELECT state || ' ' || retained_because || ' ' || count(*) FROM ledger.sync_master_status WHERE state <> 'current' GROUP BY state, retained_because";
    assert_eq!(clinic.ledger_text(held).await, "retained brake 240");
    let told = alerts(&clinic).await;
    assert!(
        told.contains("REVERSAL_BRAKE: more than 100 bills of LAB were gone within an hour")
            && told.contains("release_held('LAB')"),
        "{told}"
    );
    // A second look is nobody's word, and a row that is back makes its bill ordinary again.
    clinic.dba.batch_execute("SELECT daybook.reconcile('lab_bills')").await.expect("has it reconciled");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (61, 7, 'A')").await;
    clinic.drain().await;
    assert_eq!(clinic.ledger_text(held).await, "retained brake 239");
    assert_eq!(clinic.balances("LAB", "61").await, "1000 7.00, 4200 -7.00");
    let url = crate::command_line::url(&clinic);
    crate::rules::done(&["release", "LAB", "62"], &url);
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "62").await, "");
    crate::rules::done(&["release", "LAB"], &url);
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(alerts(&clinic).await, "");
    // The hour is over.
    clinic
        .accountant
        .batch_execute("UPDATE ledger.reversal_brakes SET hour_began_at = hour_began_at - interval '1 hour'")
        .await
        .expect("an hour goes by");
    clinic.write("DELETE FROM lab_bills WHERE id > 300").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

/// Workers count together: not one of them lets more through than the brake allows.
#[tokio::test]
async fn workers_share_the_brake() {
    let clinic = Clinic::new().await;
    lab_bills(&clinic, 300).await;
    clinic.configure("queue_batch_size", "7").await;
    for id in 1..=300 {
        clinic.write(&format!("DELETE FROM lab_bills WHERE id = {id}")).await;
    }
    tokio::join!(clinic.drain(), clinic.drain());
    let reversed = clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries WHERE kind = 'reversal'").await;
    let reversed: u32 = reversed.parse().expect("a number");
    assert!((94..=100).contains(&reversed), "{reversed}");
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.sync_master_status WHERE retained_because = 'brake'").await,
        (300 - reversed).to_string()
    );
}

#[tokio::test]
async fn what_becomes_of_deleted_bills_is_the_tables_policy() {
    let clinic = Clinic::new().await;
    let attach = |policy: &str| attach_lab_with(&format!("on_delete => '{policy}'"));
    clinic.dba.batch_execute(&attach("keep")).await.expect("attaches");
    lab_bills(&clinic, 9).await;
    clinic.write("DELETE FROM lab_bills WHERE id = 1; UPDATE lab_bills SET invoice_number = NULL WHERE id = 2").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 1.00, 4200 -1.00", "kept");
    assert_eq!(clinic.balances("LAB", "2").await, "", "a draft is the application's word, not a disappearance");
    assert_eq!(alerts(&clinic).await, "");
    clinic.dba.batch_execute(&attach("alert")).await.expect("attaches");
    clinic.write("DELETE FROM lab_bills WHERE id = 3").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "3").await, "1000 3.00, 4200 -3.00");
    let told = alerts(&clinic).await;
    assert!(told.starts_with("BILLS_DELETED: rows of LAB were deleted, 1 just now, such as 3"), "{told}");
    let counted = "SELECT string_agg(retained_because || ' ' || reference_id, ', ' ORDER BY reference_id) FROM ledger.sync_master_status WHERE state = 'retained'";
    assert_eq!(clinic.ledger_text(counted).await, "keep 1, alert 3");
    let status = crate::command_line::run(&["status", "--source-url", &crate::command_line::url(&clinic), "--json"]).1;
    let status: serde_json::Value = serde_json::from_str(&status).expect("is JSON");
    assert_eq!(status["tables"][1]["retained"], 2, "{status}");
    clinic.dba.batch_execute("SELECT daybook.release('LAB', '3')").await.expect("releases");
    clinic.dba.batch_execute(&attach("reverse")).await.expect("attaches");
    clinic.write("DELETE FROM lab_bills WHERE id = 4").await;
    clinic.drain().await;
    assert_eq!((clinic.balances("LAB", "3").await, clinic.balances("LAB", "4").await), (String::new(), String::new()));
    assert_eq!(clinic.ledger_text(counted).await, "keep 1", "what was decided stays so");
}

#[tokio::test]
async fn partitions_that_come_and_go_are_noticed_although_they_leave_no_event() {
    let clinic = Clinic::new().await;
    let sql = "ALTER TABLE ultrasound_bills RENAME TO plain; SELECT daybook.detach('plain'); DROP TABLE plain;
        CREATE TABLE ultrasound_bills (id int, visit_id int, total_amount numeric, discounted_total numeric, payment_mode text, invoice_number text,
            created_at timestamptz DEFAULT '2024-03-05', year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year);
        CREATE TABLE u_2023 PARTITION OF ultrasound_bills FOR VALUES IN (2023);
        CREATE TABLE u_2024 (LIKE ultrasound_bills INCLUDING ALL);
        INSERT INTO u_2024 (id, year, total_amount, invoice_number) SELECT g, 2024, g, 'A' FROM generate_series(1, 5) AS g;
        SELECT daybook.attach('ultrasound_bills', 'ULTRASOUND', ARRAY['id', 'year'], ARRAY['visit_id', 'total_amount', 'discounted_total', 'payment_mode', 'invoice_number', 'created_at'])";
    clinic.dba.batch_execute(sql).await.expect("partitions");
    let archive = "INSERT INTO ultrasound_bills (id, year, total_amount, invoice_number) SELECT g, 2023, g, 'A' FROM generate_series(1, 150) AS g";
    clinic.dba.batch_execute(archive).await.expect("writes");
    clinic.drain().await;
    clinic
        .dba
        .batch_execute("ALTER TABLE ultrasound_bills ATTACH PARTITION u_2024 FOR VALUES IN (2024)")
        .await
        .expect("attaches");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0", "no event");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "155");
    clinic
        .dba
        .batch_execute("CREATE TABLE u_2025 PARTITION OF ultrasound_bills FOR VALUES IN (2025)")
        .await
        .expect("a new year");
    clinic.drain().await;
    let reconciliations = "SELECT count(*) FROM daybook.sync_audit_log WHERE operation = 'reconcile'";
    assert_eq!(clinic.text(reconciliations).await, "1", "an empty partition brings nothing");
    clinic.dba.batch_execute("ALTER TABLE ultrasound_bills DETACH PARTITION u_2023").await.expect("detaches");
    clinic.drain().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.sync_master_status WHERE retained_because = 'brake'").await,
        "150"
    );
    assert!(alerts(&clinic).await.contains("REVERSAL_BRAKE"));
    clinic
        .dba
        .batch_execute("ALTER TABLE ultrasound_bills ATTACH PARTITION u_2023 FOR VALUES IN (2023)")
        .await
        .expect("attaches");
    clinic.drain().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.sync_master_status WHERE state = 'retained'").await,
        "0"
    );
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "155");
}

/// An update that was queued before the TRUNCATE, and is read after it while nobody has come to the TRUNCATE yet.
#[tokio::test]
async fn an_update_that_is_read_after_a_truncate_reverses_nothing() {
    let clinic = Clinic::new().await;
    lab_bills(&clinic, 3).await;
    clinic.write("UPDATE lab_bills SET amount = amount + 1; DELETE FROM lab_bills WHERE id = 3").await;
    clinic.write("TRUNCATE lab_bills").await;
    let busy = crate::harness::Cluster::shared().admin(&clinic.database).await;
    let hold = "BEGIN; SELECT FROM daybook.sync_queue WHERE operation = 'truncate' FOR UPDATE";
    busy.batch_execute(hold).await.expect("another worker holds it");
    assert_eq!(clinic.drain_for(Duration::from_millis(500)).await.unfinished, 1);
    busy.batch_execute("ROLLBACK").await.expect("lets it go");
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 1.00, 4200 -1.00");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 2.00, 4200 -2.00");
    assert_eq!(clinic.balances("LAB", "3").await, "", "its own DELETE is the application's word");
    let kept = "SELECT string_agg(reference_id, ' ' ORDER BY reference_id) FROM ledger.sync_master_status WHERE retained_because = 'truncate'";
    assert_eq!(clinic.ledger_text(kept).await, "1 2");
}
