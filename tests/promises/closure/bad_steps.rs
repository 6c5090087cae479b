//! Steps that cannot be taken get one clear line.

use super::{bill, close, step};
use crate::command_line::url;
use crate::harness::{Clinic, refused};
use crate::rules::{done, fails};

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_be_taken_says_why_and_what_to_do() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    bill(&clinic, 1, "2024-03-05", "10", "cash").await;
    bill(&clinic, 2, "2024-03-05", "10", "card").await;
    clinic.drain().await;
    close(&clinic, "2024-03-04", "0", r#"{"cash": 0}"#).await;
    let day = "2024-03-05";
    fails(
        &["closure", "count", "main", day, "cash=1"],
        &url,
        2,
        "the cash of site main on 2024-03-05 was not opened (Open it",
    );
    fails(&["closure", "close", "main", day], &url, 2, "was not opened");
    done(&["closure", "open", "main", day, "--float", "5.50"], &url);
    fails(&["closure", "close", "main", day], &url, 2, "was not counted yet (Count it");
    let table: Vec<(Vec<&str>, &str)> = vec![
        (vec!["open", "main", day], "is open already"),
        (vec!["open", "main", "2999-01-01"], "2999-01-01 lies in the future (Today is"),
        (vec!["open", "main", "5.3.2024"], "5.3.2024 is no day: write it like 2024-03-31"),
        (vec!["open", "nowhere", day], "site nowhere has no lines in book main, and no source has its name"),
        (vec!["open", "main", "2024-03-06", "--float", "-1"], "the opening float is negative"),
        (
            vec!["open", "main", "2024-03-06", "--float", "1.005"],
            "the opening float has more decimals than INR has (2)",
        ),
        (vec!["open", "main", "2024-03-06", "--float", "a lot"], "a lot is no amount of the float"),
        (vec!["open", "main", "2024-03-06", "--drawer", "1100"], "no account '1100' that is counted"),
        (vec!["open", "main", "2024-03-06", "--book", "nowhere"], "the ledger has no book nowhere"),
        (vec!["count", "main", day, "cash=-0.01"], "what was counted of cash is negative"),
        (vec!["count", "main", day, "cash=1.005"], "what was counted of cash has more decimals than INR has (2)"),
        (
            vec!["count", "main", day, "barter=5"],
            "no account that is counted is called 'barter' (Counted are: cash (1000), card (1020), upi (1030).)",
        ),
        (vec!["count", "main", day, "1100=5"], "no account that is counted is called '1100'"),
        (vec!["count", "main", day, "cash=5", "1000=5"], "account 1000 was counted twice at once"),
        (vec!["count", "main", day, "cash=5", "Cash=5"], "account 1000 was counted twice at once"),
        (vec!["count", "main", day, "cash=999999999999999999999"], "is no amount"),
        (vec!["count", "main", day], "ACCOUNT=AMOUNT"),
        (vec!["count", "main", "2024-03-04", "cash=1"], "is closed already (A controller can reopen it"),
        (vec!["open", "main", "2024-03-04"], "is closed already"),
        (vec!["close", "main", "2024-03-04"], "is closed already, since"),
        (vec!["close", "main", day, "--force"], "was not counted yet"),
        (vec!["reopen", "main", day, "--reason", "x"], "is not closed"),
        (vec!["list", "--from", "2024-03-05", "--to", "2024-03-04"], "exchange the two"),
    ];
    for (arguments, part) in table {
        fails(&[&["closure"], &arguments[..]].concat(), &url, 2, part);
    }
    fails(&["closure", "show", "main", "2024-03-07"], &url, 1, "was never opened");
    fails(&["closure", "show", "main", day, "--spell", "2"], &url, 1, "was never opened so often as spell 2");
    // Nothing of a refused count stays.
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.cash_counts WHERE day = '2024-03-05'").await, "0");
    done(&["closure", "count", "main", day, "cash=15.5"], &url);
    fails(
        &["closure", "close", "main", day],
        &url,
        2,
        "card was not counted, and the journal has something there (Count it",
    );
    done(&["closure", "count", "main", day, "CARD=-10"], &url); // more was paid back than taken
    fails(&["closure", "close", "main", day, "--force"], &url, 2, "forcing takes a note (--note ..., which is kept");
    clinic
        .accountant
        .batch_execute("UPDATE ledger.accounts SET account_role = NULL WHERE account_code = '5900'")
        .await
        .expect("takes the role");
    fails(&["closure", "close", "main", day], &url, 2, "has no account for it (Give an account the role over_short");
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.cash_closing_accounts WHERE day = '2024-03-05'").await,
        "0"
    );
    for (sql, part) in [
        ("SELECT ledger.open_cash_day(NULL, 'main', '2024-03-06')", "there is no book NULL"),
        ("SELECT ledger.open_cash_day('main', ' ', '2024-03-06')", "which site?"),
        ("SELECT ledger.open_cash_day('main', 'main', NULL)", "which day?"),
        ("SELECT ledger.open_cash_day('main', 'main', 'infinity')", "which day?"),
        ("SELECT ledger.open_cash_day('main', 'main', '2024-03-06', 'NaN')", "the opening float is no amount"),
        ("SELECT ledger.open_cash_day('main', 'main', '2024-03-06', NULL)", "the opening float is no amount"),
        ("SELECT ledger.count_cash('main', 'main', '2024-03-05', '[1]')", "what was counted?"),
        ("SELECT ledger.count_cash('main', 'main', '2024-03-05', NULL)", "what was counted?"),
        (
            r#"SELECT ledger.count_cash('main', 'main', '2024-03-05', '{"cash": null}')"#,
            "what was counted of cash is no amount",
        ),
        (
            r#"SELECT ledger.count_cash('main', 'main', '2024-03-05', '{"cash": "NaN"}')"#,
            "what was counted of cash is no amount",
        ),
        ("SELECT ledger.reopen_cash_day('main', 'main', '2024-03-04', NULL)", "reopening takes a reason"),
    ] {
        let told = refused(&clinic.accountant, sql).await;
        assert!(told.contains(part), "{sql}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_not_closed_while_bills_of_its_source_are_queued_unless_forced_with_a_note() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    bill(&clinic, 1, "2024-03-05", "10", "cash").await;
    clinic.drain().await;
    step(&clinic, "ledger.open_cash_day('main', 'main', '2024-03-05')").await;
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 10}')"#).await;
    bill(&clinic, 2, "2024-03-05", "10", "cash").await;
    // A parked bill keeps no day open: it may be of any other.
    bill(&clinic, 3, "2024-03-05", "10", "barter").await;
    let close = ["closure", "close", "main", "2024-03-05", "--wait", "0"];
    fails(&close, &url, 2, "cannot be closed yet: LAB 2 of source main is queued since");
    clinic.configure("posting", "paused").await;
    done(&[&close[..], &["--force", "--note", "the server was away"]].concat(), &url);
    clinic.configure("posting", "running").await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(clinic.entries("LAB", "2").await, ["1 original 2024-03-05/2024-03-06 late: 1000 +10.00, 4200 -10.00"]);
    let kept = "SELECT forced || ' ' || note FROM ledger.cash_closures";
    assert_eq!(clinic.ledger_text(kept).await, "true the server was away");
    step(&clinic, "ledger.open_cash_day('main', 'main', '2024-03-06')").await;
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-06', '{"cash": 10}')"#).await;
    done(&["closure", "close", "main", "2024-03-06"], &url);
    assert!(
        refused(&clinic.accountant, "SELECT ledger.close_period('main', '2024-03-01', '2024-03-31')")
            .await
            .contains("LAB 3 of source main is parked")
    );
}
