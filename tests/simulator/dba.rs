//! What the DBA, the vendor and the accountant do while everything goes on.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::plan::{Act, Actor, Side, Step};

/// The tables, with their reference types.
pub const TABLES: [(&str, &str); 7] = [
    ("consultation_invoices", "CONSULTATION"),
    ("pharmacy_bills", "PHARMACY"),
    ("lab_bills", "LAB"),
    ("ultrasound_bills", "ULTRASOUND"),
    ("claims", "CLAIM"),
    ("rooms", "ROOM"),
    ("vouchers", "VOUCHER"),
];

/// The table whose capture is switched off, or lost, on purpose: the ledger follows it in the end, and its changes have one
/// event at most.
pub const RELAXED: &str = "VOUCHER";

const RETRY: &str =
    "SELECT daybook.retry(reference_type, reference_id) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL";

pub fn steps(work_ms: u64, random: &mut StdRng, steps: &mut Vec<Step>) {
    for _ in 0..random.random_range(1..6) {
        let mut at = random.random_range(0..work_ms);
        for (on, sql) in act(random) {
            steps.push(Step { at, actor: Actor::Dba, act: Act::Administer { on, sql } });
            at += random.random_range(50..900);
        }
    }
}

/// One act, and what ends it where it has an end.
fn act(random: &mut StdRng) -> Vec<(Side, String)> {
    let (table, reference_type) = TABLES[random.random_range(0..TABLES.len())];
    let source = |sql: &str| vec![(Side::Source, sql.to_string())];
    let rule = |reference_type: &str, old: &str, new: &str| {
        let sql = format!(
            "SELECT ledger.apply_rule('main', reference_type, replace(definition, '\"{old}\"', '\"{new}\"'), replace => true)
             FROM ledger.posting_rules WHERE reference_type = '{reference_type}' AND replaced_at IS NULL"
        );
        (Side::Ledger, sql)
    };
    match random.random_range(0..20) {
        0 => source(&format!("SELECT daybook.backfill('{table}')")),
        1 => source(&format!("SELECT daybook.reconcile('{table}')")),
        2..4 => source(RETRY),
        4 => vec![rule("LAB", "4200", "4201"), rule("LAB", "4201", "4200")],
        5 => vec![rule("CLAIM", "4400", "4401"), rule("CLAIM", "4401", "4400")],
        6..8 => {
            let account = ["1030", "1020", "4500", "4600", "5100"][random.random_range(0..5)];
            let delete = format!("DELETE FROM ledger.accounts WHERE account_code = '{account}'");
            vec![(Side::Ledger, delete), (Side::Ledger, put_back_accounts()), (Side::Source, RETRY.into())]
        }
        8..11 => vec![
            (Side::Source, "SELECT daybook.suspend('vouchers')".into()),
            (Side::Source, "UPDATE vouchers SET value = value + 0.01 WHERE value < 1000".into()),
            (Side::Source, "SELECT daybook.resume('vouchers')".into()),
        ],
        11 => source("SELECT daybook.release_held('VOUCHER')"),
        12 => source(&format!("SELECT daybook.release('{reference_type}', '3')")).into_iter().filter(|_| reference_type != "CLAIM").collect(),
        13 => source(&format!("SELECT daybook.enqueue('{reference_type}', '[\"2024\", \"3\"]')")),
        14 => vec![(Side::Source, "SELECT daybook.pause()".into()), (Side::Source, "SELECT daybook.resume()".into())],
        15 => source("TRUNCATE vouchers"),
        16 => vec![
            (Side::Source, "ALTER TABLE vouchers ALTER COLUMN code TYPE varchar(60)".into()),
            (Side::Source, "ALTER TABLE vouchers ALTER COLUMN code TYPE text".into()),
        ],
        17 => vec![
            (Side::Source, "BEGIN; ALTER TABLE vouchers ADD COLUMN value_2 numeric; UPDATE vouchers SET value_2 = value; \
                            ALTER TABLE vouchers DROP COLUMN value; ALTER TABLE vouchers RENAME COLUMN value_2 TO value; COMMIT".into()),
            (Side::Source, attach_vouchers()),
        ],
        18 => source(&format!("VACUUM FULL {table}")),
        _ => {
            let column = format!("extra_{}", random.random_range(0..1000));
            vec![
                (Side::Source, format!("ALTER TABLE {table} ADD COLUMN {column} timestamptz DEFAULT clock_timestamp()")),
                (Side::Source, format!("ALTER TABLE {table} DROP COLUMN IF EXISTS {column}")),
            ]
        }
    }
}

pub fn attach_vouchers() -> String {
    "SELECT daybook.attach('vouchers', 'VOUCHER', ARRAY['code'], ARRAY['value', 'mode', 'sold_at'])".into()
}

pub fn put_back_accounts() -> String {
    "INSERT INTO ledger.accounts VALUES ('main', '1030', 'Mobile payment clearing', 'asset'), ('main', '1020', 'Card clearing', 'asset'),
        ('main', '4500', 'Room revenue', 'income'), ('main', '4600', 'Vouchers sold', 'liability'),
        ('main', '5100', 'Cost of goods sold', 'expense') ON CONFLICT DO NOTHING"
        .into()
}

/// What an operator does when the faults are over, so that every bill can be what its row says.
pub fn put_in_order_source() -> Vec<String> {
    vec![attach_vouchers(), "SELECT daybook.resume('vouchers')".into(), "SELECT daybook.resume()".into()]
}
