//! Bad input: parked or refused with a message that says what to do; nothing is lost, nothing is guessed.

use crate::harness::{Clinic, refused};

#[tokio::test]
async fn values_that_cannot_be_posted_are_parked_with_their_column_and_kind_and_heal() {
    let clinic = Clinic::new().await;
    let mended = "total_amount = 112, gst_amount = 12, cost_amount = 60, discounted_total = NULL, payment_mode = 'cash', created_at = now()";
    let table = [
        ("total_amount", "'NaN'", "column total_amount holds NaN"),
        ("total_amount", "'Infinity'", "column total_amount holds Infinity"),
        ("discounted_total", "'-Infinity'", "column discounted_total holds Infinity"),
        ("gst_amount", "'NaN'", "column gst_amount holds NaN"),
        ("total_amount", "10.005", "column total_amount holds an amount with 3 decimals, where the currency has 2"),
        ("total_amount", "1e18", "column total_amount holds an amount of 10^18 or more"),
        ("total_amount", "NULL", "discounted_total and total_amount: null"),
        ("payment_mode", "'barter'", "column payment_mode holds a text of 6 characters"),
        ("created_at", "'infinity'", "column created_at holds an infinite date"),
        ("created_at", "'-infinity'", "column created_at holds an infinite date"),
        ("created_at", "'0044-03-15 BC'", "column created_at holds something that is not a date"),
        (
            "created_at",
            "'294276-12-31 23:59:59+00'",
            "the database refuses it: reading the bills: timestamp out of range",
        ),
        ("gst_amount", "-12", "tax has the opposite sign of charged"),
        ("gst_amount", "112.01", "tax is larger than charged"),
        ("cost_amount", "-1", "cost has the opposite sign of charged"),
    ];
    for (at, (column, value, _)) in table.iter().enumerate() {
        let sql = format!(
            "INSERT INTO pharmacy_bills (id, total_amount, gst_amount, invoice_number) VALUES ({at}, 112, 12, 'A');
                           UPDATE pharmacy_bills SET {column} = {value} WHERE id = {at}"
        );
        clinic.write(&sql).await;
    }
    clinic.write("INSERT INTO pharmacy_bills (id, total_amount, invoice_number) VALUES (999, 10, 'A'), (998, 10.500000000000000000000000000000000000, 'A')").await;
    assert_eq!(clinic.drain().await.parked, table.len() as i64);
    for (at, (column, value, reason)) in table.iter().enumerate() {
        let letter = clinic
            .text(&format!(
                "SELECT reason || ' | ' || advice FROM daybook.sync_dead_letter WHERE reference_id = '{at}'"
            ))
            .await;
        assert!(letter.starts_with(&format!("PHARMACY {at}: {reason}")), "{column} = {value}: {letter}");
        assert!(letter.split(" | ").nth(1).is_some_and(|advice| !advice.is_empty()), "{letter}");
    }
    assert_eq!(clinic.balances("PHARMACY", "999").await, "1000 10.00, 4100 -10.00");
    assert_eq!(clinic.balances("PHARMACY", "998").await, "1000 10.50, 4100 -10.50");
    clinic.write(&format!("UPDATE pharmacy_bills SET {mended} WHERE id < 900")).await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(
        clinic.text("SELECT string_agg(DISTINCT resolution, ',') FROM daybook.sync_dead_letter").await,
        "healed"
    );
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn a_posted_bill_that_turns_bad_keeps_what_was_posted_until_it_is_mended() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = 'NaN'").await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    clinic.write("DELETE FROM lab_bills").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.balances("LAB", "1").await, "");
}

