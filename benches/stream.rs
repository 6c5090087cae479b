//! What capture from the WAL costs, each figure beside a reference of the same run: `cargo bench --bench stream`.
//!
//! The writer's CPU in the server beside a bare INSERT; changes a second from WAL to durable queue beside `pg_recvlogical` to /dev/null on the
//! same backlog; the memory that a transaction of a million rows takes; and how long a commit takes to become an entry.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daybook::address::{Address, parse_url};
use daybook::consumer;
use daybook::database::{Session, Side, connect};
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::options::Databases;
use daybook::private_server::PrivateServer;
use daybook::stream::{self, Stream};
use tokio_postgres::Client;

const LAB: &str = include_str!("../triggers/lab_bills.sql");
const BILL: &str = "INSERT INTO lab_bills (amount, paid, payment_mode, invoice_number)";
const PUBLICATIONS: &str = "publication_names=daybook,daybook_queue";

struct Bench {
    server: PrivateServer,
    config: Address,
    client: Client,
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return; // `cargo test --benches` only asks whether it builds
    }
    let settings = ["wal_level=logical", "max_wal_size=8GB", "shared_buffers=512MB", "max_connections=50"];
    let server = PrivateServer::start(&settings).expect("the private server starts");
    let config = parse_url(Side::Source, &server.url("postgres", "postgres")).expect("our own URL");
    let client = connect(Side::Source, &config).await.expect("connects");
    client.batch_execute(include_str!("../sql/demo/clinic.sql")).await.expect("creates the bill tables");
    install(&config, &config, &Wishes::default()).await.expect("installs");
    client.batch_execute("CREATE TABLE bare (LIKE lab_bills INCLUDING ALL)").await.expect("creates the reference");
    client
        .batch_execute(&LAB.replace("'created_at'])", "'created_at'], capture_mode => 'wal')"))
        .await
        .expect("attaches");
    let bench = Bench { server, config, client };
    // The slot of ours, and that of the reference.
    consumer::drain(bench.databases(), Duration::from_secs(60)).await.expect("makes the slot");
    let reference = "SELECT pg_create_logical_replication_slot('reference', 'pgoutput')";
    bench.client.batch_execute(reference).await.expect("makes a slot");
    bench.latency().await; // first: later reconciliation has work, which waits in the same queue
    bench.writers_cpu().await;
    bench.backlog("one-row transactions", 200_000, false).await;
    bench.backlog("rows of one transaction", 1_000_000, true).await;
}

impl Bench {
    fn databases(&self) -> Databases {
        let config = &self.config;
        Databases { name: None, source: config.clone(), ledger: config.clone(), workers: 2, heads: Default::default() }
    }

    /// CPU of the backend that inserts, by the kernel's count, bare and captured in turns.
    async fn writers_cpu(&self) {
        let (stop, stream) = self.start_stream();
        self.caught_up().await;
        let pid: i32 = self.client.query_one("SELECT pg_backend_pid()", &[]).await.expect("asks").get(0);
        let (mut bare, mut captured) = (Vec::new(), Vec::new());
        let sender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = daybook.slot_name()";
        let sender: Option<i32> = self.client.query_one(sender, &[]).await.expect("asks").get(0);
        let sender_before = sender.map_or(0, cpu_ticks);
        for _ in 0..5 {
            for (table, rounds) in [("bare", &mut bare), ("lab_bills", &mut captured)] {
                let insert = format!(
                    "INSERT INTO {table} (amount, paid, payment_mode, invoice_number) VALUES (80, true, 'cash', 'W')"
                );
                let insert = self.client.prepare(&insert).await.expect("prepares");
                let before = cpu_ticks(pid);
                for _ in 0..20_000 {
                    self.client.execute(&insert, &[]).await.expect("writes");
                }
                rounds.push(cpu_ticks(pid) - before);
            }
        }
        let sender_ticks = sender.map_or(0, cpu_ticks) - sender_before;
        let (bare, captured): (u64, u64) = (bare.iter().sum(), captured.iter().sum());
        let each = |ticks: u64| ticks as f64 * 10_000.0 / 100_000.0;
        println!(
            "server CPU of an INSERT: {:.1} us bare, {:.1} us in a table captured from the WAL, ratio {:.2}; the walsender's beside it {:.1} us a row of both",
            each(bare),
            each(captured),
            captured as f64 / bare as f64,
            each(sender_ticks) / 2.0
        );
        self.caught_up().await;
        stop.send(true).expect("stops");
        stream.await.expect("ends");
    }

