//! What comes after a day was closed.

use super::{STATES, bill, close, step};
use crate::harness::{Clinic, Cluster, refused};

const LATE: &str = "SELECT string_agg(concat_ws(' ', day, reference_type, reference_id, kind, effective_date, posting_date, amount), ', ' ORDER BY entry_id)
                    FROM ledger.late_cash_entries";

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_comes_after_its_day_was_closed_goes_to_the_next_open_day_and_is_listed() {
    let clinic = Clinic::new().await;
    for (id, day) in [(1, "2024-03-05"), (2, "2024-03-06"), (3, "2024-03-09")] {
        bill(&clinic, id, day, "10", "cash").await;
    }
    clinic.drain().await;
    close(&clinic, "2024-03-05", "0", r#"{"cash": 10}"#).await;
    close(&clinic, "2024-03-06", "0", r#"{"cash": 10}"#).await;
    // The 7th is the first open one; a closed period right behind two closed days is passed over with them.
    bill(&clinic, 11, "2024-03-05", "7", "cash").await;
    clinic.drain().await;
    assert_eq!(clinic.entries("LAB", "11").await, ["1 original 2024-03-05/2024-03-07 late: 1000 +7.00, 4200 -7.00"]);
    clinic
        .accountant
        .batch_execute("SELECT ledger.close_period('main', '2024-03-07', '2024-03-08')")
        .await
        .expect("closes");
    close(&clinic, "2024-03-09", "0", r#"{"cash": 9}"#).await;
    bill(&clinic, 12, "2024-03-06", "8", "card").await;
    bill(&clinic, 13, "2024-03-04", "5", "cash").await; // not closed
    clinic.drain().await;
    assert_eq!(clinic.entries("LAB", "12").await, ["1 original 2024-03-06/2024-03-10 late: 1020 +8.00, 4200 -8.00"]);
    assert_eq!(clinic.entries("LAB", "13").await, ["1 original 2024-03-04/2024-03-04: 1000 +5.00, 4200 -5.00"]);
    assert_eq!(
        clinic.ledger_text(LATE).await,
        "2024-03-05 LAB 11 original 2024-03-05 2024-03-07 7.00, 2024-03-06 LAB 12 original 2024-03-06 2024-03-10 8.00"
    );
    // Where it stands it is expected, like what is taken there; and it stays there when its own day is reopened.
    assert_eq!(step(&clinic, "SELECT expected FROM ledger.expected_cash('main', 'main', '2024-03-10')").await, "8.00");
    step(&clinic, "ledger.reopen_cash_day('main', 'main', '2024-03-06', 'late bills')").await;
    bill(&clinic, 14, "2024-03-06", "3", "cash").await;
    clinic.drain().await;
    assert_eq!(clinic.entries("LAB", "14").await, ["1 original 2024-03-06/2024-03-06: 1000 +3.00, 4200 -3.00"]);
    // A late bill, and a closure, are no findings of reconciliation.
    let url = Cluster::shared().server.url("postgres", &clinic.database);
    crate::rules::done(&["reconcile", "--full"], &url);
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_a_closed_day_is_posted_on_the_next_and_another_site_goes_on() {
    let clinic = Clinic::new().await;
    for id in 1..=3 {
        bill(&clinic, id, "2024-03-05", "10", "cash").await;
    }
    clinic.drain().await;
    let today = "(SELECT timezone('Asia/Kolkata', now())::date)";
    step(&clinic, &format!("ledger.open_cash_day('main', 'main', {today})")).await;
    step(&clinic, &format!(r#"ledger.count_cash('main', 'main', {today}, '{{"cash": 0}}')"#)).await;
    step(&clinic, &format!("ledger.close_cash_day('main', 'main', {today})")).await;
    clinic.write("UPDATE lab_bills SET payment_mode = 'card' WHERE id = 1; UPDATE lab_bills SET amount = 11 WHERE id = 2; DELETE FROM lab_bills WHERE id = 3").await;
    clinic.drain().await;
    let moved = format!(
        "SELECT count(*) || ' ' || bool_and(late AND posting_date = {today} + 1) FROM ledger.journal_entries WHERE revision > 1"
    );
    assert_eq!(clinic.ledger_text(&moved).await, "4 true", "a settlement, a reversal and a correction, and a reversal");
    let listed = format!(
        "SELECT count(*) || ' ' || bool_and(day = {today}) || ' ' || sum(amount) FROM ledger.late_cash_entries"
    );
    assert_eq!(clinic.ledger_text(&listed).await, "4 true -9.00");
    clinic.assert_ledger_equals_bills().await;
    // Lines of another site are not concerned.
    let north = BY_HAND.replace("2024-03-05", "today").replace("'SITE'", "'north'");
    let north = north.replace("'today'", today);
    clinic.accountant.batch_execute(&north).await.expect("posts");
}

const BY_HAND: &str = "WITH e AS (INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind, effective_date,
        posting_date, late, line_count, total, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
        SELECT nextval('ledger.journal_entry_id'), 'main', 'north', 'LAB', 'x', 1, 'original', '2024-03-05', '2024-03-05', false, 2, 1, '', 0,
               'trigger', '7', now(), '', '' RETURNING id)
    INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement, site)
    SELECT e.id, v.* FROM e, (VALUES (1, '1100', 1, 0, 'INR', true, NULL), (2, '4200', 0, 1, 'INR', false, 'SITE')) AS v";

#[tokio::test(flavor = "multi_thread")]
async fn not_even_plain_sql_posts_into_a_closed_day_of_cash() {
    let clinic = Clinic::new().await;
    bill(&clinic, 1, "2024-03-05", "10", "cash").await;
    clinic.drain().await;
    close(&clinic, "2024-03-05", "0", r#"{"cash": 10}"#).await;
    let by_hand = BY_HAND.replace("'SITE'", "'main'");
    for role in ["origin", "replica"] {
        let sql = format!("SET session_replication_role = {role}; {by_hand}");
        assert!(refused(&clinic.accountant, &sql).await.contains("into a closed day of its site's cash"), "{role}");
    }
    // Nor from a snapshot that is older than the closing.
    clinic
        .accountant
        .batch_execute(
            "SET session_replication_role = origin; SELECT ledger.reopen_cash_day('main', 'main', '2024-03-05', 'x')",
        )
        .await
        .expect("reopens");
    let old = Cluster::shared().admin(&clinic.database).await;
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ledger.books")
        .await
        .expect("takes a snapshot");
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 10}')"#).await;
    step(&clinic, "ledger.close_cash_day('main', 'main', '2024-03-05')").await;
    assert!(refused(&old, &by_hand).await.contains("could not serialize access"));
    // A closure is none of a bill's, and a bill no closure.
    for (from, to) in
        [("'LAB', 'x'", "'CASH_CLOSURE', 'x'"), ("'north', 'LAB'", "'(closure)', 'LAB'"), ("'original'", "'closure'")]
    {
        let sql = BY_HAND.replace(from, to);
        assert!(refused(&clinic.accountant, &sql).await.contains("closures_are_no_bills"), "{to}");
    }
}

/// A batch that was under way commits before the day is summed up; one that comes after sees it closed.
#[tokio::test(flavor = "multi_thread")]
async fn closing_a_day_while_its_bills_are_posted_misses_none_and_counts_none_twice() {
    let clinic = Clinic::new().await;
    clinic.configure("queue_batch_size", "5").await;
    clinic
        .write(
            "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number, created_at)
                SELECT g, g, 'cash', 'A', '2024-03-05 12:00+05:30' FROM generate_series(1, 400) AS g",
        )
        .await;
    let close = async {
        while clinic.ledger_text("SELECT count(*) < 30 FROM ledger.journal_entries").await == "true" {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let closer = Cluster::shared().admin(&clinic.database).await;
        let sql = "SELECT ledger.open_cash_day('main', 'main', '2024-03-05')";
        closer.batch_execute(sql).await.expect("opens");
        closer
            .batch_execute(r#"SELECT ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 5000}')"#)
            .await
            .expect("counts");
        let sql = "SELECT ledger.close_cash_day('main', 'main', '2024-03-05', 'in the middle of it', force => true)";
        closer.batch_execute(sql).await.expect("closes");
    };
    tokio::join!(clinic.drain(), close);
    let on_the_day = "SELECT sum(debit - credit) FROM ledger.journal_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id
                      WHERE posting_date = '2024-03-05' AND account_code = '1000' AND reference_type = 'LAB'";
    let expected = clinic.ledger_text("SELECT expected FROM ledger.cash_closing_accounts").await;
    assert_eq!(clinic.ledger_text(on_the_day).await, expected, "what was expected is all that stands there");
    let late = "SELECT count(*) > 0 FROM ledger.late_cash_entries";
    assert_eq!(clinic.ledger_text(late).await, "true", "the closing came in the middle");
    let all = "SELECT sum(amount) + (SELECT expected FROM ledger.cash_closing_accounts) FROM ledger.late_cash_entries";
    assert_eq!(clinic.ledger_text(all).await, "80200.00");
    let drawer = "SELECT sum(debit - credit) FROM ledger.journal_lines AS l JOIN ledger.journal_entries AS e ON e.id = l.entry_id
                  WHERE posting_date = '2024-03-05' AND account_code = '1000'";
    assert_eq!(clinic.ledger_text(drawer).await, "5000.00", "what was counted");
    clinic.assert_ledger_equals_bills().await;
}

/// Whoever closes and whoever counts, at the same time: each sees the other's step, or waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_close_one_day_at_once_one_is_told_that_it_is_closed() {
    let clinic = Clinic::new().await;
    bill(&clinic, 1, "2024-03-05", "10", "cash").await;
    clinic.drain().await;
    step(&clinic, "ledger.open_cash_day('main', 'main', '2024-03-05')").await;
    step(&clinic, r#"ledger.count_cash('main', 'main', '2024-03-05', '{"cash": 9}')"#).await;
    let one = Cluster::shared().admin(&clinic.database).await;
    let two = Cluster::shared().admin(&clinic.database).await;
    let sql = "SELECT ledger.close_cash_day('main', 'main', '2024-03-05')";
    let (first, second) = tokio::join!(one.batch_execute(sql), two.batch_execute(sql));
    let told: Vec<String> =
        [first, second].iter().filter_map(|ended| ended.as_ref().err()).map(daybook::error::explain).collect();
    assert!(told.len() == 1 && told[0].contains("is closed already"), "{told:?}");
    assert_eq!(clinic.ledger_text(STATES).await, "2024-03-05 1 closed");
    assert_eq!(clinic.entries("CASH_CLOSURE", "main/2024-03-05").await.len(), 1);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT ledger.open_cash_day('main', 'main', '2024-03-06')");
        assert!(refused(&one, &sql).await.contains("Use READ COMMITTED"), "{level}");
        one.batch_execute("ROLLBACK").await.expect("rolls back");
    }
}
