//! Reports: where a number came from, and what the accounts amount to. The journal in the hands of other programs is in
//! `reports/export.rs`.

mod export;

use std::process::{Command, Output, Stdio};

use daybook::address::Address;
use serde_json::Value;

use crate::harness::{Clinic, Cluster, pharmacy_bill};

fn daybook(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command.args(arguments).env_remove("DAYBOOK_SOURCE_URL").env_remove("DAYBOOK_LEDGER_URL").current_dir("/");
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = daybook(arguments).output().expect("runs");
    (status.code(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8_lossy(&stderr).into())
}

/// Standard output of a command that must succeed.
fn output(arguments: &[&str]) -> String {
    let (exit, stdout, stderr) = run(arguments);
    assert_eq!((exit, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

fn json(arguments: &[&str]) -> Value {
    let text = output(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text).expect("is JSON")
}

fn url(config: &Address, user: &str) -> String {
    let tokio_postgres::config::Host::Unix(path) = &config.get_hosts()[0] else { panic!("a socket") };
    format!("host={} user={user} dbname={}", path.display(), config.get_dbname().expect("a database"))
}

/// Options for both databases, as a superuser.
fn urls(clinic: &Clinic) -> [String; 4] {
    ["--source-url".into(), url(&clinic.source, "postgres"), "--ledger-url".into(), url(&clinic.ledger, "postgres")]
}

/// A command with the options for both databases.
fn of<'a>(urls: &'a [String; 4], arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(urls.iter().map(String::as_str)).collect()
}

fn column<'a>(rows: &'a Value, name: &str) -> Vec<&'a Value> {
    rows.as_array().expect("an array").iter().map(|row| &row[name]).collect()
}

/// Appends an entry by plain SQL. Lines are `code amount party`, debits positive; an empty party is none.
async fn post(
    clinic: &Clinic,
    book: &str,
    source: &str,
    reference: (&str, &str),
    day: &str,
    lines: &[(&str, &str, &str)],
) {
    let sql = "WITH line AS (
                   SELECT line_no, code, greatest(amount::numeric, 0) AS debit, greatest(-amount::numeric, 0) AS credit, party
                   FROM unnest($6::text[], $7::text[], $8::text[]) WITH ORDINALITY AS l (code, amount, party, line_no)),
               entry AS (
                   INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind,
                       effective_date, posting_date, late, line_count, total, rule_hash, event_seq, event_origin, event_xid,
                       changed_at, session_user_name, application_name)
                   SELECT nextval('ledger.journal_entry_id'), $1, $2, $3, $4, 1, 'original', $5::text::date, $5::text::date,
                       false, count(*), sum(debit), 'none', 4711, 'trigger', '42', now(), 'desk', 'billing'
                   FROM line RETURNING id)
               INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site, party)
               SELECT entry.id, line_no, code, debit, credit, (SELECT currency FROM ledger.books WHERE book = $1), false, $2,
                      nullif(party, '')
               FROM line, entry";
    let (reference_type, reference_id) = reference;
    let codes: Vec<&str> = lines.iter().map(|line| line.0).collect();
    let amounts: Vec<&str> = lines.iter().map(|line| line.1).collect();
    let parties: Vec<&str> = lines.iter().map(|line| line.2).collect();
    clinic
        .accountant
        .execute(sql, &[&book, &source, &reference_type, &reference_id, &day, &codes, &amounts, &parties])
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
}

