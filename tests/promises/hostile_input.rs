//! Texts that mean harm, or are only long or foreign, in mapped and in key columns, in databases of several encodings.

use std::time::Duration;

use daybook::consumer;
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::options::Databases;
use tokio_postgres::Client;

use crate::harness::{CLINIC, Clinic, Cluster};

/// Every text that we keep, or say.
const KEPT: &str = "SELECT concat_ws(' ', (SELECT string_agg(q::text, ' ') FROM daybook.sync_queue AS q), (SELECT string_agg(d::text, ' ') FROM daybook.sync_dead_letter AS d),
    (SELECT string_agg(a::text, ' ') FROM daybook.sync_alerts AS a), (SELECT string_agg(v::text, ' ') FROM daybook.current_alerts AS v),
    (SELECT string_agg(l::text, ' ') FROM daybook.sync_audit_log AS l), (SELECT string_agg(s::text, ' ') FROM ledger.sync_master_status AS s))";

#[tokio::test]
async fn texts_of_every_kind_in_mapped_columns_are_posted_or_parked_and_never_quoted() {
    let clinic = Clinic::new().await;
    let insert = "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES ($1, 10, $2, $3)";
    let megabyte = "geheim🤒".repeat(100_000);
    let modes = [
        ("geheim'; DROP TABLE ledger.journal_lines; --", true),
        ("geheim\\' \\x00 \\u0000 \\0 %00 E'\\\\x00'", true),
        ("geheim\nline\r\ntwo\t\u{8}\u{1b}[31m", true),
        ("geheim 😷👩‍👩‍👧‍👦", true),
        ("\u{202e}geheim\u{202c} שלום", true),
        ("ge\u{301}heim e\u{308}\u{323}", true),
        ("{\"geheim\": \"\\u0000\"} $1 {} %s ${geheim}", true),
        (megabyte.as_str(), true),
        ("\u{feff}cash geheim", true),
        ("CaSh", false),
        ("", false),
    ];
    for (at, (text, _)) in modes.iter().enumerate() {
        let number = if text.is_empty() { "INV" } else { text };
        clinic.desk.execute(insert, &[&(at as i64), &text, &number]).await.expect("the application writes");
    }
    let parked = modes.iter().filter(|(_, parks)| *parks).count() as i64;
    let drained = clinic.drain().await;
    assert_eq!(drained.parked, parked, "others of the batch go on");
    assert_eq!(clinic.balances("LAB", "9").await, "1000 10.00, 4200 -10.00");
    let kept = clinic.text(KEPT).await;
    assert!(!kept.contains("geheim") && !kept.contains("heim") && kept.len() < 60_000, "{kept}");
    clinic.write("UPDATE lab_bills SET payment_mode = 'cash', invoice_number = 'A'").await;
    assert_eq!(clinic.drain().await.parked, 0, "they heal");
    clinic.assert_ledger_equals_bills().await;
}

/// NUL fits no text, neither in PostgreSQL nor in a key that somebody enqueues by hand.
#[tokio::test]
async fn a_nul_reaches_no_text_and_harms_no_batch() {
    let clinic = Clinic::new().await;
    for sql in [
        "INSERT INTO lab_bills (amount, payment_mode) VALUES (10, chr(0))",
        "INSERT INTO lab_bills (amount, payment_mode) VALUES (10, convert_from('\\x6100', 'UTF8'))",
        "INSERT INTO lab_bills (amount, payment_mode) VALUES (10, '\"\\u0000\"'::jsonb #>> '{}')",
        "INSERT INTO lab_bills (amount, payment_mode) VALUES (10, E'\\x00')",
    ] {
        clinic.desk.batch_execute(sql).await.expect_err("is refused by PostgreSQL itself");
    }
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
    let key = "CREATE TABLE visits (year int, number text, amount numeric, paid_at date, PRIMARY KEY (year, number)); GRANT ALL ON visits TO desk;
               SELECT daybook.attach('visits', 'VISIT', ARRAY['year', 'number'], ARRAY['amount', 'paid_at'])";
    clinic.dba.batch_execute(key).await.expect("attaches");
    clinic
        .accountant
        .execute("SELECT ledger.apply_rule('main', 'VISIT', $1)", &[&rule("VISIT", "paid_at")])
        .await
        .expect("applies");
    // The canonical text of a composite key is JSON, in which a NUL could be written.
    let forged = r#"INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation) VALUES
        ('main', 'VISIT', '["2024", "a\u0000"]', 'insert'), ('main', 'VISIT', '["2024', 'insert'), ('main', 'VISIT', '{}', 'insert'), ('main', 'VISIT', '', 'insert')"#;
    clinic.dba.batch_execute(forged).await.expect("forges");
    clinic.write("INSERT INTO visits VALUES (2024, 'a\\u0000', 10, '2024-03-05')").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(
        clinic.ledger_text("SELECT string_agg(reference_id, ',') FROM ledger.journal_entries").await,
        r#"["2024", "a\\u0000"]"#
    );
}

