//! What the legacy application writes: transactions as SQL text, made by chance.
//!
//! Few keys are written again and again, so that sessions meet and keys are used anew; some are new, so that nothing mends
//! later what was lost.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::plan::{Statement, Transaction};

/// A bill table with a single number for its key.
struct Table {
    name: &'static str,
    amount: &'static str,
    mode: &'static str,
    /// Set to something else, it changes nothing that matters.
    unmapped: &'static str,
}

const TABLES: [Table; 4] = [
    Table { name: "consultation_invoices", amount: "amount", mode: "mode", unmapped: "visit_id = 7" },
    Table { name: "pharmacy_bills", amount: "total_amount", mode: "payment_mode", unmapped: "printed = NOT printed" },
    Table { name: "lab_bills", amount: "amount", mode: "payment_mode", unmapped: "printed = NOT printed" },
    Table { name: "ultrasound_bills", amount: "total_amount", mode: "payment_mode", unmapped: "printed = NOT printed" },
];

/// Writes the transactions of one desk.
pub struct Author {
    desk: usize,
    always_lazy: bool,
    next_key: u64,
    prepared: Vec<String>,
    transactions: u64,
    /// New bills that are written again soon, and then never more: nothing mends what becomes of them.
    recent: Vec<(usize, u64)>,
    last_table: usize,
}

impl Author {
    pub fn new(desk: usize, always_lazy: bool) -> Author {
        Author {
            desk,
            always_lazy,
            next_key: 1000 * (desk as u64 + 1),
            prepared: Vec::new(),
            transactions: 0,
            recent: Vec::new(),
            last_table: 0,
        }
    }

    pub fn transaction(&mut self, random: &mut StdRng) -> Transaction {
        self.transactions += 1;
        if !self.prepared.is_empty() && random.random_bool(0.4) {
            let name = self.prepared.remove(0);
            let end = ["COMMIT PREPARED", "ROLLBACK PREPARED"][usize::from(random.random_bool(0.3))];
            let statements = vec![Statement::Sql(format!("{end} '{name}'"))];
            return Transaction { begin: String::new(), statements, end: String::new() };
        }
        if random.random_bool(0.3)
            && let Some((table, id)) = self.recent.pop()
        {
            return self.write_again(table, id, random);
        }
        let isolation = match random.random_range(0..12) {
            0 => " ISOLATION LEVEL REPEATABLE READ",
            1 => " ISOLATION LEVEL SERIALIZABLE",
            _ => "",
        };
        let lazy = self.always_lazy || random.random_bool(0.3);
        let lazy = if lazy { "; SET LOCAL synchronous_commit = off" } else { "" };
        let mut statements = Vec::new();
        for _ in 0..[1, 1, 1, 2, 3, 5][random.random_range(0..6)] {
            self.write(random, &mut statements);
            if random.random_bool(0.15) {
                statements.push(Statement::Pause(random.random_range(1..150)));
            }
        }
        let end = match random.random_range(0..20) {
            0..3 => "ROLLBACK".into(),
            3 => {
                // Names are the cluster's, so the database's stands before each.
                let name = format!("{{database}}_{}_{}", self.desk, self.transactions);
                self.prepared.push(name.clone());
                format!("PREPARE TRANSACTION '{name}'")
            }
            _ => "COMMIT".into(),
        };
        Transaction { begin: format!("BEGIN{isolation}{lazy}"), statements, end }
    }

    /// A short transaction that writes one new bill.
    pub fn new_bill(&mut self, random: &mut StdRng) -> Transaction {
        self.next_key += 1;
        self.last_table = random.random_range(0..TABLES.len());
        let table = &TABLES[self.last_table];
        let sql = upsert(table.name, self.next_key, &money_owed(random), "'cash'", random);
        let begin = "BEGIN; SET LOCAL synchronous_commit = off".into();
        Transaction { begin, statements: vec![Statement::Sql(sql)], end: "COMMIT".into() }
    }

