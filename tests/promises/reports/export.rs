//! The exported journal in the hands of programs that know nothing of us. hledger and Beancount accept it in their strictest
//! mode and come to the very balances that we report. They must be installed: `scripts/prepare --auditors`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{add_book, daybook, json, of, output, post, run, urls};
use crate::harness::{Clinic, pharmacy_bill};

/// Texts that would end a string, a comment, a tag, a field or a line, forge a directive, or trip a date parser.
const NASTY: [&str; 8] = [
    "plain",
    " \"quoted\" 'twice' \\\" back\\slash\\ ",
    "line\n2024-01-01 open Assets:Forged INR\r\n2024-01-01 * (9) forged\n  Assets:1000  1 INR",
    "a,b;c | d:e, f:g  two  spaces\t; comment * ! % %0A",
    "[2024-13-45] date:2020-01-01, date2:2020-01-01 [=2024-99-99]",
    "[\"2024\", \"17\"]",
    "\u{e9}\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} \u{1f4b0}\u{a0}\u{2028}\u{85}\u{1}\u{1b}[2J",
    "=cmd|'/C calc'!A0",
];

/// Prints as JSON what Beancount makes of a file: errors, the balance per account code, and the metadata of transactions.
const ASK_BEANCOUNT: &str = r#"
import json, sys
from beancount import loader
from beancount.core import data, realization
entries, errors, options = loader.load_file(sys.argv[1])
codes = {e.account: e.meta["code"] for e in entries if isinstance(e, data.Open)}
balances, metadata = {}, []
for account in realization.iter_children(realization.realize(entries)):
    for position in account.balance:
        assert account.account in codes and codes[account.account] not in balances
        balances[codes[account.account]] = "{:f}".format(position.units.number)
for e in entries:
    if isinstance(e, data.Transaction):
        metadata.append({
            "entry": int(e.meta["entry"]), "reference": e.meta["reference"], "kind": e.meta["kind"],
            "effective": str(e.meta["effective"]), "posting": str(e.date), "event": int(e.meta["event"]),
            "rule": e.meta["rule"], "payee": e.payee, "narration": e.narration,
            "parties": [p.meta.get("party") for p in e.postings]})
names = {e.meta["code"]: e.meta["name"] for e in entries if isinstance(e, data.Open)}
print(json.dumps({"errors": [e.message for e in errors], "balances": balances, "entries": metadata, "names": names,
                  "operating": options["operating_currency"]}))
"#;

type Balances = BTreeMap<String, String>;

/// A directory for one test's files, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(clinic: &Clinic) -> Folder {
        let path = std::env::temp_dir().join(format!("daybook-test-{}-{}", std::process::id(), clinic.database));
        std::fs::create_dir(&path).expect("makes a directory");
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs one of the auditors' programs, which must succeed and say nothing but its answer.
fn auditor(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").env("BEANCOUNT_DISABLE_LOAD_CACHE", "1").stdin(Stdio::null());
    let answer = command
        .output()
        .unwrap_or_else(|error| panic!("{program} does not run ({error}): install it by scripts/prepare --auditors"));
    let stderr = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success() && stderr.is_empty(), "{program} {arguments:?} refuses: {stderr}");
    String::from_utf8(answer.stdout).expect("UTF-8")
}

