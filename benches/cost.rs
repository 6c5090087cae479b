//! What daybook costs and how fast it is, as ratios within one run: `cargo bench`.
//!
//! 1. What capture adds to the application's INSERT: the same rows into the same table, before and after it is attached.
//! 2. Posting 100,000 queued pharmacy bills, beside a bare ledger that one set-based SQL statement fills from the same rows:
//!    no guards, no locks, no provenance, no second connection.

use std::time::{Duration, Instant};

use daybook::address::parse_url;
use daybook::consumer;
use daybook::database::{Side, connect};
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::options::Databases;
use daybook::private_server::PrivateServer;
use tokio_postgres::Client;

const BILLS: i64 = 100_000;
const ROUNDS: usize = 5;

const ONE_BY_ONE: &str = "DO $$BEGIN FOR g IN 1..20000 LOOP
    INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number)
    VALUES (g, 112, 12, 60.5, 'cash', 'I'); END LOOP; END$$";
const IN_ONE_STATEMENT: &str =
    "INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number)
     SELECT g, 112, 12, 60.5, 'cash', 'I' FROM generate_series(1, 20000) AS g";

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return; // `cargo test --benches` only asks whether it builds
    }
    let server =
        PrivateServer::start(&["max_wal_size=4GB", "shared_buffers=512MB"]).expect("the private server starts");
    let config = parse_url(Side::Source, &server.url("postgres", "postgres")).expect("our own URL");
    let client = connect(Side::Source, &config).await.expect("connects");
    client.batch_execute(include_str!("../sql/demo/clinic.sql")).await.expect("creates the bill tables");
    install(&config, &config, &Wishes::default()).await.expect("installs");

    println!("capture: microseconds per inserted row, median of {ROUNDS} rounds");
    let attach = include_str!("../triggers/pharmacy_bills.sql");
    let detach = "SELECT daybook.detach('pharmacy_bills', discard_unfinished => true)";
    for (name, sql) in [("20,000 INSERTs", ONE_BY_ONE), ("one INSERT of 20,000 rows", IN_ONE_STATEMENT)] {
        let (mut bare, mut captured) = (Vec::new(), Vec::new());
        for _ in 0..=ROUNDS {
            bare.push(timed(&client, sql).await);
            client.batch_execute(attach).await.expect("attaches");
            captured.push(timed(&client, sql).await);
            client.batch_execute(detach).await.expect("detaches");
            client.batch_execute("TRUNCATE pharmacy_bills").await.expect("empties");
        }
        let per_row = |rounds: &[Duration]| median(&rounds[1..]).as_secs_f64() * 1e6 / 20_000.0; // the first warms up
        let (bare, captured) = (per_row(&bare), per_row(&captured));
        println!("  {name}: bare {bare:.1}, captured {captured:.1}, ratio {:.2}", captured / bare);
    }

    client.batch_execute(attach).await.expect("attaches");
    let fill = format!(
        "INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number, created_at)
         SELECT g, 112.00 + g % 1000, 12.00, 60.50, (ARRAY['cash', 'card', 'upi', 'neft', 'credit'])[1 + g % 5], 'I' || g,
                now() - (g % 300) * interval '1 day' FROM generate_series(1, {BILLS}) AS g"
    );
    client.batch_execute(&fill).await.expect("writes bills");
    let bare = timed(&client, include_str!("bare_ledger.sql")).await;
    println!("posting {BILLS} queued pharmacy bills of five lines each");
    println!("  bare ledger, one SQL statement: {:.0} bills/s", rate(bare));
    for workers in [1, 2] {
        let options = Databases {
            name: None,
            source: config.clone(),
            ledger: config.clone(),
            workers,
            heads: Default::default(),
        };
        let started = Instant::now();
        let drained = consumer::drain(options, Duration::from_secs(600)).await.expect("drains");
        let took = started.elapsed();
        assert_eq!((drained.events, drained.unfinished), (BILLS as u64, 0), "every bill is posted");
        println!(
            "  daybook drain, {workers} workers: {:.0} bills/s, {:.2} of the bare ledger",
            rate(took),
            bare.as_secs_f64() / took.as_secs_f64()
        );
        // The same again from other bills.
        client.batch_execute("VACUUM daybook.sync_queue").await.expect("cleans");
        client.batch_execute(&fill).await.expect("writes bills");
    }
}

async fn timed(client: &Client, sql: &str) -> Duration {
    let started = Instant::now();
    client.batch_execute(sql).await.expect("runs");
    started.elapsed()
}

fn median(rounds: &[Duration]) -> Duration {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn rate(took: Duration) -> f64 {
    BILLS as f64 / took.as_secs_f64()
}