async fn add_book(clinic: &Clinic, book: &str, currency: &str, minor_unit: i16, accounts: &[(&str, &str, &str)]) {
    let sql = "INSERT INTO ledger.books (book, currency, minor_unit, time_zone) VALUES ($1, $2, $3, 'UTC')";
    clinic.accountant.execute(sql, &[&book, &currency, &minor_unit]).await.expect("adds the book");
    for (code, name, account_type) in accounts {
        let sql = "INSERT INTO ledger.accounts VALUES ($1, $2, $3, $4)";
        clinic.accountant.execute(sql, &[&book, code, name, account_type]).await.expect("adds the account");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_bill_is_told_from_the_transaction_to_the_line() {
    let clinic = Clinic::new().await;
    let urls = urls(&clinic);
    clinic.write("SET application_name = 'billing 7.1'").await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    for change in ["total_amount = 224, gst_amount = 24", "payment_mode = 'barter'", "payment_mode = 'card'"] {
        clinic.write(&format!("UPDATE pharmacy_bills SET {change} WHERE id = {id}")).await;
        clinic.drain().await;
    }
    clinic.write(&format!("UPDATE pharmacy_bills SET payment_mode = 'upi' WHERE id = {id}")).await;

    let told = json(&of(&urls, &["trace", "pharmacy", &id]));
    assert_eq!(told["bill"]["source"], "main");
    assert_eq!(told["state"]["state"], "current");
    assert_eq!(column(&told["entries"], "kind"), ["original", "reversal", "correction", "settlement"]);
    assert_eq!(column(&told["entries"], "posting_date")[0], "2024-03-05");
    assert_eq!(told["entries"][1]["reverses_id"], told["entries"][0]["id"]);
    assert_eq!(told["entries"][0]["rule_hash"].as_str().expect("a hash").len(), 64);
    let line = &told["entries"][0]["lines"][0];
    assert_eq!((&line["account_code"], &line["account_name"]), (&"1000".into(), &"Cash".into()));
    assert_eq!((&line["debit"], &line["credit"]), (&"112.00".into(), &"0.00".into()));
    assert_eq!((&line["party"], &line["department"]), (&"visit:7".into(), &"pharmacy".into()));

    assert_eq!(column(&told["events"], "operation"), ["insert", "update", "update", "update", "update"]);
    assert_eq!(column(&told["events"], "outcome"), ["posted", "posted", "parked", "posted", "queued"]);
    assert_eq!(told["events"][0]["entry_id"], told["entries"][0]["id"]);
    assert_eq!(told["events"][0]["seq"], told["entries"][0]["event_seq"]);
    assert_eq!(told["events"][0]["xid"], told["entries"][0]["event_xid"]);
    assert!(column(&told["events"], "session_user").iter().all(|user| *user == "desk"));
    assert!(column(&told["events"], "application").iter().all(|name| *name == "billing 7.1"));
    assert_eq!(told["parked"][0]["resolution"], "healed");
    assert_eq!(told["parked"][0]["event_seq"], told["events"][2]["seq"]);
    let balances: Vec<String> = told["balances"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|row| format!("{} {}", row["account_code"], row["balance"]))
        .collect();
    assert_eq!(balances.join(", ").replace('"', ""), clinic.balances("PHARMACY", &id).await);
    assert_eq!(told["notes"], Value::Array(vec![]));

    let text = output(&of(&urls, &["trace", "PHARMACY", &id]));
    let first = format!("PHARMACY {id} in book main, source main: current, live entries ");
    for part in [&first, "live balance", "| settlement |", "billing 7.1", "| queued ", "| healed", "Cash", "visit:7"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    clinic.write(&format!("UPDATE pharmacy_bills SET payment_mode = 'barter' WHERE id = {id}")).await;
    clinic.drain().await;
    let text = output(&of(&urls, &["trace", "PHARMACY", &id]));
    assert!(text.contains("source main: parked, live entries") && text.contains("\nparked: "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_found_by_its_entry_and_by_its_event_and_what_is_unknown_ends_in_one_clear_line() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let urls = urls(&clinic);
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    let waiting = pharmacy_bill(&clinic, "2024-03-06").await;
    clinic.write("TRUNCATE lab_bills").await;
    let text = |sql: &'static str| clinic.text(sql);
    let posted = text("SELECT seq FROM daybook.sync_audit_log").await;
    let queued = text("SELECT max(seq) FROM daybook.sync_queue WHERE reference_id IS NOT NULL").await;
    let truncate = text("SELECT seq FROM daybook.sync_queue WHERE operation = 'truncate'").await;
    let entry = clinic.ledger_text("SELECT id FROM ledger.journal_entries").await;
    let found = [
        (vec!["trace", "--entry", &entry], &id),
        (vec!["trace", "--event", &posted], &id),
        (vec!["trace", "--event", &queued], &waiting),
        (vec!["trace", "PHARMACY", &waiting], &waiting),
    ];
    for (arguments, expected) in found {
        assert_eq!(json(&of(&urls, &arguments))["bill"]["reference_id"], **expected, "{arguments:?}");
    }
    let refused = [
        (
            vec!["trace", "PHARMACY", "4711"],
            1,
            "no bill PHARMACY 4711 is known in book main, source main: check type and id",
        ),
        (vec!["trace", "PHARMACY", "-1"], 1, "no bill PHARMACY -1 is known"),
        (vec!["trace", "PHARMACY", "a\u{1b}[2J\nb"], 1, "no bill PHARMACY a\\u{1b}[2J\\nb is known"),
        (vec!["trace", "PHARMACY", &id, "--source-name", "nowhere"], 1, "in source nowhere: check"),
        (vec!["trace", "--entry", "4711"], 1, "there is no entry 4711"),
        (vec!["trace", "--event", "4711"], 1, "there is no event 4711"),
        (vec!["trace", "--event", &truncate], 1, "(truncate) concerns no single bill but the table of LAB"),
        (vec!["trace"], 2, "which bill?"),
        (vec!["trace", "PHARMACY"], 2, "which bill?"),
        (vec!["trace", "PHARMACY", &id, "--entry", &entry], 2, "which bill?"),
    ];
    for (arguments, code, part) in refused {
        let (exit, stdout, stderr) = run(&of(&urls, &arguments));
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part) && stderr.trim_end().lines().count() == 1, "{arguments:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_keeps_of_a_cause_answers_where_the_source_has_forgotten_or_is_away() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let urls = urls(&clinic);
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write(&format!("UPDATE pharmacy_bills SET total_amount = 224 WHERE id = {id}")).await;
    clinic.drain().await;
    let told = json(&of(&urls, &["trace", "PHARMACY", &id]));
    let entry = told["entries"][2]["id"].to_string();
    let event = told["events"][1]["seq"].to_string();
    clinic.dba.batch_execute("TRUNCATE daybook.sync_audit_log").await.expect("prunes");

    let away = [urls[0].clone(), "postgresql://x@127.0.0.1:1/x".into(), urls[2].clone(), urls[3].clone()];
    for (urls, notes) in [(&urls, 0), (&away, 1)] {
        for question in
            [vec!["trace", "PHARMACY", &id], vec!["trace", "--entry", &entry], vec!["trace", "--event", &event]]
        {
            let kept = json(&of(urls, &question));
            assert_eq!(kept["entries"], told["entries"], "{question:?}");
            assert_eq!(kept["balances"], told["balances"]);
            for name in ["seq", "origin", "xid", "changed_at", "session_user", "application", "outcome"] {
                assert_eq!(column(&kept["events"], name), column(&told["events"], name), "{name}");
            }
            // The source names the correction as the result of the second event, and so does the journal.
            assert_eq!(column(&kept["events"], "entry_id"), column(&told["events"], "entry_id"));
            assert_eq!(column(&kept["events"], "told_by"), ["journal", "journal"]);
            assert_eq!(kept["notes"].as_array().map(Vec::len), Some(notes), "{}", kept["notes"]);
        }
    }
    let text = output(&of(&away, &["trace", "PHARMACY", &id]));
    assert!(text.contains("posted (says the journal)") && text.contains("\nnote: the ledger alone answers"), "{text}");
    let (exit, _, stderr) = run(&of(&away, &["trace", "PHARMACY", "4711"]));
    assert_eq!(exit, Some(1), "{stderr}");
    assert!(stderr.contains("the source could not be asked: cannot connect to the source database"), "{stderr}");
    let no_ledger = [urls[0].clone(), urls[1].clone(), urls[2].clone(), away[1].clone()];
    assert_eq!(run(&of(&no_ledger, &["trace", "PHARMACY", &id])).0, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn bills_of_several_sources_with_one_reference_are_told_apart_by_the_sources_name() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let urls = urls(&clinic);
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    for (source, amount) in [("north", "5.00"), ("south", "7.00")] {
        for reference_id in [id.as_str(), "only elsewhere"] {
            let lines = [("1000", amount, ""), ("4100", &format!("-{amount}"), "")];
            post(&clinic, "main", source, ("PHARMACY", reference_id), "2024-03-07", &lines).await;
            let sql = "INSERT INTO ledger.sync_master_status (book, source, reference_type, reference_id, revision)
                       VALUES ('main', $1, 'PHARMACY', $2, 1)";
            clinic.accountant.execute(sql, &[&source, &reference_id]).await.expect("inserts");
        }
    }
    assert_eq!(json(&of(&urls, &["trace", "PHARMACY", &id]))["bill"]["source"], "main");
    let south = json(&of(&urls, &["trace", "PHARMACY", &id, "--source-name", "south"]));
    assert_eq!((&south["bill"]["source"], &south["balances"][0]["balance"]), (&"south".into(), &"7.00".into()));
    assert!(
        south["notes"][0].as_str().is_some_and(|note| note.contains("--source-url is that of source main")),
        "{south}"
    );
    assert_eq!(south["events"][0]["told_by"], "journal");

    let (exit, _, stderr) = run(&of(&urls, &["trace", "PHARMACY", "only elsewhere"]));
    let hint = "another one is: add --book main --source-name north, --book main --source-name south";
    assert!(exit == Some(1) && stderr.contains(hint), "{stderr}");
    let away = [urls[0].clone(), "postgresql://x@127.0.0.1:1/x".into(), urls[2].clone(), urls[3].clone()];
    let (exit, _, stderr) = run(&of(&away, &["trace", "--event", "4711"]));
    assert!(
        exit == Some(2) && stderr.contains("there are several: add one of --book main --source-name north"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trial_balance_goes_by_posting_date_and_its_spans_join_without_a_gap() {
    let clinic = Clinic::new().await;
    let urls = urls(&clinic);
    for (reference_id, day, amount) in
        [("a", "2024-01-31", "100.00"), ("b", "2024-02-01", "20.00"), ("c", "2024-02-29", "3.50")]
    {
        let lines = [("1000", amount, ""), ("4100", &format!("-{amount}"), "")];
        post(&clinic, "main", "north", ("LAB", reference_id), day, &lines).await;
    }
    let refund = [("1000", "-3.50", ""), ("1010", "1.00", ""), ("4100", "2.50", "")];
    post(&clinic, "main", "south", ("LAB", "d"), "2024-03-01", &refund).await;
    let rows = |arguments: &[&str]| -> Vec<String> {
        let found = json(&of(&urls, &[&["trial-balance"], arguments].concat()));
        assert_eq!((&found["is_balanced"], &found["currency"]), (&true.into(), &"INR".into()));
        let row = |sums: &Value| {
            let cells = ["account_code", "account_type", "opening", "debit", "credit", "balance", "closing"]
                .map(|name| sums[name].as_str());
            cells.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        found["accounts"].as_array().expect("an array").iter().chain([&found["total"]]).map(row).collect()
    };
    assert_eq!(
        rows(&[]),
        [
            "1000 asset 123.50 3.50 120.00",
            "1010 asset 1.00 0.00 1.00",
            "4100 income 2.50 123.50 -121.00",
            "127.00 127.00 0.00"
        ]
    );
    assert_eq!(
        rows(&["--as-of", "2024-01-31"]),
        ["1000 asset 100.00 0.00 100.00", "4100 income 0.00 100.00 -100.00", "100.00 100.00 0.00"]
    );
    assert_eq!(
        rows(&["--from", "2024-02-01", "--to", "2024-02-29"]),
        [
            "1000 asset 100.00 23.50 0.00 23.50 123.50",
            "4100 income -100.00 0.00 23.50 -23.50 -123.50",
            "0.00 23.50 23.50 0.00 0.00"
        ]
    );
    assert_eq!(
        rows(&["--from", "2024-03-01", "--site", "south"]),
        [
            "1000 asset 0.00 0.00 3.50 -3.50 -3.50",
            "1010 asset 0.00 1.00 0.00 1.00 1.00",
            "4100 income 0.00 2.50 0.00 2.50 2.50",
            "0.00 3.50 3.50 0.00 0.00"
        ]
    );
    assert_eq!(rows(&["--as-of", "2023-12-31"]), ["0.00 0.00 0.00"]);
    let text = output(&of(&urls, &["trial-balance", "--from", "2024-02-01", "--to", "2024-02-29"]));
    assert!(text.starts_with("book main in INR, from 2024-02-01 to 2024-02-29\n"), "{text}");
    let row: Vec<&str> = text.lines().nth(3).expect("a row").split_whitespace().filter(|word| *word != "|").collect();
    assert_eq!(row, ["1000", "Cash", "asset", "100.00", "23.50", "0.00", "23.50", "123.50"]);
    let (exit, _, stderr) = run(&of(&urls, &["trial-balance", "--site", "nowhere"]));
    assert!(exit == Some(0) && stderr.contains("nothing of site nowhere"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_report_options_get_one_clear_line() {
    let clinic = Clinic::new().await;
    let urls = urls(&clinic);
    add_book(&clinic, "tokyo", "JPY", 0, &[]).await;
    let table = [
        (vec!["trial-balance", "--as-of", "2024-01-31", "--from", "2024-01-01"], "give one or the other"),
        (vec!["trial-balance", "--as-of", "2024-01-31", "--to", "2024-01-31"], "give one or the other"),
        (vec!["trial-balance", "--to", "2024-01-31"], "say --as-of 2024-01-31"),
        (
            vec!["trial-balance", "--from", "2024-02-01", "--to", "2024-01-31"],
            "--from 2024-02-01 is after --to 2024-01-31",
        ),
        (vec!["trial-balance", "--as-of", "2024-02-30"], "--as-of 2024-02-30 is no date: write it like 2024-03-31"),
        (vec!["trial-balance", "--book", "nowhere"], "the ledger has no book nowhere: it has main, tokyo"),
        (vec!["export", "--format", "csv", "--from", "today"], "--from today is no date"),
        (vec!["export", "--format", "csv", "--from", "2024-02-01", "--to", "2024-01-31"], "is after"),
        (vec!["export", "--format", "csv", "--book", "nowhere"], "the ledger has no book nowhere"),
    ];
    for (arguments, part) in table {
        let (exit, stdout, stderr) = run(&of(&urls, &arguments));
        assert_eq!((exit, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part) && stderr.trim_end().lines().count() == 1, "{arguments:?}: {stderr}");
    }
    // Of several books, the source's own is meant.
    assert_eq!(json(&of(&urls, &["trial-balance"]))["book"], "main");
    assert_eq!(json(&of(&urls, &["trial-balance", "--book", "tokyo"]))["total"]["debit"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_somebody_made_unbalanced_is_reported_as_such() {
    let clinic = Clinic::new().await;
    let urls = urls(&clinic);
    post(&clinic, "main", "main", ("LAB", "1"), "2024-01-31", &[("1000", "1.00", ""), ("4200", "-1.00", "")]).await;
    let forge = "ALTER TABLE ledger.journal_lines DISABLE TRIGGER ALL;
                 INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement)
                 SELECT id, 3, '1000', 0.001, 0, 'INR', false FROM ledger.journal_entries";
    clinic.accountant.batch_execute(forge).await.expect("a superuser can");
    for span in [vec![], vec!["--from", "2024-01-31"], vec!["--from", "2024-02-01"]] {
        let (exit, stdout, stderr) = run(&of(&urls, &[vec!["trial-balance"], span.clone()].concat()));
        assert_eq!(exit, Some(1), "{span:?}: {stdout}");
        assert!(stderr.contains("book main does not balance") && stderr.trim_end().lines().count() == 1, "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_need_membership_in_daybook_reader_and_no_more() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    let (reader, stranger) = (format!("reader_{}", clinic.database), format!("stranger_{}", clinic.database));
    let sql = format!("CREATE ROLE {reader} LOGIN; GRANT daybook_reader TO {reader}; CREATE ROLE {stranger} LOGIN");
    clinic.dba.batch_execute(&sql).await.expect("creates roles");
    let commands = [
        vec!["trace", "PHARMACY", &id],
        vec!["trace", "--event", "1"],
        vec!["trial-balance"],
        vec!["export", "--format", "json"],
    ];
    for arguments in commands {
        let as_reader = url(&clinic.source, &reader);
        output(&[&arguments[..], &["--source-url", &as_reader]].concat());
        let as_stranger = url(&clinic.source, &stranger);
        let (exit, _, stderr) = run(&[&arguments[..], &["--source-url", &as_stranger]].concat());
        assert_eq!(exit, Some(3), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains("It takes the role daybook_reader") && stderr.trim_end().lines().count() == 1,
            "{stderr}"
        );
        let empty = url(&Cluster::shared().config("postgres", &Cluster::shared().empty_database().await), "postgres");
        let (exit, _, stderr) = run(&[&arguments[..], &["--source-url", &empty]].concat());
        assert!(exit == Some(3) && stderr.contains("daybook is not installed in the ledger database"), "{stderr}");
    }
    clinic.dba.batch_execute("SET ROLE daybook_reader").await.expect("sets the role");
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/report")).expect("lists").flatten() {
        let statement = std::fs::read_to_string(file.path()).expect("reads");
        clinic.dba.prepare(&statement).await.unwrap_or_else(|error| panic!("{}: {error:?}", file.path().display()));
    }
}
