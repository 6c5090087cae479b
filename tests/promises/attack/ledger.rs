//! The ledger's guards, restored databases, rights, and postings that must converge.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_being_posted_to_cannot_be_deleted_beneath_it() {
    let clinic = Clinic::new().await;
    let poster = Cluster::shared().admin(&clinic.database).await;
    account_4201(&clinic).await;
    poster.batch_execute(&format!("BEGIN; {}", entry("2024-03-05"))).await.expect("posts");
    let _deleting = clinic
        .accountant
        .batch_execute("SET lock_timeout = '1s'; DELETE FROM ledger.accounts WHERE account_code = '4201'")
        .await;
    poster.batch_execute("COMMIT").await.expect("commits");
    let stray = "SELECT count(*) FROM ledger.journal_lines AS l WHERE NOT EXISTS (SELECT FROM ledger.accounts AS a WHERE a.account_code = l.account_code)";
    assert_eq!(clinic.ledger_text(stray).await, "0");
}

/// One good entry as plain SQL, on 1000 and 4201.
fn entry(day: &str) -> String {
    format!("WITH e AS (INSERT INTO ledger.journal_entries (id, book, source, reference_type, reference_id, revision, kind, effective_date, posting_date, late, line_count, total, rule_hash,
        event_seq, event_origin, event_xid, changed_at, session_user_name, application_name)
        VALUES (nextval('ledger.journal_entry_id'), 'main', 'main', 'LAB', 'x', 1, 'original', '{day}', '{day}', false, 2, 5, 'h', 1, 'trigger', '1', now(), 'u', 'a') RETURNING id)
     INSERT INTO ledger.journal_lines (entry_id, line_no, account_code, debit, credit, currency, is_settlement)
     SELECT id, n, CASE n WHEN 1 THEN '1000' ELSE '4201' END, CASE n WHEN 1 THEN 5 ELSE 0 END, CASE n WHEN 1 THEN 0 ELSE 5 END, 'INR', false FROM e, generate_series(1, 2) AS n")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_posted_into_a_closed_period_also_not_under_repeatable_read() {
    let clinic = Clinic::new().await;
    account_4201(&clinic).await;
    let poster = Cluster::shared().admin(&clinic.database).await;
    poster
        .batch_execute(
            "SET ROLE daybook_consumer; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ledger.periods",
        )
        .await
        .expect("begins");
    clinic
        .accountant
        .batch_execute("SELECT ledger.close_period('main', '2024-03-01', '2024-03-31', 'hard', 'audited')")
        .await
        .expect("closes");
    let _posted = poster.batch_execute(&entry("2024-03-05")).await;
    let _committed = poster.batch_execute("COMMIT").await;
    assert_eq!(
        clinic
            .ledger_text(
                "SELECT count(*) FROM ledger.journal_entries WHERE posting_date BETWEEN '2024-03-01' AND '2024-03-31'"
            )
            .await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guards_stand_also_against_truncate() {
    let clinic = Clinic::new().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    clinic.drain().await;
    let accounts = clinic.accountant.batch_execute("TRUNCATE ledger.accounts").await;
    let rules = clinic.accountant.batch_execute("TRUNCATE ledger.posting_rules").await;
    let books = clinic.accountant.batch_execute("TRUNCATE ledger.books CASCADE").await;
    assert!(
        accounts.is_err() && rules.is_err() && books.is_err(),
        "{:?} {:?} {:?}",
        accounts.is_ok(),
        rules.is_ok(),
        books.is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_is_parked_after_its_ledger_was_restored_is_counted() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    clinic.drain().await;
    // The backup of the ledger's status is of now.
    clinic
        .accountant
        .batch_execute("CREATE TABLE public.backup AS SELECT * FROM ledger.sync_master_status")
        .await
        .expect("backs up");
    clinic.write("UPDATE lab_bills SET payment_mode = 'barter'").await;
    assert_eq!(clinic.drain().await.parked, 1);
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    assert_eq!(clinic.drain().await.parked, 0);
    let restore = "UPDATE ledger.sync_master_status AS s SET state = b.state, synchronisation = b.synchronisation, parked_spell = b.parked_spell, parked_at = b.parked_at,
        reason = b.reason, advice = b.advice FROM public.backup AS b WHERE s.reference_id = b.reference_id;
        UPDATE ledger.sources SET token = gen_random_uuid()";
    clinic.accountant.batch_execute(restore).await.expect("restores");
    daybook::meeting::rejoin(&clinic.source, &clinic.ledger, "restored the ledger").await.expect("rejoins");
    clinic.write("UPDATE lab_bills SET payment_mode = 'barter'").await;
    let drained = clinic.drain().await;
    let state = clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_id = '1'").await;
    let letters = clinic
        .text(
            "SELECT string_agg(concat_ws(' ', spell, synchronisation, resolution), ';') FROM daybook.sync_dead_letter",
        )
        .await;
    assert_eq!(
        (drained.parked, state.as_str()),
        (1, "parked"),
        "letters: {letters}; alerts: {}",
        clinic.text("SELECT string_agg(alert_type, ',') FROM daybook.current_alerts").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn and_one_that_was_parked_and_is_mended_is_no_longer_counted() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    clinic.drain().await;
    clinic
        .accountant
        .batch_execute("CREATE TABLE public.backup AS SELECT * FROM ledger.sync_master_status")
        .await
        .expect("backs up");
    clinic.write("UPDATE lab_bills SET payment_mode = 'barter'").await;
    assert_eq!(clinic.drain().await.parked, 1);
    let restore = "UPDATE ledger.sync_master_status AS s SET state = b.state, synchronisation = b.synchronisation, parked_spell = b.parked_spell, parked_at = b.parked_at,
        reason = b.reason, advice = b.advice FROM public.backup AS b WHERE s.reference_id = b.reference_id;
        UPDATE ledger.sources SET token = gen_random_uuid()";
    clinic.accountant.batch_execute(restore).await.expect("restores");
    daybook::meeting::rejoin(&clinic.source, &clinic.ledger, "restored the ledger").await.expect("rejoins");
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash'").await;
    assert_eq!(
        clinic.drain().await.parked,
        0,
        "{}",
        clinic.ledger_text("SELECT state FROM ledger.sync_master_status WHERE reference_id = '1'").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_restored_from_a_dump_in_place_is_recognised() {
    let clinic = Clinic::with_ledger_elsewhere().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer::run(clinic.options(1), async move {
        let _ = stopped.await;
    }));
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    wait_empty(&clinic).await;
    let url = Cluster::shared().server.url("postgres", &clinic.database);
    let file = std::env::temp_dir().join(format!("daybook-test-{}.dump", clinic.database)).display().to_string();
    let dump =
        std::process::Command::new("pg_dump").args(["--format=custom", "--file", &file, &url]).output().expect("dumps");
    assert!(dump.status.success(), "{dump:?}");
    // The day goes on; nobody reconnects.
    clinic.write(&format!("{BILL} (2, 20, 'A', {DAY}); UPDATE lab_bills SET amount = 99 WHERE id = 1")).await;
    wait_empty(&clinic).await;
    let _ = stop.send(());
    running.await.expect("ends").expect("well");
    // The server breaks; last night's dump is restored in place.
    let _restore = std::process::Command::new("pg_restore")
        .args(["--clean", "--if-exists", "--dbname", &url, &file])
        .output()
        .expect("restores");
    let _ = std::fs::remove_file(&file);
    let dba = Cluster::shared().admin(&clinic.database).await;
    let bills: String =
        dba.query_one("SELECT string_agg(id || ' ' || amount, ', ') FROM lab_bills", &[]).await.unwrap().get(0);
    let drained = consumer::drain(clinic.options(1), Duration::from_secs(10)).await;
    let ledger = clinic.ledger_text("SELECT string_agg(reference_id || ' ' || balance, ', ' ORDER BY 1) FROM ledger.reference_balances WHERE account_code = '1000' AND source = 'main'").await;
    assert!(
        matches!(drained, Err(daybook::error::Error::Strangers(_))),
        "{drained:?}; ledger says {ledger}, bills {bills}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_release_is_not_lost_in_a_later_look() {
    let clinic = Clinic::new().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    clinic.drain().await;
    clinic.write("TRUNCATE lab_bills").await;
    clinic.drain().await;
    dba(&clinic, "SELECT daybook.release('LAB', '1'); SELECT daybook.enqueue('LAB', '1', 'retry')").await;
    clinic.drain().await;
    assert_eq!(
        clinic.balances("LAB", "1").await,
        "",
        "{}",
        clinic
            .text("SELECT string_agg(operation || ' ' || outcome, ', ' ORDER BY seq) FROM daybook.sync_audit_log")
            .await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciliation_keeps_the_queue_within_backfill_queue_max() {
    let clinic = Clinic::new().await;
    clinic.configure("backfill_queue_max", "1000").await;
    dba(&clinic, &format!("{BILL} (0, 1, 'A', {DAY}); INSERT INTO lab_bills (id, amount, invoice_number, created_at) SELECT g, g, 'A', {DAY} FROM generate_series(1, 12000) AS g")).await;
    clinic.drain().await;
    dba(&clinic, "SELECT daybook.reconcile('lab_bills')").await;
    let looking = async {
        let mut most = 0_i64;
        loop {
            let n: i64 = clinic.text("SELECT count(*) FROM daybook.sync_queue").await.parse().unwrap();
            most = most.max(n);
            if n == 0 {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (_, most) = tokio::join!(consumer::drain(clinic.options(1), Duration::from_secs(60)), looking);
    let events = clinic.text("SELECT count(*) FROM daybook.sync_audit_log WHERE operation = 'synchronise'").await;
    assert!(most <= 4000, "{most} in the queue at once; {events} synchronisations of 12001 bills");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_schema_gets_the_owners_rights_when_a_period_is_closed() {
    // A ledger in a database of its own; an application role there may create schemas.
    let cluster = Cluster::shared();
    let (ledger_db, source_db) = (cluster.empty_database().await, cluster.empty_database().await);
    let (ledger, source) = (cluster.config("postgres", &ledger_db), cluster.config("postgres", &source_db));
    daybook::install::install(&source, &ledger, &daybook::identity::Wishes::default()).await.expect("installs");
    let admin = cluster.admin(&ledger_db).await;
    let _ = admin.batch_execute("CREATE ROLE mallory LOGIN").await;
    admin.batch_execute(&format!("GRANT CREATE ON DATABASE {ledger_db} TO mallory")).await.unwrap();
    let mallory = daybook::database::connect(daybook::database::Side::Ledger, &cluster.config("mallory", &ledger_db))
        .await
        .unwrap();
    mallory
        .batch_execute(
            "CREATE SCHEMA daybook; GRANT USAGE ON SCHEMA daybook TO PUBLIC; CREATE TABLE daybook.loot (who text); GRANT ALL ON daybook.loot TO PUBLIC;
             CREATE FUNCTION daybook.evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                EXECUTE 'ALTER TABLE ledger.journal_lines DISABLE TRIGGER ALL'; INSERT INTO daybook.loot VALUES (current_user); RETURN 'main'; END $$;
             CREATE VIEW daybook.sync_configuration AS SELECT k AS config_key, daybook.evil() AS config_value FROM unnest(ARRAY['source_name', 'book']) AS k;
             CREATE TABLE daybook.sync_queue (source text, reference_type text, reference_id text, enqueued_at timestamptz, seq bigint);
             GRANT ALL ON ALL TABLES IN SCHEMA daybook TO PUBLIC",
        )
        .await
        .expect("prepares");
    let _closed = admin.batch_execute("SET ROLE daybook_controller; SELECT ledger.close_period('main', '2024-03-01', '2024-03-31', force => true, reason => 'x')").await;
    admin.batch_execute("RESET ROLE").await.unwrap();
    let loot: Option<String> =
        admin.query_one("SELECT string_agg(who, ',') FROM daybook.loot", &[]).await.unwrap().get(0);
    let enabled: String = admin.query_one("SELECT string_agg(tgname || tgenabled::text, ',') FROM pg_trigger WHERE tgrelid = 'ledger.journal_lines'::regclass", &[]).await.unwrap().get(0);
    assert_eq!(loot, None, "triggers of the journal: {enabled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_runs_none_of_the_applications_code() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    dba(&clinic, "GRANT CREATE ON SCHEMA public TO desk").await;
    clinic
        .write(
            "CREATE TABLE loot (who text); GRANT ALL ON loot TO PUBLIC;
             CREATE FUNCTION evil() RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('x.y', current_user, false); RAISE LOG 'evil as %', current_user; RETURN 1 / (CASE WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN 0 ELSE 1 END); END $$;
             CREATE VIEW traps AS SELECT 1 AS id, evil() AS amount, now() AS created_at",
        )
        .await;
    let rule = "reference_type = \"TRAPS\"\ntable = \"traps\"\nkey = [\"id\"]\ndate = \"created_at\"\n[[amounts]]\nname = \"a\"\nfirst_of = [\"amount\"]\n[[lines]]\ndebit = \"a\"\naccount = \"1000\"\n[[lines]]\ncredit = \"a\"\naccount = \"4200\"\n";
    let file = TextFile::new(&clinic, "traps.toml", rule);
    let (code, out, err) = run(&["rules", "preview", file.path(), "--source-url", &url]);
    assert!(!err.contains("division by zero"), "the application's function ran as superuser: {code:?} {out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rounding_finer_than_the_currency_posts_once() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let rule = include_str!("../../../rules/lab.toml")
        .replace("first_of = [\"discounted_amount\", \"amount\"]", "first_of = [\"discounted_amount\", \"amount\"]\n[[amounts]]\nname = \"r\"\nrounded = \"charged\"\nto = \"0.025\"")
        .replace("debit = \"charged\"", "debit = \"r\"")
        .replace("credit = \"charged\"", "credit = \"r\"");
    let file = TextFile::new(&clinic, "r.toml", &rule);
    run(&["rules", "apply", "--replace", file.path(), "--source-url", &url]);
    clinic.write(&format!("{BILL} (1, 10.02, 'A', {DAY})")).await;
    clinic.drain().await;
    for _ in 0..2 {
        dba(&clinic, "SELECT daybook.enqueue('LAB', '1')").await;
        clinic.drain().await;
    }
    assert!(clinic.entries("LAB", "1").await.len() <= 1, "{:?}", clinic.entries("LAB", "1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_from_before_the_first_version_is_not_parked() {
    let clinic = Clinic::new().await;
    let def = format!("valid_from = \"2024-06-01\"\n{}", include_str!("../../../rules/lab.toml"));
    dba(&clinic, "UPDATE ledger.posting_rules SET replaced_at = now() WHERE reference_type = 'LAB'").await;
    apply(&clinic, &def, Some("2024-06-01")).await;
    clinic.write(&format!("{BILL} (1, 10, NULL, {DAY})")).await;
    assert_eq!(clinic.drain().await.parked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_seen_only_through_a_generated_column_is_captured() {
    let clinic = Clinic::new().await;
    let version: i32 = clinic.text("SELECT current_setting('server_version_num')").await.parse().unwrap();
    let kind = if version >= 180000 { "VIRTUAL" } else { "STORED" };
    dba(&clinic, &format!(
        "SELECT daybook.detach('lab_bills'); DROP TABLE lab_bills;
         CREATE TABLE odd (id int PRIMARY KEY, qty int, price numeric, visit_id bigint, amount numeric GENERATED ALWAYS AS (qty * price) {kind}, paid boolean, discounted_amount numeric, payment_mode text,
            invoice_number text DEFAULT 'A', created_at timestamptz DEFAULT {DAY}); GRANT ALL ON odd TO desk")).await;
    attach_odd(&clinic, "'id'", "").await;
    clinic.write("INSERT INTO odd (id, qty, price) VALUES (1, 2, 10)").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 20.00, 4200 -20.00");
    clinic.write("UPDATE odd SET qty = 3 WHERE id = 1").await;
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "1").await, "1000 30.00, 4200 -30.00", "{kind} on {version}");
}
