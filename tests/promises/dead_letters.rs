//! Parked bills: listed, shown, tried again, and resolved with a note, down to the closing of a month.

use crate::command_line::{run, url};
use crate::faults::{Running, until};
use crate::harness::{Clinic, Cluster, refused};
use crate::rules::{done, fails};

/// Two bills that no account is mapped for, and one that is well.
async fn with_parked_bills() -> Clinic {
    let clinic = Clinic::new().await;
    let bills = "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number, created_at)
                 SELECT g, g, CASE g WHEN 3 THEN 'cash' ELSE 'barter' END, 'A', '2024-03-05' FROM generate_series(1, 3) AS g";
    clinic.write(bills).await;
    assert_eq!(clinic.drain().await.parked, 2);
    clinic
}

const LETTERS: &str = "SELECT string_agg(concat_ws(' ', reference_id, state, note), ', ' ORDER BY reference_id, spell) FROM daybook.dead_letters";
const STATES: &str =
    "SELECT string_agg(reference_id || ' ' || state, ', ' ORDER BY reference_id) FROM ledger.sync_master_status";
const CLOSE: &str = "SELECT ledger.close_period('main', '2024-03-01', '2024-03-31')";

async fn change(clinic: &Clinic, id: u32) {
    clinic.write(&format!("UPDATE lab_bills SET amount = amount + 1 WHERE id = {id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_bills_are_listed_shown_retried_and_resolved_from_the_command_line() {
    let clinic = with_parked_bills().await;
    let url = url(&clinic);
    let listed = done(&["dead", "list"], &url);
    assert!(listed.contains("no account is mapped to") && listed.contains("Set payment_mode"), "{listed}");
    let json: serde_json::Value =
        serde_json::from_str(&done(&["dead", "list", "lab_bills", "--json"], &url)).expect("is JSON");
    assert_eq!((&json[0]["reference_id"], &json[1]["state"]), (&"1".into(), &"open".into()), "{json}");
    assert_eq!(done(&["dead", "list", "PHARMACY"], &url).trim(), "no bill is parked");
    let shown = done(&["dead", "show", "LAB", "1"], &url);
    for part in ["LAB 1: parked", "reason: LAB 1: column payment_mode", "advice: Set payment_mode", "insert", "desk"] {
        assert!(shown.contains(part), "{shown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&done(&["dead", "show", "lab", "1", "--json"], &url)).expect("is JSON");
    assert_eq!(
        (&json["spells"][0]["attempts"], &json["events"][0]["outcome"]),
        (&0.into(), &"parked".into()),
        "{json}"
    );

    // Whoever has nothing to mend still parks; then the rule knows the mode.
    assert!(done(&["dead", "retry", "LAB", "1"], &url).contains("queued: 1 bills"));
    assert_eq!(clinic.drain().await.parked, 2);
    clinic.write("UPDATE lab_bills SET payment_mode = 'card' WHERE id = 1").await;
    assert!(done(&["dead", "resolve", "LAB", "2", "--note", "a gift"], &url).contains("resolved"));
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(done(&["dead", "list"], &url).trim(), "no bill is parked");
    assert!(done(&["dead", "list", "--all"], &url).contains("a gift"));
    assert!(done(&["dead", "resolve", "LAB", "2", "--note", "twice"], &url).contains("was closed already"));
    assert!(done(&["dead", "retry", "--all"], &url).contains("nothing to retry"));
    assert_eq!(clinic.text(LETTERS).await, "1 healed, 2 resolved a gift");

    assert_eq!(run(&["dead", "show", "LAB", "3", "--source-url", &url]).0, Some(1));
    for (arguments, part) in [
        (vec!["dead", "retry", "LAB", "99"], "no bill 'LAB' '99' was ever parked"),
        (vec!["dead", "resolve", "LAB", "99", "--note", "x"], "was ever parked"),
        (vec!["dead", "resolve", "LAB", "1", "--note", " "], "resolving takes a note"),
        (vec!["dead", "resolve", "LAB", "1"], "--note"),
        (vec!["dead", "retry"], "ID"),
        (vec!["dead", "retry", "LAB"], "ID"),
        (vec!["dead", "retry", "LAB", "1", "--all"], "cannot be used with"),
        (vec!["dead", "list", "NOWHERE"], "no attached table is called NOWHERE"),
        (vec!["dead", "retry", "--all", "--table", "NOWHERE"], "no attached table is called NOWHERE"),
    ] {
        fails(&arguments, &url, 2, part);
    }
}

#[tokio::test]
async fn a_bill_that_was_never_parked_can_neither_be_retried_nor_resolved_and_leaves_nothing_behind() {
    let clinic = with_parked_bills().await;
    for sql in [
        "SELECT daybook.retry('LAB', '99')",
        "SELECT daybook.retry('LAB', NULL)",
        "SELECT daybook.retry(NULL, '1')",
        "SELECT daybook.retry('NOWHERE', '1')",
        "SELECT daybook.retry('LAB', '3')", // it is well
        "SELECT daybook.resolve('LAB', '99', 'why')",
    ] {
        assert!(refused(&clinic.dba, sql).await.contains("was ever parked"), "{sql}");
    }
    for note in ["''", "E' \\t'", "NULL"] {
        let told = refused(&clinic.dba, &format!("SELECT daybook.resolve('LAB', '1', {note})")).await;
        assert!(told.contains("resolving takes a note"), "{told}");
    }
    assert!(refused(&clinic.dba, "SELECT daybook.retry_all('NOWHERE')").await.contains("no attached table"));
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text(STATES).await, "1 parked, 2 parked, 3 current");
}

#[tokio::test]
async fn all_parked_bills_of_one_table_or_of_all_are_retried_at_once_and_none_twice() {
    let clinic = with_parked_bills().await;
    clinic
        .write(
            "INSERT INTO pharmacy_bills (id, total_amount, payment_mode, invoice_number) VALUES (7, 5, 'barter', 'A')",
        )
        .await;
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT daybook.retry_all('PHARMACY')").await, "1");
    assert_eq!(clinic.text("SELECT daybook.retry_all()").await, "2", "the other one waits already");
    let queued = "SELECT string_agg(reference_type || reference_id || operation || origin, ' ' ORDER BY 1) FROM (SELECT * FROM daybook.sync_queue ORDER BY reference_type, reference_id) AS q";
    assert_eq!(clinic.text(queued).await, "LAB1synchroniseretry LAB2synchroniseretry PHARMACY7synchroniseretry");
    assert_eq!(clinic.drain().await.parked, 3);
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_dead_letter").await, "3", "no new spell");
}

#[tokio::test]
async fn numbers_and_blanks_in_a_composite_id_mean_the_bill_with_their_texts() {
    let clinic = Clinic::new().await;
    let sql = "CREATE TABLE stays (year int, number numeric, PRIMARY KEY (year, number));
               SELECT daybook.attach('stays', 'STAY', ARRAY['year', 'number'], ARRAY['year']);
               INSERT INTO daybook.sync_dead_letter (source, reference_type, reference_id, spell, synchronisation, reason, advice, event_seq, parked_at)
               VALUES ('main', 'STAY', '[\"2024\", \"17.5\"]', 1, 1, 'r', 'a', 1, now())";
    clinic.dba.batch_execute(sql).await.expect("attaches");
    for id in ["[2024,17.50]", "[ \"2024\" ,\"17.5\" ]", "[2024, \"17.5\"]"] {
        clinic.dba.execute("SELECT daybook.retry('STAY', $1)", &[&id]).await.expect("retries");
        clinic.dba.execute("SELECT daybook.enqueue('STAY', $1)", &[&id]).await.expect("enqueues");
    }
    let queued = "SELECT string_agg(DISTINCT reference_id, ' ') || count(*) FROM daybook.sync_queue";
    assert_eq!(clinic.text(queued).await, "[\"2024\", \"17.5\"]6");
    for id in ["'2024'", "'[2024'", "'{\"a\": 1}'"] {
        let told = refused(&clinic.dba, &format!("SELECT daybook.retry('STAY', {id})")).await;
        assert!(told.contains("JSON array of texts"), "{told}");
    }
}

#[tokio::test]
async fn a_resolved_bill_keeps_no_month_from_being_closed() {
    let clinic = with_parked_bills().await;
    clinic
        .dba
        .batch_execute("SELECT daybook.resolve('LAB', '1', 'a gift'), daybook.resolve('LAB', '2', 'a gift')")
        .await
        .expect("resolves");
    assert!(refused(&clinic.accountant, CLOSE).await.contains("is queued"), "the word is on its way");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text(STATES).await, "1 resolved, 2 resolved, 3 current");
    assert_eq!(
        clinic
            .text("SELECT outcome FROM daybook.sync_audit_log WHERE operation = 'resolve' AND reference_id = '1'")
            .await,
        "no_effect"
    );
    clinic.accountant.batch_execute(CLOSE).await.expect("closes without force");
}

#[tokio::test]
async fn a_resolved_bill_is_parked_anew_when_its_row_changes_or_it_is_retried_and_not_by_looks_of_our_own() {
    let clinic = with_parked_bills().await;
    clinic
        .dba
        .batch_execute("SELECT daybook.resolve('LAB', '1', 'a gift'), daybook.resolve('LAB', '2', 'a gift')")
        .await
        .expect("resolves");
    clinic.drain().await;
    clinic
        .dba
        .batch_execute("SELECT daybook.reconcile('lab_bills'), daybook.backfill('lab_bills')")
        .await
        .expect("has it reconciled");
    clinic.dba.batch_execute("SELECT daybook.enqueue('LAB', '1')").await.expect("enqueues");
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.ledger_text(STATES).await, "1 resolved, 2 resolved, 3 current");
    change(&clinic, 1).await;
    clinic.dba.batch_execute("SELECT daybook.retry('LAB', '2')").await.expect("retries");
    assert_eq!(clinic.drain().await.parked, 2);
    assert_eq!(clinic.text(LETTERS).await, "1 resolved a gift, 1 open, 2 resolved a gift, 2 open");
    assert_eq!(clinic.ledger_text(STATES).await, "1 parked, 2 parked, 3 current");
    assert!(refused(&clinic.accountant, CLOSE).await.contains("LAB 1 of source main is parked"));
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.text(LETTERS).await, "1 resolved a gift, 1 healed, 2 resolved a gift, 2 healed");
    clinic.assert_ledger_equals_bills().await;
}

