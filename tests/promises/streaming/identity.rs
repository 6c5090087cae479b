//! Keys: what the WAL must name, and that both channels name a bill alike.

use super::{LAB, Running, attach_by, clinic, until};
use crate::harness::{Clinic, Cluster, refused};

#[tokio::test]
async fn a_table_whose_replica_identity_does_not_cover_the_key_is_refused_with_the_fix() {
    let clinic = Clinic::with_both_on(Cluster::streaming()).await;
    let tables = [
        (
            "CREATE TABLE n (id bigint NOT NULL UNIQUE, amount numeric)",
            "ALTER TABLE public.n REPLICA IDENTITY USING INDEX n_id_key;",
        ),
        (
            "CREATE TABLE n (id bigint PRIMARY KEY, amount numeric); ALTER TABLE n REPLICA IDENTITY NOTHING",
            "USING INDEX n_pkey;",
        ),
        (
            "CREATE TABLE n (id bigint PRIMARY KEY DEFERRABLE, amount numeric)",
            "ALTER TABLE public.n REPLICA IDENTITY FULL;",
        ),
        (
            "CREATE TABLE n (other bigint PRIMARY KEY, id bigint NOT NULL, amount numeric); CREATE UNIQUE INDEX u ON n (id)",
            "USING INDEX u;",
        ),
    ];
    for (make, fix) in tables {
        clinic.dba.batch_execute(&format!("DROP TABLE IF EXISTS n; {make}")).await.expect("makes");
        for mode in ["wal", "both"] {
            let attach = format!("SELECT daybook.attach('n', 'N', ARRAY['id'], ARRAY['amount'], '{mode}')");
            let message = refused(&clinic.dba, &attach).await;
            assert!(
                message.contains("replica identity of public.n does not cover its key") && message.contains(fix),
                "{message}"
            );
        }
        // The fix is a statement, after which it is attached; and the application's writes go on.
        let fix = clinic.text("SELECT daybook.replica_identity_advice('n', ARRAY['id'])").await;
        clinic.dba.batch_execute(&fix).await.expect("mends");
        clinic
            .dba
            .batch_execute("SELECT daybook.attach('n', 'N', ARRAY['id'], ARRAY['amount'], 'wal'); UPDATE n SET amount = 1; SELECT daybook.detach('n')")
            .await
            .unwrap_or_else(|error| panic!("{make}: {error:?}"));
    }
}

#[tokio::test]
async fn capture_from_the_wal_is_refused_where_the_server_does_not_write_it() {
    let clinic = Clinic::new().await;
    let attach =
        "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns, 'wal') FROM daybook.sync_source";
    let message = refused(&clinic.dba, attach).await;
    assert!(
        message.contains("wal_level is replica") && message.contains("ALTER SYSTEM SET wal_level = logical"),
        "{message}"
    );
    assert_eq!(clinic.text("SELECT count(*) FROM pg_publication").await, "0", "nothing was changed");
}

#[tokio::test]
async fn a_primary_key_that_the_vendor_drops_does_not_keep_the_application_from_writing() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} VALUES (100, true, 'cash', 'L1')")).await;
    let running = Running::start(&clinic).await;
    until(&clinic, "EXISTS (SELECT FROM daybook.sync_audit_log WHERE outcome = 'posted')").await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey").await.expect("drops");
    until(
        &clinic,
        "EXISTS (SELECT FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_STOPPED' AND cause = 'LAB')",
    )
    .await;
    clinic.write("UPDATE lab_bills SET amount = 900").await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ADD PRIMARY KEY (id)").await.expect("adds");
    attach_by(&clinic, "lab_bills", "wal").await;
    running.end().await;
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.text("SELECT count(*) FROM daybook.current_alerts WHERE alert_type = 'CAPTURE_STOPPED'").await,
        "0"
    );
}

