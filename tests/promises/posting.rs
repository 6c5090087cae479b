//! Posting: what the clinic's rules mean, through everything, from the application's row to the journal.

use crate::harness::{Clinic, pharmacy_bill};

async fn pharmacy(clinic: &Clinic, id: i64, columns: &str, values: &str) {
    let sql = format!("INSERT INTO pharmacy_bills (id, invoice_number, {columns}) VALUES ({id}, 'INV', {values})");
    clinic.dba.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
}

#[tokio::test]
async fn the_four_tables_post_as_their_rules_say() {
    let clinic = Clinic::new().await;
    clinic
        .write(
            "INSERT INTO consultation_invoices (id, patient_id, amount, mode, paid) VALUES
                 (1, 1, 500, 'Cash ', true), (2, 1, 500, 'UPI', NULL), (3, 1, 500, 'cash', false), (4, 1, 500, NULL, true),
                 (5, 1, 500, '', NULL), (6, 1, 500, 'Bank Transfer', true), (7, 1, -500, 'cash', true), (8, 1, 0, 'cash', true),
                 (9, 1, 500, 'barter', false);
             INSERT INTO lab_bills (id, amount, discounted_amount, paid, payment_mode, invoice_number, discount_value) VALUES
                 (1, 100, NULL, NULL, 'card', 'A', NULL), (2, 100, 80, NULL, 'card', 'A', 50), (3, 100, 80, false, 'card', 'A', NULL),
                 (4, 100, 0, NULL, 'card', 'A', NULL), (5, 100, NULL, NULL, 'card', NULL, NULL);
             INSERT INTO ultrasound_bills (id, total_amount, discounted_total, payment_mode, invoice_number) VALUES
                 (1, 900, 850.50, 'due', 'A'), (2, 900, NULL, 'PhonePe', 'A')",
        )
        .await;
    clinic.drain().await;
    let table = [
        ("CONSULTATION", "1", "1000 500.00, 4000 -500.00"),
        ("CONSULTATION", "2", "1030 500.00, 4000 -500.00"),
        ("CONSULTATION", "3", "1100 500.00, 4000 -500.00"),
        ("CONSULTATION", "4", "1000 500.00, 4000 -500.00"),
        ("CONSULTATION", "5", "1000 500.00, 4000 -500.00"),
        ("CONSULTATION", "6", "1010 500.00, 4000 -500.00"),
        ("CONSULTATION", "7", "1000 -500.00, 4000 500.00"),
        ("CONSULTATION", "8", ""),
        ("CONSULTATION", "9", "1100 500.00, 4000 -500.00"), // unpaid, whatever the mode
        ("LAB", "1", "1020 100.00, 4200 -100.00"),
        ("LAB", "2", "1020 80.00, 4200 -80.00"),
        ("LAB", "3", "1100 80.00, 4200 -80.00"),
        ("LAB", "4", ""),
        ("LAB", "5", ""),
        ("ULTRASOUND", "1", "1100 850.50, 4300 -850.50"),
        ("ULTRASOUND", "2", "1030 900.00, 4300 -900.00"),
    ];
    for (reference_type, id, expected) in table {
        assert_eq!(clinic.balances(reference_type, id).await, expected, "{reference_type} {id}");
    }
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_pharmacy_bill_posts_revenue_tax_and_cost_and_refunds_the_other_way_round() {
    let clinic = Clinic::new().await;
    pharmacy(&clinic, 1, "total_amount, gst_amount, cost_amount, payment_mode", "112, 12, 60.50, 'neft'").await;
    pharmacy(&clinic, 2, "total_amount, gst_amount, cost_amount", "-112, -12, -60.50").await;
    pharmacy(&clinic, 3, "total_amount, cost_amount", "0, 60.50").await; // free goods
    pharmacy(&clinic, 4, "total_amount, gst_amount", "112, 112").await; // all of it tax
    pharmacy(&clinic, 5, "total_amount, discounted_total, gst_amount", "112, 0, 0").await;
    clinic.drain().await;
    let table = [
        ("1", "1010 112.00, 1200 -60.50, 2100 -12.00, 4100 -100.00, 5100 60.50"),
        ("2", "1000 -112.00, 1200 60.50, 2100 12.00, 4100 100.00, 5100 -60.50"),
        ("3", "1200 -60.50, 5100 60.50"),
        ("4", "1000 112.00, 2100 -112.00"),
        ("5", ""),
    ];
    for (id, expected) in table {
        assert_eq!(clinic.balances("PHARMACY", id).await, expected, "{id}");
    }
    let lines = clinic.entries("PHARMACY", "1").await;
    assert!(lines[0].ends_with("1010 +112.00, 4100 -100.00, 2100 -12.00, 5100 +60.50, 1200 -60.50"), "{lines:?}");
}

#[tokio::test]
async fn the_life_of_a_bill_is_an_original_corrections_settlements_and_reversals() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    let today = clinic.text("SELECT (now() AT TIME ZONE 'Asia/Kolkata')::date").await;
    let steps = [
        "payment_mode = 'credit'",
        "total_amount = 224",
        "created_at = '2024-03-06 12:00+05:30'",
        "visit_id = 8",
        "invoice_number = NULL",
        "invoice_number = 'INV-2'",
    ];
    clinic.drain().await;
    for set in steps {
        clinic.write(&format!("UPDATE pharmacy_bills SET {set}")).await;
        clinic.drain().await;
    }
    clinic.write("DELETE FROM pharmacy_bills").await;
    clinic.drain().await;
    let expected = [
        "1 original 2024-03-05/2024-03-05: 1000 +112.00, 4100 -100.00, 2100 -12.00",
        "2 settlement T/T: 1000 -112.00, 1100 +112.00",
        "3 reversal 2024-03-05/T: 1000 -112.00, 4100 +100.00, 2100 +12.00",
        "4 reversal T/T: 1000 +112.00, 1100 -112.00",
        "5 correction 2024-03-05/T: 1100 +224.00, 4100 -212.00, 2100 -12.00",
        "6 reversal 2024-03-05/T: 1100 -224.00, 4100 +212.00, 2100 +12.00",
        "7 correction 2024-03-06/T: 1100 +224.00, 4100 -212.00, 2100 -12.00",
        "8 reversal 2024-03-06/T: 1100 -224.00, 4100 +212.00, 2100 +12.00",
        "9 correction 2024-03-06/T: 1100 +224.00, 4100 -212.00, 2100 -12.00",
        "10 reversal 2024-03-06/T: 1100 -224.00, 4100 +212.00, 2100 +12.00",
        "11 original 2024-03-06/2024-03-06: 1100 +224.00, 4100 -212.00, 2100 -12.00",
        "12 reversal 2024-03-06/T: 1100 -224.00, 4100 +212.00, 2100 +12.00",
    ];
    let expected: Vec<String> = expected.iter().map(|line| line.replace('T', &today)).collect();
    assert_eq!(clinic.entries("PHARMACY", &id).await, expected);
    assert_eq!(clinic.balances("PHARMACY", &id).await, "");
    assert_eq!(clinic.ledger_text("SELECT count(DISTINCT party) FROM ledger.journal_lines").await, "2");
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_second_visit_of_one_patient_posts_its_own_entry() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO consultation_invoices (id, patient_id, amount) VALUES (1, 77, 500), (2, 77, 500)").await;
    clinic.drain().await;
    assert_eq!(
        clinic
            .ledger_text(
                "SELECT string_agg(reference_id || ' ' || revision, ', ' ORDER BY id) FROM ledger.journal_entries"
            )
            .await,
        "1 1, 2 1"
    );
    assert_eq!(
        clinic.ledger_text("SELECT string_agg(DISTINCT party, ',') FROM ledger.journal_lines").await,
        "patient:77"
    );
}