    fn start_stream(&self) -> (tokio::sync::watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        (stop, tokio::spawn(Stream::new(self.databases(), stopped, Arc::default()).run()))
    }

    async fn caught_up(&self) {
        let session = Session::new(connect(Side::Source, &self.config).await.expect("connects"));
        assert!(stream::catch_up(&session, Duration::from_secs(600)).await.expect("waits"), "the stream catches up");
    }

    /// The same backlog, read by `pg_recvlogical` to nowhere, and by the stream into the queue.
    async fn backlog(&self, what: &str, rows: i64, at_once: bool) {
        self.client
            .batch_execute("SELECT pg_replication_slot_advance('reference', pg_current_wal_lsn())")
            .await
            .expect("moves on");
        self.client
            .batch_execute("DELETE FROM daybook.sync_queue; SET synchronous_commit = off")
            .await
            .expect("empties the queue");
        let write = match at_once {
            true => format!("{BILL} SELECT 80, true, 'cash', 'B' FROM generate_series(1, {rows})"),
            false => format!(
                "DO $$ BEGIN FOR g IN 1..{rows} LOOP {BILL} VALUES (80, true, 'cash', 'B'); COMMIT; END LOOP; END $$"
            ),
        };
        self.client.batch_execute(&write).await.expect("writes");
        self.client
            .batch_execute("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'end', ''); CHECKPOINT")
            .await
            .expect("flushes");
        let end: String = self.client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.expect("asks").get(0);

        let began = Instant::now();
        let directory = self.server.directory().display().to_string();
        let received = Command::new("pg_recvlogical")
            .args([
                "-h",
                &directory,
                "-U",
                "postgres",
                "-d",
                "postgres",
                "--slot",
                "reference",
                "--start",
                "--no-loop",
                "-f",
                "/dev/null",
            ])
            .args(["-o", "proto_version=1", "-o", PUBLICATIONS, "--endpos", &end])
            .stderr(Stdio::null())
            .status();
        let reference = began.elapsed();

        let memory = peak_megabytes();
        let began = Instant::now();
        let (stop, stream) = self.start_stream();
        self.caught_up().await;
        let ours = began.elapsed();
        let queued: i64 =
            self.client.query_one("SELECT count(*) FROM daybook.sync_queue", &[]).await.expect("counts").get(0);
        assert!(queued >= rows, "{queued} of {rows} are queued");
        stop.send(true).expect("stops");
        stream.await.expect("ends");
        let a_second = |took: Duration| rows as f64 / took.as_secs_f64();
        match received {
            Ok(status) if status.success() => println!(
                "{rows} {what}: {:.0}/s from the WAL into the durable queue, {:.0}/s by pg_recvlogical to /dev/null, ratio {:.2}",
                a_second(ours),
                a_second(reference),
                reference.as_secs_f64() / ours.as_secs_f64()
            ),
            _ => println!(
                "{rows} {what}: {:.0}/s from the WAL into the durable queue; pg_recvlogical is not there",
                a_second(ours)
            ),
        }
        println!("  memory: {memory} MB at most before, {} MB after", peak_megabytes());
    }

    /// A hundred bills a second, for twenty seconds.
    async fn latency(&self) {
        self.client.batch_execute("DELETE FROM daybook.sync_queue").await.expect("empties the queue");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(consumer::run(self.databases(), async {
            let _ = stopped.await;
        }));
        self.caught_up().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let since: chrono::DateTime<chrono::Utc> =
            self.client.query_one("SELECT clock_timestamp()", &[]).await.expect("asks").get(0);
        let insert = self.client.prepare(&format!("{BILL} VALUES (80, true, 'cash', 'P')")).await.expect("prepares");
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..2_000 {
            tick.tick().await;
            self.client.execute(&insert, &[]).await.expect("writes");
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let sql = "SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM posted_at - changed_at)) * 1000,
                          percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM posted_at - changed_at)) * 1000
                   FROM ledger.journal_entries WHERE changed_at >= $1";
        let row = self.client.query_one(sql, &[&since]).await.expect("reads");
        println!(
            "from commit to entry, captured from the WAL, 100 bills a second: median {:.1} ms, p99 {:.1} ms, of {} entries",
            row.get::<_, f64>(1),
            row.get::<_, f64>(2),
            row.get::<_, i64>(0)
        );
        let _ = stop.send(());
        running.await.expect("ends").expect("ends in order");
    }
}

/// User and system time of a process, in hundredths of a second.
fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
    field(11) + field(12)
}

/// The most memory that this process has had so far, as Linux tells it.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}