#[tokio::test]
async fn amounts_in_wider_types_are_read_exactly_or_parked() {
    let clinic = Clinic::new().await;
    for (of, good, expected, bad) in [
        ("double precision", "0.1", "0.10", Some("0.30000000000000004")),
        ("real", "1000000", "1000000.00", Some("'Infinity'")),
        ("double precision", "1e15", "1000000000000000.00", Some("'NaN'")),
        ("money", "'12.34'", "12.34", None),
        ("varchar(100)", "' 12.34 '", "12.34", Some("'twelve'")),
        ("integer", "12", "12.00", None),
        ("bigint", "9000000000", "9000000000.00", None),
        ("numeric(10, 4)", "12.3400", "12.34", Some("12.3456")),
    ] {
        let sql = format!("DELETE FROM lab_bills; ALTER TABLE lab_bills DROP COLUMN amount; ALTER TABLE lab_bills ADD COLUMN amount {of};
                           GRANT SELECT (amount) ON lab_bills TO daybook_consumer");
        clinic.dba.batch_execute(&sql).await.expect("the vendor retypes");
        clinic.write(&format!("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, {good}, 'A')")).await;
        clinic.drain().await;
        assert_eq!(clinic.balances("LAB", "1").await, format!("1000 {expected}, 4200 -{expected}"), "{of}");
        if let Some(bad) = bad {
            clinic.write(&format!("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (2, {bad}, 'A')")).await;
            assert_eq!(clinic.drain().await.parked, 1, "{of}");
            clinic.write("DELETE FROM lab_bills WHERE id = 2").await;
            assert_eq!(clinic.drain().await.parked, 0);
        }
    }
}

#[tokio::test]
async fn two_rows_of_one_key_park_the_bill_and_no_other() {
    let clinic = Clinic::new().await;
    clinic
        .dba
        .batch_execute("ALTER TABLE lab_bills DROP CONSTRAINT lab_bills_pkey")
        .await
        .expect("the vendor drops the key");
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (1, 20, 'B'), (2, 30, 'C')")
        .await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert!(clinic.text("SELECT reason FROM daybook.sync_dead_letter").await.contains("LAB 1: two rows have this key"));
    assert_eq!(clinic.balances("LAB", "2").await, "1000 30.00, 4200 -30.00");
    clinic.write("DELETE FROM lab_bills WHERE amount = 20").await;
    assert_eq!(clinic.drain().await.parked, 0);
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn an_account_that_left_the_chart_parks_the_bills_that_need_it() {
    let clinic = Clinic::new().await;
    clinic.accountant.batch_execute("DELETE FROM ledger.accounts WHERE account_code = '1030'").await.expect("deletes");
    clinic.write("INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, 'upi', 'A'), (2, 10, 'cash', 'A')").await;
    assert_eq!(clinic.drain().await.parked, 1);
    let letter = clinic.text("SELECT reason FROM daybook.sync_dead_letter").await;
    assert!(letter.contains("LAB 1") && letter.contains("account 1030 is not in the chart of accounts"), "{letter}");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 10.00, 4200 -10.00");
}

#[tokio::test]
async fn hostile_texts_in_mapped_columns_do_no_harm() {
    let clinic = Clinic::new().await;
    let sql = "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (1, 10, $1, $2)";
    let megabyte = "x'; DROP TABLE lab_bills; --".repeat(40_000);
    clinic.desk.execute(sql, &[&megabyte, &"'\"\\{}%s"]).await.expect("writes");
    clinic
        .write(
            "INSERT INTO lab_bills (id, amount, payment_mode, invoice_number) VALUES (2, 10, E'\\u00a0cash\\t\\n', ''), (3, 10, rpad('cash', 2000) || 'x', 'A')",
        )
        .await;
    assert_eq!(clinic.drain().await.parked, 2, "a text that is cut short is not taken for its beginning");
    assert_eq!(clinic.balances("LAB", "2").await, "1000 10.00, 4200 -10.00");
    assert!(clinic.text("SELECT max(length(reason)) FROM daybook.sync_dead_letter").await.len() <= 3);
}

#[tokio::test]
async fn attaching_what_cannot_be_captured_is_refused_with_a_way_out() {
    let clinic = Clinic::new().await;
    let sql = r#"CREATE TABLE no_key (id int, amount numeric);
        CREATE TABLE nullable (id int UNIQUE, amount numeric);
        CREATE TABLE float_key (id float8 PRIMARY KEY, amount numeric);
        CREATE TABLE money_key (id money PRIMARY KEY);
        CREATE TABLE local_key (id timestamp PRIMARY KEY);
        CREATE TABLE part_key (id int NOT NULL, amount numeric); CREATE UNIQUE INDEX ON part_key (id) WHERE amount > 0;
        CREATE TABLE expression_key (id text NOT NULL); CREATE UNIQUE INDEX ON expression_key (lower(id));
        CREATE TABLE wide_key (a int, b int, PRIMARY KEY (a, b));
        CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE blind_key (id text COLLATE blind PRIMARY KEY);
        CREATE VIEW view_of_bills AS SELECT * FROM lab_bills;
        CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
        CREATE TABLE years (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE year_2024 PARTITION OF years DEFAULT;
        CREATE TEMPORARY TABLE fleeting (id int PRIMARY KEY);"#;
    clinic.dba.batch_execute(sql).await.expect("creates");
    let table = [
        ("'year_2024', 'T', ARRAY['id'], ARRAY['id']", "is a partition", "partitioned table"),
        ("'no_key', 'T', ARRAY['id'], ARRAY['amount']", "may be null", "SET NOT NULL"),
        ("'nullable', 'T', ARRAY['id'], ARRAY['amount']", "may be null", "SET NOT NULL"),
        ("'float_key', 'T', ARRAY['id'], ARRAY['amount']", "of type double precision", "unique column"),
        ("'money_key', 'T', ARRAY['id'], ARRAY['id']", "of type money", "unique column"),
        ("'local_key', 'T', ARRAY['id'], ARRAY['id']", "of type timestamp without time zone", "unique column"),
        ("'part_key', 'T', ARRAY['id'], ARRAY['amount']", "no unique index", "ADD UNIQUE (id)"),
        ("'expression_key', 'T', ARRAY['id'], ARRAY['id']", "no unique index", "ADD UNIQUE (id)"),
        ("'wide_key', 'T', ARRAY['a'], ARRAY['b']", "no unique index", "primary key"),
        ("'blind_key', 'T', ARRAY['id'], ARRAY['id']", "collation", "deterministic"),
        ("'view_of_bills', 'T', ARRAY['id'], ARRAY['amount']", "is a view", "the table beneath"),
        ("'parent', 'T', ARRAY['id'], ARRAY['id']", "inheriting tables", "partitioned"),
        ("'fleeting', 'T', ARRAY['id'], ARRAY['id']", "not an ordinary", "permanent"),
        ("'daybook.sync_alerts', 'T', ARRAY['alert_id'], ARRAY['cause']", "not a bill table", "application"),
        ("'lab_bills', 'LAB', ARRAY['id'], ARRAY['amount', 'price']", "has no column price", "discounted_amount"),
        ("'lab_bills', 'LAB', ARRAY['number'], ARRAY['amount']", "has no column number", "Its columns are"),
        (
            "'lab_bills', 'LAB', ARRAY[]::text[], ARRAY['amount']",
            "key_columns and filter_columns are needed",
            "primary key",
        ),
        ("'lab_bills', 'LAB', ARRAY['id'], NULL", "key_columns and filter_columns are needed", "posting rule"),
        ("'lab_bills', 'Lab', ARRAY['id'], ARRAY['amount']", "not usable", "capital letters"),
        (
            "'lab_bills', 'PHARMACY', ARRAY['id'], ARRAY['amount']",
            "belongs to pharmacy_bills already",
            "choose another",
        ),
        ("'lab_bills', 'OTHER', ARRAY['id'], ARRAY['amount']", "is attached as LAB", "Detach it first"),
        ("'lab_bills', 'LAB', ARRAY['id'], ARRAY['amount'], capture_mode => 'magic'", "capture_mode", "'trigger'"),
    ];
    for (arguments, problem, way_out) in table {
        let message = refused(&clinic.dba, &format!("SELECT daybook.attach({arguments})")).await;
        let message = message.replace("public.", "");
        assert!(message.contains(problem) && message.contains(way_out), "{arguments}: {message}");
    }
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_source").await, "4");
    assert!(refused(&clinic.dba, "SELECT daybook.suspend('no_key')").await.contains("not attached"));
    assert!(refused(&clinic.dba, "SELECT daybook.resume('no_key')").await.contains("not attached"));
    assert!(refused(&clinic.dba, "SELECT daybook.enqueue('NOBODY', '1')").await.contains("no attached table"));
}

#[tokio::test]
async fn attaching_twice_changes_nothing_and_takes_no_lock() {
    let clinic = Clinic::new().await;
    let state = "SELECT string_agg(t.oid || t.tgname, ',' ORDER BY t.oid) || (SELECT md5(string_agg(prosrc, '' ORDER BY oid)) FROM pg_proc)
                 || (SELECT string_agg(s::text, ',') FROM daybook.sync_source AS s) FROM pg_trigger AS t";
    let before = clinic.text(state).await;
    clinic.write("BEGIN; INSERT INTO lab_bills (amount) VALUES (1)").await; // holds a lock that attaching anew would wait for
    for attach in crate::harness::TRIGGERS {
        clinic.dba.batch_execute(attach).await.expect("attaches again");
    }
    clinic.write("ROLLBACK").await;
    assert_eq!(clinic.text(state).await, before);
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
}

#[tokio::test]
async fn a_rule_that_maps_a_column_that_leaves_no_event_is_refused() {
    let clinic = Clinic::new().await;
    let attach = "SELECT daybook.attach('lab_bills', 'LAB', ARRAY['id'], ARRAY['amount'])";
    clinic.dba.batch_execute(attach).await.expect("attaches with too few filter columns");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    assert!(clinic.drain_for(std::time::Duration::from_millis(300)).await.unfinished > 0);
    let alert = clinic.text("SELECT message FROM daybook.current_alerts").await;
    assert!(alert.contains("not among its filter columns") && alert.contains("Attach the table again"), "{alert}");
}

#[tokio::test]
async fn names_that_need_quoting_are_captured_and_read() {
    let clinic = Clinic::new().await;
    let sql = r#"CREATE SCHEMA "Caja Nº 1"; GRANT USAGE ON SCHEMA "Caja Nº 1" TO desk;
        CREATE TABLE "Caja Nº 1"."Factura ""Ñ""" ("Año" int, "número; drop" text, "Importe" numeric, "Fecha" date, PRIMARY KEY ("Año", "número; drop"));
        GRANT ALL ON "Caja Nº 1"."Factura ""Ñ""" TO desk;
        SELECT daybook.attach('"Caja Nº 1"."Factura ""Ñ"""', 'FACTURA', ARRAY['Año', 'número; drop'], ARRAY['Importe', 'Fecha']);"#;
    clinic.dba.batch_execute(sql).await.expect("attaches");
    let rule = "reference_type = 'FACTURA'\ndate = 'Fecha'\n[[amounts]]\nname = 'charged'\nfirst_of = ['Importe']\n\
                [[lines]]\ndebit = 'charged'\naccount = '1100'\n[[lines]]\ncredit = 'charged'\naccount = '4000'\n";
    let insert = "SELECT ledger.apply_rule('main', 'FACTURA', $1)";
    clinic.accountant.execute(insert, &[&rule]).await.expect("adds a rule");
    clinic.write(r#"INSERT INTO "Caja Nº 1"."Factura ""Ñ""" VALUES (2024, E'a''b"\\ "', 121, '2024-03-05')"#).await;
    clinic.drain().await;
    assert_eq!(
        clinic.ledger_text("SELECT reference_id FROM ledger.journal_entries").await,
        r#"["2024", "a'b\"\\ \""]"#
    );
    assert_eq!(clinic.balances("FACTURA", r#"["2024", "a'b\"\\ \""]"#).await, "1100 121.00, 4000 -121.00");
    clinic.write(r#"DELETE FROM "Caja Nº 1"."Factura ""Ñ""""#).await;
    clinic.drain().await;
    assert_eq!(clinic.balances("FACTURA", r#"["2024", "a'b\"\\ \""]"#).await, "");
}
