//! Days of cash: counted by a person, compared with the journal, closed, and reopened by a controller alone.

use crate::harness::{Clinic, Cluster, refused};
use crate::rules::{done, fails};

mod bad_steps;
mod late;
mod shown;

/// A lab bill of that day, paid that way.
async fn bill(clinic: &Clinic, id: i32, day: &str, amount: &str, mode: &str) {
    let sql = format!(
        "INSERT INTO lab_bills (id, visit_id, amount, payment_mode, invoice_number, created_at)
         VALUES ({id}, {id}, {amount}, '{mode}', 'A', '{day} 12:00+05:30')"
    );
    clinic.write(&sql).await;
}

async fn step(clinic: &Clinic, sql: &str) -> String {
    let row = clinic.accountant.query_one(&format!("SELECT ({sql})::text"), &[]).await;
    row.unwrap_or_else(|error| panic!("{error:?}\n{sql}")).get::<_, Option<String>>(0).unwrap_or_default()
}

/// Opens, counts and closes a day; returns the entry, or nothing.
async fn close(clinic: &Clinic, day: &str, float: &str, counted: &str) -> String {
    step(clinic, &format!("ledger.open_cash_day('main', 'main', '{day}', {float})")).await;
    step(clinic, &format!("ledger.count_cash('main', 'main', '{day}', '{counted}')")).await;
    step(clinic, &format!("ledger.close_cash_day('main', 'main', '{day}')")).await
}

const ACCOUNTS: &str = "SELECT string_agg(concat_ws(' ', account_code, expected, opening_float, counted, difference), ', ' ORDER BY spell, account_code)
                        FROM ledger.cash_closing_accounts";
const STATES: &str =
    "SELECT string_agg(day || ' ' || spell || ' ' || state, ', ' ORDER BY day, spell) FROM ledger.cash_closures";