    /// A new bill, and a change of it.
    pub fn new_bill_twice(&mut self, random: &mut StdRng) -> [Transaction; 2] {
        let first = self.new_bill(random);
        let Table { name, amount, .. } = &TABLES[self.last_table];
        let sql = format!("UPDATE {name} SET {amount} = {} WHERE id = {}", money_owed(random), self.next_key);
        let again = Transaction { statements: vec![Statement::Sql(sql)], ..first.clone() };
        [first, again]
    }

    /// A short transaction that changes a new bill once more, or deletes it.
    fn write_again(&mut self, table: usize, id: u64, random: &mut StdRng) -> Transaction {
        if random.random_bool(0.5) {
            self.recent.push((table, id));
        }
        let Table { name, amount, mode, .. } = &TABLES[table];
        let sql = match random.random_range(0..6) {
            0 => format!("DELETE FROM {name} WHERE id = {id}"),
            1 => format!("UPDATE {name} SET {mode} = {} WHERE id = {id}", payment(random)),
            _ => format!("UPDATE {name} SET {amount} = {} WHERE id = {id}", money(random)),
        };
        let lazy = if self.always_lazy { "; SET LOCAL synchronous_commit = off" } else { "" };
        Transaction { begin: format!("BEGIN{lazy}"), statements: vec![Statement::Sql(sql)], end: "COMMIT".into() }
    }

    fn write(&mut self, random: &mut StdRng, statements: &mut Vec<Statement>) {
        let savepoint = random.random_bool(0.12);
        if savepoint {
            statements.push(Statement::Sql("SAVEPOINT s".into()));
        }
        let statement = match random.random_range(0..20) {
            0..3 => Statement::Sql(self.claim(random)),
            3..5 => Statement::Sql(self.room(random)),
            5..7 => Statement::Sql(voucher(random)),
            7 => self.copy(random),
            _ => Statement::Sql(self.bill(random)),
        };
        statements.push(statement);
        if savepoint {
            let end = if random.random_bool(0.6) { "ROLLBACK TO SAVEPOINT s" } else { "RELEASE SAVEPOINT s" };
            statements.push(Statement::Sql(end.into()));
        }
    }

    /// A key that many use, or one that nobody has used yet.
    fn key(&mut self, random: &mut StdRng) -> u64 {
        if random.random_bool(0.6) {
            return random.random_range(1..9);
        }
        self.next_key += 1;
        self.next_key
    }

    fn bill(&mut self, random: &mut StdRng) -> String {
        let at = random.random_range(0..TABLES.len());
        let Table { name, amount, mode, unmapped } = &TABLES[at];
        let (id, value, how) = (self.key(random), money(random), payment(random));
        let hot = random.random_range(1..9);
        match random.random_range(0..20) {
            0..6 => {
                if id > 100 {
                    self.recent.push((at, id));
                }
                upsert(name, id, &value, how, random)
            }
            6..9 => format!("UPDATE {name} SET {amount} = {value} WHERE id = {hot}"),
            9 => format!("UPDATE {name} SET {mode} = {how} WHERE id = {hot}"),
            10 => format!("UPDATE {name} SET {unmapped} WHERE id = {hot}"),
            11..13 => format!("DELETE FROM {name} WHERE id = {hot}"),
            13 => format!("UPDATE {name} SET id = {id} WHERE id = {hot}"),
            14 => format!("DELETE FROM {name} WHERE id = {hot}; {}", upsert(name, hot, &value, how, random)),
            15 => format!("UPDATE {name} SET {amount} = {amount} + 0.01 WHERE id <= {hot}"),
            16 => format!(
                "SELECT FROM {name} WHERE id = {hot} FOR UPDATE; UPDATE {name} SET {amount} = {value} WHERE id = {hot}"
            ),
            17 => merge(name, amount, hot, &value),
            18 => {
                let first = self.next_key + 1;
                self.next_key += 40;
                format!(
                    "INSERT INTO {name} (id, {}{amount}, {mode}) SELECT g, {}g, {how} FROM generate_series({first}, {}) AS g",
                    if *name == "consultation_invoices" { "patient_id, " } else { "invoice_number, " },
                    if *name == "consultation_invoices" { "1, " } else { "'BULK', " },
                    self.next_key
                )
            }
            _ => format!(
                "LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE; UPDATE {name} SET {amount} = {value} WHERE id = {hot}"
            ),
        }
    }

