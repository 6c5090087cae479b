//! The queue, who works on it, what waits for a person, and whether source and ledger belong together.

use daybook::doctor::Limits;
use daybook::doctor::finding::Place;

use super::{ERROR, INFO, Patient, WARNING};
use crate::harness::{Clinic, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_parked_and_retained_bills_and_alerts_and_its_advice_settles_them() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    clinic
        .write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'barter', 'A')")
        .await;
    clinic.drain().await;
    // The advice is for after mending.
    let findings = patient.findings().await;
    assert_eq!(
        findings.iter().map(|finding| (finding.check, finding.severity)).collect::<Vec<_>>(),
        [("parked", WARNING)]
    );
    clinic
        .dba
        .batch_execute("SET session_replication_role = replica; ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture")
        .await
        .expect("bypasses");
    clinic.dba.batch_execute("UPDATE lab_bills SET payment_mode = 'cash'; ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture; RESET session_replication_role").await.expect("mends");
    patient.obey(&findings[0]).await;
    clinic.drain().await;
    patient.is_content().await;

    clinic.dba.batch_execute("SELECT daybook.raise_alert('TABLE_DIRTY', 'LAB', 'critical', 'of old'); SELECT daybook.raise_alert('TAX_DIFFERS', 'LAB', 'warning', 'by a cent')").await.expect("alerts");
    patient.cure("alerts", &[("alerts", WARNING), ("alerts", WARNING)]).await;
    clinic
        .dba
        .batch_execute("SELECT daybook.raise_alert('TAX_DIFFERS', 'LAB', 'warning', 'by a cent'); SELECT daybook.acknowledge(max(alert_id)) FROM daybook.sync_alerts")
        .await
        .expect("alerts");
    patient.cure("an alert that was seen", &[("alerts", INFO)]).await;

    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, 'cash', 'A' FROM generate_series(2, 9) AS g").await;
    clinic.drain().await;
    clinic.write("TRUNCATE lab_bills").await;
    clinic.drain().await;
    let findings = patient.findings().await;
    let checks: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
    assert_eq!(checks, [("alerts", WARNING), ("retained", INFO)]);
    for finding in &findings {
        patient.obey(finding).await;
    }
    clinic.drain().await;
    patient.is_content().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.reference_balances").await,
        "0",
        "all of it is reversed"
    );

    clinic.configure("reversal_brake", "1").await;
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, 'cash', 'A' FROM generate_series(11, 19) AS g").await;
    clinic.drain().await;
    clinic.write("DELETE FROM lab_bills").await;
    clinic.drain().await;
    let findings = patient.findings().await;
    let checks: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
    assert_eq!(checks, [("alerts", WARNING), ("retained", WARNING)]);
    for finding in &findings {
        patient.obey(finding).await;
    }
    clinic.drain().await;
    patient.is_content().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.reference_balances").await,
        "0",
        "all of it is reversed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_holds_vacuum_back_and_its_advice_ends_it() {
    let clinic = Clinic::new().await;
    let mut patient = Patient::of(&clinic);
    patient.limits = Limits { transaction_warning_s: 1, transaction_error_s: 1, ..Limits::default() };
    let idle = clinic.another_desk().await;
    idle.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM lab_bills").await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    patient.cure("a long transaction", &[("long_transactions", ERROR)]).await;
    patient.limits.transaction_error_s = 100;
    let prepared =
        "BEGIN; INSERT INTO lab_bills (amount, invoice_number) VALUES (1, 'A'); PREPARE TRANSACTION 'it''s odd'";
    clinic.write(prepared).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    patient.cure("a prepared transaction", &[("prepared_transactions", WARNING)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_queue_that_is_bloated_or_not_worked_on_and_its_advice_helps() {
    let clinic = Clinic::new().await;
    let mut patient = Patient::of(&clinic);
    patient
        .source("ALTER TABLE daybook.sync_queue SET (autovacuum_enabled = false)", &[("queue_bloat", WARNING)])
        .await;
    patient.source("SELECT daybook.pause()", &[("paused", WARNING)]).await;

    let rows = "INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 3000) AS g";
    clinic
        .dba
        .batch_execute("ALTER TABLE daybook.sync_queue SET (autovacuum_enabled = false)")
        .await
        .expect("lets it be");
    clinic.write(rows).await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE daybook.sync_queue RESET (autovacuum_enabled)").await.expect("as it was");
    patient.limits = Limits { dead_rows: 1_000, index_bytes: 100_000, ..Limits::default() };
    // Statistics arrive a moment after the deed.
    for _ in 0..50 {
        if clinic.text("SELECT pg_stat_get_dead_tuples('daybook.sync_queue'::regclass) >= 1000").await == "true" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    patient.cure("a full queue that was drained", &[("queue_bloat", WARNING), ("queue_bloat", WARNING)]).await;

    patient.limits = Limits { backlog_s: 0, ..Limits::default() };
    clinic.write("INSERT INTO lab_bills (amount, invoice_number) VALUES (1, 'A')").await;
    let findings = patient.findings().await;
    assert_eq!(
        findings.iter().map(|finding| finding.fix.as_str()).collect::<Vec<_>>(),
        ["daybook run"],
        "{findings:?}"
    );
    assert_eq!((findings[0].check, findings[0].severity), ("consumers", ERROR));
    let mut running = std::process::Command::new(env!("CARGO_BIN_EXE_daybook"));
    let mut running = running.args(["run", "--source-url", &patient.source_url]).spawn().expect("starts");
    for _ in 0..200 {
        if clinic.text("SELECT count(*) FROM daybook.sync_system_health").await != "0" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    patient.is_content().await;
    running.kill().expect("kills");
    running.wait().expect("is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_source_and_a_ledger_that_do_not_belong_together_and_rejoin_joins_them() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let patient = Patient::of(&clinic);
    clinic.drain().await;
    patient.is_content().await;
    let meeting = [("meeting", ERROR)];
    for illness in [
        "UPDATE daybook.ledger_meeting SET token = gen_random_uuid()",
        "UPDATE daybook.ledger_meeting SET token = gen_random_uuid(), proposed = gen_random_uuid()",
    ] {
        patient.source(illness, &meeting).await;
        clinic.drain().await;
    }
    patient.ledger("UPDATE ledger.sources SET database_oid = 1", &meeting).await;
    clinic.drain().await;
    patient.ledger("DELETE FROM ledger.sources", &meeting).await;
    clinic.drain().await;
    patient.is_content().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_time_zone_that_a_server_does_not_know() {
    let clinic = Clinic::new().await;
    let patient = Patient::of(&clinic);
    patient.is_content().await;
    // As on a server whose zone files are older than those of the one that the book was made on.
    let elsewhere = "ALTER TABLE ledger.books DROP CONSTRAINT time_zone_exists; SET session_replication_role = replica; \
                     UPDATE ledger.books SET time_zone = 'Nowhere/Atall'; RESET session_replication_role";
    clinic.accountant.batch_execute(elsewhere).await.expect("renames the zone");
    let findings = patient.findings().await;
    let found = findings.iter().find(|finding| finding.check == "zones").expect("is found");
    assert_eq!((found.severity, found.fix_in), (ERROR, Place::Shell));
    assert!(found.problem.contains("the source server does not know the time zone 'Nowhere/Atall'"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_changes_nothing_and_tells_a_role_without_rights_what_it_lacks() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let login = format!("looker_{}", clinic.database);
    for (dba, url) in [(&clinic.dba, &clinic.source), (&clinic.accountant, &clinic.ledger)] {
        // Two tests of one server may not name one role.
        let _ = url;
        dba.batch_execute(&format!("CREATE ROLE {login} LOGIN")).await.expect("creates a login");
    }
    let (mut source, mut ledger) = (clinic.source.clone(), clinic.ledger.clone());
    source.user(&login);
    ledger.user(&login);
    let patient = Patient::with(&source, &ledger, &clinic.dba, &clinic.accountant);
    let findings = patient.findings().await;
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["right_to_look", "right_to_look"], "{findings:#?}");
    for finding in &findings {
        patient.obey(finding).await;
    }
    // Now it may look, and is told that it could not run, and what it cannot see.
    patient.cure("a reader", &[("may_consume", ERROR), ("may_consume", ERROR), ("right_to_look", WARNING)]).await;
    // With the rights of a consumer alone it sees as much.
    for dba in [&clinic.dba, &clinic.accountant] {
        dba.batch_execute(&format!("REVOKE daybook_reader FROM {login}")).await.expect("revokes");
    }
    patient.is_content().await;
    assert_eq!(
        Cluster::shared()
            .admin(&clinic.database)
            .await
            .query_one("SELECT count(*) FROM daybook.sync_queue", &[])
            .await
            .expect("counts")
            .get::<_, i64>(0),
        0
    );
}
