//! The journal itself: append-only, balanced, sealed, whoever writes and however.

use crate::harness::{Clinic, refused};

/// A header and its lines in one statement; `{…}` of the template are replaced by the caller.
fn entry(id: i64, revision: i32, line_count: i32, total: &str, lines: &str) -> String {
    format!(
        "WITH h AS (INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind, effective_date,
             posting_date, late, line_count, total, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
         VALUES ({id}, 'main', 'main', 'LAB', '1', {revision}, 'original', '2024-03-05', '2024-03-05', false, {line_count}, {total}, 'x', 1,
                 'trigger', '1', now(), 'desk', 'desk'))
         INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement) VALUES {lines}"
    )
}

fn pair(id: i64, amount: &str) -> String {
    format!("({id}, 1, '1000', {amount}, 0, 'INR', true), ({id}, 2, '4200', 0, {amount}, 'INR', false)")
}

#[tokio::test]
async fn an_entry_goes_in_whole_or_not_at_all() {
    let clinic = Clinic::new().await;
    let whole = entry(1, 1, 2, "10", &pair(1, "10"));
    let refusals = [
        (
            "unbalanced",
            entry(1, 1, 2, "10", "(1, 1, '1000', 10, 0, 'INR', true), (1, 2, '4200', 0, 9.99, 'INR', false)"),
            "unbalanced",
        ),
        (
            "unbalanced by less than a cent",
            entry(1, 1, 2, "10", "(1, 1, '1000', 10, 0, 'INR', true), (1, 2, '4200', 0, 9.999, 'INR', false)"),
            "unbalanced",
        ),
        ("too few lines", entry(1, 1, 3, "10", &pair(1, "10")), "incomplete"),
        (
            "too many lines",
            entry(
                1,
                1,
                2,
                "20",
                &format!("{}, (1, 3, '1000', 10, 0, 'INR', true), (1, 4, '4200', 0, 10, 'INR', false)", pair(1, "10")),
            ),
            "incomplete",
        ),
        (
            "a gap in the numbers",
            entry(1, 1, 2, "10", "(1, 1, '1000', 10, 0, 'INR', true), (1, 3, '4200', 0, 10, 'INR', false)"),
            "incomplete",
        ),
        ("another total", entry(1, 1, 2, "11", &pair(1, "10")), "unbalanced"),
        ("lines of another entry", entry(1, 1, 2, "10", &pair(2, "10")), "without header"),
        (
            "lines without header",
            format!(
                "INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement) VALUES {}",
                pair(9, "10")
            ),
            "without header",
        ),
        ("another currency", entry(1, 1, 2, "10", &pair(1, "10").replace("INR", "USD")), "currency"),
        ("more decimals than the currency", entry(1, 1, 2, "10.001", &pair(1, "10.001")), "currency"),
        ("an unknown account", entry(1, 1, 2, "10", &pair(1, "10").replace("4200", "4711")), "account 4711"),
        ("NaN on both sides", entry(1, 1, 2, "10", &pair(1, "'NaN'")), "debit"),
        ("Infinity on both sides", entry(1, 1, 2, "10", &pair(1, "'Infinity'")), "debit"),
        ("negative amounts", entry(1, 1, 2, "10", &pair(1, "-10")), "debit"),
        (
            "both sides of a line",
            entry(1, 1, 2, "10", "(1, 1, '1000', 10, 10, 'INR', true), (1, 2, '4200', 10, 10, 'INR', false)"),
            "one_side_is_positive",
        ),
        (
            "neither side of a line",
            entry(1, 1, 2, "10", "(1, 1, '1000', 0, 0, 'INR', true), (1, 2, '4200', 0, 0, 'INR', false)"),
            "one_side_is_positive",
        ),
        ("one line", entry(1, 1, 1, "10", "(1, 1, '1000', 10, 0, 'INR', true)"), "line_count"),
    ];
    for replica in ["origin", "replica"] {
        clinic.accountant.batch_execute(&format!("SET session_replication_role = {replica}")).await.expect("sets");
        for (what, sql, part) in &refusals {
            let message = refused(&clinic.accountant, sql).await;
            assert!(message.contains(part), "{what} under {replica}: {message}");
        }
    }
    let header_alone =
        whole.split("INSERT INTO ledger.journal_lines").next().expect("a header").replace("WITH h AS (", "");
    let header_alone = header_alone.trim().trim_end_matches(')').to_string() + ")";
    assert!(refused(&clinic.accountant, &header_alone).await.contains("entry 1 has no lines"), "{header_alone}");
    clinic.accountant.batch_execute(&whole).await.expect("a whole entry goes in");
}

