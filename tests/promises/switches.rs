//! What a DBA switches: attach, detach, suspend, resume; and triggers that somebody else switched off.

use std::time::Duration;

use crate::capture::queue;
use crate::harness::{Clinic, refused};

#[tokio::test]
async fn attaching_a_busy_table_gives_up_with_a_clear_message_and_changes_nothing() {
    let clinic = Clinic::new().await;
    clinic
        .dba
        .batch_execute("CREATE TABLE busy (id int PRIMARY KEY); GRANT ALL ON busy TO desk")
        .await
        .expect("creates");
    clinic.write("BEGIN; INSERT INTO busy VALUES (1)").await;
    let message = refused(
        &clinic.dba,
        "SELECT daybook.attach('busy', 'BUSY', ARRAY['id'], ARRAY['id'], lock_timeout => '100 milliseconds')",
    )
    .await;
    assert!(message.contains("somebody is using public.busy") && message.contains("pg_stat_activity"), "{message}");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_source WHERE reference_type = 'BUSY'").await, "0");
    clinic.write("COMMIT").await;
}

/// An application locks its table first and our queue second; attach does the same.
#[tokio::test]
async fn attaching_and_writing_do_not_deadlock() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SELECT daybook.detach('lab_bills')").await.expect("detaches");
    let writers = (0..2).map(async |writer: i64| {
        let desk = clinic.another_desk().await;
        for n in 0..60 {
            let sql = format!("BEGIN; INSERT INTO lab_bills (amount, invoice_number) VALUES ({writer}, 'A');
                               UPDATE lab_bills SET amount = amount + {n} WHERE id = (SELECT max(id) FROM lab_bills); COMMIT");
            desk.batch_execute(&sql).await.expect("the application's write does not fail");
        }
    });
    let attaching = async {
        for _ in 0..10 {
            for sql in [crate::harness::TRIGGERS[2], "SELECT daybook.detach('lab_bills', discard_unfinished => true)"] {
                if let Err(error) = clinic.dba.batch_execute(sql).await {
                    assert_eq!(error.code().map(|state| state.code()), Some("55P03"), "{error:?}");
                }
            }
        }
    };
    let mut writers = writers.collect::<Vec<_>>().into_iter();
    let (first, second) = (writers.next().expect("one"), writers.next().expect("two"));
    tokio::join!(first, second, attaching);
}

#[tokio::test]
async fn a_suspended_table_is_written_without_capture_and_reconciled_when_resumed() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    // A writer holds its lock on the table meanwhile: suspending takes none.
    let writer = clinic.another_desk().await;
    writer
        .batch_execute("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (3, 30, 'C')")
        .await
        .expect("writes");
    clinic
        .dba
        .batch_execute("SET lock_timeout = '100ms'; SELECT daybook.suspend('lab_bills')")
        .await
        .expect("suspends without a lock");
    clinic.write("UPDATE lab_bills SET amount = 11 WHERE id = 1; DELETE FROM lab_bills WHERE id = 2; TRUNCATE ultrasound_bills").await;
    assert_eq!(queue(&clinic).await, "ULTRASOUND * truncate");
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1, "waits for the older transaction");
    writer.batch_execute("COMMIT").await.expect("commits");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.balances("LAB", "2").await, "");
    clinic.write("UPDATE lab_bills SET amount = 12 WHERE id = 1").await;
    assert_eq!(queue(&clinic).await, "LAB 1 update");
}

#[tokio::test]
async fn resuming_waits_for_a_prepared_transaction_and_for_an_old_snapshot() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute("SELECT daybook.suspend('lab_bills')").await.expect("suspends");
    let name = format!("p{}", clinic.database);
    clinic.write(&format!("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'); PREPARE TRANSACTION '{name}'")).await;
    let reader = clinic.another_desk().await;
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM lab_bills").await.expect("reads");
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    assert_eq!(clinic.drain_for(Duration::from_secs(1)).await.unfinished, 1);
    clinic.write(&format!("COMMIT PREPARED '{name}'")).await;
    assert_eq!(
        clinic.drain_for(Duration::from_millis(1500)).await.unfinished,
        1,
        "the snapshot is older, and may write yet"
    );
    reader
        .batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 20, 'B'); COMMIT")
        .await
        .expect("writes");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn detaching_leaves_the_table_as_it_was_and_refuses_while_events_are_unfinished() {
    let clinic = Clinic::new().await;
    let dump = "SELECT string_agg(c::text, ',') FROM (SELECT relacl, (SELECT array_agg(attacl::text) FROM pg_attribute WHERE attrelid = c.oid
                AND attname = 'amount') FROM pg_class AS c WHERE relname = 'plain') AS c";
    clinic
        .dba
        .batch_execute("CREATE TABLE plain (id int PRIMARY KEY, amount numeric); GRANT ALL ON plain TO desk")
        .await
        .expect("creates");
    let before = clinic.text(dump).await;
    clinic
        .dba
        .batch_execute("SELECT daybook.attach('plain', 'PLAIN', ARRAY['id'], ARRAY['amount'])")
        .await
        .expect("attaches");
    clinic.write("INSERT INTO plain VALUES (1, 1)").await;
    let message = refused(&clinic.dba, "SELECT daybook.detach('plain')").await;
    assert!(
        message.contains("1 events of PLAIN are not posted yet, and 0 of its bills are parked")
            && message.contains("discard_unfinished"),
        "{message}"
    );
    clinic.dba.batch_execute("SELECT daybook.detach('plain', discard_unfinished => true)").await.expect("detaches");
    assert_eq!(clinic.text("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'plain'::regclass").await, "0");
    assert_eq!(clinic.text(dump).await, before, "privileges are as before");
    assert_eq!(clinic.text("SELECT count(*) FROM pg_proc WHERE proname = 'capture_plain'").await, "0");
    clinic.write("INSERT INTO plain VALUES (2, 1)").await;
}

