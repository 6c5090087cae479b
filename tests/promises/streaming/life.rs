//! The slot's life, and the stream's: what dies, is dropped, made anew or moved, and the way back.

use std::process::Command;
use std::time::Duration;

use super::{LAB, Running, attach_by, capture_by, clinic, gaps, until};
use crate::harness::{Clinic, Cluster};

const SLOT: &str = "(SELECT daybook.slot_name())";

async fn slot(clinic: &Clinic) -> String {
    clinic.text("SELECT count(*) FROM pg_replication_slots WHERE slot_name = daybook.slot_name()").await
}

async fn lost_alerts(clinic: &Clinic) -> String {
    clinic.text("SELECT string_agg(message, ';') FROM daybook.sync_alerts WHERE alert_type = 'SLOT_LOST'").await
}

/// A clinic that has streamed, and whose stream does not run now.
async fn streamed() -> Clinic {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 5) AS g")).await;
    clinic.drain().await;
    assert_eq!(lost_alerts(&clinic).await, "", "a first slot is no loss");
    clinic
}

/// Its bills are posted although nobody saw the changes, and the alert that says so is over.
async fn assert_it_came_back(clinic: &Clinic, why: &str) {
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let message = lost_alerts(clinic).await;
    assert!(message.contains(why), "{message}");
    let running = Running::start(clinic).await;
    until(clinic, "NOT EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'SLOT_LOST')").await;
    running.end().await;
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_made_anew_and_every_bill_reconciled() {
    let clinic = streamed().await;
    clinic.dba.batch_execute(&format!("SELECT pg_drop_replication_slot({SLOT})")).await.expect("drops");
    let told =
        "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'SLOT_LOST' AND message LIKE '%not there%'";
    assert_eq!(clinic.text(told).await, "1", "seen without any process of ours");
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1; DELETE FROM lab_bills WHERE id = 2").await;
    assert_it_came_back(&clinic, "it was dropped").await;
}

#[tokio::test]
async fn a_slot_that_was_dropped_and_made_anew_is_no_silent_gap() {
    let clinic = streamed().await;
    clinic.dba.batch_execute(&format!("SELECT pg_drop_replication_slot({SLOT})")).await.expect("drops");
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    clinic.dba.batch_execute(&clinic.text("SELECT daybook.slot_statement()").await).await.expect("makes it by hand");
    clinic.write("UPDATE lab_bills SET amount = 901 WHERE id = 2").await;
    assert_it_came_back(&clinic, "it was made anew").await;
}

#[tokio::test]
async fn a_slot_that_somebody_else_moved_on_is_no_silent_gap() {
    let clinic = streamed().await;
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    let advance = format!("SELECT pg_replication_slot_advance({SLOT}, pg_current_wal_lsn())");
    clinic.dba.batch_execute(&advance).await.expect("moves it");
    assert_it_came_back(&clinic, "moved on by somebody else").await;
}

#[tokio::test]
async fn a_slot_that_the_server_invalidated_is_made_anew_and_every_bill_reconciled() {
    let cluster =
        Cluster::start_with(&["fsync=off", "wal_level=logical", "max_slot_wal_keep_size=1MB", "max_wal_size=32MB"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 5) AS g")).await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    for _ in 0..4 {
        let fill = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 900000)) FROM generate_series(1, 20)";
        clinic.dba.batch_execute(fill).await.expect("writes WAL");
        clinic.dba.batch_execute("SELECT pg_switch_wal()").await.expect("switches");
        clinic.dba.batch_execute("CHECKPOINT").await.expect("checkpoints");
    }
    let status = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = daybook.slot_name()";
    assert_eq!(clinic.text(status).await, "lost");
    let told =
        "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'SLOT_LOST' AND message LIKE '%invalidated%'";
    assert_eq!(clinic.text(told).await, "1");
    assert_it_came_back(&clinic, "the server has removed WAL").await;
}

