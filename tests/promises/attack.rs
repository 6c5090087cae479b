//! What a hostile reading found: rules and tables that change between two looks, keys that are out of the ordinary, walks that another
//! index takes over. Each test failed once.

mod ledger;
mod lives;

use std::time::Duration;

use daybook::connecting::connect_worker;
use daybook::consumer;
use daybook::queue::Claim;

use crate::command_line::{run, url};
use crate::harness::{Clinic, Cluster, TRIGGERS, attach_lab_with};
use crate::rules::TextFile;

const BILL: &str = "INSERT INTO lab_bills (id, amount, invoice_number, created_at) VALUES";
const DAY: &str = "'2024-03-05 12:00+05:30'";

async fn dba(clinic: &Clinic, sql: &str) {
    clinic.dba.batch_execute(sql).await.unwrap_or_else(|e| panic!("{e:?}\n{sql}"));
}

/// Puts a table of another key in the place of lab_bills.
async fn odd(clinic: &Clinic, key: &str, constraint: &str, names: &str, tail: &str) {
    let sql = format!(
        "SELECT daybook.detach('lab_bills'); DROP TABLE lab_bills;
         CREATE TABLE odd ({key}, visit_id bigint, amount numeric, paid boolean, discounted_amount numeric, payment_mode text,
            invoice_number text DEFAULT 'A', created_at timestamptz DEFAULT {DAY}, {constraint}) {tail}; GRANT ALL ON odd TO desk;"
    );
    dba(clinic, &sql).await;
    attach_odd(clinic, names, "").await;
}

async fn attach_odd(clinic: &Clinic, names: &str, more: &str) {
    let sql = format!(
        "SELECT daybook.attach('odd', 'LAB', ARRAY[{names}], ARRAY['visit_id','amount','paid','discounted_amount','payment_mode','invoice_number','created_at']{more})"
    );
    dba(clinic, &sql).await;
}

fn lab_4201() -> String {
    include_str!("../../rules/lab.toml").replace("\"4200\"", "\"4201\"")
}

async fn apply(clinic: &Clinic, definition: &str, valid_from: Option<&str>) {
    let sql = "SELECT ledger.apply_rule('main', 'LAB', $1, $2::text::date, true)";
    clinic.accountant.execute(sql, &[&definition, &valid_from]).await.expect("applies");
}

async fn account_4201(clinic: &Clinic) {
    clinic
        .accountant
        .batch_execute(
            "INSERT INTO ledger.accounts VALUES ('main', '4201', 'Lab new', 'income') ON CONFLICT DO NOTHING",
        )
        .await
        .expect("adds");
}