#[tokio::test]
async fn a_trigger_that_was_disabled_or_is_missing_on_a_partition_is_alerted() {
    let clinic = Clinic::new().await;
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.current_alerts").await, "0");
    clinic.dba.batch_execute("ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture").await.expect("disables");
    let sql = "CREATE TABLE scans (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
               SELECT daybook.attach('scans', 'SCAN', ARRAY['id'], ARRAY['id']);
               CREATE TABLE scans_1 PARTITION OF scans FOR VALUES FROM (1) TO (100)"; // TRUNCATE triggers are not cloned
    clinic.dba.batch_execute(sql).await.expect("attaches");
    let alerts = "SELECT string_agg(alert_type || ' ' || cause, ', ' ORDER BY cause) FROM daybook.current_alerts";
    assert_eq!(clinic.text(alerts).await, "CAPTURE_INCOMPLETE LAB, TRUNCATE_NOT_CAPTURED SCAN");
    clinic.dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches again");
    clinic
        .dba
        .batch_execute("SELECT daybook.attach('scans', 'SCAN', ARRAY['id'], ARRAY['id'])")
        .await
        .expect("attaches again");
    assert_eq!(clinic.text(alerts).await, "");
}

/// A schema that needs quoting, and is the only one of that name in another spelling.
#[tokio::test]
async fn a_table_in_a_quoted_schema_is_detached_without_trace() {
    let clinic = Clinic::new().await;
    let sql = r#"CREATE SCHEMA "Cabinet"; CREATE TABLE "Cabinet"."Honoraires" (id int PRIMARY KEY, m numeric);
        SELECT daybook.attach('"Cabinet"."Honoraires"', 'HONORAIRES', ARRAY['id'], ARRAY['m']);
        SELECT daybook.detach('"Cabinet"."Honoraires"')"#;
    clinic.dba.batch_execute(sql).await.expect("attaches and detaches");
    let left = "SELECT has_schema_privilege('daybook_consumer', 'Cabinet', 'USAGE')::text || (SELECT count(*) FROM daybook.sync_source WHERE reference_type = 'HONORAIRES')";
    assert_eq!(clinic.text(left).await, "false0");
}

#[tokio::test(flavor = "multi_thread")]
async fn posting_is_paused_and_goes_on_while_capture_never_stops() {
    let clinic = Clinic::new().await;
    let url = crate::command_line::url(&clinic);
    crate::rules::done(&["pause"], &url);
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert_eq!(clinic.drain_for(Duration::from_millis(200)).await.unfinished, 1);
    let told = clinic.text("SELECT string_agg(alert_type || ' ' || message, ' ') FROM daybook.current_alerts").await;
    assert!(
        told.contains("POSTING_PAUSED nothing is posted since postgres paused it") && !told.contains("SYSTEM_DOWN"),
        "{told}"
    );
    crate::rules::done(&["resume"], &url);
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    assert!(
        refused(
            &clinic.dba,
            "UPDATE daybook.sync_configuration SET config_value = 'stopped' WHERE config_key = 'posting'"
        )
        .await
        .contains("posting_is_running_or_paused")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_suspended_and_resumed_from_the_command_line_by_either_name() {
    let clinic = Clinic::new().await;
    let url = crate::command_line::url(&clinic);
    clinic.write("BEGIN; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await; // a lock that nobody waits for
    assert!(crate::rules::done(&["suspend", "lab_bills"], &url).contains("LAB is suspended"));
    clinic.write("COMMIT; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 20, 'A')").await;
    assert!(crate::rules::done(&["resume", "lab"], &url).contains("all of public.lab_bills is being synchronised"));
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    crate::rules::fails(&["suspend", "nowhere"], &url, 2, "no attached table is called nowhere");
}