#[tokio::test]
async fn an_update_of_a_posted_bill_is_not_taken_for_already_synced() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("UPDATE pharmacy_bills SET total_amount = 113").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 113.00, 2100 -12.00, 4100 -101.00");
}

#[tokio::test]
async fn a_difference_of_one_cent_is_corrected() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    clinic.write("UPDATE pharmacy_bills SET total_amount = 112.01").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("PHARMACY", &id).await, "1000 112.01, 2100 -12.00, 4100 -100.01");
}

#[tokio::test]
async fn entry_ids_never_repeat_while_many_post_at_once() {
    let clinic = Clinic::new().await;
    clinic.configure("queue_batch_size", "7").await;
    clinic
        .write("INSERT INTO lab_bills (amount, invoice_number) SELECT g, 'A' FROM generate_series(1, 500) AS g")
        .await;
    let (a, b) = tokio::join!(clinic.drain(), clinic.drain());
    assert!(a.events + b.events >= 500);
    clinic.assert_ledger_equals_bills().await;
    assert_eq!(
        clinic.ledger_text("SELECT count(*) = 500 AND count(DISTINCT id) = 500 FROM ledger.journal_entries").await,
        "true"
    );
}

#[tokio::test]
async fn the_effective_date_is_the_day_in_the_books_zone_and_a_local_timestamp_counts_as_local() {
    let clinic = Clinic::new().await;
    pharmacy(&clinic, 1, "total_amount, created_at", "10, '2024-03-05 19:00:00+00'").await; // 00:30 next day in Kolkata
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ALTER created_at TYPE timestamp").await.expect("retypes");
    clinic
        .write(
            "INSERT INTO lab_bills (id, amount, invoice_number, created_at) VALUES (1, 10, 'A', '2024-03-05 23:30:00')",
        )
        .await;
    clinic.dba.batch_execute("ALTER TABLE ultrasound_bills ALTER created_at TYPE date").await.expect("retypes");
    clinic.write("INSERT INTO ultrasound_bills (id, total_amount, invoice_number, created_at) VALUES (1, 10, 'A', '2024-03-05')").await;
    clinic.drain().await;
    let days = "SELECT string_agg(reference_type || ' ' || effective_date, ', ' ORDER BY reference_type) FROM ledger.journal_entries";
    assert_eq!(clinic.ledger_text(days).await, "LAB 2024-03-05, PHARMACY 2024-03-06, ULTRASOUND 2024-03-05");
}