/// One due batch of LAB by a worker of its own, without any housekeeper.
async fn one_pass(clinic: &Clinic) {
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    let claim = Claim::Due { events_max: 1000 };
    for _ in 0..5 {
        match worker.pass("LAB", &claim, None).await {
            Ok(pass) if pass.events == 0 => return,
            Ok(_) => {}
            Err(failure) => {
                worker.rollback().await.expect("rolls back");
                panic!("{:?}", failure.error);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_was_replaced_and_put_back_between_two_looks_leaves_no_bill_under_the_one_in_between() {
    let clinic = Clinic::new().await;
    account_4201(&clinic).await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY}), (2, 20, 'A', {DAY})")).await;
    clinic.drain().await;
    apply(&clinic, &lab_4201(), None).await;
    clinic.write("UPDATE lab_bills SET amount = 11 WHERE id = 1").await;
    one_pass(&clinic).await; // a worker of `run`, within the two seconds of housekeeping
    assert_eq!(clinic.balances("LAB", "1").await, "1000 11.00, 4201 -11.00");
    apply(&clinic, include_str!("../../rules/lab.toml"), None).await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 11.00, 4200 -11.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_replaced_after_detach_and_attach_judges_every_bill() {
    let clinic = Clinic::new().await;
    account_4201(&clinic).await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY}), (2, 20, 'A', {DAY})")).await;
    clinic.drain().await;
    dba(&clinic, "SELECT daybook.detach('lab_bills')").await;
    dba(&clinic, TRIGGERS[2]).await;
    apply(&clinic, &lab_4201(), None).await;
    clinic.write("UPDATE lab_bills SET amount = 11 WHERE id = 1").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 11.00, 4201 -11.00");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 20.00, 4201 -20.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_consumer_over_detach_and_attach_takes_up_a_later_rule_for_every_bill() {
    let clinic = Clinic::new().await;
    account_4201(&clinic).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = clinic.options(1);
    let running = tokio::spawn(consumer::run(options, async move {
        let _ = stopped.await;
    }));
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    wait_empty(&clinic).await;
    dba(&clinic, "SELECT daybook.detach('lab_bills')").await;
    dba(&clinic, TRIGGERS[2]).await;
    clinic.write(&format!("{BILL} (2, 20, 'A', {DAY})")).await;
    wait_empty(&clinic).await;
    apply(&clinic, &lab_4201(), None).await;
    clinic.write(&format!("{BILL} (3, 30, 'A', {DAY})")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    wait_empty(&clinic).await;
    let _ = stop.send(());
    running.await.expect("ends").expect("well");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 20.00, 4201 -20.00");
}

async fn wait_empty(clinic: &Clinic) {
    for _ in 0..300 {
        if clinic.text("SELECT count(*) FROM daybook.sync_queue").await == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "never empty: {}",
        clinic
            .text("SELECT string_agg(concat_ws(' ', reference_id, operation, last_error), ';') FROM daybook.sync_queue")
            .await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_detached_is_found_by_attach_and_backfill() {
    let clinic = Clinic::new().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY}), (2, 20, 'A', {DAY})")).await;
    clinic.drain().await;
    dba(&clinic, "SELECT daybook.detach('lab_bills')").await;
    clinic.write("DELETE FROM lab_bills WHERE id = 1").await;
    dba(&clinic, TRIGGERS[2]).await;
    let (code, out, err) = run(&["backfill", "LAB", "--source-url", &url(&clinic)]);
    assert_eq!(code, Some(0), "{out}{err}");
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_with_a_typing_error_in_its_year_does_not_stop_posting_silently() {
    let clinic = Clinic::new().await;
    let _closed = clinic
        .accountant
        .batch_execute(
            "SELECT ledger.close_period('main', '2020-01-01', '300000-12-31', 'soft', 'typo', force => true)",
        )
        .await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    let drained = clinic.drain_for(Duration::from_secs(6)).await;
    assert!(drained.unfinished == 0 || clinic.text("SELECT count(*) FROM daybook.current_alerts").await != "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_day_of_the_year_zero_is_refused_or_works() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    account_4201(&clinic).await;
    let mut failures = Vec::new();
    for day in ["0000-01-01", "-0001-01-01", "+10000-01-01"] {
        let file = TextFile::new(&clinic, "zero.toml", &format!("valid_from = \"{day}\"\n{}", lab_4201()));
        let (code, _, _) = run(&["rules", "apply", file.path(), "--source-url", &url]);
        if code == Some(0) {
            clinic.write(&format!("{BILL} (DEFAULT, 10, 'A', {DAY})")).await;
            let drained = clinic.drain_for(Duration::from_secs(3)).await;
            let left = clinic.text("SELECT string_agg(message, ';') FROM daybook.current_alerts").await;
            if drained.unfinished > 0 {
                failures.push(format!("{day}: {left}"));
            }
            // can it be taken back?
            let _back = run(&["rules", "apply", "--replace", file.path(), "--source-url", &url]);
            break;
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_passes_no_bill_over_that_is_in_scope_whatever_the_zone_does_at_midnight() {
    let clinic = Clinic::new().await;
    dba(&clinic, "UPDATE ledger.books SET time_zone = 'America/Havana'").await;
    dba(
        &clinic,
        "ALTER TABLE lab_bills DISABLE TRIGGER daybook_capture;
         INSERT INTO lab_bills (id, amount, invoice_number, created_at) VALUES (1, 10, 'A', '2023-11-05 04:30+00'), (2, 20, 'A', '2023-11-05 05:30+00'), (3, 30, 'A', '2023-11-05 03:30+00');
         ALTER TABLE lab_bills ENABLE ALWAYS TRIGGER daybook_capture",
    )
    .await;
    dba(&clinic, &attach_lab_with("go_live => '2023-11-05'")).await;
    run(&["backfill", "LAB", "--source-url", &url(&clinic)]);
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_went_and_came_back_between_two_looks_is_noticed() {
    let clinic = Clinic::new().await;
    odd(&clinic, "id int, year int", "PRIMARY KEY (id, year)", "'id','year'", "PARTITION BY LIST (year)").await;
    dba(&clinic, "CREATE TABLE p24 PARTITION OF odd FOR VALUES IN (2024)").await;
    clinic.write("INSERT INTO odd (id, year, amount) VALUES (1, 2024, 10), (2, 2024, 20)").await;
    clinic.drain().await;
    dba(
        &clinic,
        "ALTER TABLE odd DETACH PARTITION p24; UPDATE p24 SET amount = 99 WHERE id = 1; DELETE FROM p24 WHERE id = 2;
         ALTER TABLE odd ATTACH PARTITION p24 FOR VALUES IN (2024)",
    )
    .await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "[\"1\", \"2024\"]").await, "1000 99.00, 4200 -99.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_whose_key_is_out_of_the_common_range_is_posted_or_parked_and_not_passed_over() {
    let clinic = Clinic::new().await;
    odd(&clinic, "day date, n int", "PRIMARY KEY (day, n)", "'day','n'", "").await;
    clinic.write("INSERT INTO odd (day, n, amount) VALUES ('2024-03-05', 1, 10), ('20244-03-05', 2, 20), ('infinity', 3, 30), ('0044-03-15 BC', 4, 40)").await;
    let drained = clinic.drain().await;
    let told = clinic
        .text("SELECT string_agg(reference_id || ' ' || outcome, '; ' ORDER BY seq) FROM daybook.sync_audit_log")
        .await;
    let entries: i64 = clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await.parse().unwrap();
    assert_eq!(entries + drained.parked, 4, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numeric_infinity_and_timestamptz_keys_likewise() {
    let clinic = Clinic::new().await;
    odd(&clinic, "k numeric, t timestamptz", "PRIMARY KEY (k, t)", "'k','t'", "").await;
    clinic
        .write(
            "INSERT INTO odd (k, t, amount) VALUES (1.50, '2024-03-05 10:00:00.123456+00', 10), ('NaN', '2024-03-05+00', 20), ('Infinity', '2024-03-05+00', 30),
             (1e200, '2024-03-05+00', 40), (-1e-50, '2024-03-05+00', 50), (3, 'infinity', 60), (4, '20024-03-05+00', 70)",
        )
        .await;
    let drained = clinic.drain_for(Duration::from_secs(10)).await;
    let told = clinic
        .text("SELECT string_agg(reference_id || ' ' || outcome, '; ' ORDER BY seq) FROM daybook.sync_audit_log")
        .await;
    let letters =
        clinic.text("SELECT string_agg(reference_id || ' ' || reason, '; ') FROM daybook.sync_dead_letter").await;
    let entries: i64 = clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await.parse().unwrap();
    assert_eq!(entries + drained.parked, 7, "{drained:?} {told} \n {letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_part_that_became_null_is_told() {
    let clinic = Clinic::new().await;
    odd(&clinic, "a int NOT NULL, b int NOT NULL", "UNIQUE (a, b)", "'a','b'", "").await;
    clinic.write("INSERT INTO odd (a, b, amount) VALUES (1, 1, 10)").await;
    clinic.drain().await;
    dba(&clinic, "ALTER TABLE odd ALTER b DROP NOT NULL").await;
    clinic.write("INSERT INTO odd (a, b, amount) VALUES (2, NULL, 20)").await;
    let drained = clinic.drain_for(Duration::from_secs(3)).await;
    let told = clinic
        .text("SELECT string_agg(reference_id || ' ' || outcome, '; ' ORDER BY seq) FROM daybook.sync_audit_log")
        .await;
    let alerts = clinic.text("SELECT string_agg(alert_type, ',') FROM daybook.current_alerts").await;
    assert!(drained.unfinished > 0 || drained.parked > 0 || !alerts.is_empty(), "{drained:?} {told} {alerts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_passes_a_key_that_became_null_and_enqueues_the_others() {
    let clinic = Clinic::new().await;
    odd(&clinic, "a int, b int NOT NULL", "UNIQUE (b)", "'b'", "").await;
    let nulls = "ALTER TABLE odd ALTER b DROP NOT NULL; ALTER TABLE odd DISABLE TRIGGER daybook_capture;
                 INSERT INTO odd (a, b, amount) VALUES (1, 1, 10), (2, NULL, 20), (3, 3, 30);
                 ALTER TABLE odd ENABLE ALWAYS TRIGGER daybook_capture; SELECT daybook.backfill('odd')";
    dba(&clinic, nulls).await;
    let drained = clinic.drain_for(Duration::from_secs(10)).await;
    let posted = "SELECT string_agg(DISTINCT reference_id, ' ' ORDER BY reference_id) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(posted).await, "1 3", "{drained:?}");
    assert_eq!(drained.unfinished, 0, "the walk has ended");
}

async fn fill_odd(clinic: &Clinic, n: i32) {
    dba(
        clinic,
        &format!(
            "ALTER TABLE odd DISABLE TRIGGER daybook_capture;
         INSERT INTO odd (a, b, amount) SELECT g, {n} - g, 5 FROM generate_series(1, {n}) AS g;
         ALTER TABLE odd ENABLE ALWAYS TRIGGER daybook_capture; SELECT daybook.backfill('odd')"
        ),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_during_which_another_unique_index_takes_over_skips_no_key() {
    let clinic = Clinic::new().await;
    odd(&clinic, "a int NOT NULL, b int NOT NULL", "UNIQUE (a, b)", "'a','b'", "").await;
    fill_odd(&clinic, 6000).await;
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    worker.pass("LAB", &Claim::Due { events_max: 1 }, None).await.map_err(|f| f.error).expect("the first chunk");
    dba(&clinic, "ALTER TABLE odd ADD PRIMARY KEY (b, a)").await;
    clinic.drain().await;
    let posted = clinic.ledger_text("SELECT count(DISTINCT reference_id) FROM ledger.journal_entries").await;
    let reconciled =
        clinic.text("SELECT reconciled_at IS NOT NULL FROM daybook.sync_source WHERE reference_type = 'LAB'").await;
    assert_eq!(posted, "6000", "reconciled: {reconciled}");
}

/// Texts order otherwise than numbers: 10 comes before 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_during_which_the_key_is_retyped_skips_no_key() {
    let clinic = Clinic::new().await;
    odd(&clinic, "a int PRIMARY KEY, b int", "UNIQUE (b)", "'a'", "").await;
    fill_odd(&clinic, 12000).await;
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    worker.pass("LAB", &Claim::Due { events_max: 1 }, None).await.map_err(|f| f.error).expect("the first chunk");
    dba(&clinic, "ALTER TABLE odd ALTER a TYPE text").await;
    clinic.drain().await;
    let posted = "SELECT count(DISTINCT reference_id) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(posted).await, "12000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_during_which_a_narrower_key_takes_over_ends() {
    let clinic = Clinic::new().await;
    odd(&clinic, "a int NOT NULL, b int NOT NULL", "UNIQUE (a, b)", "'a','b'", "").await;
    fill_odd(&clinic, 6000).await;
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    worker.pass("LAB", &Claim::Due { events_max: 1 }, None).await.map_err(|f| f.error).expect("the first chunk");
    dba(&clinic, "ALTER TABLE odd ADD PRIMARY KEY (a)").await;
    clinic.write("INSERT INTO odd (a, b, amount) VALUES (900000, 1, 10)").await;
    let drained = clinic.drain_for(Duration::from_secs(15)).await;
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    if let Err(f) = worker.pass("LAB", &Claim::Due { events_max: 1000 }, None).await {
        eprintln!("a pass: {:?}", f.error)
    }
    eprintln!("left: {}", clinic.text("SELECT string_agg(concat_ws(' ', reference_id, operation, attempts, last_error), ';') FROM (SELECT * FROM daybook.sync_queue ORDER BY seq LIMIT 3) AS q").await);
    assert_eq!(drained.unfinished, 0);
    let posted = clinic.ledger_text("SELECT count(DISTINCT reference_id) FROM ledger.journal_entries").await;
    assert_eq!(posted, "6001");
}