#[tokio::test]
async fn a_slot_that_lags_is_alerted_before_it_fills_the_disk() {
    // On a server of its own: what others write there would be kept for the slot, too.
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    clinic.drain().await;
    clinic.configure("alert_threshold_slot_lag_mb", "1").await;
    let fill = "SELECT pg_logical_emit_message(true, 'x', repeat('x', 900000)) FROM generate_series(1, 4)";
    clinic.dba.batch_execute(fill).await.expect("writes WAL");
    until(&clinic, "EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'SLOT_LAG')").await;
    let alert = "SELECT message FROM daybook.current_alerts WHERE alert_type = 'SLOT_LAG'";
    let alert = clinic.text(alert).await;
    assert!(alert.contains("the server keeps") && alert.contains("does `daybook run` stream"), "{alert}");
    let running = Running::start(&clinic).await;
    // The server moves on what it keeps with its own notes of running transactions, as of a checkpoint.
    for _ in 0..100 {
        clinic.dba.batch_execute("CHECKPOINT; SELECT pg_current_xact_id()").await.expect("checkpoints");
        tokio::time::sleep(Duration::from_millis(100)).await;
        if clinic.text("SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'SLOT_LAG'").await == "0" {
            break;
        }
    }
    until(&clinic, "NOT EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'SLOT_LAG')").await;
    running.end().await;
}

#[tokio::test]
async fn an_idle_database_does_not_retain_wal() {
    let clinic = streamed().await;
    let running = Running::start(&clinic).await;
    let position = clinic.text("SELECT pg_current_wal_insert_lsn()").await;
    // Nothing of ours is in there; another database of the server is at work.
    let fill = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 900000)) FROM generate_series(1, 4)";
    Cluster::streaming().admin("postgres").await.batch_execute(fill).await.expect("writes WAL");
    until(&clinic, &format!("(SELECT confirmed_flush_lsn > '{position}' FROM pg_replication_slots WHERE slot_name = daybook.slot_name())")).await;
    running.end().await;
}