/// The sum over the bill table itself, which knows nothing of accounts.
const TAKEN: &str = "SELECT string_agg(mode || ' ' || amount, ', ' ORDER BY mode)
                     FROM (SELECT payment_mode, sum(amount) FROM lab_bills WHERE created_at::date = '2024-03-05' GROUP BY 1) AS t (mode, amount)";

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_cash_is_what_the_bills_of_the_site_say_and_the_difference_is_an_entry_of_its_own() {
    let clinic = Clinic::new().await;
    for (id, day, amount, mode) in [
        (1, "2024-03-05", "100.10", "cash"),
        (2, "2024-03-05", "50.00", "cash"),
        (3, "2024-03-05", "30.00", "card"),
        (4, "2024-03-05", "20.00", "upi"),
        (5, "2024-03-05", "9.00", "due"),
        (6, "2024-03-05", "8.00", "neft"),
        (7, "2024-03-06", "7.00", "cash"),
        (8, "2024-03-05", "5.00", "cash"),
    ] {
        bill(&clinic, id, day, amount, mode).await;
    }
    clinic.drain().await;
    // Another site's, and paid in another way on a later day.
    let elsewhere = "WITH e AS (INSERT INTO ledger.journal_entries SELECT nextval('ledger.journal_entry_id'), book, 'north', reference_type, 'n1', 1, kind,
            effective_date, posting_date, false, NULL, 2, 4, '', 0, 'trigger', event_xid, changed_at, '', '' FROM ledger.journal_entries WHERE reference_id = '1' RETURNING id)
        INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site)
        SELECT e.id, v.* FROM e, (VALUES (1, '1000', 4, 0, 'INR', true, 'north'), (2, '4200', 0, 4, 'INR', false, 'north')) AS v";
    clinic.accountant.batch_execute(elsewhere).await.expect("posts");
    clinic.write("UPDATE lab_bills SET payment_mode = 'card' WHERE id = 8").await;
    clinic.drain().await;

    // 500 in the morning; 650.10 + 5 in the evening, but for a note of 10 and a coin.
    let entry = close(&clinic, "2024-03-05", "500", r#"{"cash": 645.05, "card": 30, "1030": "21.5"}"#).await;
    assert_eq!(clinic.text(TAKEN).await, "card 35.00, cash 150.10, due 9.00, neft 8.00, upi 20.00");
    // Bill 8 was cash on its day, and a settlement of today moved it to the card.
    assert_eq!(
        clinic.ledger_text(ACCOUNTS).await,
        "1000 155.10 500 645.05 -10.05, 1020 30.00 0 30 0.00, 1030 20.00 0 21.5 1.50"
    );
    assert_eq!(
        clinic.entries("CASH_CLOSURE", "main/2024-03-05").await,
        ["1 closure 2024-03-05/2024-03-05: 1000 -10.05, 5900 +10.05, 1030 +1.50, 5900 -1.50"]
    );
    let cause = format!(
        "SELECT concat_ws(' ', source, event_seq, event_origin, session_user_name, event_xid IS NOT NULL, site, is_settlement)
         FROM ledger.journal_entries AS e JOIN ledger.journal_lines AS l ON l.entry_id = e.id WHERE e.id = {entry} LIMIT 1"
    );
    assert_eq!(clinic.ledger_text(&cause).await, "(closure) -1 closure postgres t main f");
    let drawer = "SELECT sum(debit - credit) FROM ledger.journal_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id
                  WHERE account_code = '1000' AND site = 'main' AND posting_date = '2024-03-05'";
    assert_eq!(clinic.ledger_text(drawer).await, "145.05", "what was counted, without the float");
    clinic.accountant.batch_execute("ALTER TABLE ledger.journal_lines DISABLE TRIGGER ALL; ALTER TABLE ledger.journal_entries DISABLE TRIGGER ALL;
        DELETE FROM ledger.journal_lines WHERE site = 'north'; DELETE FROM ledger.journal_entries WHERE source = 'north'").await.expect("forgets the other site");
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(clinic.ledger_text("SELECT sum(balance) FROM ledger.trial_balance").await, "0.00");
    assert_eq!(
        clinic.ledger_text("SELECT balance FROM ledger.trial_balance WHERE account_code = '5900'").await,
        "8.55"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_without_a_difference_posts_nothing_and_differences_of_other_days_are_expected_nowhere() {
    let clinic = Clinic::new().await;
    bill(&clinic, 1, "2024-03-05", "100", "cash").await;
    bill(&clinic, 2, "2024-03-06", "10", "cash").await;
    clinic.drain().await;
    clinic
        .accountant
        .batch_execute("SELECT ledger.close_period('main', '2024-03-01', '2024-03-05')")
        .await
        .expect("closes");
    // What was counted on a day is compared, although the account is not counted any more afterwards.
    bill(&clinic, 3, "2024-03-07", "5", "card").await;
    clinic.drain().await;
    step(&clinic, "ledger.open_cash_day('main', 'main', '2024-03-07')").await;
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-07', '{"card": 5}')"#).await;
    clinic
        .accountant
        .batch_execute("UPDATE ledger.accounts SET counted_as = NULL WHERE account_code = '1020'")
        .await
        .expect("changes");
    assert_eq!(step(&clinic, "ledger.close_cash_day('main', 'main', '2024-03-07')").await, "");
    // In a closed period the difference goes to the first open day, late.
    assert_ne!(close(&clinic, "2024-03-05", "0", r#"{"cash": 99}"#).await, "");
    assert_eq!(
        clinic.entries("CASH_CLOSURE", "main/2024-03-05").await,
        ["1 closure 2024-03-05/2024-03-06 late: 1000 -1.00, 5900 +1.00"]
    );
    assert_eq!(close(&clinic, "2024-03-06", "20.50", r#"{"cash": 30.5}"#).await, "");
    assert_eq!(clinic.entries("CASH_CLOSURE", "main/2024-03-06").await, [""; 0]);
    let reopen = "SELECT ledger.reopen_cash_day('main', 'main', '2024-03-05', 'x')";
    assert!(refused(&clinic.accountant, reopen).await.contains("2024-03-05 lies in a closed period of book main"));
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_stays_as_it_is_and_steps_follow_in_order_also_for_a_superuser_under_replica() {
    let clinic = Clinic::new().await;
    bill(&clinic, 1, "2024-03-05", "100", "cash").await;
    clinic.drain().await;
    step(&clinic, "ledger.open_cash_day('main', 'main', '2024-03-05', 50)").await;
    assert_eq!(
        step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 1}', 'miscounted')"#).await,
        "1"
    );
    assert_eq!(step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"card": 0}')"#).await, "2");
    assert_eq!(step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 150}')"#).await, "3");
    step(&clinic, "ledger.close_cash_day('main', 'main', '2024-03-05')").await;
    let counts = "SELECT string_agg(concat_ws(' ', count_no, account_code, counted, note, counted_by), ', ' ORDER BY count_no) FROM ledger.cash_counts";
    assert_eq!(
        clinic.ledger_text(counts).await,
        "1 1000 1 miscounted postgres, 2 1020 0 postgres, 3 1000 150 postgres"
    );
    let out_of_order = [
        "INSERT INTO ledger.cash_counts (book, site, day, spell, count_no, account_code, counted) VALUES ('main', 'main', '2024-03-05', 1, 4, '1000', 5)",
        "INSERT INTO ledger.cash_counts (book, site, day, spell, count_no, account_code, counted) VALUES ('main', 'main', '2024-03-07', 1, 1, '1000', 5)",
        "INSERT INTO ledger.cash_days (book, site, day, spell, opening_float) VALUES ('main', 'main', '2024-03-05', 2, 0)",
        "INSERT INTO ledger.cash_closing_accounts (book, site, day, spell, account_code, expected, opening_float, counted) VALUES ('main', 'main', '2024-03-05', 1, '1030', 0, 0, 0)",
        "INSERT INTO ledger.cash_closings (book, site, day, spell, forced) VALUES ('main', 'main', '2024-03-06', 1, false)",
        "INSERT INTO ledger.cash_reopenings (book, site, day, spell, reason) VALUES ('main', 'main', '2024-03-06', 1, 'x')",
    ];
    for role in ["origin", "replica"] {
        clinic.accountant.batch_execute(&format!("SET session_replication_role = {role}")).await.expect("sets");
        for table in ["cash_days", "cash_counts", "cash_closing_accounts", "cash_closings", "cash_reopenings"] {
            for sql in [
                format!("DELETE FROM ledger.{table}"),
                format!("UPDATE ledger.{table} SET book = book"),
                format!("TRUNCATE ledger.{table} CASCADE"),
            ] {
                assert!(
                    refused(&clinic.accountant, &sql).await.contains("what was counted and closed stays as it is"),
                    "{sql}"
                );
            }
        }
        for sql in out_of_order {
            assert!(refused(&clinic.accountant, sql).await.contains("is out of order"), "{sql}");
        }
    }
    assert_eq!(clinic.ledger_text(STATES).await, "2024-03-05 1 closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_is_for_a_controller_with_a_reason_and_reverses_to_the_cent() {
    let clinic = Clinic::new().await;
    let cluster = Cluster::shared();
    let (cashier, controller) = (format!("cashier_{}", clinic.database), format!("controller_{}", clinic.database));
    let sql = format!(
        "CREATE ROLE {cashier} LOGIN; GRANT daybook_cashier TO {cashier}; CREATE ROLE {controller} LOGIN; GRANT daybook_controller TO {controller}"
    );
    clinic.dba.batch_execute(&sql).await.expect("creates roles");
    let (as_cashier, as_controller) =
        (cluster.server.url(&cashier, &clinic.database), cluster.server.url(&controller, &clinic.database));
    bill(&clinic, 1, "2024-03-05", "100", "cash").await;
    bill(&clinic, 2, "2024-03-05", "40", "card").await;
    clinic.drain().await;
    done(&["closure", "open", "main", "2024-03-05", "--float", "500"], &as_cashier);
    done(&["closure", "count", "main", "2024-03-05", "cash=599.99", "card=41.50", "--note", "by two"], &as_cashier);
    // Who counts does not know what should be there; who controls does.
    assert!(!done(&["closure", "show", "main", "2024-03-05"], &as_cashier).contains("100.00"));
    assert!(
        done(&["closure", "show", "main", "2024-03-05"], &as_controller)
            .contains("| 1000    | Cash          | cash       |   100.00 | 500.00 |  599.99 |      -0.01 |")
    );
    assert!(done(&["closure", "close", "main", "2024-03-05"], &as_cashier).contains("what differs is entry"));
    assert!(done(&["closure", "show", "main", "2024-03-05"], &as_cashier).contains("Over by 1.49 INR."));

    let reopen = ["closure", "reopen", "main", "2024-03-05", "--reason", "a bag was found"];
    fails(&reopen, &as_cashier, 3, "to reopen, of daybook_controller");
    fails(&["closure", "reopen", "main", "2024-03-05", "--reason", " "], &as_controller, 2, "reopening takes a reason");
    fails(&["closure", "reopen", "main", "2024-03-05"], &as_controller, 2, "--reason");
    assert!(done(&reopen, &as_controller).contains("reverses its difference"));
    fails(&reopen, &as_controller, 2, "is not closed");
    assert_eq!(
        clinic.entries("CASH_CLOSURE", "main/2024-03-05").await,
        [
            "1 closure 2024-03-05/2024-03-05: 1000 -0.01, 5900 +0.01, 1020 +1.50, 5900 -1.50",
            "2 reversal 2024-03-05/2024-03-05: 1000 +0.01, 5900 -0.01, 1020 -1.50, 5900 +1.50"
        ]
    );
    let left = "SELECT coalesce(sum(balance), 0) FROM ledger.trial_balance WHERE account_code = '5900'";
    assert_eq!(clinic.ledger_text(left).await, "0.00");
    // The day is open for bills and counts; its float is that of the morning.
    bill(&clinic, 3, "2024-03-05", "1.49", "cash").await;
    clinic.drain().await;
    fails(&["closure", "close", "main", "2024-03-05"], &as_cashier, 2, "was not counted yet");
    done(&["closure", "count", "main", "2024-03-05", "cash=601.49", "card=40.00"], &as_cashier);
    assert!(done(&["closure", "close", "main", "2024-03-05"], &as_cashier).contains("nothing differs"));
    assert_eq!(clinic.ledger_text(STATES).await, "2024-03-05 1 reopened, 2024-03-05 2 closed");
    let who = "SELECT concat_ws(' ', opened_by, closed_by, reopened_by, reason, reversal_id IS NOT NULL) FROM ledger.cash_closures WHERE spell = 1";
    assert_eq!(clinic.ledger_text(who).await, format!("{cashier} {cashier} {controller} a bag was found t"));
    assert!(done(&["closure", "show", "main", "2024-03-05", "--spell", "1"], &as_cashier).contains("a bag was found"));
    clinic.assert_ledger_equals_bills().await;
    for role in ["daybook_consumer", "daybook_reader"] {
        for sql in [
            "SELECT ledger.open_cash_day('main', 'main', '2024-03-06')",
            "SELECT ledger.count_cash('main', 'main', '2024-03-05', '{}')",
            "SELECT ledger.close_cash_day('main', 'main', '2024-03-05')",
            "SELECT ledger.reopen_cash_day('main', 'main', '2024-03-05', 'x')",
        ] {
            let sql = format!("SET ROLE {role}; {sql}");
            assert!(refused(&clinic.accountant, &sql).await.contains("permission denied"), "{sql}");
            clinic.accountant.batch_execute("RESET ROLE").await.expect("is oneself again");
        }
    }
}
