//! Standbys that take over, and servers that are set back to a copy: what one side lost is noticed, and a full pass makes both agree.

use std::time::Duration;

use crate::faults::{BILL, ENTRIES, NOTHING_QUEUED, Running, clinic_of_its_own, until};
use crate::harness::{Clinic, Cluster};
use crate::streaming::{self, capture_by};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_standby_is_waited_for_until_it_is_promoted_and_then_all_is_reconciled() {
    let (mut source, mut ledger, database, books) = clinic_of_its_own().await;
    let (source_url, ledger_url) =
        (source.server.url("bookkeeper", &database), ledger.server.url("bookkeeper", &books));
    let dba = source.admin(&database).await;
    dba.batch_execute(BILL).await.expect("writes");
    let running = Running::start(&source_url, &ledger_url, None);
    until(&dba, NOTHING_QUEUED, "0").await;
    // The ledger's server comes back as a standby, and is the primary again later.
    ledger.server.stop().expect("stops");
    ledger.server.start_read_only().expect("starts");
    dba.batch_execute(BILL).await.expect("writes");
    let standby =
        "SELECT count(*) FROM daybook.sync_alerts WHERE alert_type = 'LEDGER_UNREACHABLE' AND message LIKE '%standby%'";
    until(&dba, standby, "1").await;
    ledger.server.stop().expect("stops");
    ledger.server.start_again().expect("starts");
    until(&ledger.admin(&books).await, ENTRIES, "2").await;
    until(&dba, NOTHING_QUEUED, "0").await;
    // A standby of the source takes over that has not heard of the last bill, although the ledger has.
    dba.batch_execute("DROP TABLE IF EXISTS lost; CREATE TABLE lost AS SELECT max(id) AS id FROM lab_bills")
        .await
        .expect("notes");
    let timeline = "SELECT timeline::int FROM ledger.sources";
    until(&ledger.admin(&books).await, timeline, "1").await;
    until(
        &ledger.admin(&books).await,
        "SELECT reported_at > clock_timestamp() - interval '5 seconds' FROM ledger.sources",
        "true",
    )
    .await;
    let lose = "ALTER TABLE lab_bills DISABLE TRIGGER ALL; DELETE FROM lab_bills USING lost WHERE lab_bills.id = lost.id;
                ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture, ENABLE ALWAYS TRIGGER daybook_capture_truncate;
                SELECT setval(pg_get_serial_sequence('daybook.sync_queue', 'seq'), 1)";
    dba.batch_execute(lose).await.expect("was never replicated");
    source.server.stop().expect("stops");
    source.server.start_promoted().expect("starts");
    let dba = source.admin(&database).await;
    let accountant = ledger.admin(&books).await;
    until(&accountant, timeline, "2").await;
    until(&accountant, "SELECT count(*) FROM ledger.reference_balances WHERE reference_type = 'LAB'", "2").await;
    until(&dba, NOTHING_QUEUED, "0").await;
    dba.batch_execute(BILL).await.expect("writes");
    until(&accountant, "SELECT count(*) FROM ledger.reference_balances WHERE reference_type = 'LAB'", "4").await;
    until(&accountant, "SELECT rejoined_because FROM ledger.sources", "the source was promoted to timeline 00000002")
        .await;
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is a standby and takes no writes: waiting until it is promoted"), "{said}");
    assert!(said.contains("its old primary is still at work or was seconds ago"), "a clone would be told so: {said}");
    assert!(said.contains("was promoted: `daybook run` has every table reconciled"), "{said}");
}

