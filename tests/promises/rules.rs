//! Rules as files: tables that nobody here has seen, versions, preview, and what the command line says of it all.

use std::path::{Path, PathBuf};

use crate::command_line::{run, url};
use crate::harness::{Clinic, Cluster, refused};

pub fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/examples").join(name);
    path.to_str().expect("a path").to_string()
}

/// A file of this text that is gone afterwards.
pub struct TextFile(PathBuf);

impl TextFile {
    pub fn new(clinic: &Clinic, name: &str, text: &str) -> TextFile {
        let path = std::env::temp_dir().join(format!("daybook-test-{}-{}-{name}", std::process::id(), clinic.database));
        std::fs::write(&path, text).expect("writes");
        TextFile(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path")
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a command that must end well, and returns what it printed.
pub fn done(arguments: &[&str], url: &str) -> String {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--source-url", url]).collect();
    let (exit, stdout, stderr) = run(&arguments);
    assert_eq!(exit, Some(0), "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// Runs a command that must be refused with this code and part of a message.
pub fn fails(arguments: &[&str], url: &str, code: i32, part: &str) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--source-url", url]).collect();
    let (exit, stdout, stderr) = run(&arguments);
    assert_eq!(exit, Some(code), "{arguments:?}: {stdout}{stderr}");
    assert!(stderr.contains(part) || stdout.contains(part), "{arguments:?}: {part}: {stdout}{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

const FACTURAS: &str = "CREATE TABLE facturas (id uuid PRIMARY KEY, emitida_el timestamptz, especialidad text, centro text, paciente bigint,
    estado text, borrada_el timestamptz, rectifica_a uuid, total varchar(100), total_con_descuento numeric, iva float8, notas text);
    GRANT ALL ON facturas TO desk";

#[tokio::test(flavor = "multi_thread")]
async fn a_spanish_invoice_table_with_a_uuid_key_and_tax_inside_is_posted_by_one_file() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    clinic.dba.batch_execute(FACTURAS).await.expect("creates");
    let id = |n: u32| format!("8b6bcb3c-3ee7-4f3a-8a3e-3d3a3b3c3d{n:02}");
    let insert = "INSERT INTO facturas (id, emitida_el, especialidad, centro, paciente, estado, total, total_con_descuento, iva, rectifica_a, borrada_el) VALUES";
    // Before it is attached: an invoice of 22:30 UTC, next day in Madrid.
    clinic
        .write(&format!(
            "{insert} ('{}', '2024-03-31 22:30Z', 'Radiología', 'norte', 7, ' Emitida', '121', NULL, NULL, NULL, NULL)",
            id(1)
        ))
        .await;
    let file = example("factura.toml");
    fails(&["rules", "check", &file], &url, 2, "accounts 430, 477, 705 are not in the chart of book main");
    assert!(done(&["accounts", "import", &example("accounts.csv")], &url).contains("5 of 5 accounts"));
    assert!(done(&["accounts", "list"], &url).contains("IVA repercutido"));
    assert!(done(&["rules", "check", &file], &url).contains("1 rows would be posted"));
    assert!(
        done(&["attach", &file, "--print"], &url)
            .starts_with("SELECT daybook.attach('facturas', 'FACTURA', ARRAY['id'], ARRAY[")
    );
    done(&["attach", &file], &url);
    done(&["rules", "apply", &file], &url);
    let rows = [
        (2, "'2024-04-01', NULL, NULL, 7, 'cobrada', '100.00', NULL, 17.36, NULL, NULL"),
        (3, "'2024-04-01', NULL, NULL, 7, 'EMITIDA ', '100.00', 60.5, 10.49, NULL, NULL"),
        (4, "'2024-04-01', NULL, NULL, 7, 'abono', '60.50', NULL, NULL, '8b6bcb3c-3ee7-4f3a-8a3e-3d3a3b3c3d03', NULL"),
        (5, "'2024-04-01', NULL, NULL, 7, 'borrador', 'a lot', NULL, NULL, NULL, NULL"),
        (6, "'2024-04-01', NULL, NULL, 7, 'emitida', '5', NULL, NULL, NULL, now()"),
        (7, "'2024-04-01', NULL, NULL, 7, 'pagada', '121', NULL, NULL, NULL, NULL"),
        (8, "'2024-04-01', NULL, NULL, 7, 'emitida', '1.210,00', NULL, NULL, NULL, NULL"),
    ];
    for (n, values) in rows {
        clinic.write(&format!("{insert} ('{}', {values})", id(n))).await;
    }
    done(&["backfill", "FACTURA"], &url);
    assert_eq!(clinic.drain().await.parked, 2);
    let table = [
        (1, "430 121.00, 477 -21.00, 705 -100.00"),
        (2, "430 100.00, 477 -17.36, 705 -82.64"),
        (3, "430 60.50, 477 -10.49, 705 -50.01"), // the stored tax is posted, and warned of
        (4, "430 -60.50, 477 10.50, 705 50.00"),
        (5, ""),
        (6, ""),
    ];
    for (n, expected) in table {
        assert_eq!(clinic.balances("FACTURA", &id(n)).await, expected, "{n}");
    }
    let first = format!(
        "SELECT effective_date || ' ' || site || ' ' || department || ' ' || party FROM ledger.journal_entries AS e
                         JOIN ledger.journal_lines AS l ON l.entry_id = e.id WHERE reference_id = '{}' LIMIT 1",
        id(1)
    );
    assert_eq!(clinic.ledger_text(&first).await, "2024-04-01 norte Radiología patient:7");
    let sites = "SELECT string_agg(DISTINCT site, ' ' ORDER BY site) FROM ledger.journal_lines";
    assert_eq!(clinic.ledger_text(sites).await, "madrid norte");
    assert_eq!(
        clinic
            .ledger_text(
                "SELECT reference_id || ' ' || warning FROM ledger.sync_master_status WHERE warning IS NOT NULL"
            )
            .await,
        format!("{} the tax in column iva differs from the rate of 21 percent", id(3))
    );
    assert!(
        clinic.text("SELECT string_agg(alert_type, ' ') FROM daybook.current_alerts").await.contains("TAX_DIFFERS")
    );
    fails(&["rules", "check", &file], &url, 1, "| estado | \"pagada\"");
    fails(&["rules", "check", &file], &url, 1, "| total  | \"1.210,00\"");
    // The status is a word that is mapped now, and the tax is mended.
    clinic
        .write(&format!("UPDATE facturas SET estado = 'cobrada', iva = NULL WHERE id IN ('{}', '{}')", id(3), id(7)))
        .await;
    assert_eq!(clinic.drain().await.parked, 1);
    assert_eq!(
        clinic.ledger_text("SELECT count(*) FROM ledger.sync_master_status WHERE warning IS NOT NULL").await,
        "0"
    );
    let ended = "SELECT state FROM daybook.sync_alerts WHERE alert_type = 'TAX_DIFFERS'";
    assert_eq!(clinic.text(ended).await, "resolved", "no bill has a warning any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn part_payments_in_several_modes_settle_what_the_patient_owes() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let sql = "CREATE TABLE payments (id int PRIMARY KEY, bill_id int, patient_id int, received_at date, amount money, mode text,
               kind text DEFAULT 'payment', voided char(1), cash_desk text); GRANT ALL ON payments TO desk";
    clinic.dba.batch_execute(sql).await.expect("creates");
    let file = example("payments.toml");
    done(&["attach", &file], &url);
    done(&["rules", "apply", &file], &url);
    let bill = "INSERT INTO consultation_invoices (id, patient_id, amount, paid) VALUES (1, 77, 500, false)";
    let payments = "INSERT INTO payments (id, bill_id, patient_id, received_at, amount, mode, kind, voided) VALUES
        (1, 1, 77, '2024-03-05', 200, ' Cash', 'payment', NULL), (2, 1, 77, '2024-03-06', 250, 'CARD', 'Payment', 'f'),
        (3, 1, 77, '2024-03-07', 100, 'upi', 'payment', 'n'), (4, 1, 77, '2024-03-08', 50, 'cash', 'refund', NULL),
        (5, 1, 77, NULL, 50, 'cash', 'payment', NULL), (6, 1, 77, '2024-03-08', 50, 'cash', 'payment', 'Y'),
        (7, 1, 77, '2024-03-08', 50, 'cash', 'gift', NULL)";
    clinic.write(bill).await;
    clinic.write(payments).await;
    assert_eq!(clinic.drain().await.parked, 1);
    let owed = "SELECT string_agg(account_code || ' ' || balance, ', ' ORDER BY account_code) FROM (
                    SELECT account_code, sum(debit) - sum(credit) AS balance FROM ledger.journal_lines WHERE party = 'patient:77'
                    GROUP BY account_code HAVING sum(debit) <> sum(credit)) AS b";
    assert_eq!(clinic.ledger_text(owed).await, "1000 150.00, 1020 250.00, 1030 100.00, 4000 -500.00");
    clinic.write("UPDATE payments SET mode = 'bank' WHERE id = 1; DELETE FROM payments WHERE id IN (3, 7)").await;
    assert_eq!(clinic.drain().await.parked, 0);
    assert_eq!(clinic.ledger_text(owed).await, "1000 -50.00, 1010 200.00, 1020 250.00, 1100 100.00, 4000 -500.00");
    let kinds = "SELECT string_agg(kind, ' ' ORDER BY revision) FROM ledger.journal_entries WHERE reference_type = 'PAYMENT' AND reference_id = '1'";
    assert_eq!(clinic.ledger_text(kinds).await, "original settlement");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composite_key_with_quoted_accented_names_is_attached_checked_and_backfilled_by_its_file() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let sql = r#"CREATE SCHEMA "Caja Nº 1"; CREATE TABLE "Caja Nº 1"."Factura ""Ñ""" ("Año" int, "número; drop" text, "Fecha" date,
        "Exento" numeric, "Al 4%" numeric, "IVA 4%" numeric, "Al 10%" numeric, "IVA 10%" numeric, "Total" numeric,
        PRIMARY KEY ("Año", "número; drop"));
        INSERT INTO "Caja Nº 1"."Factura ""Ñ""" SELECT 2020 + g % 5, 'n' || g, '2024-03-05', 1, 100, 4, 100, 10, 215 FROM generate_series(1, 5000) AS g"#;
    clinic.dba.batch_execute(sql).await.expect("creates");
    let amount = |name: &str, column: &str| {
        format!("[[amounts]]\nname = \"{name}\"\nfirst_of = ['{column}']\notherwise = \"0\"\n")
    };
    let line =
        |side: &str, name: &str, account: &str| format!("[[lines]]\n{side} = \"{name}\"\naccount = \"{account}\"\n");
    let rule = [
        "reference_type = \"CAJA\"\ntable = '\"Caja Nº 1\".\"Factura \"\"Ñ\"\"\"'\nkey = ['Año', 'número; drop']\ndate = 'Fecha'\n".into(),
        amount("total", "Total"), amount("exempt", "Exento"), amount("net4", "Al 4%"), amount("tax4", "IVA 4%"),
        amount("net10", "Al 10%"), amount("tax10", "IVA 10%"),
        line("debit", "total", "1100"), line("credit", "exempt", "4000"), line("credit", "net4", "4100"),
        line("credit", "net10", "4200"), line("credit", "tax4", "2100"), line("credit", "tax10", "2100"),
    ].concat();
    let file = TextFile::new(&clinic, "caja.toml", &rule);
    assert!(done(&["rules", "check", file.path()], &url).contains("5000 rows would be posted"));
    done(&["attach", file.path()], &url);
    done(&["rules", "apply", file.path()], &url);
    let told = std::thread::scope(|scope| {
        let backfill = scope.spawn(|| done(&["backfill", "CAJA"], &url));
        backfill.join().expect("ends")
    });
    assert!(told.contains("CAJA: 5000 bills of"), "{told}");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "5000");
    assert_eq!(
        clinic.balances("CAJA", r#"["2021", "n1"]"#).await,
        "1100 215.00, 2100 -14.00, 4000 -1.00, 4100 -100.00, 4200 -100.00"
    );
    clinic
        .dba
        .batch_execute(r#"UPDATE "Caja Nº 1"."Factura ""Ñ""" SET "Total" = 216 WHERE "número; drop" = 'n1'"#)
        .await
        .expect("writes");
    assert_eq!(clinic.drain().await.parked, 1);
    fails(&["rules", "check", file.path()], &url, 1, "do not balance for this row");
    let trace = run(&["trace", "CAJA", r#"["2021", "n1"]"#, "--source-url", &url]).1;
    assert!(trace.contains("do not balance for this row"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_leaves_the_past_and_a_replaced_one_is_previewed_and_judged_anew() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let bills = "INSERT INTO lab_bills (id, amount, invoice_number, created_at) SELECT g, 10 * g, 'A', day FROM
                 (VALUES (1, '2024-03-30 12:00+05:30'::timestamptz), (2, '2024-04-01 00:10+05:30'), (3, '2024-05-01 12:00+05:30')) AS v (g, day)";
    clinic.write(bills).await;
    clinic.drain().await;
    let built_in = include_str!("../../rules/lab.toml");
    let later = format!("valid_from = \"2024-04-01\"\n{}", built_in.replace("\"4200\"", "\"4201\""));
    let file = TextFile::new(&clinic, "later.toml", &later);
    fails(&["rules", "apply", file.path()], &url, 2, "accounts 4201 are not in the chart");
    let chart = TextFile::new(
        &clinic,
        "chart.csv",
        "account_code,account_name,account_type\n4201,Laboratory revenue since April,income\n",
    );
    done(&["accounts", "import", chart.path()], &url);
    let preview = done(&["rules", "preview", file.path()], &url);
    assert!(
        preview.contains("3 bills of lab_bills: 2 would change") && preview.contains("2 reversals, 2 corrections"),
        "{preview}"
    );
    let row = |account: &str| {
        preview.lines().find(|line| line.contains(account)).map(|line| line.split_whitespace().collect::<String>())
    };
    assert_eq!(row("4200").as_deref(), Some("|4200|-60.00|-10.00|50.00|"), "{preview}");
    assert_eq!(row("4201").as_deref(), Some("|4201|0.00|-50.00|-50.00|"), "{preview}");
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "3", "a preview posts nothing");
    let part = "bills of LAB with effective dates from 2024-04-01 on are posted already";
    fails(&["rules", "apply", file.path()], &url, 2, part);
    done(&["rules", "apply", file.path(), "--replace"], &url);
    assert!(done(&["rules", "apply", file.path()], &url).contains("nothing to do"));
    clinic.drain().await;
    for (id, account) in [(1, "4200"), (2, "4201"), (3, "4201")] {
        assert_eq!(clinic.balances("LAB", &id.to_string()).await, format!("1000 {id}0.00, {account} -{id}0.00"));
    }
    let hashes = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (SELECT count(*) AS n FROM ledger.journal_entries GROUP BY rule_hash) AS h";
    assert_eq!(clinic.ledger_text(hashes).await, "3 4");
    // Another version of the same day: refused, until replacing is said.
    let other = TextFile::new(&clinic, "other.toml", &later.replace("\"4201\"", "\"4100\""));
    fails(&["rules", "apply", other.path()], &url, 2, "valid from 2024-04-01 is in force already");
    clinic
        .accountant
        .batch_execute("SELECT ledger.close_period('main', '2024-04-01', '2024-04-30')")
        .await
        .expect("closes");
    let preview = done(&["rules", "preview", other.path()], &url);
    assert!(preview.contains("1 of them belong to closed periods"), "{preview}");
    done(&["rules", "apply", other.path(), "--replace"], &url);
    clinic.drain().await;
    assert_eq!(clinic.balances("LAB", "2").await, "1000 20.00, 4100 -20.00");
    assert_eq!(clinic.balances("LAB", "1").await, "1000 10.00, 4200 -10.00");
    let shown = done(&["rules", "show", "LAB"], &url);
    assert!(shown.contains("# LAB, version 3, valid from 2024-04-01") && !shown.contains("version 2"), "{shown}");
    let kept = "SELECT count(*) FROM ledger.journal_entries AS e WHERE NOT EXISTS (SELECT FROM ledger.posting_rules AS r WHERE r.rule_hash = e.rule_hash)";
    assert_eq!(clinic.ledger_text(kept).await, "0", "the rule of each entry can be read");
    let message = refused(&clinic.accountant, "DELETE FROM ledger.posting_rules").await;
    assert!(message.contains("stays as it is"), "{message}");
    assert_eq!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
}

/// A consumer that holds the old version cannot post by it once another one is in force.
#[tokio::test(flavor = "multi_thread")]
async fn applying_a_rule_waits_for_the_batch_under_way_and_none_posts_by_the_old_one_after_it() {
    let clinic = Clinic::new().await;
    clinic.configure("queue_batch_size", "3").await;
    clinic
        .write("INSERT INTO lab_bills (id, amount, invoice_number) SELECT g, g, 'A' FROM generate_series(1, 300) AS g")
        .await;
    let apply = async {
        let accountant = Cluster::shared().admin(&clinic.database).await;
        let sql = "INSERT INTO ledger.accounts VALUES ('main', '4201', 'New', 'income')";
        accountant.batch_execute(sql).await.expect("adds");
        while clinic.ledger_text("SELECT count(*) < 20 FROM ledger.journal_entries").await == "true" {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let sql = "SELECT ledger.apply_rule('main', 'LAB', replace(definition, '4200', '4201'), replace => true)
                   FROM ledger.posting_rules WHERE reference_type = 'LAB'";
        accountant.batch_execute(sql).await.expect("applies");
        let old = "SELECT count(*) FROM ledger.journal_entries WHERE kind = 'original' AND rule_hash = (SELECT rule_hash FROM ledger.posting_rules WHERE reference_type = 'LAB' AND version = 1)";
        clinic.ledger_text(old).await
    };
    let (_, at_commit) = tokio::join!(clinic.drain(), apply);
    clinic.drain().await;
    let old = "SELECT count(*) FROM ledger.journal_entries WHERE kind = 'original' AND rule_hash = (SELECT rule_hash FROM ledger.posting_rules WHERE reference_type = 'LAB' AND version = 1)";
    assert_eq!(clinic.ledger_text(old).await, at_commit, "nothing more was posted by the old version");
    let left = "SELECT coalesce(sum(balance), 0) FROM ledger.trial_balance WHERE account_code = '4200'";
    assert_eq!(clinic.ledger_text(left).await, "0.00", "and what was is judged anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_file_that_cannot_be_used_is_refused_with_file_line_and_reason() {
    let clinic = Clinic::new().await;
    let url = url(&clinic);
    let lab = include_str!("../../rules/lab.toml");
    let named =
        lab.replace("reference_type = \"LAB\"", "reference_type = \"NEW\"\ntable = \"lab_bills\"\nkey = [\"id\"]");
    let table: Vec<(&str, String, &str)> = vec![
        (
            "check",
            lab.replace("first_of = [\"discounted_amount\"", "first_off = [\"discounted_amount\""),
            "line 18: unknown field `first_off`",
        ),
        (
            "check",
            lab.replace("account = \"4200\"", "account = \"4999\""),
            "accounts 4999 are not in the chart of book main",
        ),
        ("check", format!("time_zone = \"Mars/Olympus\"\n{lab}"), "PostgreSQL knows no time zone Mars/Olympus"),
        ("check", lab.replace("\"discounted_amount\", ", "\"price\", "), "has no column price"),
        ("check", named.replace("lab_bills", "nowhere"), "there is no table nowhere"),
        ("check", named.replace("[\"id\"]", "[\"visit_id\"]"), "may be null"),
        ("check", lab.replace("\"LAB\"", "\"NEW\""), "the rule names none"),
        (
            "apply",
            format!("site_from = \"notes\"\n{lab}"),
            "whose changes leave no event yet: attach the table with this rule first",
        ),
        ("apply", lab.replace("credit = \"charged\"", "credit = \"x\""), "amount x is not defined above its use"),
        ("apply", format!("# another\n{lab}"), "valid from the beginning is in force already"),
        ("preview", lab.replace("\"4200\"", "\"x y\""), "no account code"),
    ];
    clinic.dba.batch_execute("ALTER TABLE lab_bills ADD COLUMN notes text").await.expect("alters");
    for (command, text, part) in &table {
        let file = TextFile::new(&clinic, "bad.toml", text);
        fails(&["rules", command, file.path()], &url, 2, part);
    }
    fails(&["rules", "show", "NOBODY"], &url, 2, "there is no rule NOBODY");
    fails(&["rules", "check", "/nonexistent.toml"], &url, 2, "cannot read /nonexistent.toml");
    let lab = TextFile::new(&clinic, "lab.toml", lab);
    fails(&["attach", lab.path()], &url, 2, "names no table and key");
    let (exit, stdout, _) = run(&["rules", "show", "--built-in"]);
    assert_eq!(exit, Some(0));
    for of in ["CONSULTATION", "PHARMACY", "LAB", "ULTRASOUND"] {
        assert!(stdout.contains(&format!("reference_type = \"{of}\"")));
    }
    for (text, part) in [
        ("account_code,account_name\n1,x\n", "line 2"),
        ("account_code,account_name,account_type\n1,x,money\n", "line 2: account type \"money\""),
        ("account_code,account_name,account_type\n1,x,asset\n1,y,asset\n", "account 1 stands twice"),
        ("account_code,account_name,account_type\n1 1,x,asset\n", "accounts_account_code_check"),
    ] {
        let file = TextFile::new(&clinic, "bad.csv", text);
        fails(&["accounts", "import", file.path()], &url, 2, part);
    }
}

#[tokio::test]
async fn what_the_journal_depends_on_cannot_be_changed_beneath_it() {
    let clinic = Clinic::new().await;
    clinic
        .accountant
        .batch_execute("UPDATE ledger.books SET currency = 'EUR'; UPDATE ledger.books SET currency = 'INR'")
        .await
        .expect("no entries yet");
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    for (sql, part) in [
        ("UPDATE ledger.books SET currency = 'EUR'", "book main has entries in INR"),
        ("UPDATE ledger.books SET minor_unit = 3", "with 2 decimals"),
        ("UPDATE ledger.books SET time_zone = 'UTC'", "days of Asia/Kolkata"),
        ("DELETE FROM ledger.accounts WHERE account_code = '4200'", "account 4200 of book main has lines"),
        ("UPDATE ledger.accounts SET account_type = 'asset' WHERE account_code = '4200'", "its code and type stay"),
        (
            "SET session_replication_role = replica; DELETE FROM ledger.accounts WHERE account_code = '4200'",
            "has lines",
        ),
        ("UPDATE ledger.posting_rules SET definition = ''", "stays as it is"),
    ] {
        let message = refused(&clinic.accountant, sql).await;
        assert!(message.contains(part), "{sql}: {message}");
    }
    let sql = "SET session_replication_role = origin; UPDATE ledger.accounts SET account_name = 'Lab' WHERE account_code = '4200';
               DELETE FROM ledger.accounts WHERE account_code = '1030'";
    clinic.accountant.batch_execute(sql).await.expect("a name may change, and an account without lines may go");
}