    fn claim(&mut self, random: &mut StdRng) -> String {
        let (year, number) = (random.random_range(2022..2026), random.random_range(1..7));
        let status = ["'filed'", "'paid'", "'draft'", "'void'", "'Paid '", "'lost'", "NULL"];
        let status = status[[0, 0, 1, 1, 2, 3, 5, 6][random.random_range(0..8)]];
        let value = money(random);
        match random.random_range(0..8) {
            0..4 => format!(
                "INSERT INTO claims (year, number, insurer, amount, status, filed_on) VALUES ({year}, {number}, 'first', {value}, {status}, '2024-02-{:02}')
                 ON CONFLICT (year, number) DO UPDATE SET amount = excluded.amount, status = excluded.status",
                random.random_range(1..29)
            ),
            4 => format!("UPDATE claims SET approved = {value} WHERE number = {number}"),
            5 => format!("UPDATE claims SET year = {year} WHERE number = {number} AND year = {}", random.random_range(2022..2026)),
            6 => format!("UPDATE claims SET seen = NOT seen WHERE year = {year}"),
            _ => format!("DELETE FROM claims WHERE year = {year} AND number = {number}"),
        }
    }

    fn room(&mut self, random: &mut StdRng) -> String {
        let (one, other, value) = (random.random_range(1..7), random.random_range(1..7), money_owed(random));
        match random.random_range(0..7) {
            0..2 => {
                format!("INSERT INTO rooms (id, total, left_on) VALUES ({}, {value}, '2024-03-10')", self.key(random))
            }
            2 => format!("UPDATE rooms SET total = {value} WHERE id = {one}"),
            3 => format!("UPDATE rooms SET void_at = CASE WHEN void_at IS NULL THEN now() END WHERE id = {one}"),
            4 => format!(
                "UPDATE rooms SET id = CASE id WHEN {one} THEN {other} ELSE {one} END WHERE id IN ({one}, {other})"
            ),
            5 => format!("DELETE FROM rooms WHERE id = {one}"),
            // For a while two rows have one key; the later one stays.
            _ => format!(
                "INSERT INTO rooms (id, total, left_on) VALUES ({one}, {value}, '2024-03-11'); DELETE FROM rooms WHERE id = {one} AND left_on <> '2024-03-11'"
            ),
        }
    }

    fn copy(&mut self, random: &mut StdRng) -> Statement {
        let mut rows = String::new();
        for _ in 0..random.random_range(1..30) {
            self.next_key += 1;
            rows += &format!(
                "{}\t{}.{:02}\tcash\tCOPY\n",
                self.next_key,
                random.random_range(1..900),
                random.random_range(0..100)
            );
        }
        Statement::Copy { sql: "COPY lab_bills (id, amount, payment_mode, invoice_number) FROM STDIN".into(), rows }
    }
}

