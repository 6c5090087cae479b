//! The simulated legacy application: several sessions that write bills, and know nothing of daybook.
//!
//! How often what happens follows the billing log of a regional hospital, 9,999 cases from 2012 to 2016 (Mannhardt,
//! doi 10.4121/uuid:76c46b83-c930-4798-a1c9-4be94dfeb741): of 10,000 cases 7,422 are billed, 985 deleted, 703 reopened
//! and 490 cancelled after billing. The log has no amounts; they are drawn here.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

use crate::error::{Doing, Result};

/// Of 10,000 actions on a bill that exists; what is left over only marks it as printed.
const DELETED: u32 = 300; // about 985 of 10,000 bills, over the three or so actions that a bill sees
const CANCELLED: u32 = 160; // about 490
const REOPENED: u32 = 230; // about 703
const FINISHED: u32 = 4_000; // most drafts get their invoice number
const EDITED: u32 = 1_200;
const DISCOUNTED: u32 = 900;
const PAID: u32 = 1_500;
const REFUNDED: u32 = 150;
const MISTYPED: u32 = 60; // a payment mode that nobody knows
const MENDED: u32 = 500;

const MODES: [Option<&str>; 10] = [
    Some("cash"),
    Some("Cash "),
    Some("CARD"),
    Some("upi"),
    Some("GPay"),
    Some("neft"),
    Some("credit"),
    Some("debit card"),
    None,
    Some(""),
];

const TABLES: [&str; 4] = ["consultation_invoices", "pharmacy_bills", "lab_bills", "ultrasound_bills"];

/// What a session did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Written {
    pub bills: u64,
    pub transactions: u64,
    pub rollbacks: u64,
}

/// One session: creates `bills` bills, and acts on those it created, two actions for each creation.
pub async fn session(client: &Client, seed: u64, bills: u64, mut progress: impl FnMut(u64)) -> Result<Written> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut known: Vec<(usize, i64)> = Vec::new();
    let mut written = Written::default();
    while written.bills < bills || written.transactions < bills * 3 {
        let create = known.is_empty() || (written.bills < bills && random.random_ratio(1, 3));
        let roll_back = random.random_ratio(3, 100);
        client.batch_execute("BEGIN").await.doing("the application begins")?;
        let mut created = Vec::new();
        let mut deleted = None;
        if create {
            for _ in 0..random.random_range(1..=3_u64).min(bills.saturating_sub(written.bills).max(1)) {
                let table = random.random_range(0..TABLES.len());
                created.push((table, create_bill(client, table, &mut random).await?));
            }
        } else {
            let at = random.random_range(0..known.len());
            let (table, id) = known[at];
            if act(client, table, id, &mut random).await? {
                deleted = Some(at);
            }
        }
        if roll_back {
            client.batch_execute("ROLLBACK").await.doing("the application rolls back")?;
            written.rollbacks += 1;
        } else {
            client.batch_execute("COMMIT").await.doing("the application commits")?;
            written.bills += created.len() as u64;
            progress(created.len() as u64);
            known.extend(created);
            if let Some(at) = deleted {
                known.swap_remove(at);
            }
        }
        written.transactions += 1;
    }
    Ok(written)
}