#[tokio::test]
async fn a_publication_that_was_dropped_and_made_anew_costs_one_reconciliation() {
    let clinic = streamed().await;
    clinic.dba.batch_execute("DROP PUBLICATION daybook").await.expect("drops");
    let told = "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_INCOMPLETE' AND message LIKE '%publication daybook%'";
    assert_eq!(clinic.text(told).await, "4");
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    capture_by(&clinic, "wal").await;
    clinic.write("UPDATE lab_bills SET amount = 901 WHERE id = 2").await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn detaching_the_last_table_leaves_neither_slot_nor_publication() {
    let clinic = streamed().await;
    for table in ["lab_bills", "pharmacy_bills", "ultrasound_bills"] {
        clinic.dba.batch_execute(&format!("SELECT daybook.detach('{table}')")).await.expect("detaches");
    }
    assert_eq!(slot(&clinic).await, "1");
    // While it is streamed from, whoever streams drops it.
    let running = Running::start(&clinic).await;
    clinic.dba.batch_execute("SELECT daybook.detach('consultation_invoices')").await.expect("detaches");
    assert_eq!(clinic.text("SELECT count(*) FROM pg_publication").await, "0");
    until(&clinic, "NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = daybook.slot_name())").await;
    until(&clinic, "NOT EXISTS (SELECT FROM daybook.wal_progress)").await;
    running.end().await;
    assert_eq!(
        clinic.text("SELECT string_agg(alert_type || ' ' || message, ';') FROM daybook.current_alerts").await,
        ""
    );
}

#[tokio::test]
async fn uninstalling_leaves_neither_slot_nor_publication() {
    let clinic = streamed().await;
    daybook::install::uninstall(&clinic.source, &clinic.ledger, false).await.expect("uninstalls");
    let left = "SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    assert_eq!(clinic.text(left).await, "0");
}

#[tokio::test]
async fn switching_a_tables_mode_while_the_application_writes_loses_nothing_and_is_no_gap() {
    let clinic = clinic("trigger").await;
    clinic.configure("reversal_brake", "1000000").await;
    let running = Running::start(&clinic).await;
    let (writer, (stop, mut stopped)) = (clinic.another_desk().await, tokio::sync::oneshot::channel::<()>());
    let writing = tokio::spawn(async move {
        let mut round = 0;
        while stopped.try_recv().is_err() {
            round += 1;
            let sql = format!(
                "{LAB} VALUES ({round}, true, 'cash', 'L{round}'); UPDATE lab_bills SET amount = amount + 1 WHERE id % 7 = {} % 7;
                 DELETE FROM lab_bills WHERE id = {round} - 40",
                round
            );
            writer.batch_execute(&sql).await.expect("writes");
        }
    });
    for mode in ["both", "wal", "both", "trigger", "wal", "trigger", "both"] {
        attach_by(&clinic, "lab_bills", mode).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let _ = stop.send(());
    writing.await.expect("writes to the end");
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(gaps(&clinic).await, "");
}

#[tokio::test]
async fn a_second_process_waits_for_the_stream_and_takes_it_over() {
    let clinic = streamed().await;
    let first = Running::start(&clinic).await;
    let second = Running::start(&clinic).await;
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE origin = 'wal')").await;
    first.end().await;
    clinic.write("UPDATE lab_bills SET amount = 901 WHERE id = 2").await;
    until(&clinic, "(SELECT count(*) FROM daybook.sync_audit_log WHERE origin = 'wal') >= 2").await;
    second.end().await;
    clinic.assert_ledger_equals_bills().await;
    let alerts = "SELECT count(*) FROM daybook.sync_alerts WHERE alert_type IN ('SLOT_LOST', 'STREAM_STOPPED')";
    assert_eq!(clinic.text(alerts).await, "0");
}

#[tokio::test]
async fn a_walsender_that_is_ended_again_and_again_loses_nothing() {
    let clinic = streamed().await;
    let running = Running::start(&clinic).await;
    for round in 0..10 {
        clinic
            .write(&format!(
                "{LAB} VALUES ({round}, true, 'cash', 'M{round}'); UPDATE lab_bills SET amount = amount + 1"
            ))
            .await;
        let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = daybook.slot_name() AND active";
        clinic.dba.batch_execute(end).await.expect("ends it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(lost_alerts(&clinic).await, "");
}

#[tokio::test]
async fn a_stream_that_dies_between_its_steps_repeats_harmlessly_and_loses_nothing() {
    for point in daybook::crash_point::STREAM {
        let clinic = streamed().await;
        clinic.write("UPDATE lab_bills SET amount = amount + 1; DELETE FROM lab_bills WHERE id = 3").await;
        let url = format!(
            "host={} user=postgres dbname={}",
            Cluster::streaming().server.directory().display(),
            clinic.database
        );
        let ended = tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_daybook"))
                .args(["drain", "--source-url", &url])
                .env("DAYBOOK_CRASH_AT", point)
                .output()
                .expect("runs")
        });
        let ended = ended.await.expect("ends");
        assert_eq!(ended.status.code(), None, "{point}: it dies: {}", String::from_utf8_lossy(&ended.stderr));
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        assert_eq!(lost_alerts(&clinic).await, "", "{point}");
    }
}

#[tokio::test]
async fn a_role_that_may_not_replicate_is_told_what_to_grant_and_the_slot_made_by_hand_serves() {
    let clinic = clinic("wal").await;
    let role = format!("poster_{}", clinic.database);
    let make = format!("CREATE ROLE {role} LOGIN; GRANT daybook_consumer TO {role}");
    clinic.dba.batch_execute(&make).await.expect("makes a role");
    let mut options = clinic.options(1);
    options.source.user(&role);
    let drained = daybook::consumer::drain(options, Duration::from_secs(3)).await.expect("drains");
    assert!(drained.unfinished > 0, "what the stream has not read is not done");
    let alert = "SELECT message FROM daybook.current_alerts WHERE alert_type = 'STREAM_STOPPED'";
    let alert = clinic.text(alert).await;
    assert!(alert.contains("REPLICATION") && alert.contains("pg_create_logical_replication_slot"), "{alert}");
}

#[tokio::test]
async fn a_slot_that_a_standby_can_keep_is_one_from_17_on() {
    let clinic = streamed().await;
    let version: i32 = clinic.text("SELECT current_setting('server_version_num')").await.parse().expect("a number");
    if version < 170_000 {
        eprintln!("skipped: before PostgreSQL 17 no slot fails over; after a promotion everything is reconciled");
        return;
    }
    let failover = "SELECT failover FROM pg_replication_slots WHERE slot_name = daybook.slot_name()";
    assert_eq!(clinic.text(failover).await, "true");
}

#[tokio::test]
async fn what_a_slot_waits_for_that_is_being_made_is_told() {
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical", "max_prepared_transactions=5"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    let told = "EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'STREAM_STOPPED' AND message LIKE '%pg_prepared_xacts%')";
    let streams = "EXISTS (SELECT FROM pg_replication_slots WHERE active AND confirmed_flush_lsn IS NOT NULL)";
    let prepare = |id: u32| format!("BEGIN; {LAB} VALUES ({id}, true, 'cash', 'L{id}'); PREPARE TRANSACTION 'open'");
    // Our own process makes it, and a DBA by hand.
    for by_hand in [false, true] {
        clinic.dba.batch_execute(&prepare(100 + u32::from(by_hand))).await.expect("prepares");
        let maker = by_hand.then(|| {
            let mut psql = Command::new("psql");
            psql.args([
                "-h",
                &cluster.server.directory().display().to_string(),
                "-U",
                "postgres",
                "-d",
                &clinic.database,
            ]);
            psql.args([
                "--no-psqlrc",
                "-c",
                "SELECT pg_create_logical_replication_slot(daybook.slot_name(), 'pgoutput')",
            ]);
            psql.stdout(std::process::Stdio::null()).spawn().expect("psql runs")
        });
        if by_hand {
            until(&clinic, "EXISTS (SELECT FROM pg_replication_slots WHERE active)").await;
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(daybook::consumer::run(clinic.options(2), async {
            let _ = stopped.await;
        }));
        until(&clinic, told).await;
        clinic.dba.batch_execute("COMMIT PREPARED 'open'").await.expect("commits");
        until(&clinic, streams).await;
        until(&clinic, &format!("NOT {told}")).await;
        stop.send(()).expect("runs");
        running.await.expect("ends").expect("ends in order");
        if let Some(mut maker) = maker {
            assert!(maker.wait().expect("ends").success());
        }
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        clinic.dba.batch_execute(&format!("SELECT pg_drop_replication_slot({SLOT})")).await.expect("drops");
    }
    // A process that is gone leaves none behind that nobody reads.
    clinic.dba.batch_execute(&prepare(102)).await.expect("prepares");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(clinic.options(2), async {
        let _ = stopped.await;
    }));
    until(&clinic, "EXISTS (SELECT FROM pg_replication_slots WHERE active AND confirmed_flush_lsn IS NULL)").await;
    stop.send(()).expect("runs");
    running.await.expect("ends").expect("ends in order");
    until(&clinic, "NOT EXISTS (SELECT FROM pg_replication_slots)").await;
    clinic.dba.batch_execute("COMMIT PREPARED 'open'").await.expect("commits");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn what_was_enqueued_in_another_mode_is_no_gap_in_this_one() {
    let clinic = streamed().await;
    let running = Running::start(&clinic).await;
    clinic.dba.batch_execute("SELECT daybook.pause()").await.expect("pauses");
    clinic.write("UPDATE lab_bills SET amount = 900 WHERE id = 1").await;
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_queue WHERE origin = 'wal' AND reference_id = '1')").await;
    attach_by(&clinic, "lab_bills", "both").await;
    // As if the reconciliation of the table, which a switch asks for, had been faster.
    clinic.dba.batch_execute("DELETE FROM daybook.sync_queue WHERE reference_id IS NULL").await.expect("takes it out");
    clinic.dba.batch_execute("SELECT daybook.resume()").await.expect("resumes");
    until(&clinic, "NOT EXISTS (SELECT FROM daybook.sync_queue)").await;
    running.end().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(gaps(&clinic).await, "");
}