fn rule(reference_type: &str, date: &str) -> String {
    format!(
        "reference_type = '{reference_type}'\ndate = '{date}'\n[[amounts]]\nname = 'charged'\nfirst_of = ['amount']\n\
         [[lines]]\ndebit = 'charged'\naccount = '1100'\n[[lines]]\ncredit = 'charged'\naccount = '4000'\n"
    )
}

const KEYED: &str = "CREATE TABLE keyed (id text PRIMARY KEY, amount numeric, paid_at date DEFAULT '2024-03-05');
    SELECT daybook.attach('keyed', 'KEYED', ARRAY['id'], ARRAY['amount', 'paid_at'])";

#[tokio::test]
async fn keys_of_any_text_up_to_1024_bytes_are_posted_and_longer_ones_are_told_of() {
    let clinic = Clinic::new().await;
    clinic.dba.batch_execute(KEYED).await.expect("attaches");
    clinic.dba.batch_execute("GRANT ALL ON keyed TO desk").await.expect("grants");
    clinic
        .accountant
        .execute("SELECT ledger.apply_rule('main', 'KEYED', $1)", &[&rule("KEYED", "paid_at")])
        .await
        .expect("applies");
    // Without repetitions: an index would compress those.
    let random = "SELECT left(string_agg(md5(g::text), ''), 1025) FROM generate_series(1, 40) AS g";
    let long = clinic.text(random).await;
    let fit: Vec<String> = [
        &long[..1023],
        &long[..1024],
        "",
        " ",
        " a ",
        "'",
        "''",
        "\"",
        "\\",
        "\\\\",
        "a\nb",
        "{}",
        "[\"a\"]",
        "null",
        "NULL",
        "--",
        "/*",
        "%s",
        "$1",
        "\u{202e}x",
        "e\u{301}",
        "\u{e9}",
        "😷",
        "\u{feff}",
        "a\u{a0}",
        "0",
        "00",
    ]
    .iter()
    .map(ToString::to_string)
    .chain(["😷".repeat(256)])
    .collect();
    let insert = "INSERT INTO keyed (id, amount) VALUES ($1, 10)";
    for key in &fit {
        clinic.desk.execute(insert, &[key]).await.expect("the application writes");
    }
    let too_long = [long.clone(), "😷".repeat(256) + "x"];
    for key in &too_long {
        clinic.desk.execute(insert, &[key]).await.expect("the application writes");
    }
    assert_eq!(clinic.drain().await.parked, 0);
    let posted = "SELECT array_agg(reference_id)::text[] FROM ledger.reference_balances WHERE account_code = '1100' AND balance = 10";
    let mut posted: Vec<String> = clinic.accountant.query_one(posted, &[]).await.expect("reads").get(0);
    let mut expected = fit.clone();
    posted.sort();
    expected.sort();
    assert_eq!(posted, expected);
    let alerts =
        "SELECT string_agg(alert_type || ': ' || message, ' ') FROM daybook.current_alerts WHERE cause = 'KEYED'";
    let alerts = clinic.text(alerts).await;
    assert!(alerts.contains("KEYS_TOO_LONG: 2 rows of KEYED") && !alerts.contains(&long[..64]), "{alerts}");
    // The whole life of each.
    clinic.write("UPDATE keyed SET amount = 12; UPDATE keyed SET id = id || '!' WHERE octet_length(id) < 1000; DELETE FROM keyed").await;
    clinic.configure("reversal_brake", "1000").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.reference_balances").await, "0");
}

/// A source of the given encoding, with its ledger in UTF8.
async fn source_in(encoding: &str, name: &str) -> (Client, Client, Databases) {
    let (cluster, elsewhere) = (Cluster::shared(), Cluster::elsewhere());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.admin("postgres").await.batch_execute(&create).await.expect("creates");
    let source = cluster.config("postgres", name);
    let ledger = elsewhere.config("postgres", &elsewhere.empty_database().await);
    install(&source, &ledger, &Wishes { time_zone: Some("UTC".into()), ..Wishes::default() }).await.expect("installs");
    let dba = cluster.admin(name).await;
    dba.batch_execute(CLINIC).await.expect("creates the bill tables");
    dba.batch_execute(KEYED).await.expect("attaches");
    dba.batch_execute(crate::harness::TRIGGERS[2]).await.expect("attaches");
    let accountant = elsewhere.admin(ledger.get_dbname().expect("a name")).await;
    let databases = Databases { name: None, source, ledger, workers: 1, heads: Default::default() };
    accountant
        .execute("SELECT ledger.apply_rule('main', 'KEYED', $1)", &[&(rule("KEYED", "paid_at") + "\n")])
        .await
        .expect("applies");
    (dba, accountant, databases)
}

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.expect("reads").get::<_, Option<String>>(0).unwrap_or_default()
}