async fn create_bill(client: &Client, table: usize, random: &mut StdRng) -> Result<i64> {
    let paise: i64 = random.random_range(5_000..500_000);
    let visit: Option<i64> = random.random_ratio(4, 5).then(|| random.random_range(1..100_000));
    let mode = MODES[random.random_range(0..MODES.len())];
    let days: i32 = random.random_range(0..30);
    let invoice = random.random_ratio(1, 2).then(|| format!("INV-{}", random.random_range(1..1_000_000)));
    let unpaid = random.random_ratio(1, 5);
    let row = match TABLES[table] {
        "consultation_invoices" => {
            let sql = "INSERT INTO consultation_invoices (patient_id, visit_id, amount, mode, paid, created_at)
                       VALUES ($1, $2, $3::bigint / 100.0, $4, $5, now() - make_interval(days => $6)) RETURNING id";
            let patient: i64 = random.random_range(1..20_000);
            client.query_one(sql, &[&patient, &visit, &paise, &mode, &!unpaid, &days]).await
        }
        "pharmacy_bills" => {
            let sql = "INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, cost_amount, payment_mode,
                                                   invoice_number, created_at)
                       VALUES ($1, $2::bigint / 100.0, round($2::bigint * 12 / 11200.0, 2), $3::bigint / 100.0, $4, $5,
                               now() - make_interval(days => $6)) RETURNING id";
            let cost: Option<i64> = random.random_ratio(9, 10).then(|| paise * 6 / 10);
            client.query_one(sql, &[&visit, &paise, &cost, &mode, &invoice, &days]).await
        }
        "lab_bills" => {
            let sql = "INSERT INTO lab_bills (visit_id, amount, paid, payment_mode, invoice_number, created_at)
                       VALUES ($1, $2::bigint / 100.0, $3, $4, $5, now() - make_interval(days => $6)) RETURNING id";
            client.query_one(sql, &[&visit, &paise, &!unpaid, &mode, &invoice, &days]).await
        }
        _ => {
            let sql = "INSERT INTO ultrasound_bills (visit_id, total_amount, payment_mode, invoice_number, created_at)
                       VALUES ($1, $2::bigint / 100.0, $3, $4, now() - make_interval(days => $5)) RETURNING id";
            client.query_one(sql, &[&visit, &paise, &mode, &invoice, &days]).await
        }
    };
    Ok(row.doing("the application creates a bill")?.get(0))
}

/// Does something to a bill; returns whether it is gone afterwards.
async fn act(client: &Client, table: usize, id: i64, random: &mut StdRng) -> Result<bool> {
    let name = TABLES[table];
    let (total, discounted) = match name {
        "consultation_invoices" => ("amount", None),
        "lab_bills" => ("amount", Some("discounted_amount")),
        _ => ("total_amount", Some("discounted_total")),
    };
    let (mode, has_invoice) = match name {
        "consultation_invoices" => ("mode", false),
        _ => ("payment_mode", true),
    };
    let mut dice = random.random_range(0..10_000_u32);
    let mut happens = |share: u32| {
        let happens = dice < share;
        dice = dice.wrapping_sub(share);
        happens
    };
    let set = if happens(DELETED) || happens(CANCELLED) {
        let sql = format!("DELETE FROM {name} WHERE id = $1");
        client.execute(&sql, &[&id]).await.doing("the application deletes a bill")?;
        return Ok(true);
    } else if happens(REOPENED) && has_invoice {
        "invoice_number = NULL".into()
    } else if happens(FINISHED) && has_invoice {
        format!("invoice_number = coalesce(invoice_number, 'INV-{}')", random.random_range(1..1_000_000))
    } else if happens(EDITED) {
        format!("{total} = {total} + {}.{:02}", random.random_range(1..50), random.random_range(0..100))
    } else if let Some(discounted) = discounted.filter(|_| happens(DISCOUNTED)) {
        let percent = random.random_range(5..50);
        format!(
            "discount_type = 'percent', discount_value = {percent}, {discounted} = round({total} * (100 - {percent}) / 100, 2)"
        )
    } else if happens(PAID) {
        match MODES[random.random_range(0..MODES.len())] {
            Some(to) => format!("{mode} = '{to}'"),
            None => format!("{mode} = NULL"),
        }
    } else if happens(REFUNDED) {
        match name {
            "pharmacy_bills" => {
                "total_amount = -abs(total_amount), gst_amount = -abs(gst_amount), cost_amount = -abs(cost_amount), \
                 discounted_total = NULL"
                    .into()
            }
            _ => format!("{total} = -abs({total})"),
        }
    } else if happens(MISTYPED) {
        format!("{mode} = 'barter'")
    } else if happens(MENDED) {
        format!("{mode} = CASE {mode} WHEN 'barter' THEN 'cash' ELSE {mode} END")
    } else if has_invoice {
        "printed = true".into()
    } else {
        "paid = true".into()
    };
    let sql = format!("UPDATE {name} SET {set} WHERE id = $1");
    client.execute(&sql, &[&id]).await.doing("the application edits a bill")?;
    Ok(false)
}
