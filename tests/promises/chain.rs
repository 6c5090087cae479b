//! The chain that entries are sealed into, and what `daybook verify` finds.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use daybook::chain::encoding::{HEADER_FIELDS, LINE_FIELDS};
use daybook::chain::head::Places;
use daybook::chain::seal::Sealer;
use daybook::consumer;
use daybook::database::{Session, Side, connect, connect_as_consumer};
use daybook::verify::heads::Heads;
use daybook::verify::{Report, verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::command_line::{daybook, run, url};
use crate::faults::{BILL, Running, clinic_of_its_own, until};
use crate::harness::{Clinic, refused};

/// As a superuser whom no guard stops.
const GUARDS: &str = "DO $$DECLARE t record; BEGIN
    FOR t IN SELECT tgrelid::regclass AS name, tgname FROM pg_trigger
             WHERE tgrelid IN ('ledger.journal_entries'::regclass, 'ledger.journal_lines'::regclass, 'ledger.blocks'::regclass, 'ledger.chains'::regclass)
    LOOP EXECUTE format('ALTER TABLE %s HOW TRIGGER %I', t.name, t.tgname); END LOOP; END$$;";

pub async fn look(clinic: &Clinic, against: Option<&Heads>) -> Report {
    let client = connect(Side::Ledger, &clinic.ledger).await.expect("connects");
    verify(&Session::new(client), "main", against).await.expect("verifies")
}

/// Kind, entry and number of each finding, one a line.
pub fn told(report: &Report) -> Vec<String> {
    let id = |id: Option<i64>| id.map_or("-".to_string(), |id| id.to_string());
    let told = |finding: &daybook::verify::Finding| {
        format!("{} {} {}", finding.kind.as_str(), id(finding.entry_id), id(finding.entry_number))
    };
    report.findings.iter().map(told).collect()
}

pub async fn consumer_session(clinic: &Clinic) -> Session {
    connect_as_consumer(Side::Ledger, &clinic.ledger, Duration::from_secs(30)).await.expect("connects")
}

/// Seals until the mark has come up to what was given.
pub async fn seal(clinic: &Clinic) -> usize {
    let ledger = consumer_session(clinic).await;
    let mut sealer = Sealer::new("main");
    let mut sealed = 0;
    let is_up = "SELECT passed_entry_id = (SELECT last_value FROM ledger.journal_entry_id) FROM ledger.chains";
    for _ in 0..500 {
        sealed += sealer.seal_everything(&ledger, Duration::from_secs(30)).await.expect("seals");
        if clinic.ledger_text(is_up).await == "t" || clinic.ledger_text(is_up).await == "true" {
            return sealed;
        }
        // Other tests of the cluster have transactions under way.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the mark does not move");
}

/// Five bills, one a block; entries 1 to 5 are numbers 1 to 5.
pub async fn five_blocks() -> Clinic {
    let clinic = Clinic::new().await;
    for id in 1..=5 {
        clinic.write(&format!("INSERT INTO lab_bills (id, amount, invoice_number) VALUES ({id}, {id}0, 'A')")).await;
        clinic.drain().await;
    }
    seal(&clinic).await;
    assert_eq!(
        clinic.ledger_text("SELECT string_agg(entry_ids::text, ' ' ORDER BY block_number) FROM ledger.blocks").await,
        "{1} {2} {3} {4} {5}"
    );
    let report = look(&clinic, None).await;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.entries, report.unsealed, report.blocks), (5, 0, 5));
    clinic
}

pub async fn tamper(clinic: &Clinic, sql: &str) {
    clinic
        .accountant
        .batch_execute(&format!(
            "{} {sql}; {}",
            GUARDS.replace("HOW", "DISABLE"),
            GUARDS.replace("HOW", "ENABLE ALWAYS")
        ))
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
}

