//! Source and ledger keep each other's identity; several sources share a ledger and a process, and none disturbs another.

use std::time::{Duration, Instant};

use daybook::address::Address;
use daybook::consumer;
use daybook::error::Error;
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::meeting::rejoin;
use daybook::options::Databases;
use daybook::supervise;

use crate::command_line::run;
use crate::harness::{Clinic, Cluster};
use crate::rules::TextFile;

const BILL: &str = "INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')";

/// A source of this name and book in a new database, whose ledger lives elsewhere; returns it with a superuser's session.
async fn source(name: &str, book: &str, ledger: &Address) -> (Databases, tokio_postgres::Client) {
    let cluster = Cluster::shared();
    let database = cluster.empty_database().await;
    let config = cluster.config("postgres", &database);
    let (currency, minor_unit) = match book {
        "tokyo" => ("JPY", 0),
        "kuwait" => ("KWD", 3),
        _ => ("INR", 2),
    };
    let wishes = Wishes {
        source: Some(name.into()),
        book: Some(book.into()),
        currency: Some(currency.into()),
        minor_unit: Some(minor_unit),
        time_zone: Some("Asia/Tokyo".into()),
    };
    let wishes = if book == "main" { Wishes { time_zone: Some("Asia/Kolkata".into()), ..wishes } } else { wishes };
    install(&config, ledger, &wishes).await.expect("installs");
    let dba = cluster.admin(&database).await;
    dba.batch_execute(crate::harness::CLINIC).await.expect("creates the bill tables");
    dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    (Databases { name: None, source: config, ledger: ledger.clone(), workers: 1, heads: Default::default() }, dba)
}

async fn drain(databases: &Databases) -> Result<i64, Error> {
    consumer::drain(databases.clone(), Duration::from_secs(30)).await.map(|drained| drained.unfinished)
}