fn upsert(name: &str, id: u64, value: &str, how: &str, random: &mut StdRng) -> String {
    let invoice = if random.random_bool(0.85) { "'INV'" } else { "NULL" };
    let paid = ["true", "false", "NULL"][random.random_range(0..3)];
    let odd = ["NULL", "NULL", "NULL", "'again'", "'round up'"][random.random_range(0..5)];
    let day = format!("'2024-01-01 20:00+00'::timestamptz + {} * interval '6 hours'", random.random_range(0..60));
    match name {
        "consultation_invoices" => format!(
            "INSERT INTO {name} (id, patient_id, visit_id, amount, mode, paid, created_at) VALUES ({id}, 1, {}, {value}, {how}, {paid}, {day})
             ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, mode = excluded.mode, paid = excluded.paid",
            random.random_range(10..15)
        ),
        "pharmacy_bills" => format!(
            "INSERT INTO {name} (id, total_amount, gst_amount, cost_amount, discount_type, payment_mode, invoice_number, created_at)
             VALUES ({id}, {value}, round({value} * 0.1, 2), round({value} / 2, 2), {odd}, {how}, {invoice}, {day})
             ON CONFLICT (id) DO UPDATE SET total_amount = excluded.total_amount, gst_amount = excluded.gst_amount, cost_amount = excluded.cost_amount,
                 discount_type = excluded.discount_type, payment_mode = excluded.payment_mode, invoice_number = excluded.invoice_number"
        ),
        "lab_bills" => format!(
            "INSERT INTO {name} (id, visit_id, amount, paid, discount_type, payment_mode, invoice_number, created_at)
             VALUES ({id}, 4, {value}, {paid}, {odd}, {how}, {invoice}, {day})
             ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, paid = excluded.paid, discount_type = excluded.discount_type,
                 payment_mode = excluded.payment_mode, invoice_number = excluded.invoice_number, created_at = excluded.created_at"
        ),
        _ => format!(
            "INSERT INTO {name} (id, visit_id, total_amount, payment_mode, invoice_number, created_at) VALUES ({id}, 5, {value}, {how}, {invoice}, {day})
             ON CONFLICT (id) DO UPDATE SET total_amount = excluded.total_amount, payment_mode = excluded.payment_mode,
                 invoice_number = excluded.invoice_number"
        ),
    }
}

/// MERGE came with PostgreSQL 15; on an older server it is left out.
fn merge(name: &str, amount: &str, id: u64, value: &str) -> String {
    let (column, new) =
        if name == "consultation_invoices" { ("patient_id", "1") } else { ("invoice_number", "'MERGE'") };
    format!(
        "MERGE INTO {name} AS t USING (VALUES ({id}::bigint, {value})) AS v (id, amount) ON t.id = v.id
         WHEN MATCHED AND v.amount < 5 THEN DELETE WHEN MATCHED THEN UPDATE SET {amount} = v.amount
         WHEN NOT MATCHED THEN INSERT (id, {column}, {amount}) VALUES (v.id, {new}, v.amount)"
    )
}

fn voucher(random: &mut StdRng) -> String {
    let code = format!("'v{}'", random.random_range(1..15));
    let value = money(random);
    match random.random_range(0..7) {
        0..4 => format!(
            "INSERT INTO vouchers (code, value, mode) VALUES ({code}, {value}, {}) ON CONFLICT (code) DO UPDATE SET value = excluded.value, mode = excluded.mode",
            payment(random)
        ),
        4 => format!("UPDATE vouchers SET value = {value} WHERE code = {code}"),
        5 => format!("UPDATE vouchers SET code = code || 'x' WHERE code = {code}"),
        _ => format!("DELETE FROM vouchers WHERE code = {code}"),
    }
}

/// An amount as SQL: mostly one that can be posted.
fn money(random: &mut StdRng) -> String {
    match random.random_range(0..40) {
        0 => "'NaN'::numeric".into(),
        1 => "12.345".into(),
        2 => "0.00".into(),
        3 => "1e20".into(),
        cents => format!(
            "{}{}.{:02}",
            if cents == 4 { "-" } else { "" },
            random.random_range(1..900),
            random.random_range(0..100)
        ),
    }
}

fn money_owed(random: &mut StdRng) -> String {
    format!("{}.{:02}", random.random_range(1..900), random.random_range(0..100))
}

fn payment(random: &mut StdRng) -> &'static str {
    let modes = [
        "'cash'",
        "' CASH'",
        "'card'",
        "'upi'",
        "'neft'",
        "'credit'",
        "'Bank Transfer'",
        "''",
        "NULL",
        "'gpay'",
        "'barter'",
    ];
    modes[random.random_range(0..modes.len())]
}