pub async fn head_of(clinic: &Clinic) -> Heads {
    let head = "SELECT json_build_object('book', book, 'block', block_number, 'entry_number', first_entry_number + cardinality(entry_ids) - 1,
                       'hash', encode(block_hash, 'hex'), 'sealed_at', '2024-03-05T00:00:00Z')::text FROM ledger.blocks ORDER BY block_number";
    let rows = clinic.accountant.query(head, &[]).await.expect("reads");
    Heads::parse(&rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

/// Inserts a balanced entry of its own bill, as somebody would who knows the schema.
pub fn forged(id: i64) -> String {
    format!(
        "INSERT INTO ledger.journal_entries SELECT (jsonb_populate_record(e, '{{\"id\": {id}, \"reference_id\": \"99\"}}')).* FROM ledger.journal_entries AS e WHERE id = 1;
         INSERT INTO ledger.journal_lines SELECT (jsonb_populate_record(l, '{{\"entry_id\": {id}}}')).* FROM ledger.journal_lines AS l WHERE entry_id = 1;
         INSERT INTO ledger.sync_master_status SELECT (jsonb_populate_record(s, '{{\"reference_id\": \"99\", \"live_entry_ids\": [{id}], \"last_entry_id\": {id}}}')).*
         FROM ledger.sync_master_status AS s WHERE reference_id = '1'"
    )
}

#[tokio::test]
async fn the_chain_takes_nothing_that_does_not_fit_and_gives_nothing_away() {
    let clinic = five_blocks().await;
    let copy = |changes: &str| {
        format!(
            "INSERT INTO ledger.blocks SELECT (jsonb_populate_record(b, '{changes}')).* FROM ledger.blocks AS b WHERE block_number = 5"
        )
    };
    for replica in ["origin", "replica"] {
        clinic.accountant.batch_execute(&format!("SET session_replication_role = {replica}")).await.expect("sets");
        for (sql, part) in [
            (copy("{}"), "another number than the next"),
            (copy(r#"{"block_number": 6}"#), "another first entry number"),
            (copy(r#"{"block_number": 6, "first_entry_number": 6}"#), "another previous hash"),
            ("UPDATE ledger.blocks SET sealed_at = now()".into(), "append-only"),
            ("DELETE FROM ledger.blocks".into(), "append-only"),
            ("TRUNCATE ledger.blocks".into(), "append-only"),
            ("UPDATE ledger.chains SET passed_entry_id = 0".into(), "never goes back"),
            ("DELETE FROM ledger.chains".into(), "never goes back"),
            ("TRUNCATE ledger.chains".into(), "refused"),
        ] {
            let message = refused(&clinic.accountant, &sql).await;
            assert!(message.contains(part), "{sql} under {replica}: {message}");
        }
    }
    let agrees = "SELECT bool_and(ledger.block_hash(b) = b.block_hash)::text FROM ledger.blocks AS b";
    assert_eq!(clinic.ledger_text(agrees).await, "true", "SQL computes the same hash");
}

#[tokio::test]
async fn an_entry_with_a_lower_id_that_commits_later_is_sealed_and_not_called_an_insertion() {
    let clinic = five_blocks().await;
    let slow = connect(Side::Ledger, &clinic.ledger).await.expect("connects");
    // As a batch does it: the bill's lock first, then the id.
    let begin = "BEGIN; UPDATE ledger.sync_master_status SET synchronisation = synchronisation WHERE reference_id = '1'; SELECT nextval('ledger.journal_entry_id')";
    slow.batch_execute(begin).await.expect("begins");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (7, 70, 'A')").await;
    clinic.drain().await; // entry 7
    let ledger = consumer_session(&clinic).await;
    let mut sealer = Sealer::new("main");
    for _ in 0..5 {
        sealer.seal_everything(&ledger, Duration::from_secs(30)).await.expect("seals");
    }
    let mark = "SELECT passed_entry_id FROM ledger.chains";
    let passed: i64 = clinic.ledger_text(mark).await.parse().expect("a number");
    assert!(passed < 6, "the mark waits for who holds an id: {passed}");
    let entry = "INSERT INTO ledger.journal_entries SELECT (jsonb_populate_record(e, '{\"id\": 6, \"reference_id\": \"6\"}')).* FROM ledger.journal_entries AS e WHERE id = 1";
    let lines = "INSERT INTO ledger.journal_lines SELECT (jsonb_populate_record(l, '{\"entry_id\": 6}')).* FROM ledger.journal_lines AS l WHERE entry_id = 1";
    let status = "INSERT INTO ledger.sync_master_status SELECT (jsonb_populate_record(s, '{\"reference_id\": \"6\", \"live_entry_ids\": [6], \"last_entry_id\": 6}')).*
                  FROM ledger.sync_master_status AS s WHERE reference_id = '1'";
    slow.batch_execute(&format!("WITH h AS ({entry}) {lines}; {status}; COMMIT")).await.expect("commits late");
    seal(&clinic).await;
    assert_eq!(clinic.ledger_text("SELECT string_agg(entry_ids::text, ' ' ORDER BY block_number) FROM ledger.blocks WHERE block_number > 5").await, "{7} {6}");
    let report = look(&clinic, None).await;
    assert!(report.is_sound() && report.unsealed == 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_seal_at_once_and_die_and_every_entry_is_in_one_block() {
    let clinic = Clinic::new().await;
    clinic.configure("reversal_brake", "100000").await;
    let bills =
        "INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 2500) AS g";
    clinic.write(bills).await;
    let url = url(&clinic);
    for point in daybook::crash_point::SEALING {
        let died = daybook(&["drain", "--source-url", &url])
            .env("DAYBOOK_CRASH_AT", point)
            .stderr(Stdio::null())
            .status()
            .expect("runs");
        assert!(!died.success(), "dies {point}");
        clinic.write("UPDATE lab_bills SET amount = amount + 1 WHERE id % 3 = 0").await;
    }
    let sealers = (0..4).map(|_| async {
        let ledger = consumer_session(&clinic).await;
        let mut sealer = Sealer::new("main");
        for _ in 0..20 {
            sealer.seal_for(&ledger, Duration::from_millis(200)).await.expect("seals");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let sealers = futures_util::future::join_all(sealers);
    let (_, drained, _) = tokio::join!(sealers, consumer::drain(clinic.options(2), Duration::from_secs(60)), async {
        for day in 0..5 {
            clinic.write(&format!("DELETE FROM lab_bills WHERE id % 100 = {day}")).await;
            clinic.write("UPDATE lab_bills SET amount = amount + 1 WHERE id % 7 = 0").await;
        }
    });
    assert_eq!(drained.expect("drains").parked, 0);
    clinic.drain().await;
    seal(&clinic).await;
    let report = look(&clinic, None).await;
    assert!(report.is_sound() && report.unsealed == 0, "{report:?}");
    let once = "SELECT (SELECT count(*) FROM ledger.journal_entries) = count(*) AND count(*) = count(DISTINCT i.id)
                       AND max(b.first_entry_number + cardinality(b.entry_ids) - 1) = count(*)
                FROM ledger.blocks AS b CROSS JOIN LATERAL unnest(b.entry_ids) AS i (id)";
    assert_eq!(clinic.ledger_text(once).await, "true");
    let kept =
        "SELECT string_agg(DISTINCT concat_ws(' ', state, retained_because), ', ') FROM ledger.sync_master_status";
    assert_eq!(clinic.ledger_text(kept).await, "current");
    clinic.assert_ledger_equals_bills().await;
    assert!(report.entries > 2000, "{report:?}");
}

#[tokio::test]
async fn posting_never_waits_for_sealing() {
    let clinic = five_blocks().await;
    // Somebody who seals and never ends.
    clinic
        .accountant
        .batch_execute(
            "BEGIN; SELECT * FROM ledger.chains FOR UPDATE; LOCK TABLE ledger.blocks IN SHARE ROW EXCLUSIVE MODE",
        )
        .await
        .expect("holds");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (6, 60, 'A')").await;
    let posted = tokio::time::timeout(Duration::from_secs(25), clinic.drain()).await.expect("does not wait");
    assert_eq!((posted.events, posted.unfinished), (1, 0));
    clinic.accountant.batch_execute("ROLLBACK").await.expect("ends");
    clinic.drain().await;
    assert_eq!(look(&clinic, None).await.unsealed, 0);
}

/// On servers of its own, since a transaction that stays keeps the mark of every other chain of its server back.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_entries_from_being_sealed_is_told_of() {
    let (source, ledger, database, books) = clinic_of_its_own().await;
    let (dba, accountant) = (source.admin(&database).await, ledger.admin(&books).await);
    let running =
        Running::start(&source.server.url("bookkeeper", &database), &ledger.server.url("bookkeeper", &books), None);
    dba.batch_execute(BILL).await.expect("writes");
    until(&accountant, "SELECT sum(cardinality(entry_ids)) FROM ledger.blocks", "1").await;
    accountant.batch_execute("BEGIN; SELECT FROM ledger.chains FOR UPDATE").await.expect("holds");
    dba.batch_execute(BILL).await.expect("writes");
    let alert = "SELECT concat_ws(' ', state, severity, message LIKE '%holds the chain''s row in ledger.chains')
                 FROM daybook.sync_alerts WHERE alert_type = 'SEALING_STOPPED'";
    until(&dba, alert, "open critical t").await;
    accountant.batch_execute("ROLLBACK").await.expect("ends");
    until(&dba, alert, "resolved critical t").await;
    until(&accountant, "SELECT sum(cardinality(entry_ids)) FROM ledger.blocks", "2").await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_published_to_file_and_webhook_and_a_webhook_that_fails_stops_nothing() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address");
    let file: PathBuf =
        std::env::temp_dir().join(format!("daybook-heads-{}-{}.jsonl", std::process::id(), clinic.database));
    let mut options = clinic.options(1);
    options.heads = Places { file: Some(file.clone()), webhook: Some(format!("http://{address}/heads")) };
    let taken = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in ["500 Internal Server Error", "204 No Content"] {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("\"sealed_at\"") {
                let mut part = [0; 1024];
                let count = stream.read(&mut part).await.expect("reads");
                request.extend(&part[..count]);
            }
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("answers");
            requests.push(String::from_utf8_lossy(&request).to_string());
        }
        requests
    });
    for _ in 0..2 {
        let drained = consumer::drain(options.clone(), Duration::from_secs(60)).await.expect("drains");
        assert_eq!(drained.unfinished, 0);
    }
    let requests = tokio::time::timeout(Duration::from_secs(20), taken).await.expect("in time").expect("takes");
    assert!(
        requests.iter().all(|request| request.starts_with("POST /heads") && request.contains("\"book\":\"main\"")),
        "{requests:?}"
    );
    let heads = Heads::read(&file).expect("reads");
    assert_eq!(std::fs::read_to_string(&file).expect("reads").lines().count(), 1, "one head, once");
    assert_eq!(look(&clinic, Some(&heads)).await.heads_compared, 1);

    let (url, path) = (url(&clinic), file.display().to_string());
    let (code, stdout, stderr) = run(&["verify", "--source-url", &url, "--against", &path]);
    assert!(
        code == Some(0) && stdout.contains("published heads: 1 compared") && stdout.contains("sound"),
        "{stdout}{stderr}"
    );
    tamper(&clinic, "UPDATE ledger.journal_lines SET party = 'X' WHERE entry_id = 1").await;
    let (code, stdout, _) = run(&["verify", "--source-url", &url, "--against", &path, "--json"]);
    let reports: serde_json::Value = serde_json::from_str(&stdout).expect("is JSON");
    assert_eq!((code, &reports[0]["findings"][0]["kind"]), (Some(1), &"tampered".into()), "{stdout}");
    let _ = std::fs::remove_file(&file);
    assert_eq!(run(&["verify", "--source-url", &url, "--against", &path]).0, Some(2));
    assert_eq!(run(&["verify", "--source-url", &url, "--book", "other"]).0, Some(2));
}

/// Another column is another version of the encoding: this test stops whoever adds one.
#[tokio::test]
async fn every_column_of_the_journal_is_sealed() {
    let clinic = Clinic::new().await;
    let columns = |table: &str| {
        format!(
            "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'ledger.{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        )
    };
    assert_eq!(clinic.ledger_text(&columns("journal_entries")).await, HEADER_FIELDS.join(","));
    assert_eq!(clinic.ledger_text(&columns("journal_lines")).await, format!("entry_id,{}", LINE_FIELDS.join(",")));
}
