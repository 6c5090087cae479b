//! A consumer's own sessions: what a database or a role sets for them changes nothing.

use std::time::Duration;

use daybook::database::{Side, connect, connect_as_consumer};

use crate::harness::Clinic;

/// READ COMMITTED is said by us, whatever the database's default is.
#[tokio::test]
async fn a_default_isolation_level_of_the_database_changes_nothing() {
    let clinic = Clinic::new().await;
    let database = &clinic.database;
    let sql = format!("ALTER DATABASE {database} SET default_transaction_isolation = 'serializable';
                       ALTER DATABASE {database} SET TimeZone = 'America/New_York'; ALTER DATABASE {database} SET DateStyle = 'SQL, DMY';
                       ALTER DATABASE {database} SET search_path = evil");
    clinic.dba.batch_execute(&sql).await.expect("sets");
    clinic.configure("queue_batch_size", "3").await;
    clinic.write("INSERT INTO public.lab_bills (id, amount, invoice_number, created_at) SELECT g, g, 'A', '2024-03-05 20:00+00' FROM generate_series(1, 50) AS g").await;
    for _ in 0..4 {
        clinic.write("UPDATE public.lab_bills SET amount = amount + 1").await;
    }
    let (_, _) = tokio::join!(clinic.drain(), clinic.drain());
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(DISTINCT effective_date::text, ',') FROM ledger.journal_entries WHERE kind <> 'settlement'").await, "2024-03-06");
}

/// Neither consuming nor reconciling takes more processors than one at a time from the application.
#[tokio::test]
async fn no_session_of_a_consumer_has_parallel_workers_whatever_the_database_allows() {
    let clinic = Clinic::new().await;
    let cheap =
        ["parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size", "min_parallel_index_scan_size"];
    let cheap = cheap.map(|setting| format!("ALTER DATABASE {} SET {setting} = 0", clinic.database)).join(";");
    let allowed = format!("ALTER DATABASE {} SET max_parallel_workers_per_gather = 4; {cheap}", clinic.database);
    clinic.dba.batch_execute(&allowed).await.expect("sets");
    let plan = "EXPLAIN SELECT count(*) FROM pg_catalog.pg_class";
    let gathers = |rows: Vec<tokio_postgres::Row>| rows.iter().any(|row| row.get::<_, &str>(0).contains("Gather"));
    let others = connect(Side::Source, &clinic.source).await.expect("connects");
    assert!(gathers(others.query(plan, &[]).await.expect("plans")), "another session has them");
    for side in [Side::Source, Side::Ledger] {
        let ours = connect_as_consumer(side, &clinic.source, Duration::from_secs(30)).await.expect("connects");
        assert!(!gathers(ours.query(plan, &[]).await.expect("plans")), "{side:?}");
    }
}
