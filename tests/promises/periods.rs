//! Periods: closed by the controller alone, with a reason in the log; nothing is posted into them, whoever posts and when.

use crate::command_line::url;
use crate::harness::{Clinic, Cluster, pharmacy_bill, refused};
use crate::rules::{done, fails};

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_closed_listed_reopened_and_closed_for_good_by_the_controller_alone() {
    let clinic = Clinic::new().await;
    let cluster = Cluster::shared();
    let controller = format!("controller_{}", clinic.database);
    let reader = format!("reader_{}", clinic.database);
    let sql = format!(
        "CREATE ROLE {controller} LOGIN; GRANT daybook_controller, daybook_reader TO {controller};
         CREATE ROLE {reader} LOGIN; GRANT daybook_reader TO {reader}"
    );
    clinic.dba.batch_execute(&sql).await.expect("creates roles");
    let (as_controller, as_reader) =
        (cluster.server.url(&controller, &clinic.database), cluster.server.url(&reader, &clinic.database));
    pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;

    fails(&["period", "close", "2024-03"], &as_reader, 3, "It takes a member of daybook_controller");
    for role in ["daybook_consumer", "daybook_reader"] {
        let sql = format!("SET ROLE {role}; SELECT ledger.close_period('main', '2024-03-01', '2024-03-31')");
        assert!(refused(&clinic.accountant, &sql).await.contains("permission denied"), "{role}");
        clinic.accountant.batch_execute("RESET ROLE").await.expect("is oneself again");
    }
    assert!(
        done(&["period", "close", "2024-03"], &as_controller)
            .contains("2024-03-01 to 2024-03-31 of book main is closed (soft)")
    );
    done(&["period", "close", "2024-03"], &as_controller); // twice is harmless
    let late = pharmacy_bill(&clinic, "2024-03-07").await;
    clinic.drain().await;
    assert!(clinic.entries("PHARMACY", &late).await[0].starts_with("1 original 2024-03-07/2024-04-01 late:"));
    let listed = done(&["period", "late"], &as_reader);
    assert!(listed.contains(&format!("PHARMACY {late}")) && listed.contains("2024-04-01"), "{listed}");
    fails(&["period", "reopen", "2024-03", "--reason", " "], &as_controller, 2, "reopening takes a reason");
    done(&["period", "reopen", "2024-03", "--reason", "an invoice was forgotten"], &as_controller);
    done(&["period", "close", "2024-03", "--hard", "--reason", "audited"], &as_controller);
    fails(&["period", "reopen", "2024-03", "--reason", "again"], &as_controller, 2, "is closed for good");
    fails(&["period", "close", "2024-03"], &as_controller, 2, "is closed for good");
    let listed = done(&["period", "list"], &as_reader);
    assert!(listed.contains("hard") && listed.contains("audited") && listed.contains(&controller), "{listed}");
    let log = "SELECT string_agg(state || ' ' || coalesce(reason, '-') || ' ' || logged_by, ', ' ORDER BY id) FROM ledger.period_log";
    assert_eq!(
        clinic.ledger_text(log).await,
        format!("soft - {controller}, open an invoice was forgotten {controller}, hard audited {controller}")
    );
    for sql in ["DELETE FROM ledger.period_log", "UPDATE ledger.period_log SET reason = 'x'"] {
        assert!(refused(&clinic.accountant, sql).await.contains("is refused"), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_is_refused_while_bills_are_parked_or_queued_and_forced_only_with_a_reason() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number, created_at) VALUES (7, 10, 'barter', 'A', '2024-03-05')").await;
    let close = ["period", "close", "2024-03", "--wait", "0"];
    fails(&close, &url, 2, "LAB 7 of source main is queued since");
    clinic.drain().await;
    fails(&close, &url, 2, "LAB 7 of source main is parked: LAB 7: column payment_mode holds a text of 6 characters");
    fails(&[&close[..], &["--force"]].concat(), &url, 2, "forcing takes a reason (--reason ..., which is kept");
    fails(&close, &url, 2, "or --force with --reason");
    done(&[&close[..], &["--force", "--reason", "the gift is known"]].concat(), &url);
    assert_eq!(
        clinic.ledger_text("SELECT forced || ' ' || reason FROM ledger.period_log").await,
        "true the gift is known"
    );
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    clinic.drain().await;
    assert!(clinic.entries("LAB", "7").await[0].starts_with("1 original 2024-03-05/2024-04-01 late:"));
    for (arguments, part) in [
        (vec!["period", "close", "march"], "march is no period"),
        (
            vec!["period", "close", "2024-03-15", "--to", "2024-04-15"],
            "overlaps 2024-03-01 to 2024-03-31, which is soft",
        ),
        (vec!["period", "close", "2999-01"], "is not over yet"),
        (vec!["period", "close", "2024-01", "--book", "nobody"], "there is no book nobody"),
        (vec!["period", "reopen", "2024-01", "--reason", "x"], "no closed period of book main begins on 2024-01-01"),
    ] {
        fails(&arguments, &url, 2, part);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_elsewhere_knows_what_its_sources_have_queued_or_that_it_cannot_know() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.drain().await;
    // Its own schema daybook is another source's, in this test's template.
    clinic.accountant.batch_execute("DROP SCHEMA daybook CASCADE").await.expect("is a ledger and nothing else");
    let close = "SELECT ledger.close_period('main', '2024-03-01', '2024-03-31')";
    clinic.accountant.batch_execute(close).await.expect("the source has just reported an empty queue");
    clinic.accountant.batch_execute("SELECT ledger.reopen_period('main', '2024-03-01', 'x'); UPDATE ledger.sources SET reported_at = now() - interval '1 hour'").await.expect("an hour goes by");
    assert!(refused(&clinic.accountant, close).await.contains("source main was last heard of at"));
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.configure("posting", "paused").await;
    clinic.drain_for(std::time::Duration::from_millis(200)).await;
    let message = refused(&clinic.accountant, close).await;
    assert!(message.contains("1 events of source main are queued, such as LAB 1"), "{message}");
}

/// A batch that read the calendar before the close commits before it; one that comes after sees it. Not even plain SQL gets in.
#[tokio::test(flavor = "multi_thread")]
async fn closing_races_with_posting_and_nothing_lands_in_the_closed_month() {
    let clinic = Clinic::new().await;
    clinic.configure("queue_batch_size", "5").await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number, created_at) SELECT g, g, 'A', '2024-03-05 12:00+05:30' FROM generate_series(1, 400) AS g")
        .await;
    let close = async {
        while clinic.ledger_text("SELECT count(*) < 30 FROM ledger.journal_entries").await == "true" {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let closer = Cluster::shared().admin(&clinic.database).await;
        let sql = "SELECT ledger.close_period('main', '2024-03-01', '2024-03-31', force => true, reason => 'in the middle of it')";
        closer.batch_execute(sql).await.expect("closes");
        clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries WHERE posting_date < '2024-04-01'").await
    };
    let (_, at_close) = tokio::join!(clinic.drain(), close);
    let counts = "SELECT count(*) FILTER (WHERE posting_date < '2024-04-01') || ' ' || count(*) || ' ' || count(*) FILTER (WHERE late) FROM ledger.journal_entries";
    let (total, late) = (400, 400 - at_close.parse::<i32>().expect("a number"));
    assert!(late > 0, "the close came in the middle");
    assert_eq!(clinic.ledger_text(counts).await, format!("{at_close} {total} {late}"));
    clinic.assert_ledger_equals_bills().await;
    let by_hand = "WITH e AS (INSERT INTO ledger.journal_entries SELECT 999999, book, source, reference_type, 'x', 1, kind, effective_date, effective_date, false,
                       NULL, line_count, total, rule_hash, event_seq, event_origin, event_xid, changed_at, session_user_name, application_name
                       FROM ledger.journal_entries WHERE kind = 'original' LIMIT 1 RETURNING id)
                   INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement)
                   SELECT 999999, v.* FROM (VALUES (1, '1000', 1, 0, 'INR', true), (2, '4200', 0, 1, 'INR', false)) AS v";
    let message =
        refused(&clinic.accountant, &by_hand.replace("total, rule_hash", "1, rule_hash").replace("line_count,", "2,"))
            .await;
    assert!(message.contains("would be posted into a closed period"), "{message}");
}