/// Balances by account code, as hledger computes them; zeros left out.
fn hledger_balances(file: &str) -> Balances {
    auditor("hledger", &["-f", file, "check", "--strict", "payees"]);
    let text = auditor("hledger", &["-f", file, "balance", "--flat", "--no-total", "--output-format=csv"]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.records().map(|row| row.expect("a row"));
    let balance = |row: csv::StringRecord| {
        let (_, account) = row[0].split_once(':').expect("a type");
        let code = account.split(' ').next().expect("a code").replace('/', ":");
        let (amount, _) = row[1].split_once(' ').expect("a currency");
        (code, amount.to_string())
    };
    rows.map(balance).collect()
}

/// What Beancount makes of the file. Asked through the interpreter that its own program names, which has the library.
fn ask_beancount(file: &str) -> Value {
    auditor("bean-check", &[file]);
    let path = std::env::var_os("PATH").expect("a PATH");
    let program = std::env::split_paths(&path).map(|folder| folder.join("bean-check")).find(|path| path.is_file());
    let script = std::fs::read_to_string(program.expect("bean-check is there: it has just run")).expect("reads");
    let interpreter = script.lines().next().and_then(|line| line.strip_prefix("#!")).expect("a script").trim();
    let words: Vec<&str> = interpreter.split(' ').collect();
    let told = auditor(words[0], &[&words[1..], &["-c", ASK_BEANCOUNT, file]].concat());
    let told: Value = serde_json::from_str(&told).expect("is JSON");
    assert_eq!(told["errors"], Value::Array(vec![]));
    told
}

fn beancount_balances(told: &Value) -> Balances {
    let balances = told["balances"].as_object().expect("an object").iter();
    balances.map(|(code, amount)| (code.clone(), amount.as_str().expect("a text").to_string())).collect()
}

/// Our own trial balance; zeros left out.
fn our_balances(urls: &[String; 4], options: &[&str]) -> Balances {
    let told = json(&of(urls, &[&["trial-balance"], options].concat()));
    assert_eq!(told["is_balanced"], true);
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    let rows = told["accounts"].as_array().expect("an array").iter();
    rows.map(|row| (text(&row["account_code"]), text(&row["balance"])))
        .filter(|(_, balance)| balance.bytes().any(|byte| byte.is_ascii_digit() && byte != b'0'))
        .collect()
}

fn export(urls: &[String; 4], format: &str, book: &str, file: &str) {
    assert_eq!(output(&of(urls, &["export", "--format", format, "--book", book, "--output", file])), "");
}

/// Bills with every kind of entry, through triggers and consumer.
async fn live_through(clinic: &Clinic) {
    let id = pharmacy_bill(clinic, "2024-03-05").await;
    pharmacy_bill(clinic, "2024-03-06").await;
    clinic.write("INSERT INTO lab_bills (id, visit_id, amount, payment_mode, invoice_number, created_at)
                  SELECT g, g % 5, g * 10.01, 'due', 'A', '2024-02-28 12:00+05:30'::timestamptz + g * interval '6 hours'
                  FROM generate_series(1, 40) AS g;
                  INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (100, 100000000000000000.01, 'cash', 'A')").await;
    clinic.drain().await;
    clinic.write(&format!("UPDATE pharmacy_bills SET total_amount = 224, gst_amount = 24, cost_amount = 60.5 WHERE id = {id};
                           UPDATE lab_bills SET payment_mode = 'upi' WHERE id % 3 = 0; DELETE FROM lab_bills WHERE id % 7 = 0")).await;
    clinic.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hledger_and_beancount_accept_the_journal_and_agree_with_our_trial_balance_to_the_cent() {
    let clinic = Clinic::new().await;
    let (urls, folder) = (urls(&clinic), Folder::new(&clinic));
    live_through(&clinic).await;
    let kinds = "SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(kinds).await, "correction original reversal settlement");
    let accounts = [
        ("1000", "Cash", "asset"),
        ("1000:petty.a_b-c", "Petty: cash;  in [hand] (A)\nx", "asset"),
        ("cash", "\u{928}\u{915}\u{926}", "liability"),
        ("Cash", "", "equity"),
        ("10-00", "\"Sales\", \\ %", "income"),
        ("10--00", "  ", "expense"),
        ("unused", "Never used | x", "expense"),
    ];
    for (book, currency, minor_unit, large, small) in
        [("tokyo", "JPY", 0, "100000000000000000", "1"), ("kuwait.1", "KWD", 3, "100000000000000000.001", "0.001")]
    {
        add_book(&clinic, book, currency, minor_unit, &accounts).await;
        for (at, nasty) in NASTY.iter().enumerate() {
            let day = format!("2024-0{}-01", 1 + at % 4);
            let less = format!("-{small}");
            let lines = [
                ("1000", large, *nasty),
                ("cash", small, "visit:7"),
                ("1000:petty.a_b-c", small, ""),
                ("Cash", less.as_str(), nasty),
                ("10--00", &less, ""),
                ("10-00", &format!("-{large}"), nasty),
            ];
            post(&clinic, book, "main", ("BILL", nasty), &day, &lines).await;
        }
        // An account that leaves the chart after it was used, which takes a superuser and force, keeps its entries.
        let guard = |switch: &str| format!("ALTER TABLE ledger.accounts {switch} TRIGGER guard_account");
        clinic.accountant.batch_execute(&guard("DISABLE")).await.expect("switches the guard off");
        let sql = "DELETE FROM ledger.accounts WHERE book = $1 AND account_code = 'Cash'";
        clinic.accountant.execute(sql, &[&book]).await.expect("deletes");
        clinic.accountant.batch_execute(&guard("ENABLE ALWAYS")).await.expect("switches it on");
    }
    for (book, accounts) in [("main", 8), ("tokyo", 6), ("kuwait.1", 6)] {
        let ours = our_balances(&urls, &["--book", book]);
        assert_eq!(ours.len(), accounts, "{ours:?}");
        let (journal, ledger) = (folder.file("a.journal"), folder.file("a.beancount"));
        export(&urls, "hledger", book, &journal);
        assert_eq!(hledger_balances(&journal), ours, "hledger, book {book}");
        export(&urls, "beancount", book, &ledger);
        assert_eq!(beancount_balances(&ask_beancount(&ledger)), ours, "Beancount, book {book}");
    }
    assert_eq!(our_balances(&urls, &["--book", "kuwait.1"])["1000"], "800000000000000000.008");
    assert_eq!(our_balances(&urls, &["--book", "tokyo"])["10-00"], "-800000000000000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_any_kind_survives_every_format_and_forges_nothing() {
    let clinic = Clinic::new().await;
    let (urls, folder) = (urls(&clinic), Folder::new(&clinic));
    clinic
        .accountant
        .execute("UPDATE ledger.accounts SET account_name = $1 WHERE account_code = '4200'", &[&NASTY[2]])
        .await
        .expect("renames");
    for nasty in NASTY {
        post(&clinic, "main", "main", ("LAB", nasty), "2024-02-29", &[("1000", "1.00", nasty), ("4200", "-1.00", "")])
            .await;
    }
    let file = folder.file("a.journal");
    export(&urls, "hledger", "main", &file);
    hledger_balances(&file);
    let told = auditor("hledger", &["-f", &file, "print", "--output-format=json"]);
    let told: Value = serde_json::from_str(&told).expect("is JSON");
    let tag = |of: &Value, name: &str| {
        let tags = of["ttags"].as_array().or(of["ptags"].as_array()).expect("tags");
        tags.iter().find(|tag| tag[0] == name).map(|tag| decoded(tag[1].as_str().expect("a text")))
    };
    let told = told.as_array().expect("an array");
    assert_eq!(told.len(), NASTY.len());
    for (transaction, nasty) in told.iter().zip(NASTY) {
        assert_eq!(tag(transaction, "reference").as_deref(), Some(nasty));
        assert_eq!(tag(&transaction["tpostings"][0], "party").as_deref(), Some(nasty));
        assert_eq!((&transaction["tdate"], &transaction["tdate2"]), (&"2024-02-29".into(), &"2024-02-29".into()));
        assert_eq!(transaction["tpostings"].as_array().map(Vec::len), Some(2));
        assert_eq!(transaction["tpostings"][0]["pdate"], Value::Null);
        assert_eq!(tag(transaction, "event").as_deref(), Some("4711"));
    }
    let file = folder.file("a.beancount");
    export(&urls, "beancount", "main", &file);
    let told = ask_beancount(&file);
    assert_eq!((&told["operating"], &told["names"]["4200"]), (&serde_json::json!(["INR"]), &NASTY[2].into()));
    for (at, nasty) in NASTY.iter().enumerate() {
        let entry = &told["entries"][at];
        assert_eq!((&entry["reference"], &entry["parties"][0]), (&(*nasty).into(), &(*nasty).into()));
        assert_eq!(entry["narration"], format!("{nasty} original"));
        assert_eq!(
            (&entry["effective"], &entry["event"], &entry["rule"]),
            (&"2024-02-29".into(), &4711.into(), &"none".into())
        );
    }
    let text = output(&of(&urls, &["export", "--format", "csv"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let found: Vec<(&str, &str)> = rows.iter().step_by(2).map(|row| (&row[4], &row[28])).collect();
    assert_eq!(found, NASTY.map(|nasty| (nasty, nasty)));
    let text = output(&of(&urls, &["export", "--format", "json"]));
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    for (entry, nasty) in entries.iter().zip(NASTY) {
        assert_eq!((&entry["reference_id"], &entry["lines"][0]["party"]), (&nasty.into(), &nasty.into()));
        assert_eq!((&entry["lines"][0]["debit"], &entry["lines"][1]["credit"]), (&"1.00".into(), &"1.00".into()));
    }
}

/// Percent-decoding.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).expect("two digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_an_export_make_up_the_whole() {
    let clinic = Clinic::new().await;
    let (urls, folder) = (urls(&clinic), Folder::new(&clinic));
    live_through(&clinic).await;
    let whole = output(&of(&urls, &["export", "--format", "json"]));
    let february = output(&of(&urls, &["export", "--format", "json", "--to", "2024-02-29"]));
    let march = output(&of(&urls, &["export", "--format", "json", "--from", "2024-03-01", "--to", "2024-03-31"]));
    let later = output(&of(&urls, &["export", "--format", "json", "--from", "2024-04-01"]));
    assert!(!february.is_empty() && !march.is_empty() && !later.is_empty());
    assert_eq!(february + &march + &later, whole);
    let count = "SELECT count(*) FROM ledger.journal_entries";
    assert_eq!(whole.lines().count().to_string(), clinic.ledger_text(count).await);
    let lines = output(&of(&urls, &["export", "--format", "csv"]));
    assert_eq!(
        (lines.matches("\r\n").count() - 1).to_string(),
        clinic.ledger_text("SELECT count(*) FROM ledger.journal_lines").await
    );

    let file = folder.file("march.journal");
    let march = ["--from", "2024-03-01", "--to", "2024-03-31"];
    output(&of(&urls, &[&["export", "--format", "hledger", "--output", &file][..], &march].concat()));
    assert_eq!(hledger_balances(&file), our_balances(&urls, &march));
    let file = folder.file("march.beancount");
    output(&of(&urls, &[&["export", "--format", "beancount", "--output", &file][..], &march].concat()));
    assert_eq!(beancount_balances(&ask_beancount(&file)), our_balances(&urls, &march));
    for format in ["hledger", "beancount"] {
        let file = folder.file(&format!("empty.{format}"));
        output(&of(&urls, &["export", "--format", format, "--output", &file, "--to", "1999-12-31"]));
        let balances =
            if format == "hledger" { hledger_balances(&file) } else { beancount_balances(&ask_beancount(&file)) };
        assert!(balances.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_export_streams_in_little_memory_and_ends_quietly_when_its_reader_leaves() {
    let clinic = Clinic::new().await;
    let urls = urls(&clinic);
    let sql = "WITH entries AS (
                   INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind,
                       effective_date, posting_date, late, line_count, total, rule_hash, event_seq, event_origin, event_xid,
                       changed_at, session_user_name, application_name)
                   SELECT g, 'main', 'main', 'LAB', g::text, 1, 'original', day, day, false, 2, 1, repeat('0', 64), g, 'trigger',
                          '42', now(), 'desk', 'billing'
                   FROM (SELECT g, '2024-01-01'::date + (g % 28)::integer AS day FROM generate_series(1::bigint, 40000) AS g) AS g
                   RETURNING id)
               INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement)
               SELECT id, n, CASE n WHEN 1 THEN '1000' ELSE '4200' END, 2 - n, n - 1, 'INR', false
               FROM entries, generate_series(1, 2) AS n";
    clinic.accountant.batch_execute(sql).await.expect("posts");
    let mut exporting =
        daybook(&of(&urls, &["export", "--format", "json"])).stdout(Stdio::piped()).spawn().expect("starts");
    let mut stdout = exporting.stdout.take().expect("a pipe");
    let status = format!("/proc/{}/status", exporting.id());
    let (mut bytes, mut first_kb, mut peak_kb, mut buffer) = (0, 0, 0, vec![0; 1 << 16]);
    loop {
        let count = stdout.read(&mut buffer).expect("reads");
        if count == 0 {
            break;
        }
        bytes += count;
        // The most that it ever had in memory, until now.
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kb = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak_kb);
        first_kb = if first_kb == 0 { peak_kb } else { first_kb };
    }
    assert_eq!(exporting.wait().expect("ends").code(), Some(0));
    assert!(bytes > 30_000_000, "{bytes} bytes");
    // The program itself takes most of that; what it takes for the journal is bounded however long that is.
    assert!((1..28_000).contains(&peak_kb), "{peak_kb} kB for {bytes} bytes");
    assert!(peak_kb - first_kb < 4_000, "{first_kb} kB at its beginning, {peak_kb} kB for {bytes} bytes");

    let mut exporting = daybook(&of(&urls, &["export", "--format", "hledger"]));
    let mut exporting = exporting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdout = exporting.stdout.take().expect("a pipe");
    stdout.read_exact(&mut buffer[..100]).expect("reads");
    drop(stdout);
    let ended = exporting.wait_with_output().expect("ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_replaced_by_a_whole_export_or_not_at_all() {
    let clinic = Clinic::new().await;
    let (urls, folder) = (urls(&clinic), Folder::new(&clinic));
    let file = folder.file("a.csv");
    std::fs::write(&file, "what was there").expect("writes");
    let lines = [("1000", "1.00", ""), ("4200", "-1.00", "")];
    post(&clinic, "main", "main", ("LAB", "1"), "2024-02-29", &lines).await;
    // A day that no format can write stops the export in its middle.
    post(&clinic, "main", "main", ("LAB", "2"), "12024-01-01", &lines).await;
    let (exit, _, stderr) = run(&of(&urls, &["export", "--format", "csv", "--output", &file]));
    assert!(exit == Some(3) && stderr.contains("is dated beyond the years 1 to 9999"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), "what was there");
    output(&of(&urls, &["export", "--format", "csv", "--output", &file, "--to", "2024-12-31"]));
    assert_eq!(std::fs::read_to_string(&file).expect("reads").lines().count(), 3);
    assert_eq!(std::fs::read_dir(&folder.0).expect("lists").count(), 1, "nothing else is left there");
    let nowhere = folder.file("nowhere/a.csv");
    let (exit, _, stderr) = run(&of(&urls, &["export", "--format", "csv", "--output", &nowhere]));
    assert!(exit == Some(3) && stderr.contains("nowhere/a.csv") && stderr.trim_end().lines().count() == 1, "{stderr}");
    assert!(!Path::new(&nowhere).exists());
    output(&of(&urls, &["export", "--format", "csv", "--output", "/dev/null", "--to", "2024-12-31"]));
}