/// What was posted last was acknowledged, and never reached the standby: the queue is empty, and the ledger lacks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_fails_over_to_a_standby_which_lacks_the_last_entries_gets_them_again() {
    let (source, mut ledger, database, books) = clinic_of_its_own().await;
    let bill =
        "INSERT INTO lab_bills (amount, payment_mode, invoice_number) VALUES (10, 'cash', 'A'), (20, 'barter', 'A')";
    let clinic = Clinic::of(&source, &database, &ledger, &books).await;
    clinic.write(bill).await;
    clinic.drain().await;
    let backup = ledger.server.directory().join("backup");
    ledger.server.stop().expect("stops");
    copy(&ledger.server.directory().join("data"), &backup);
    ledger.server.start_again().expect("starts");
    let clinic = Clinic::of(&source, &database, &ledger, &books).await;
    for _ in 0..3 {
        clinic.write(bill).await;
        clinic.write("UPDATE lab_bills SET amount = amount + 1").await;
        clinic.drain().await;
    }
    let told = clinic.text("SELECT max(entry_id) FROM daybook.sync_audit_log").await;
    ledger.server.stop().expect("stops");
    let data = ledger.server.directory().join("data");
    std::fs::remove_dir_all(&data).expect("is lost");
    copy(&backup, &data);
    ledger.server.start_promoted().expect("starts");
    let clinic = Clinic::of(&source, &database, &ledger, &books).await;
    until(&clinic.accountant, "SELECT pg_is_in_recovery()", "false").await;
    let token = clinic.text("SELECT token FROM daybook.ledger_meeting").await;
    let replicated = format!("UPDATE ledger.sources SET token = '{token}'");
    clinic.accountant.batch_execute(&replicated).await.expect("the last meeting had reached it");
    assert_eq!(clinic.drain().await.parked, 4);
    clinic.assert_ledger_equals_bills().await;
    let noted = clinic.ledger_text("SELECT rejoined_because FROM ledger.sources").await;
    assert_eq!(noted, "the ledger was promoted to timeline 00000002");
    let again = format!(
        "SELECT count(*) FROM ledger.journal_entries WHERE posted_at > (SELECT rejoined_at FROM ledger.sources) AND id <= {told}"
    );
    assert_eq!(clinic.ledger_text(&again).await, "0", "no id is given again that the audit log names");
}