#[tokio::test]
async fn a_key_of_any_type_is_named_by_the_stream_as_by_the_trigger() {
    let clinic = clinic("trigger").await;
    let keys = [
        ("smallint", "(-3), (32767)"),
        ("integer", "(-2147483648), (7)"),
        ("bigint", "(9223372036854775807), (0)"),
        ("numeric", "(1.50), (100), (0.000), (-7.10), ('NaN'), (12345678901234567890.0100)"),
        ("numeric(12,4)", "(1.5), (-0.25)"),
        ("text", r#"('plain'), (''), ('blank '), (E'tab\t"quoted"\\'), ('häuser 漢')"#),
        ("varchar(20)", "('A-1'), ('b ')"),
        ("char(6)", "('ab'), ('abcdef')"),
        ("uuid", "('8B6BCB3C-3EE7-4F3A-8A3E-3D3A3B3C3D3E')"),
        ("date", "('2024-02-29'), ('infinity'), ('0044-03-15 BC'), ('12024-01-01')"),
        (
            "timestamptz",
            "('2024-02-29 10:00:00.120+05:30'), ('-infinity'), ('0044-03-15 10:00+00 BC'), ('1999-12-31 23:59:59.999999+00')",
        ),
    ];
    let mut expected = 0;
    for (at, (key_type, values)) in keys.iter().enumerate() {
        for composite in [false, true] {
            let (table, other, key) = match composite {
                false => (format!("k{at}"), "".to_string(), "ARRAY['k']"),
                true => (
                    format!("c{at}"),
                    "branch text NOT NULL DEFAULT E'Ort \"1\"\\n\\u0001', ".to_string(),
                    "ARRAY['branch', 'k']",
                ),
            };
            let primary = if composite { "branch, k" } else { "k" };
            let sql = format!(
                "CREATE TABLE {table} ({other}k {key_type} NOT NULL, amount numeric, PRIMARY KEY ({primary}));
                 SELECT daybook.attach('{table}', '{}', {key}, ARRAY['amount'], 'both');
                 INSERT INTO {table} (k) VALUES {values}; UPDATE {table} SET amount = 1;",
                table.to_uppercase()
            );
            clinic.dba.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            expected += values.matches('(').count();
        }
    }
    // Settings of the role must not change how the walsender writes.
    clinic.dba.batch_execute("ALTER ROLE postgres SET DateStyle = 'German'").await.expect("sets");
    clinic.dba.batch_execute("ALTER ROLE postgres SET TimeZone = 'Asia/Kolkata'").await.expect("sets");
    let begun = "SELECT count(*) FROM daybook.sync_queue WHERE origin = 'trigger'";
    assert_eq!(clinic.text(begun).await, (2 * expected).to_string());
    let _ = clinic.drain_for(std::time::Duration::from_secs(3)).await; // they have no rules: only the slot is made
    for (at, _) in keys.iter().enumerate() {
        clinic
            .dba
            .batch_execute(&format!(
                "UPDATE k{at} SET amount = 2; UPDATE c{at} SET amount = 2; DELETE FROM k{at}; DELETE FROM c{at}"
            ))
            .await
            .expect("writes");
    }
    let position = clinic.text("SELECT pg_current_wal_insert_lsn()").await;
    let _ = clinic.drain_for(std::time::Duration::from_secs(3)).await;
    let differ = "SELECT string_agg(concat_ws(' ', reference_type, reference_id, operation), '; ') FROM daybook.sync_queue WHERE origin = 'wal'";
    let differ = clinic.text(differ).await;
    clinic.dba.batch_execute("ALTER ROLE postgres RESET ALL").await.expect("resets");
    assert_eq!(differ, "", "what the trigger enqueued by another name");
    let passed = format!("SELECT commit_lsn >= '{position}' FROM daybook.wal_progress");
    assert_eq!(clinic.text(&passed).await, "true", "the stream was there");
}

#[tokio::test]
async fn a_large_value_that_is_not_told_again_is_no_matter() {
    for identity in ["DEFAULT", "FULL"] {
        let clinic = clinic("wal").await;
        let big = format!(
            "ALTER TABLE lab_bills ADD COLUMN report text; ALTER TABLE lab_bills ALTER COLUMN report SET STORAGE EXTERNAL;
             ALTER TABLE lab_bills REPLICA IDENTITY {identity}"
        );
        clinic.dba.batch_execute(&big).await.expect("alters");
        clinic
            .write(&format!("{LAB} VALUES (100, true, 'cash', 'L1'); UPDATE lab_bills SET report = repeat('x', 90000)"))
            .await;
        clinic.drain().await;
        clinic.write("UPDATE lab_bills SET amount = 500").await;
        clinic.write("UPDATE lab_bills SET id = 9").await;
        clinic.drain().await;
        clinic.assert_ledger_equals_bills().await;
        let dirty = "SELECT count(*) FROM daybook.sync_audit_log WHERE origin = 'wal' AND reference_id IS NULL";
        assert_eq!(clinic.text(dirty).await, "0", "{identity}: every change named its bill");
    }
}

#[tokio::test]
async fn a_key_that_changes_while_another_index_is_the_replica_identity_is_looked_for_in_the_whole_table() {
    let clinic = clinic("wal").await;
    clinic.write(&format!("{LAB} SELECT 100 + g, true, 'cash', 'L' || g FROM generate_series(1, 9) AS g")).await;
    clinic.drain().await;
    let other = "ALTER TABLE lab_bills ADD COLUMN code integer NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE;
                 ALTER TABLE lab_bills REPLICA IDENTITY USING INDEX lab_bills_code_key";
    clinic.dba.batch_execute(other).await.expect("another tool wants it");
    clinic.write("UPDATE lab_bills SET id = 200 WHERE id = 7; UPDATE lab_bills SET amount = 300 WHERE id = 8").await;
    // Nothing is guessed: what mends it is said, and then every bill is looked at.
    assert!(clinic.drain_for(std::time::Duration::from_secs(2)).await.unfinished > 0);
    let advice = "SELECT string_agg(message, ' ') FROM daybook.current_alerts WHERE cause = 'LAB'";
    assert!(clinic.text(advice).await.contains("REPLICA IDENTITY USING INDEX lab_bills_pkey"));
    clinic.dba.batch_execute("ALTER TABLE lab_bills REPLICA IDENTITY DEFAULT").await.expect("mends");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.balances("LAB", "7").await, "");
}
