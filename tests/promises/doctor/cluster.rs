//! What is a whole server's, on a server of its own: roles, settings, slots, row security, connections; and the program itself.

use std::process::Command;

use daybook::doctor::{Limits, examine};

use super::{ERROR, INFO, Patient, WARNING};
use crate::harness::{Clinic, Cluster};

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong_with_a_server_and_its_advice_mends_it() {
    let cluster = Cluster::start_with(&["wal_level=logical", "max_connections=40"]);
    let clinic = Clinic::with_source_on(&cluster).await;
    let mut patient = Patient::of(&clinic);
    patient.is_content().await;

    for (illness, expected) in [
        ("ALTER ROLE daybook_consumer SUPERUSER", ("roles", ERROR)),
        ("ALTER ROLE daybook_reader LOGIN", ("roles", WARNING)),
        ("ALTER ROLE daybook_owner BYPASSRLS", ("roles", ERROR)),
        ("ALTER ROLE daybook_consumer BYPASSRLS", ("roles", INFO)),
        ("ALTER ROLE daybook_controller CREATEROLE", ("roles", WARNING)),
        ("REVOKE pg_read_all_stats FROM daybook_owner", ("statistics", ERROR)),
        // A policy is no help to whoever reads with row_security = off.
        (
            "ALTER TABLE lab_bills ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON lab_bills USING (true)",
            ("row_security", ERROR),
        ),
        (
            "ALTER TABLE lab_bills FORCE ROW LEVEL SECURITY; ALTER ROLE daybook_consumer NOBYPASSRLS",
            ("row_security", ERROR),
        ),
    ] {
        patient.source(illness, &[expected]).await;
    }
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    assert_eq!(clinic.entries("LAB", "1").await.len(), 1, "row security does not keep the bill from being posted");

    // The template's are its, too.
    let template = cluster.admin("daybook_template").await;
    template.batch_execute("DROP OWNED BY daybook_reader").await.expect("takes its rights");
    patient
        .source(
            "DROP OWNED BY daybook_reader; DROP ROLE daybook_reader",
            &[
                ("roles", ERROR),
                ("schema_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
                ("table_rights", ERROR),
            ],
        )
        .await;

    let settings = [("settings", WARNING)];
    let database = &clinic.database;
    patient.source(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on"), &settings).await;
    patient.source("ALTER ROLE postgres SET default_transaction_read_only = on", &settings).await;
    patient
        .source(
            &format!("ALTER ROLE postgres IN DATABASE {database} SET default_transaction_read_only = on"),
            &settings,
        )
        .await;
    for (name, value, severity) in
        [("fsync", "off", ERROR), ("full_page_writes", "off", WARNING), ("autovacuum", "off", WARNING)]
    {
        clinic.dba.batch_execute(&format!("ALTER SYSTEM SET {name} = {value}")).await.expect("sets");
        clinic.dba.batch_execute("SELECT pg_reload_conf()").await.expect("reloads");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let findings = patient.findings().await;
        assert_eq!(
            (findings.len(), findings[0].check, findings[0].severity),
            (1, "settings", severity),
            "{findings:?}"
        );
        patient.obey(&findings[0]).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        patient.is_content().await;
    }

    patient.source(&format!("ALTER DATABASE {database} CONNECTION LIMIT 5"), &[("connections", WARNING)]).await;
    patient.source("ALTER ROLE postgres CONNECTION LIMIT 5", &[("connections", WARNING)]).await;
    let unlimited = format!("ALTER ROLE postgres CONNECTION LIMIT -1; ALTER DATABASE {database} CONNECTION LIMIT -1");
    clinic.dba.batch_execute(&unlimited).await.expect("sets");
    patient.databases.workers = 12;
    let findings = patient.findings().await;
    assert_eq!((findings.len(), findings[0].check), (1, "connections"), "{findings:?}");
    patient.obey(&findings[0]).await; // of which the next start of the server makes use
    patient.databases.workers = 2;

    patient.limits = Limits { slot_xid_age: 0, ..Limits::default() };
    let slot = "SELECT pg_create_logical_replication_slot('nobody''s', 'pgoutput')".replace("nobody''s", "nobodys");
    patient.source(&slot, &[("replication_slots", WARNING)]).await;

    for _ in 0..300 {
        clinic.dba.batch_execute("SELECT pg_current_xact_id()").await.expect("counts on");
    }
    patient.limits = Limits { xid_age_warning: 200, ..Limits::default() };
    // The database by its oldest table, and the queue among them. Other databases' tables are none of its.
    let findings = patient.findings().await;
    assert!(findings.iter().any(|finding| finding.check == "transaction_ids"), "{findings:?}");
    let mut expected: Vec<_> = findings.iter().map(|finding| (finding.check, finding.severity)).collect();
    expected.retain(|(check, _)| *check != "transaction_ids" && *check != "queue_bloat");
    assert_eq!(expected, []);
    for finding in findings.iter().filter(|finding| finding.fix_in == daybook::doctor::finding::Place::Source) {
        patient.obey(finding).await;
    }
    let left = patient.findings().await;
    assert!(left.iter().all(|finding| finding.fix_in != daybook::doctor::finding::Place::Source), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_tells_it_as_text_and_as_json_with_its_exit_code() {
    let cluster = Cluster::start_with(&["max_connections=40"]);
    let database = cluster.clinic_database().await;
    let url = cluster.server.url("postgres", &database);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_daybook"))
            .args(arguments)
            .env_remove("DAYBOOK_LEDGER_URL")
            .current_dir("/")
            .output()
            .expect("runs");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("is UTF-8"),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (exit, stdout, stderr) = run(&["doctor", "--source-url", &url]);
    assert_eq!(exit, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("0 errors, 0 warnings, 0 to know; "), "{stdout}");

    let dba = cluster.admin(&database).await;
    dba.batch_execute(
        "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture; SELECT daybook.suspend('pharmacy_bills')",
    )
    .await
    .expect("breaks");
    let (exit, stdout, stderr) = run(&["doctor", "--source-url", &url]);
    assert_eq!(exit, Some(1), "{stdout}{stderr}");
    assert!(stdout.starts_with("ERROR   capture_triggers: LAB (public.lab_bills)\n"), "{stdout}");
    assert!(stdout.contains("\n            SELECT daybook.resume('public.pharmacy_bills');\n"), "{stdout}");
    assert!(stdout.contains("\n1 error, 1 warning, 0 to know; "), "{stdout}");

    let (exit, stdout, _) = run(&["doctor", "--json", "--source-url", &url]);
    assert_eq!(exit, Some(1));
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("is JSON");
    let first = &report["findings"][0];
    assert_eq!(
        (first["check"].as_str(), first["severity"].as_str(), first["fix_in"].as_str()),
        (Some("capture_triggers"), Some("error"), Some("source"))
    );
    assert!(report["ok"].as_array().is_some_and(|ok| ok.len() > 30));

    let (exit, _, stderr) = run(&["doctor", "--source-url", "postgresql://x@127.0.0.1:1/x"]);
    assert_eq!(exit, Some(3), "{stderr}");
    assert!(stderr.contains("cannot connect to the source database"), "{stderr}");
    // It looks while somebody holds a table, and changes nothing.
    dba.batch_execute("BEGIN; LOCK TABLE lab_bills IN ACCESS EXCLUSIVE MODE").await.expect("locks");
    let (exit, stdout, _) = run(&["doctor", "--source-url", &url]);
    assert_eq!(exit, Some(1), "{stdout}");
    let limits = Limits::default();
    let config = cluster.config("postgres", &database);
    let databases = daybook::options::Databases {
        name: None,
        source: config.clone(),
        ledger: config,
        workers: 2,
        heads: Default::default(),
    };
    assert_eq!(examine(&databases, &limits).await.expect("looks").findings.len(), 2);
}