/// The files of a server as they were, as from last night's copy.
fn set_back(cluster: &mut Cluster, backup: &std::path::Path) {
    cluster.server.stop().expect("stops");
    let data = cluster.server.directory().join("data");
    std::fs::remove_dir_all(&data).expect("is lost");
    copy(backup, &data);
    cluster.server.start_again().expect("starts");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("--archive").args([from, to]).status().expect("runs");
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_or_a_ledger_that_is_set_back_to_a_backup_is_recognised_and_a_full_pass_makes_them_agree() {
    let (mut source, mut ledger, database, books) = clinic_of_its_own().await;
    let bills = "INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 20) AS g;
                 UPDATE lab_bills SET amount = amount + 1 WHERE id % 3 = 0; DELETE FROM lab_bills WHERE id % 7 = 0;
                 UPDATE lab_bills SET payment_mode = 'card' WHERE id % 5 = 0";
    for of_source in [true, false] {
        let clinic = Clinic::of(&source, &database, &ledger, &books).await;
        clinic.write(bills).await;
        clinic.drain().await;
        let set_back_one = if of_source { &mut source } else { &mut ledger };
        let backup = set_back_one.server.directory().join("backup");
        set_back_one.server.stop().expect("stops");
        copy(&set_back_one.server.directory().join("data"), &backup);
        set_back_one.server.start_again().expect("starts");
        let clinic = Clinic::of(&source, &database, &ledger, &books).await;
        clinic.write(bills).await;
        clinic.drain().await;
        set_back(if of_source { &mut source } else { &mut ledger }, &backup);
        let clinic = Clinic::of(&source, &database, &ledger, &books).await;
        clinic.write(&bills.replace("SELECT g,", "SELECT g + 100,")).await;
        let told =
            daybook::consumer::drain(clinic.options(1), Duration::from_secs(20)).await.expect_err("is recognised");
        assert!(told.to_string().contains("daybook rejoin"), "{told}");
        let before = clinic.ledger_text(ENTRIES).await;
        daybook::meeting::rejoin(&clinic.source, &clinic.ledger, "set back to last night").await.expect("rejoins");
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        assert_ne!(clinic.ledger_text(ENTRIES).await, before);
    }
}

/// The last changes reached the ledger, and not the standby. A slot comes along where it is synchronised, as from PostgreSQL 17 on.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_the_source_goes_on_with_the_stream_with_its_slot_or_without() {
    for slot_comes_along in [false, true] {
        let mut source = Cluster::start_with(&["fsync=off", "wal_level=logical"]);
        let ledger = Cluster::elsewhere();
        let (database, books) = (source.clinic_database().await, ledger.clinic_database().await);
        let clinic = Clinic::of(&source, &database, ledger, &books).await;
        capture_by(&clinic, "wal").await;
        clinic
            .write("INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 5) AS g")
            .await;
        clinic.drain().await;
        let backup = source.server.directory().join("backup");
        source.server.stop().expect("stops");
        copy(&source.server.directory().join("data"), &backup);
        source.server.start_again().expect("starts");
        let clinic = Clinic::of(&source, &database, ledger, &books).await;
        clinic.write(BILL).await;
        clinic
            .write("UPDATE lab_bills SET amount = amount + 1 WHERE id <= 2; DELETE FROM lab_bills WHERE id = 3")
            .await;
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        let token = clinic.ledger_text("SELECT token FROM ledger.sources").await;
        source.server.stop().expect("stops");
        let data = source.server.directory().join("data");
        std::fs::remove_dir_all(&data).expect("is lost");
        copy(&backup, &data);
        if !slot_comes_along {
            for slot in std::fs::read_dir(data.join("pg_replslot")).expect("lists") {
                std::fs::remove_dir_all(slot.expect("is there").path()).expect("is not copied to a standby");
            }
        }
        source.server.start_promoted().expect("starts");
        let clinic = Clinic::of(&source, &database, ledger, &books).await;
        until(&clinic.dba, "SELECT pg_is_in_recovery()", "false").await;
        let replicated = format!("UPDATE daybook.ledger_meeting SET token = '{token}'");
        clinic.dba.batch_execute(&replicated).await.expect("the last meeting had reached it");
        clinic.write(BILL).await;
        clinic.write("UPDATE lab_bills SET amount = amount + 5 WHERE id IN (1, 4)").await;
        // Once nothing more is heard of the old primary.
        let mut tries = 0;
        while let Err(error) = daybook::consumer::drain(clinic.options(2), Duration::from_secs(60)).await {
            tries += 1;
            assert!(tries < 60 && error.to_string().contains("old primary"), "{error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        clinic.assert_ledger_equals_bills().await;
        let lost = "SELECT count(*) FROM daybook.sync_alerts WHERE alert_type = 'SLOT_LOST' AND message LIKE '%did not come along%'";
        assert_eq!(clinic.text(lost).await, if slot_comes_along { "0" } else { "1" });
        clinic.write("UPDATE lab_bills SET amount = amount + 7 WHERE id = 5").await;
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        let streamed = "SELECT count(*) > 0 FROM daybook.sync_audit_log WHERE origin = 'wal' AND operation = 'update'
                        AND xid = (SELECT max(xid) FROM daybook.sync_audit_log WHERE origin = 'wal')";
        assert_eq!(clinic.text(streamed).await, "true", "the stream goes on");
    }
}

/// A stream counts as a standby where any does: commits would wait for it, and it for them to be seen.
#[tokio::test(flavor = "multi_thread")]
async fn no_application_waits_for_the_stream_where_any_standby_counts() {
    let cluster = Cluster::start_with(&["fsync=off", "wal_level=logical"]);
    let clinic = Clinic::with_both_on(&cluster).await;
    capture_by(&clinic, "wal").await;
    let running = streaming::Running::start(&clinic).await;
    let directory = cluster.server.directory();
    let received = directory.join("received");
    std::fs::create_dir(&received).expect("makes a directory");
    let connection = format!("host={} user=postgres application_name=standby1", directory.display());
    let mut standby = std::process::Command::new("pg_receivewal")
        .args(["--synchronous", "--no-loop", "--dbname", &connection, "--directory"])
        .arg(&received)
        .spawn()
        .expect("starts");
    let senders = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    until(&clinic.dba, senders, "2").await;
    clinic.dba.batch_execute("SET synchronous_commit = local").await.expect("sets");
    let name_standbys = async |names: &str| {
        for sql in [&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"), "SELECT pg_reload_conf()"] {
            clinic.dba.batch_execute(sql).await.expect("sets");
        }
    };
    name_standbys("*").await;
    let told = "SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'STREAM_STOPPED' AND message LIKE '%synchronous_standby_names%'";
    let writer = clinic.another_desk().await;
    let writing = async {
        while clinic.text(told).await != "1" {
            writer.batch_execute(BILL).await.expect("writes");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writing)
        .await
        .expect("the application's commits are not kept waiting");
    until(&clinic.dba, senders, "1").await;
    name_standbys("standby1").await;
    until(&clinic.dba, told, "0").await;
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    standby.kill().expect("ends");
    standby.wait().expect("ends");
}