async fn stopped(databases: &Databases, part: &str) {
    match drain(databases).await {
        Err(error @ Error::Strangers(_)) => assert!(error.to_string().contains(part), "{part}: {error}"),
        other => panic!("{part}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_source_under_a_used_name_is_stopped_and_one_of_its_own_name_shares_the_ledger() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(BILL).await;
    clinic.drain().await;
    let (second, dba) = source("main", "main", &clinic.ledger).await;
    dba.batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 99, 'B')").await.expect("writes");
    stopped(&second, "another database uses the name").await;
    let alert = dba.query_one("SELECT alert_type, message FROM daybook.current_alerts", &[]).await.expect("is raised");
    assert_eq!(alert.get::<_, &str>(0), "STRANGERS");
    assert!(alert.get::<_, &str>(1).contains("daybook install --source"));
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00", "nothing was overwritten");
    let (north, dba) = source("north", "main", &clinic.ledger).await;
    dba.batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 99, 'B')").await.expect("writes");
    assert_eq!(drain(&north).await.expect("drains"), 0);
    let both = "SELECT string_agg(source || ' ' || balance, ', ' ORDER BY source) FROM ledger.reference_balances WHERE account_code = '1000'";
    assert_eq!(clinic.ledger_text(both).await, "main 10.00, north 99.00");
    clinic.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_the_source_is_stopped_and_the_source_goes_on() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(BILL).await;
    clinic.drain().await;
    let cluster = Cluster::shared();
    let copy = format!("{}_copy", clinic.database);
    drop(clinic.desk);
    drop(clinic.dba);
    let create = format!("CREATE DATABASE {copy} TEMPLATE {}", clinic.database);
    let admin = cluster.admin("postgres").await;
    let started = Instant::now();
    while let Err(error) = admin.batch_execute(&create).await {
        assert!(started.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let dba = cluster.admin(&copy).await;
    dba.batch_execute("DELETE FROM lab_bills").await.expect("tries something on the copy");
    let of = |database: &str| Databases {
        name: None,
        source: cluster.config("postgres", database),
        ledger: clinic.ledger.clone(),
        workers: 2,
        heads: Default::default(),
    };
    stopped(&of(&copy), "this is a copy of it, or it was moved or restored").await;
    assert_eq!(drain(&of(&clinic.database)).await.expect("the source goes on"), 0);
    let left = clinic.accountant.query_one("SELECT count(*) FROM ledger.reference_balances", &[]).await.expect("looks");
    assert_eq!(left.get::<_, i64>(0), 2, "the copy reversed nothing");
    // The source was moved to the copy, says its operator.
    rejoin(&of(&copy).source, &clinic.ledger, "moved to a new server").await.expect("rejoins");
    assert_eq!(drain(&of(&copy)).await.expect("drains"), 0);
    stopped(&of(&clinic.database), "is not the one that it met last").await;
    let left = clinic.accountant.query_one("SELECT count(*) FROM ledger.reference_balances", &[]).await.expect("looks");
    assert_eq!(left.get::<_, i64>(0), 0, "every table was reconciled");
}

/// As after `pg_restore` in place: the same database, with the rows and the queue of some time ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_source_or_ledger_is_stopped_until_it_rejoins_and_then_ends_as_the_bills_say() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(BILL).await;
    clinic.drain().await;
    let token = clinic.text("SELECT token FROM daybook.ledger_meeting").await;
    let next = clinic.text("SELECT nextval(pg_get_serial_sequence('daybook.sync_queue', 'seq'))").await;
    clinic
        .write(
            "UPDATE lab_bills SET amount = 20; INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 5, 'B')",
        )
        .await;
    clinic.drain().await;
    let databases = clinic.options(2);
    assert_eq!(
        clinic.ledger_text("SELECT token FROM ledger.sources").await,
        clinic.text("SELECT token FROM daybook.ledger_meeting").await
    );
    assert_ne!(token, clinic.text("SELECT token FROM daybook.ledger_meeting").await, "each meeting has its own");
    // Back to before the second drain: rows, queue and sequence.
    let restore = format!(
        "SET session_replication_role = replica; ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
         UPDATE lab_bills SET amount = 10; DELETE FROM lab_bills WHERE id = 2; ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture;
         SET session_replication_role = origin;
         UPDATE daybook.ledger_meeting SET token = '{token}', proposed = NULL;
         SELECT setval(pg_get_serial_sequence('daybook.sync_queue', 'seq'), {next})"
    );
    clinic.dba.batch_execute(&restore).await.expect("restores");
    stopped(&databases, "one of the two was restored").await;
    let told = rejoin(&clinic.source, &clinic.ledger, " ").await.expect_err("takes a reason");
    assert!(told.to_string().contains("takes a reason"));
    assert_eq!(rejoin(&clinic.source, &clinic.ledger, "restored from last night").await.expect("rejoins"), 4);
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
    let reused = "SELECT count(*) FROM (SELECT FROM ledger.journal_entries GROUP BY event_seq, reference_id HAVING count(DISTINCT changed_at) > 1) AS r";
    assert_eq!(clinic.ledger_text(reused).await, "0", "events are numbered above those that the ledger has seen");
    // The ledger as it was before it met the source for the first time.
    let forget = "DELETE FROM ledger.sources";
    clinic.accountant.batch_execute(forget).await.expect("restores the ledger");
    stopped(&databases, "knows no source main of book main").await;
    rejoin(&clinic.source, &clinic.ledger, "the ledger was restored").await.expect("rejoins");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_a_crash_cut_short_is_taken_up_again() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.drain().await;
    // The source proposed, and the ledger has not changed over; then the ledger has, and the source has not confirmed.
    clinic.dba.batch_execute("UPDATE daybook.ledger_meeting SET proposed = gen_random_uuid()").await.expect("crashes");
    clinic.drain().await;
    let proposed = "UPDATE daybook.ledger_meeting SET proposed = gen_random_uuid() RETURNING proposed::text";
    let proposed: String = clinic.dba.query_one(proposed, &[]).await.expect("crashes").get(0);
    clinic.accountant.execute("UPDATE ledger.sources SET token = $1::text::uuid", &[&proposed]).await.expect("crashes");
    clinic.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_serves_several_sources_and_one_that_is_down_slows_no_other() {
    let cluster = Cluster::elsewhere();
    let ledger = cluster.config("postgres", &cluster.empty_database().await);
    let (tokyo, tokyo_dba) = source("shinjuku", "tokyo", &ledger).await;
    let (kuwait, kuwait_dba) = source("salmiya", "kuwait", &ledger).await;
    let accountant = cluster.admin(ledger.get_dbname().expect("a database")).await;
    let mut away = tokyo.clone();
    away.source.dbname("nowhere");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(supervise::run(vec![away, tokyo, kuwait], async {
        let _ = stopped.await;
    }));
    tokyo_dba
        .batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 500, 'A'), (2, 0.5, 'B')")
        .await
        .expect("writes");
    kuwait_dba
        .batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 1.125, 'A')")
        .await
        .expect("writes");
    let count = async || -> i64 {
        let sql = "SELECT count(*) FROM ledger.journal_entries";
        accountant.query_one(sql, &[]).await.expect("looks").get(0)
    };
    let started = Instant::now();
    while count().await < 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "both are posted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    let rows = "SELECT string_agg(book || ' ' || source || ' ' || currency || ' ' || total, ', ' ORDER BY book) FROM (
                    SELECT DISTINCT e.book, e.source, l.currency, e.total FROM ledger.journal_entries AS e JOIN ledger.journal_lines AS l ON l.entry_id = e.id) AS r";
    let rows: String = accountant.query_one(rows, &[]).await.expect("looks").get(0);
    assert_eq!(rows, "kuwait salmiya KWD 1.125, tokyo shinjuku JPY 500");
    let parked = "SELECT reason FROM daybook.sync_dead_letter";
    let parked: String = tokyo_dba.query_one(parked, &[]).await.expect("half a yen is parked").get(0);
    assert!(parked.contains("1 decimals, where the currency has 0"), "{parked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daybook_toml_names_several_sources_and_each_command_says_which_it_means() {
    let clinic = Clinic::new().await;
    let url = crate::command_line::url(&clinic);
    let two = format!(
        "workers = 1\n[sources.main]\nsource_url = {url:?}\n[sources.south]\nsource_url = \"postgresql://x@127.0.0.1:1/x\"\n"
    );
    let file = TextFile::new(&clinic, "two.toml", &two);
    clinic.write(BILL).await;
    let (exit, stdout, stderr) = run(&["drain", "--config", file.path()]);
    assert_eq!(exit, Some(3), "{stderr}");
    assert!(stdout.contains("main: 1 events finished") && stderr.contains("south: cannot connect"), "{stdout}{stderr}");
    assert_eq!(run(&["drain", "--config", file.path(), "--source", "main"]).0, Some(0));
    let (exit, _, stderr) = run(&["status", "--config", file.path()]);
    assert_eq!(
        (exit, stderr.trim()),
        (Some(2), "daybook: which source of daybook.toml? Give --source, one of: main, south")
    );
    assert!(run(&["status", "--config", file.path(), "--source", "east"]).2.contains("has no [sources.east]"));
    let wrong = TextFile::new(&clinic, "wrong.toml", &format!("[sources.north]\nsource_url = {url:?}\n"));
    let (exit, _, stderr) = run(&["drain", "--config", wrong.path()]);
    assert_eq!(exit, Some(3));
    assert!(stderr.contains("calls it source north, and the database there is source main"), "{stderr}");
    let both =
        TextFile::new(&clinic, "both.toml", &format!("source_url = {url:?}\n[sources.a]\nsource_url = {url:?}\n"));
    assert!(run(&["drain", "--config", both.path()]).2.contains("source_url and [sources]"));
}

/// Each time the dead letters are closed, and numbered below all that were there before.
#[tokio::test(flavor = "multi_thread")]
async fn who_rejoins_again_and_again_keeps_each_parked_bill_with_one_open_dead_letter() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let bills = "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) SELECT g, g, 'barter', 'A' FROM generate_series(1, 5) AS g";
    clinic.write(bills).await;
    clinic.drain().await;
    for round in 0..4 {
        clinic.write(&format!("UPDATE lab_bills SET payment_mode = 'cash' WHERE id = {}", round + 1)).await;
        clinic.drain().await;
        clinic.write(&format!("UPDATE lab_bills SET payment_mode = 'barter' WHERE id = {}", round + 1)).await;
        clinic.drain().await;
        rejoin(&clinic.source, &clinic.ledger, "again").await.expect("rejoins");
        assert_eq!(clinic.drain().await.parked, 5, "round {round}");
        clinic.assert_ledger_equals_bills().await;
    }
}