#[tokio::test]
async fn nothing_in_the_journal_can_be_changed_not_even_by_a_superuser_under_replica() {
    let clinic = Clinic::new().await;
    clinic.accountant.batch_execute(&entry(1, 1, 2, "10", &pair(1, "10"))).await.expect("goes in");
    for replica in ["origin", "replica"] {
        clinic.accountant.batch_execute(&format!("SET session_replication_role = {replica}")).await.expect("sets");
        for sql in [
            "UPDATE ledger.journal_lines SET debit = debit + 1 WHERE debit > 0",
            "UPDATE ledger.journal_entries SET posting_date = '2024-01-01'",
            "DELETE FROM ledger.journal_lines",
            "DELETE FROM ledger.journal_entries WHERE false",
            "TRUNCATE ledger.journal_lines",
            "TRUNCATE ledger.journal_entries CASCADE",
            "INSERT INTO ledger.journal_lines SELECT * FROM ledger.journal_lines ON CONFLICT (entry_id, line_no) DO UPDATE SET debit = 99",
            "WITH gone AS (DELETE FROM ledger.journal_lines RETURNING *) SELECT count(*) FROM gone",
        ] {
            assert!(refused(&clinic.accountant, sql).await.contains("append-only"), "{sql} under {replica}");
        }
    }
    let version: i32 =
        clinic.ledger_text("SELECT current_setting('server_version_num')").await.parse().expect("a number");
    if version >= 150_000 {
        let merge = "MERGE INTO ledger.journal_lines AS l USING (VALUES (1)) AS v (id) ON l.entry_id = v.id WHEN MATCHED THEN DELETE";
        assert!(refused(&clinic.accountant, merge).await.contains("append-only"));
    }
    clinic
        .accountant
        .batch_execute("SET session_replication_role = origin; SET ROLE daybook_consumer")
        .await
        .expect("sets");
    for sql in [
        "UPDATE ledger.journal_lines SET debit = 1",
        "DELETE FROM ledger.journal_entries",
        "TRUNCATE ledger.journal_lines",
        "UPDATE ledger.books SET currency = 'USD'",
        "INSERT INTO ledger.accounts VALUES ('main', '9', 'x', 'asset')",
        "UPDATE ledger.posting_rules SET definition = ''",
    ] {
        assert!(refused(&clinic.accountant, sql).await.contains("permission denied"), "{sql}");
    }
}

#[tokio::test]
async fn a_sealed_entry_takes_no_later_pair_also_from_concurrent_sessions() {
    let clinic = Clinic::new().await;
    clinic.accountant.batch_execute(&entry(1, 1, 2, "10", &pair(1, "10"))).await.expect("goes in");
    let insert = |lines: &str| {
        format!(
            "INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement) VALUES {lines}"
        )
    };
    let pair_after = insert("(1, 3, '1000', 5, 0, 'INR', true), (1, 4, '4200', 0, 5, 'INR', false)");
    assert!(refused(&clinic.accountant, &pair_after).await.contains("sealed already"));

    // Two sessions that each bring a balanced pair to one entry of four lines.
    let four = entry(2, 2, 4, "20", &pair(2, "10"));
    assert!(refused(&clinic.accountant, &four).await.contains("incomplete"));
    let second = crate::harness::Cluster::shared().admin(&clinic.database).await;
    clinic.accountant.batch_execute("BEGIN").await.expect("begins");
    second.batch_execute("BEGIN").await.expect("begins");
    assert!(refused(&clinic.accountant, &four).await.contains("incomplete"));
    let other_half = insert("(2, 3, '1000', 10, 0, 'INR', true), (2, 4, '4200', 0, 10, 'INR', false)");
    assert!(refused(&second, &other_half).await.contains("without header"));
    clinic.accountant.batch_execute("ROLLBACK").await.expect("ends");
    // A statement for the header and another one for the lines, in one transaction.
    clinic.accountant.batch_execute("BEGIN").await.expect("begins");
    let message = refused(&clinic.accountant, &entry(3, 3, 2, "10", &pair(9, "10"))).await;
    assert!(message.contains("without header") || message.contains("no lines"), "{message}");
}