#[tokio::test]
async fn a_bill_of_a_latin1_source_lives_its_life_in_a_utf8_ledger() {
    let (dba, accountant, databases) = source_in("LATIN1", "latin_life").await;
    let balances = "SELECT string_agg(reference_id || ' ' || account_code || ' ' || balance, ', ' ORDER BY reference_id, account_code) FROM ledger.reference_balances";
    // A key of 1,024 bytes here is one of 2,048 there.
    let long = "äöüßé".repeat(204) + "ÿÿÿÿ";
    for (sql, expected) in [
        ("INSERT INTO keyed (id, amount) VALUES ('Müller Ñ', 10)", "Müller Ñ 1100 10.00, Müller Ñ 4000 -10.00"),
        ("UPDATE keyed SET amount = 12", "Müller Ñ 1100 12.00, Müller Ñ 4000 -12.00"),
        ("UPDATE keyed SET id = 'Ærø'", "Ærø 1100 12.00, Ærø 4000 -12.00"),
        ("DELETE FROM keyed", ""),
    ] {
        dba.batch_execute(sql).await.expect("writes");
        let drained = consumer::drain(databases.clone(), Duration::from_secs(20)).await.expect("drains");
        assert_eq!(
            (drained.unfinished, drained.parked, text(&accountant, balances).await.as_str()),
            (0, 0, expected),
            "{sql}"
        );
    }
    dba.execute("INSERT INTO keyed (id, amount) VALUES ($1, 10)", &[&long]).await.expect("writes");
    let drained = consumer::drain(databases, Duration::from_secs(20)).await.expect("drains");
    assert_eq!((drained.unfinished, drained.parked), (0, 0));
    assert_eq!(text(&accountant, "SELECT reference_id FROM ledger.reference_balances WHERE balance > 0").await, long);
}

/// In most single-byte encodings some bytes mean nothing; PostgreSQL keeps them, and cannot tell them to anybody.
#[tokio::test]
async fn a_byte_that_means_nothing_in_the_sources_encoding_parks_its_bill_and_in_a_key_stops_its_table_alone() {
    let (dba, accountant, databases) = source_in("WIN1252", "win_life").await;
    dba.batch_execute("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, E'ca\\x81sh', 'A'), (2, 10, 'cash', 'A')").await.expect("writes");
    let drained = consumer::drain(databases.clone(), Duration::from_secs(20)).await.expect("drains");
    assert_eq!((drained.unfinished, drained.parked), (0, 1));
    let posted =
        "SELECT string_agg(reference_id, ',' ORDER BY reference_id) FROM ledger.reference_balances WHERE balance > 0";
    assert_eq!(text(&accountant, posted).await, "2");
    dba.batch_execute("INSERT INTO keyed (id, amount) VALUES (E'M\\x81ller', 10), ('M\u{fc}ller', 10)")
        .await
        .expect("writes");
    dba.batch_execute("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (3, 10, 'A')").await.expect("writes");
    let told = "SELECT string_agg(message, ' ') FROM daybook.current_alerts WHERE cause = 'KEYED'";
    while text(&accountant, posted).await != "2,3" || text(&dba, told).await.is_empty() {
        let drained = consumer::drain(databases.clone(), Duration::from_millis(300)).await.expect("drains");
        assert!(drained.unfinished >= 2, "only other tables go on");
    }
    let alert = text(&dba, told).await;
    assert!(
        alert.contains("the bills of KEYED cannot be synchronised: claiming events") && !alert.contains("ller"),
        "{alert}"
    );
    let mend = "UPDATE keyed SET id = 'Mueller' WHERE id = E'M\\x81ller'; DELETE FROM daybook.sync_queue WHERE reference_id = E'M\\x81ller'";
    dba.batch_execute(mend).await.expect("mends");
    dba.batch_execute(
        "UPDATE daybook.sync_configuration SET config_value = '0.1' WHERE config_key = 'table_retry_seconds'",
    )
    .await
    .expect("hurries");
    let drained = consumer::drain(databases, Duration::from_secs(20)).await.expect("drains");
    assert_eq!((drained.unfinished, text(&accountant, posted).await.as_str()), (0, "2,3,Mueller,Müller"));
}

#[tokio::test]
async fn a_ledger_that_lacks_characters_of_the_source_is_refused_and_a_source_of_any_encoding_too() {
    let cluster = Cluster::shared();
    let admin = cluster.admin("postgres").await;
    for (name, encoding) in [("enc_latin1", "LATIN1"), ("enc_ascii", "SQL_ASCII"), ("enc_win", "WIN1252")] {
        let create =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
        admin.batch_execute(&create).await.expect("creates");
    }
    let utf8 = cluster.empty_database().await;
    for (source, ledger, part) in [
        (utf8.as_str(), "enc_latin1", "the ledger database is encoded in LATIN1"),
        (&utf8, "enc_ascii", "the ledger database is encoded in SQL_ASCII"),
        ("enc_win", "enc_latin1", "may lack characters of the source's keys (WIN1252)"),
        ("enc_ascii", "enc_ascii", "the source database is encoded in SQL_ASCII"),
        ("enc_ascii", &utf8, "ENCODING 'UTF8'"),
    ] {
        let (source, ledger) = (cluster.config("postgres", source), cluster.config("postgres", ledger));
        let error = install(&source, &ledger, &Wishes::default()).await.expect_err("is refused");
        assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
        assert!(
            cluster
                .admin(source.get_dbname().expect("a name"))
                .await
                .query_one("SELECT 1 WHERE to_regnamespace('daybook') IS NULL", &[])
                .await
                .is_ok()
        );
    }
}
