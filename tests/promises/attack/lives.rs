//! The application's locks, odd keys and long lives, and rules by the thousand.

use super::*;

/// A worker that waits for its ledger holds events; detaching must not hold the application meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn detaching_with_a_hung_worker_does_not_block_the_application() {
    let clinic = Clinic::new().await;
    clinic.write(&format!("{BILL} (1, 10, 'A', {DAY})")).await;
    let worker = Cluster::shared().admin(&clinic.database).await;
    worker.batch_execute("BEGIN; SELECT FROM daybook.sync_queue FOR UPDATE").await.unwrap();
    let detaching = Cluster::shared().admin(&clinic.database).await;
    let _task = tokio::spawn(async move {
        detaching
            .batch_execute("SELECT daybook.detach('lab_bills', discard_unfinished => true)")
            .await
            .map_err(|e| e.to_string())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = std::time::Instant::now();
    let write =
        clinic.desk.batch_execute("SET lock_timeout = '4s'; INSERT INTO lab_bills (id, amount) VALUES (99, 1)").await;
    let took = started.elapsed();
    worker.batch_execute("ROLLBACK").await.unwrap();
    assert!(write.is_ok() && took < Duration::from_secs(2), "{took:?} {write:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_again_with_a_hung_first_batch_does_not_block_the_application() {
    let clinic = Clinic::new().await;
    let worker = Cluster::shared().admin(&clinic.database).await;
    worker
        .batch_execute(
            "BEGIN; UPDATE daybook.sync_source SET rules = 'x' WHERE reference_type = 'LAB' AND rules IS NULL",
        )
        .await
        .unwrap();
    let attaching = Cluster::shared().admin(&clinic.database).await;
    let sql = attach_lab_with("on_delete => 'alert'");
    let _task = tokio::spawn(async move { attaching.batch_execute(&sql).await.map_err(|e| e.to_string()) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = std::time::Instant::now();
    let write =
        clinic.desk.batch_execute("SET lock_timeout = '4s'; INSERT INTO lab_bills (id, amount) VALUES (99, 1)").await;
    let took = started.elapsed();
    worker.batch_execute("ROLLBACK").await.unwrap();
    assert!(write.is_ok() && took < Duration::from_secs(2), "{took:?} {write:?}");
}

/// Bills of odd keys, moved about by the application while backfill and reconciliation run.
async fn moved_about(key: &str, constraint: &str, names: &str, tail: &str, setup: &str, values: &str, moves: &[&str]) {
    let clinic = Clinic::new().await;
    clinic.configure("reversal_brake", "1000000").await;
    odd(&clinic, key, constraint, names, tail).await;
    dba(&clinic, setup).await;
    let columns = names.replace('\'', "");
    dba(&clinic, &format!(
        "ALTER TABLE odd DISABLE TRIGGER daybook_capture; INSERT INTO odd ({columns}, amount) SELECT {values}, 1 + g % 50 FROM generate_series(1, 7000) AS g;
         ALTER TABLE odd ENABLE ALWAYS TRIGGER daybook_capture")).await;
    dba(&clinic, "SELECT daybook.backfill('odd')").await;
    let desk = clinic.another_desk().await;
    let writing = async {
        for round in 0..12 {
            for m in moves {
                desk.batch_execute(&m.replace("$r", &round.to_string())).await.unwrap_or_else(|e| panic!("{e:?} {m}"));
            }
            if round == 5 {
                dba(&clinic, "SELECT daybook.reconcile('odd')").await;
            }
        }
    };
    let draining = consumer::drain(clinic.options(2), Duration::from_secs(90));
    let (_, drained) = tokio::join!(writing, draining);
    drained.unwrap();
    let drained = clinic.drain().await;
    assert_eq!(drained.parked, 0);
    let expression = format!("daybook.key_expression('o', ARRAY[{names}])");
    let key = clinic.text(&format!("SELECT {expression}")).await;
    let differing = format!(
        "SELECT count(*) || ' of ' || (SELECT count(*) FROM odd) || ' such as ' || coalesce(min(concat_ws(' ', o.id, amount, balance, b.reference_id)), '') FROM (SELECT {key} AS id, amount FROM odd AS o) AS o
         FULL JOIN (SELECT * FROM ledger.reference_balances WHERE account_code = '1000') AS b ON b.reference_id = o.id WHERE o.amount IS DISTINCT FROM b.balance");
    let told = clinic.text(&differing).await;
    assert!(told.starts_with("0 of"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_keys_of_a_collation_with_key_changes() {
    moved_about("code text COLLATE \"und-x-icu\"", "PRIMARY KEY (code)", "'code'", "", "SELECT",
        "(ARRAY['é','E','e','_','-',' ','Z','ß','ss','\"','\\','\u{301}'])[1 + g % 12] || md5(g::text) || CASE g % 3 WHEN 0 THEN ' ' ELSE '' END",
        &["UPDATE odd SET code = 'moved$r' || code WHERE code LIKE '%0$r%'", "DELETE FROM odd WHERE code LIKE '%a$r%'", "INSERT INTO odd (code, amount) SELECT 'new$r-' || g, g FROM generate_series(1, 40) AS g"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bpchar_and_numeric_keys_by_a_mixed_index() {
    moved_about(
        "c char(12) NOT NULL, n numeric NOT NULL",
        "UNIQUE (c, n)",
        "'n','c'",
        "",
        "CREATE UNIQUE INDEX ON odd (n DESC, c)",
        "(g - 3500) * 10.0 ^ (g % 25 - 10) + g * 1e-30, left(md5((g % 70)::text), 1 + g % 9)",
        &[
            "UPDATE odd SET n = -n, amount = amount + 1 WHERE c LIKE '%$r%' AND n <> 0 AND amount < 4",
            "DELETE FROM odd WHERE amount = 7 AND n > $r",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamptz_and_date_keys_of_a_partitioned_table() {
    moved_about("t timestamptz, y int", "PRIMARY KEY (t, y)", "'y','t'", "PARTITION BY LIST (y)", "CREATE TABLE p0 PARTITION OF odd FOR VALUES IN (0); CREATE TABLE p1 PARTITION OF odd FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF odd FOR VALUES IN (2)",
        "g % 3, '2024-01-01 00:00:00.000001+00'::timestamptz + g * interval '1.000001 hours'",
        &["UPDATE odd SET y = (y + 1) % 3 WHERE amount = 5 + $r", "DELETE FROM odd WHERE amount = 30 + $r AND y = 1", "UPDATE odd SET t = t + interval '10 years' WHERE amount = 17 AND y = 0 AND t < '2034-01-01' AND extract(day FROM t) = $r + 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_key_blocks_no_other_bill() {
    let clinic = Clinic::new().await;
    clinic.configure("retry_delay_seconds", "0").await;
    odd(&clinic, "k text", "PRIMARY KEY (k)", "'k'", "").await;
    let mut long = String::new();
    for n in [1100, 2600, 2640, 2660, 2668, 2676, 2680, 2684, 2690] {
        let sql = format!(
            "INSERT INTO odd (k, amount) SELECT left((SELECT string_agg(md5(g::text || '{n}'), '') FROM generate_series(1, 90) AS g), {n}), 1"
        );
        match clinic.desk.batch_execute(&sql).await {
            Ok(()) => long.push_str(&format!("{n} ")),
            Err(e) => eprintln!("{n}: {e}"),
        }
    }
    clinic.write("INSERT INTO odd (k, amount) VALUES ('short', 2)").await;
    let drained = clinic.drain_for(Duration::from_secs(12)).await;
    let alerts = clinic
        .text("SELECT string_agg(alert_type || ': ' || left(message, 200), ',') FROM daybook.current_alerts")
        .await;
    let entries: i64 = clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await.parse().unwrap();
    let (mut worker, _) = connect_worker(&clinic.options(1)).await.expect("connects");
    if let Err(f) = worker.pass("LAB", &Claim::Due { events_max: 1000 }, None).await {
        eprintln!("a pass: {:?}", f.error)
    }
    eprintln!("left: {}", clinic.text("SELECT string_agg(concat_ws(' ', left(reference_id, 9), operation, attempts, last_error, due_at < now()), ';') FROM daybook.sync_queue").await);
    assert!(
        drained.unfinished == 0 && !clinic.balances("LAB", "short").await.is_empty(),
        "keys of {long}: {drained:?} {entries} entries; {alerts}"
    );
}

/// Versions come one after the other while two processes post; at the end each bill is judged by the last.
#[tokio::test(flavor = "multi_thread")]
async fn rules_that_change_while_everybody_works_end_with_the_last() {
    let clinic = Clinic::new().await;
    clinic.configure("reversal_brake", "100000").await;
    for n in 1..=6 {
        clinic
            .accountant
            .batch_execute(&format!("INSERT INTO ledger.accounts VALUES ('main', '43{n}', 'x', 'income')"))
            .await
            .unwrap();
    }
    dba(&clinic, &format!("INSERT INTO lab_bills (id, amount, invoice_number, created_at) SELECT g, 1 + g % 9, 'A', {DAY} FROM generate_series(1, 3000) AS g")).await;
    let mut stops = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stops.push(stop);
        tasks.push(tokio::spawn(consumer::run(clinic.options(2), async move {
            let _ = stopped.await;
        })));
    }
    let desk = clinic.another_desk().await;
    for n in 1..=6 {
        apply(&clinic, &include_str!("../../../rules/lab.toml").replace("\"4200\"", &format!("\"43{n}\"")), None).await;
        for round in 0..20 {
            desk.batch_execute(&format!(
                "UPDATE lab_bills SET amount = amount + 1 WHERE id % 61 = {round}; DELETE FROM lab_bills WHERE id = {}",
                n * 100 + round
            ))
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for stop in stops {
        let _ = stop.send(());
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    clinic.drain().await;
    clinic.drain().await;
    let differing = "SELECT count(*) FROM (SELECT id::text, amount FROM lab_bills) AS o FULL JOIN (SELECT * FROM ledger.reference_balances WHERE account_code = '436') AS b
                     ON b.reference_id = o.id WHERE o.amount IS DISTINCT FROM -b.balance";
    assert_eq!(clinic.text(differing).await, "0");
    let stray = "SELECT count(*) FROM ledger.reference_balances WHERE account_code NOT IN ('1000', '436')";
    assert_eq!(clinic.text(stray).await, "0");
}

/// Everything that can happen to a retained bill, at random, with the brake, against a model: the ledger holds what the row says, or, where
/// there is none, either nothing or what is recorded as retained.
#[tokio::test(flavor = "multi_thread")]
async fn retained_bills_live_every_life() {
    use rand::{RngExt, SeedableRng};
    for seed in 0..6_u64 {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let clinic = Clinic::new().await;
        clinic.configure("reversal_brake", &rng.random_range(0..6).to_string()).await;
        clinic.configure("queue_batch_size", &rng.random_range(1..8).to_string()).await;
        let desk = clinic.another_desk().await;
        let mut background = None;
        for step in 0..60 {
            let id = rng.random_range(1..=9);
            let sql = match rng.random_range(0..16) {
                0..=3 => format!(
                    "INSERT INTO lab_bills (id, amount, invoice_number, created_at) VALUES ({id}, {}, 'A', {DAY}) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount",
                    step + 1
                ),
                4 | 5 => format!("DELETE FROM lab_bills WHERE id = {id}"),
                6 => "DELETE FROM lab_bills".into(),
                7 if rng.random_bool(0.5) => "TRUNCATE lab_bills".into(),
                8 => format!("UPDATE lab_bills SET payment_mode = 'barter' WHERE id = {id}"),
                9 => format!("UPDATE lab_bills SET payment_mode = 'card' WHERE id = {id}"),
                10 => format!(
                    "UPDATE lab_bills SET id = id + 9 WHERE id = {id} AND NOT EXISTS (SELECT FROM lab_bills WHERE id = {id} + 9)"
                ),
                _ => String::new(),
            };
            if !sql.is_empty() {
                desk.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{e:?} {sql}"));
            }
            match rng.random_range(0..20) {
                0 => dba(&clinic, &format!("SELECT daybook.release('LAB', '{id}')")).await,
                1 => dba(&clinic, "SELECT daybook.release_held('LAB')").await,
                2 => dba(&clinic, "SELECT daybook.reconcile('lab_bills')").await,
                3 => dba(&clinic, &format!("SELECT daybook.enqueue('LAB', '{id}', 'retry')")).await,
                4 => {
                    let policy = ["reverse", "keep", "alert"][rng.random_range(0..3)];
                    dba(&clinic, &attach_lab_with(&format!("on_delete => '{policy}'"))).await
                }
                5 => dba(&clinic, "SELECT daybook.suspend('lab_bills')").await,
                6 => dba(&clinic, "SELECT daybook.resume('lab_bills')").await,
                7..=9 => {
                    if let Some(task) = background.take() {
                        let task: tokio::task::JoinHandle<_> = task;
                        let _ = task.await;
                    }
                    let options = clinic.options(2);
                    background = Some(tokio::spawn(async move {
                        consumer::drain(options, Duration::from_secs(20)).await.map(|d| d.unfinished)
                    }));
                }
                _ => {}
            }
        }
        if let Some(task) = background.take() {
            let _ = task.await;
        }
        dba(&clinic, "SELECT daybook.resume('lab_bills')").await;
        clinic.drain().await;
        let wrong = "SELECT string_agg(concat_ws(' ', coalesce(o.id, b.reference_id), 'row', o.amount, o.payment_mode, 'ledger', b.balance, s.state, s.retained_because), '; ')
            FROM (SELECT id::text, amount, payment_mode FROM lab_bills) AS o
            FULL JOIN (SELECT reference_id, sum(balance) AS balance FROM ledger.reference_balances WHERE balance > 0 GROUP BY 1) AS b ON b.reference_id = o.id
            LEFT JOIN ledger.sync_master_status AS s ON s.reference_type = 'LAB' AND s.reference_id = coalesce(o.id, b.reference_id)
            WHERE CASE WHEN o.payment_mode = 'barter' THEN s.state IS DISTINCT FROM 'parked'
                       WHEN o.id IS NOT NULL THEN o.amount IS DISTINCT FROM b.balance OR s.state <> 'current'
                       ELSE s.state <> 'retained' END";
        assert_eq!(clinic.text(wrong).await, "", "seed {seed}");
        let letters = "SELECT string_agg(coalesce(d.reference_id, s.reference_id), ',') FROM (SELECT * FROM daybook.sync_dead_letter WHERE resolved_at IS NULL) AS d
            FULL JOIN (SELECT * FROM ledger.sync_master_status WHERE state = 'parked') AS s USING (reference_type, reference_id) WHERE d.spell IS NULL OR s.state IS NULL";
        assert_eq!(clinic.text(letters).await, "", "open dead letters and parked bills, seed {seed}");
        let nothing_live =
            "SELECT count(*) FROM ledger.sync_master_status WHERE state = 'retained' AND live_entry_ids = '{}'";
        assert_eq!(clinic.text(nothing_live).await, "0", "seed {seed}");
    }
}

/// Rule files and rows with a few bytes, lines and values changed: never a panic, and what is posted balances.
#[test]
fn mutated_rules_and_rows_never_panic() {
    use daybook::posting::desired::{Circumstances, Wanted, desired, problems};
    use daybook::posting::rule::RuleSet;
    use rand::{RngExt, SeedableRng};
    let rules: Vec<String> = [
        "rules/lab.toml",
        "rules/pharmacy.toml",
        "rules/examples/factura.toml",
        "rules/examples/hospital_bill.toml",
        "rules/examples/payments.toml",
    ]
    .iter()
    .map(|p| std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(p)).unwrap())
    .collect();
    let values = [
        None,
        Some(""),
        Some("NaN"),
        Some("Infinity"),
        Some("-0.00"),
        Some("999999999999999999.99"),
        Some("-999999999999999999.99"),
        Some("1000000000000000000"),
        Some("0.005"),
        Some("12.345"),
        Some("2024-03-05"),
        Some("infinity"),
        Some("0000-01-01"),
        Some("9999-12-31"),
        Some("0044-03-15 BC"),
        Some("true"),
        Some("cash"),
        Some("İ"),
        Some("\u{0}"),
        Some("999.999999"),
        Some("99999999999999999999999999999999999999.9"),
        Some("٣"),
    ];
    let tokens = [
        "\"next\"",
        "\"-1\"",
        "\"0\"",
        "\"0.000001\"",
        "\"999.999999\"",
        "\"1e5\"",
        "[]",
        "true",
        "\"9999-12-31\"",
        "\"charged\"",
        "negative_when = [{column = \"paid\", is = [\"x\"]}]",
        "tax_inside = \"charged\"",
        "[[lines]]",
        "to = \"0.001\"",
        "valid_from = \"-0001-01-01\"",
    ];
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let (mut good, mut posted) = (0, 0);
    for _ in 0..60_000 {
        let mut text = rules[rng.random_range(0..rules.len())].clone();
        for _ in 0..rng.random_range(0..4) {
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            let at = rng.random_range(0..lines.len());
            match rng.random_range(0..6) {
                0 => {
                    lines.remove(at);
                }
                1 => {
                    let l = lines[at].clone();
                    let to = rng.random_range(0..lines.len());
                    lines.insert(to, l);
                }
                2 => lines.insert(at, tokens[rng.random_range(0..tokens.len())].into()),
                3 => {
                    if let Some((k, _)) = lines[at].clone().split_once('=') {
                        lines[at] = format!("{k}= {}", tokens[rng.random_range(0..tokens.len())]);
                    }
                }
                4 => {
                    let to = rng.random_range(0..lines.len());
                    lines.swap(at, to);
                }
                _ => {
                    let l: Vec<char> = lines[at].chars().collect();
                    if !l.is_empty() {
                        let c = rng.random_range(0..l.len());
                        lines[at] = l.iter().enumerate().filter(|(i, _)| *i != c).map(|(_, c)| *c).collect();
                    }
                }
            }
            text = lines.join("\n");
        }
        let Ok(set) = RuleSet::parse(&[&text]) else { continue };
        good += 1;
        for _ in 0..6 {
            let row: Vec<Option<String>> =
                set.columns().iter().map(|_| values[rng.random_range(0..values.len())].map(str::to_string)).collect();
            let mut row = row;
            if rng.random_bool(0.8) {
                for (c, v) in set.columns().iter().zip(row.iter_mut()) {
                    use daybook::posting::rule::Reading;
                    match c.reading {
                        Reading::LocalDate { .. } => *v = Some("2024-03-05".into()),
                        Reading::Amount => {
                            *v = Some(["10.00", "-5", "999999999999999999.99", "0"][rng.random_range(0..4)].into())
                        }
                        _ => {}
                    }
                }
            }
            let c = Circumstances { minor_unit: [0, 2, 3][rng.random_range(0..3)], site: "main", go_live: None };
            let version = match set.version_for(&row) {
                Ok(v) => v,
                Err(_) => continue,
            };
            let _ = problems(version, c, &row);
            if let Ok(Wanted::Lines(d)) = desired(version, c, &row) {
                posted += 1;
                let sum: rust_decimal::Decimal = d.lines.as_slice().iter().map(|l| l.amount).sum();
                assert!(sum.is_zero());
                for l in d.lines.as_slice() {
                    let mut a = l.amount;
                    a.rescale(c.minor_unit);
                    assert_eq!(
                        a, l.amount,
                        "finer than the currency ({} decimals): {}\n{text}\n{row:?}",
                        c.minor_unit, l.amount
                    );
                }
            }
        }
    }
    assert!(good > 1_000 && posted > 50, "{good} rules were usable, {posted} rows posted");
}
