//! What is told of days of cash: the reminder, the page, the files, the trace, the auditors' formats; and who owes what.

use super::{bill, close, step};
use crate::command_line::{run, url};
use crate::harness::Clinic;
use crate::rules::{done, fails};

const ALERTS: &str =
    "SELECT string_agg(concat_ws(' ', cause, state, message), E'\\n' ORDER BY alert_id) FROM daybook.sync_alerts
                      WHERE alert_type = 'CASH_NOT_CLOSED'";

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_not_closed_by_its_time_is_reminded_of_where_cash_is_closed_at_all() {
    let clinic = Clinic::new().await;
    let day =
        async |ago: i32| clinic.ledger_text(&format!("SELECT timezone('Asia/Kolkata', now())::date - {ago}")).await;
    for ago in 0..=2 {
        bill(&clinic, 10 - ago, &day(ago).await, "10", "cash").await;
    }
    clinic.drain().await;
    clinic.drain().await;
    assert_eq!(clinic.text(ALERTS).await, "", "nobody here closes cash");
    clinic.configure("cash_closure_time", "23:59").await;
    close(&clinic, &day(2).await, "0", r#"{"cash": 10}"#).await;
    let (yesterday, today) = (day(1).await, day(0).await);
    let alert =
        format!("main open the cash of site main was not closed by 23:59 on {yesterday}: count it and close it");
    clinic.drain().await;
    assert!(clinic.text(ALERTS).await.starts_with(&alert), "{}", clinic.text(ALERTS).await);
    // From its time on, today counts, too.
    clinic.configure("cash_closure_time", "00:00").await;
    clinic.drain().await;
    let told = clinic.text(ALERTS).await;
    assert!(told.contains(&format!("by 00:00 on {yesterday}, {today}:")), "{told}");
    assert_eq!(run(&["status", "--source-url", &url(&clinic)]).0, Some(1));
    for day in [&yesterday, &today] {
        close(&clinic, day, "0", r#"{"cash": 10}"#).await;
    }
    clinic.drain().await;
    assert!(clinic.text(ALERTS).await.starts_with("main resolved"));
    for nonsense in ["24:00", "9:00", "noon", "", "12:60", "12:00\n"] {
        let sql = "UPDATE daybook.sync_configuration SET config_value = $1 WHERE config_key = 'cash_closure_time'";
        assert!(clinic.dba.execute(sql, &[&nonsense]).await.is_err(), "{nonsense:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_day_is_told_as_text_json_csv_and_a_page_that_holds_nothing_but_itself() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    bill(&clinic, 1, "2024-03-05", "1234.50", "cash").await;
    bill(&clinic, 2, "2024-03-05", "100", "card").await;
    clinic.drain().await;
    done(&["closure", "open", "main", "2024-03-05", "--float", "500"], &url);
    let nasty = "<script>alert(1)</script> \"&' \u{1b}[2J";
    done(&["closure", "count", "main", "2024-03-05", "cash=1730", "card=100", "--note", nasty], &url);
    done(&["closure", "close", "main", "2024-03-05", "--note", nasty], &url);
    bill(&clinic, 3, "2024-03-05", "7", "cash").await;
    clinic.drain().await;
    let show = ["closure", "show", "main", "2024-03-05"];
    let text = done(&show, &url);
    for part in [
        "main, 2024-03-05: closed",
        "Short by 4.50 INR.",
        "LAB 3",
        "2024-03-06",
        "daybook trace CASH_CLOSURE main/2024-03-05",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&done(&[&show[..], &["--json"]].concat(), &url)).expect("is JSON");
    assert_eq!((&json["total"]["expected"], &json["total"]["difference"]), (&"1334.50".into(), &"-4.50".into()));
    assert_eq!(json["late"][0]["amount"], "7.00");
    assert_eq!(json["note"], nasty);

    let folder = std::env::temp_dir().join(format!("daybook-closure-{}-{}", std::process::id(), clinic.database));
    std::fs::create_dir_all(&folder).expect("makes a folder");
    let (csv, page) = (folder.join("day.csv"), folder.join("day.html"));
    let files = ["--csv", csv.to_str().expect("UTF-8"), "--page", page.to_str().expect("UTF-8")];
    assert_eq!(done(&[&show[..], &files].concat(), &url), "");
    let mut reader = csv::Reader::from_path(&csv).expect("reads");
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("is CSV")).collect();
    let cells = |row: &csv::StringRecord| row.iter().skip(5).take(8).collect::<Vec<_>>().join(" ");
    assert_eq!(cells(&rows[0]), "1000 Cash cash INR 1234.50 500.00 1730.00 -4.50");
    assert_eq!(cells(&rows[1]), "1020 Card clearing card INR 100.00 0.00 100.00 0.00");
    assert_eq!((rows.len(), &rows[0][17]), (2, nasty));
    let html = std::fs::read_to_string(&page).expect("reads");
    assert!(html.contains("&#60;script&#62;alert(1)") && !html.contains("<script"), "{html}");
    assert!(html.contains("Short by 4.50 INR.") && html.contains("LAB 3") && html.contains("@page"), "{html}");
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(done(&[&show[..], &["--page", "-"]].concat(), &url).lines().count(), html.lines().count());
    fails(&[&show[..], &["--csv", "/nonexistent/day.csv"]].concat(), &url, 3, "writing /nonexistent/day.csv");
    let _ = std::fs::remove_dir_all(&folder);
    let listed = done(&["closure", "list"], &url);
    assert!(
        listed.contains("| main | 2024-03-05 | closed | 1     | 500.00 |  1334.50 | 1830.00 |      -4.50 |"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_is_traced_and_exported_like_every_entry() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    bill(&clinic, 1, "2024-03-05", "10", "cash").await;
    clinic.drain().await;
    let entry = close(&clinic, "2024-03-05", "0", r#"{"cash": 12}"#).await;
    step(&clinic, "ledger.reopen_cash_day('main', 'main', '2024-03-05', 'x')").await;
    for arguments in [vec!["trace", "cash_closure", "main/2024-03-05"], vec!["trace", "--entry", &entry]] {
        let text = done(&arguments, &url);
        for part in ["CASH_CLOSURE", "closure", "reversal", "5900", "Cash over and short"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    fails(&["trace", "CASH_CLOSURE", "main/2024-03-06"], &url, 1, "CASH_CLOSURE main/2024-03-06");
    for format in ["hledger", "beancount", "csv", "json"] {
        let text = done(&["export", "--format", format], &url);
        assert!(text.contains("main/2024-03-05") && text.contains("5900"), "{format}: {text}");
    }
    // Programs that know nothing of us accept it, and agree.
    let file = |extension: &str| {
        let path = std::env::temp_dir().join(format!(
            "daybook-closure-{}-{}.{extension}",
            std::process::id(),
            clinic.database
        ));
        path.to_str().expect("UTF-8").to_string()
    };
    let (journal, beancount) = (file("journal"), file("beancount"));
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 11.5}')"#).await;
    step(&clinic, "ledger.close_cash_day('main', 'main', '2024-03-05')").await;
    done(&["export", "--format", "hledger", "--output", &journal], &url);
    done(&["export", "--format", "beancount", "--output", &beancount], &url);
    let auditor = |program: &str, arguments: &[&str]| {
        let answer =
            std::process::Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output().expect("runs");
        assert!(answer.status.success() && answer.stderr.is_empty(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).expect("UTF-8")
    };
    auditor("hledger", &["-f", &journal, "check", "--strict", "payees"]);
    let balance = auditor("hledger", &["-f", &journal, "balance", "--flat", "--no-total", "5900"]);
    assert_eq!(balance.trim(), "-1.50 INR  Expenses:5900 Cash over and short");
    auditor("bean-check", &[&beancount]);
    for path in [journal, beancount] {
        let _ = std::fs::remove_file(path);
    }
    let text = done(&["trial-balance", "--site", "main"], &url);
    assert!(text.contains("Cash over and short"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_owes_what_and_since_when_and_whom_we_owe_stands_in_views() {
    let clinic = Clinic::new().await;
    let day =
        async |ago: i32| clinic.ledger_text(&format!("SELECT timezone('Asia/Kolkata', now())::date - {ago}")).await;
    let insert = "INSERT INTO lab_bills (id, visit_id, amount, payment_mode, invoice_number, created_at) VALUES";
    for (id, visit, amount, mode, ago) in [
        (1, "7", "100", "due", 100),
        (2, "7", "20", "due", 45),
        (3, "7", "-30", "due", 40), // a credit note
        (4, "7", "500", "cash", 300),
        (5, "8", "-15", "due", 1),
        (6, "NULL", "9", "due", 10),
        (7, "9", "50", "due", 10),
        (8, "9", "50", "due", 10),
    ] {
        clinic
            .write(&format!("{insert} ({id}, {visit}, {amount}, '{mode}', 'A', '{} 12:00+05:30')", day(ago).await))
            .await;
    }
    clinic.drain().await;
    // Paid; gone; moved to another day and another amount.
    let later = format!(
        "UPDATE lab_bills SET payment_mode = 'cash' WHERE id = 7; DELETE FROM lab_bills WHERE id = 8;
                         UPDATE lab_bills SET amount = 110, created_at = '{} 12:00+05:30' WHERE id = 1",
        day(95).await
    );
    clinic.write(&later).await;
    clinic.drain().await;
    let owed = "SELECT string_agg(concat_ws(' ', coalesce(party, '-'), balance, open_bills, oldest_open_date, days_0_to_30, days_31_to_60, days_61_to_90, days_over_90), ', ' ORDER BY party)
                FROM ledger.open_receivables";
    assert_eq!(
        clinic.ledger_text(owed).await,
        format!("visit:7 100.00 3 {} 0 -10.00 0 110.00, - 9.00 1 {} 9.00 0 0 0", day(95).await, day(10).await)
    );
    let credits = "SELECT string_agg(concat_ws(' ', party, credit), ', ') FROM ledger.credit_balances";
    assert_eq!(clinic.ledger_text(credits).await, "visit:8 15.00");
    let total = "SELECT (SELECT sum(balance) FROM ledger.party_balances) = (SELECT balance FROM ledger.trial_balance WHERE account_code = '1100')";
    assert_eq!(clinic.ledger_text(total).await, "true");
    // Which accounts they are is data.
    let url = url(&clinic);
    let file = std::env::temp_dir().join(format!("daybook-roles-{}-{}.csv", std::process::id(), clinic.database));
    let path = file.to_str().expect("UTF-8").to_string();
    let import = |text: &str| {
        std::fs::write(&file, text).expect("writes");
        run(&["accounts", "import", &path, "--source-url", &url])
    };
    assert!(import("account_code,account_name,account_type\n1100,Debtors,asset\n").1.contains("1 of 1"));
    assert!(clinic.ledger_text(credits).await.contains("visit:8"), "a column that is not there changes nothing");
    import("account_code,account_name,account_type,account_role\n1100,Debtors,asset,\n");
    assert_eq!(clinic.ledger_text(credits).await, "");
    import(
        "account_code,account_name,account_type,account_role,counted_as\n1100,Debtors,asset,receivable,\n1010,Bank,asset,,bank\n",
    );
    assert!(clinic.ledger_text(credits).await.contains("visit:8"));
    assert!(
        done(&["accounts", "list"], &url).contains("| 1010 | Bank                    | asset     |            | bank")
    );
    for (text, part) in [
        (
            "account_code,account_name,account_type,account_role\n4200,Lab,income,receivable\n",
            "what_is_owed_or_counted_is_an_asset",
        ),
        (
            "account_code,account_name,account_type,account_role\n1100,Debtors,asset,owed\n",
            "line 2: account role \"owed\": use receivable, over_short",
        ),
        ("account_code,account_name,account_type,role\n1100,Debtors,asset,receivable\n", "column \"role\" is unknown"),
        (
            "account_code,account_name,account_type,account_role,counted_as\n1020,Card,asset,,bank\n",
            "accounts_counted_as_key",
        ),
    ] {
        let (exit, _, stderr) = import(text);
        assert!(exit == Some(2) && stderr.contains(part), "{text}: {stderr}");
    }
    let _ = std::fs::remove_file(&file);
}