#[tokio::test]
async fn an_entry_is_reversed_once_and_only_by_its_own_bill() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B'); ").await;
    clinic.drain().await;
    clinic.write("DELETE FROM lab_bills WHERE id = 1").await;
    clinic.drain().await;
    let original: i64 = clinic
        .ledger_text("SELECT reverses_id FROM ledger.journal_entries WHERE kind = 'reversal'")
        .await
        .parse()
        .expect("an id");
    let reversal = |id: i64, reference_id: &str, revision: i32, reverses: i64| {
        entry(
            id,
            revision,
            2,
            "10",
            &format!("({id}, 1, '4200', 10, 0, 'INR', false), ({id}, 2, '1000', 0, 10, 'INR', true)"),
        )
        .replace("'LAB', '1'", &format!("'LAB', '{reference_id}'"))
        .replace("'original'", "'reversal'")
        .replace("late, line_count", "late, reverses_id, line_count")
        .replace("false, 2, 10", &format!("false, {reverses}, 2, 10"))
    };
    assert!(
        refused(&clinic.accountant, &reversal(900, "1", 3, original)).await.contains("journal_entries_reverses_id_key")
    );
    assert!(
        refused(&clinic.accountant, &reversal(901, "2", 2, original)).await.contains("journal_entries_reverses_id_key")
    );
    let second: i64 = clinic
        .ledger_text("SELECT id FROM ledger.journal_entries WHERE reference_id = '2'")
        .await
        .parse()
        .expect("an id");
    assert!(refused(&clinic.accountant, &reversal(902, "1", 3, second)).await.contains("its own bill"));
    let mirror = reversal(904, "2", 2, second);
    let elsewhere = mirror.replace("10,", "20,").replace("'4200'", "'4100'");
    for (what, sql) in [("another amount", mirror), ("another account", elsewhere)] {
        assert!(refused(&clinic.accountant, &sql).await.contains("line by line"), "{what}");
    }
    let of_reversal: i64 = clinic
        .ledger_text("SELECT id FROM ledger.journal_entries WHERE kind = 'reversal'")
        .await
        .parse()
        .expect("an id");
    assert!(refused(&clinic.accountant, &reversal(903, "1", 3, of_reversal)).await.contains("its own bill"));
}

#[tokio::test]
async fn a_revision_of_a_bill_can_be_posted_once() {
    let clinic = Clinic::new().await;
    clinic.accountant.batch_execute(&entry(1, 1, 2, "10", &pair(1, "10"))).await.expect("goes in");
    let again = entry(2, 1, 2, "10", &pair(2, "10"));
    assert!(refused(&clinic.accountant, &again).await.contains("duplicate key"));
}

#[tokio::test]
async fn the_views_say_what_the_journal_holds() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'B')").await;
    clinic.drain().await;
    clinic.write("DELETE FROM lab_bills WHERE id = 1").await;
    clinic.drain().await;
    let balances = "SELECT string_agg(concat_ws(' ', book, source, reference_type, reference_id, account_code, balance), ', ' ORDER BY account_code) FROM ledger.reference_balances";
    assert_eq!(clinic.ledger_text(balances).await, "main main LAB 2 1000 20.00, main main LAB 2 4200 -20.00");
    let trial = "SELECT string_agg(concat_ws(' ', account_code, account_name, debit, credit, balance), ', ' ORDER BY account_code) FROM ledger.trial_balance";
    assert_eq!(
        clinic.ledger_text(trial).await,
        "1000 Cash 30.00 10.00 20.00, 4200 Laboratory revenue 10.00 30.00 -20.00"
    );
}