/// What bypassed capture has no event; a look of ours finds another reason.
#[tokio::test]
async fn a_resolved_bill_is_parked_anew_when_a_look_of_our_own_finds_another_reason() {
    let clinic = with_parked_bills().await;
    clinic.dba.batch_execute("SELECT daybook.resolve('LAB', '1', 'a gift')").await.expect("resolves");
    clinic.drain().await;
    clinic.dba.batch_execute("SELECT daybook.suspend('lab_bills')").await.expect("suspends");
    clinic.write("UPDATE lab_bills SET amount = 'NaN' WHERE id = 1").await;
    clinic.dba.batch_execute("SELECT daybook.resume('lab_bills')").await.expect("resumes");
    clinic.drain().await;
    assert_eq!(clinic.text(LETTERS).await, "1 resolved a gift, 1 open, 2 open");
}

/// The operator may not have seen the change, whichever has the higher number.
#[tokio::test]
async fn a_change_beside_the_operators_word_leaves_the_bill_parked_and_the_word_can_be_given_again() {
    let clinic = with_parked_bills().await;
    change(&clinic, 1).await;
    clinic
        .dba
        .batch_execute("SELECT daybook.resolve('LAB', '1', 'a gift'), daybook.resolve('LAB', '2', 'a gift')")
        .await
        .expect("resolves");
    change(&clinic, 2).await;
    assert_eq!(clinic.drain().await.parked, 2);
    assert_eq!(clinic.ledger_text(STATES).await, "1 parked, 2 parked, 3 current");
    clinic.dba.batch_execute("SELECT daybook.resolve('LAB', '1', 'still a gift')").await.expect("resolves");
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(clinic.text(LETTERS).await, "1 resolved still a gift, 2 open");
}