#[tokio::test]
async fn a_correction_into_a_closed_period_goes_to_the_first_open_day_and_is_marked_late() {
    let clinic = Clinic::new().await;
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    clinic.drain().await;
    let today = clinic.text("SELECT (now() AT TIME ZONE 'Asia/Kolkata')::date").await;
    let sql = "INSERT INTO ledger.periods VALUES ('main', '2024-01-01', '2024-03-31', 'hard'),
               ('main', '2024-04-01', '2024-04-30', 'soft'), ('main', '2024-06-01', '2024-06-30', 'hard')";
    clinic.accountant.batch_execute(sql).await.expect("closes");
    let late = pharmacy_bill(&clinic, "2024-03-07").await;
    let open = pharmacy_bill(&clinic, "2024-05-07").await;
    clinic.write(&format!("UPDATE pharmacy_bills SET total_amount = 113 WHERE id = {id}")).await;
    clinic.drain().await;
    assert!(clinic.entries("PHARMACY", &late).await[0].starts_with("1 original 2024-03-07/2024-05-01 late:"));
    assert!(clinic.entries("PHARMACY", &open).await[0].starts_with("1 original 2024-05-07/2024-05-07:"));
    assert!(clinic.entries("PHARMACY", &id).await[2].starts_with(&format!("3 correction 2024-03-05/{today}:")));
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_close_that_commits_while_a_batch_waits_is_respected() {
    let clinic = Clinic::new().await;
    let closer = &clinic.accountant;
    closer
        .batch_execute("BEGIN; SELECT FROM ledger.books WHERE book = 'main' FOR UPDATE")
        .await
        .expect("locks the book");
    let id = pharmacy_bill(&clinic, "2024-03-05").await;
    let close = async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                       AND query LIKE '%hold_book%'";
        let started = std::time::Instant::now();
        while clinic.text(waiting).await == "0" {
            assert!(started.elapsed().as_secs() < 10, "the batch waits for the book");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        closer
            .batch_execute("INSERT INTO ledger.periods VALUES ('main', '2024-03-01', '2024-03-31', 'hard'); COMMIT")
            .await
            .expect("closes");
    };
    tokio::join!(clinic.drain(), close);
    assert!(clinic.entries("PHARMACY", &id).await[0].starts_with("1 original 2024-03-05/2024-04-01 late:"));
}

#[tokio::test]
async fn a_changed_rule_is_taken_up_and_named_by_its_entries() {
    let clinic = Clinic::new().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(daybook::consumer::run(clinic.options(1), async {
        let _ = stopped.await;
    }));
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    until_empty(&clinic).await;
    let sql = "INSERT INTO ledger.accounts VALUES ('main', '4201', 'Laboratory revenue, new', 'income');
               SELECT ledger.apply_rule('main', 'LAB', replace(definition, '4200', '4201'), replace => true)
               FROM ledger.posting_rules WHERE reference_type = 'LAB'";
    clinic.accountant.batch_execute(sql).await.expect("changes the rule");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, 10, 'A')").await;
    until_empty(&clinic).await;
    let _ = stop.send(());
    running.await.expect("ends").expect("runs");
    clinic.drain().await; // every bill that the version judges is judged anew
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4201 -10.00");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 10.00, 4201 -10.00");
    assert_eq!(clinic.ledger_text("SELECT count(DISTINCT rule_hash) FROM ledger.journal_entries").await, "2");
}

async fn until_empty(clinic: &Clinic) {
    while clinic.text("SELECT count(*) FROM daybook.sync_queue").await != "0" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