/// A worker that parked the bill before it was resolved writes its dead letter after that.
#[tokio::test]
async fn a_slow_worker_does_not_open_the_dead_letter_of_a_resolved_bill_again() {
    let clinic = with_parked_bills().await;
    let number = "SELECT synchronisation FROM daybook.sync_dead_letter WHERE reference_id = '1'";
    let before: i64 = clinic.text(number).await.parse().expect("a number");
    clinic.dba.batch_execute("SELECT daybook.resolve('LAB', '1', 'a gift')").await.expect("resolves");
    change(&clinic, 2).await; // in the same batch
    clinic.drain().await;
    let after: i64 = clinic.text(number).await.parse().expect("a number");
    assert!(after > before, "the number rises although it was resolved already");
    // What the slow worker says has the number in between.
    let (ids, spells, numbers) = (vec!["1"], vec![1_i64], vec![after - 1]);
    let (reasons, advices, events) = (vec!["bad"], vec!["mend"], vec![1_i64]);
    let at = vec![chrono::Utc::now()];
    clinic
        .dba
        .execute(
            daybook::sql::PARK_DEAD_LETTERS,
            &[&"main", &"LAB", &ids, &spells, &numbers, &reasons, &advices, &events, &at],
        )
        .await
        .expect("speaks");
    assert_eq!(clinic.text(LETTERS).await, "1 resolved a gift, 2 open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_lists_and_shows_parked_bills_and_only_an_owner_decides() {
    let clinic = with_parked_bills().await;
    let login = format!("reader_{}", clinic.database);
    let grant = format!("CREATE ROLE {login} LOGIN; GRANT daybook_reader TO {login}");
    clinic.dba.batch_execute(&grant).await.expect("grants");
    let url = Cluster::shared().server.url(&login, &clinic.database);
    assert!(done(&["dead", "list"], &url).contains("barter") || done(&["dead", "list"], &url).contains("no account"));
    assert!(done(&["dead", "show", "LAB", "1"], &url).contains("LAB 1: parked"));
    for arguments in [
        vec!["dead", "retry", "LAB", "1"],
        vec!["dead", "retry", "--all"],
        vec!["dead", "resolve", "LAB", "1", "--note", "x"],
    ] {
        fails(&arguments, &url, 3, "member of daybook_owner");
    }
}

/// The worker that holds the operator's word is slow; another one parks the bill anew, for a change that came after the word.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_workers_word_does_not_silence_a_bill_that_was_changed_after_it() {
    let clinic = Clinic::new().await;
    clinic.configure("table_retry_seconds", "0.1").await;
    let bills = "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'cash', 'A'), (2, 20, 'barter', 'A')";
    clinic.write(bills).await;
    clinic.drain().await;
    let hold = "BEGIN; SELECT FROM ledger.sync_master_status WHERE reference_id = '1' FOR UPDATE";
    clinic.accountant.batch_execute(hold).await.expect("holds a bill");
    let word =
        "BEGIN; UPDATE lab_bills SET amount = 11 WHERE id = 1; SELECT daybook.resolve('LAB', '2', 'a gift'); COMMIT";
    clinic.dba.batch_execute(word).await.expect("says so");
    let url = url(&clinic);
    let slow = Running::start(&url, &url, None);
    let waits =
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    until(&clinic.dba, waits, "true").await;
    clinic.write("UPDATE lab_bills SET amount = 500 WHERE id = 2").await;
    // The word waits for its lock no longer than five seconds; where it gave up, all come together, which must end the same.
    let parked_anew = "SELECT count(*) FROM daybook.sync_audit_log WHERE reference_id = '2' AND operation = 'update'";
    for _ in 0..160 {
        if clinic.text(parked_anew).await == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    clinic.accountant.batch_execute("COMMIT").await.expect("lets go");
    until(&clinic.dba, "SELECT count(*) FROM daybook.sync_queue", "0").await;
    assert_eq!(slow.stop().0, Some(0));
    let state = "SELECT state FROM ledger.sync_master_status WHERE reference_id = '2'";
    assert_eq!(clinic.ledger_text(state).await, "parked");
    let open = "SELECT count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
    assert_eq!(clinic.text(open).await, "1");
}

#[tokio::test]
async fn a_letter_whose_heal_died_before_it_was_said_is_over_when_the_bill_is_parked_anew() {
    let clinic = Clinic::new().await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (7, 10, 'barter', 'L')")
        .await;
    clinic.drain().await;
    let open = "SELECT count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";
    assert_eq!(clinic.text(open).await, "1");
    // The ledger has healed the bill, and whoever did it dies before the source is told.
    let crash = "CREATE FUNCTION public.crash() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'crash' USING ERRCODE = '57P02'; END$$;
                 CREATE TRIGGER crash BEFORE INSERT ON daybook.sync_audit_log FOR EACH ROW EXECUTE FUNCTION public.crash()";
    clinic.dba.batch_execute(crash).await.expect("plants the crash");
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    clinic.drain_for(std::time::Duration::from_millis(800)).await;
    assert_eq!(clinic.balances("LAB", "7").await, "1000 10.00, 4200 -10.00");
    clinic.dba.batch_execute("DROP FUNCTION public.crash CASCADE").await.expect("mends");
    clinic.write("UPDATE lab_bills SET payment_mode = 'barter'").await;
    clinic.drain().await;
    assert_eq!(clinic.text(open).await, "1", "the one of the present spell");
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    clinic.drain().await;
    assert_eq!(clinic.text(open).await, "0");
}

#[tokio::test]
async fn a_dead_letter_follows_only_a_higher_synchronisation_number() {
    let clinic = Clinic::new().await;
    let park = |number: i64| {
        format!(
            "SELECT 'main', 'LAB', ARRAY['1'], ARRAY[5::bigint], ARRAY[{number}::bigint], ARRAY['bad'], ARRAY['mend'], ARRAY[1::bigint], ARRAY[now()]"
        )
    };
    let run = async |file: &str, arguments: String| {
        let count = arguments.matches("ARRAY[").count() + 2;
        let names: Vec<String> = (1..=count).map(|n| format!("p{n}")).collect();
        let mut sql = file.to_string();
        for n in (1..=count).rev() {
            sql = sql.replace(&format!("${n}"), &format!("(SELECT p{n} FROM parameters)"));
        }
        let sql = format!(
            "WITH parameters ({}) AS ({arguments}), {}",
            names.join(", "),
            sql.lines()
                .filter(|line| !line.starts_with("--"))
                .collect::<Vec<_>>()
                .join("\n")
                .trim_start_matches("WITH ")
        );
        clinic.dba.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    };
    let state = async || {
        clinic.text("SELECT synchronisation || ' ' || coalesce(resolution, 'open') FROM daybook.sync_dead_letter").await
    };
    let parking = daybook::sql::PARK_DEAD_LETTERS;
    let healing = daybook::sql::HEAL_DEAD_LETTERS;
    // A slow worker parks with 5 after another one has healed with 6.
    run(healing, park(6) + ", ARRAY['healed']").await;
    assert_eq!(state().await, "6 healed");
    run(parking, park(5)).await;
    assert_eq!(state().await, "6 healed");
    // And a slow one heals with 7 after another one has parked again with 8.
    run(parking, park(8)).await;
    assert_eq!(state().await, "8 open");
    run(healing, park(7) + ", ARRAY['healed']").await;
    assert_eq!(state().await, "8 open");
    run(healing, park(9) + ", ARRAY['retried']").await;
    assert_eq!(state().await, "9 retried");
}

#[tokio::test]
async fn resolving_by_hand_closes_a_dead_letter_until_the_bill_fails_again() {
    let clinic = Clinic::new().await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'barter', 'A')")
        .await;
    clinic.drain().await;
    assert_eq!(clinic.text("SELECT daybook.resolve('LAB', '1', 'known, a gift')").await, "true");
    assert_eq!(clinic.drain().await.parked, 0);
    clinic.write("UPDATE lab_bills SET amount = 11").await;
    assert_eq!(clinic.drain().await.parked, 1);
}
