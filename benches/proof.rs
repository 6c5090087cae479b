//! What reconciling costs, as ratios to one plain SQL outer join of the same rows within one run: `cargo bench --bench proof`.
//!
//! Two million bills, half a million a table, posted by `drain`; DAYBOOK_BENCH_BILLS changes how many. Then the pass by digests and the
//! full pass (each row through the posting function, and totals in plain SQL), the memory that this process took at most, and what a
//! writing application notices meanwhile: beside the join, too, which is what one busy query costs it on this machine. Once as the system
//! places the processes, and once where the application has a processor for itself, so that what a pass costs it is told apart
//! from what the system's scheduler does.

use std::time::{Duration, Instant};

use daybook::address::{Address, parse_url};
use daybook::consumer;
use daybook::database::{Side, connect};
use daybook::identity::Wishes;
use daybook::install::install;
use daybook::options::Databases;
use daybook::private_server::PrivateServer;
use daybook::reconcile::{Options, reconcile};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const ROUNDS: usize = 3;

const INSERT: &str =
    "INSERT INTO lab_bills (amount, paid, payment_mode, invoice_number) VALUES (80, true, 'cash', 'W')";
const INSERTS: usize = 1_500;

const TRIGGERS: [&str; 4] = [
    include_str!("../triggers/consultation_invoices.sql"),
    include_str!("../triggers/pharmacy_bills.sql"),
    include_str!("../triggers/lab_bills.sql"),
    include_str!("../triggers/ultrasound_bills.sql"),
];

fn fill(bills: i64) -> String {
    let mode = "(ARRAY['cash', 'card', 'upi', 'neft', 'credit'])[1 + g % 5]";
    let day = "now() - (g % 300) * interval '1 day'";
    let each = bills / 4;
    format!(
        "INSERT INTO consultation_invoices (patient_id, visit_id, amount, mode, paid, created_at)
         SELECT g, g, 300 + g % 700, {mode}, g % 9 > 0, {day} FROM generate_series(1, {each}) AS g;
         INSERT INTO pharmacy_bills (visit_id, total_amount, gst_amount, cost_amount, payment_mode, invoice_number, created_at)
         SELECT g, 112.00 + g % 1000, 12.00, 60.50, {mode}, 'I' || g, {day} FROM generate_series(1, {each}) AS g;
         INSERT INTO lab_bills (visit_id, amount, paid, payment_mode, invoice_number, created_at)
         SELECT g, 80 + g % 300, true, {mode}, 'L' || g, {day} FROM generate_series(1, {each}) AS g;
         INSERT INTO ultrasound_bills (visit_id, total_amount, payment_mode, invoice_number, created_at)
         SELECT g, 900 + g % 500, {mode}, 'U' || g, {day} FROM generate_series(1, {each}) AS g"
    )
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return; // `cargo test --benches` only asks whether it builds
    }
    let bills: i64 =
        std::env::var("DAYBOOK_BENCH_BILLS").ok().and_then(|bills| bills.parse().ok()).unwrap_or(2_000_000);
    // Tables and indexes fit into the server's own memory, so that no pass is a measure of how the system keeps files in its memory.
    let settings = ["max_wal_size=8GB", "shared_buffers=4GB", "max_connections=50"];
    let server = PrivateServer::start(&settings).expect("the private server starts");
    let config = parse_url(Side::Source, &server.url("postgres", "postgres")).expect("our own URL");
    let client = connect(Side::Source, &config).await.expect("connects");
    client.batch_execute(include_str!("../sql/demo/clinic.sql")).await.expect("creates the bill tables");
    install(&config, &config, &Wishes::default()).await.expect("installs");
    for trigger in TRIGGERS {
        client.batch_execute(trigger).await.expect("attaches");
    }
    client.batch_execute(&fill(bills)).await.expect("writes bills");
    let options =
        Databases { name: None, source: config.clone(), ledger: config.clone(), workers: 2, heads: Default::default() };
    let began = Instant::now();
    let drained = consumer::drain(options.clone(), Duration::from_secs(3_600)).await.expect("drains");
    assert_eq!((drained.events, drained.unfinished), (bills as u64, 0), "every bill is posted");
    println!("{bills} bills posted in {:.0} s", began.elapsed().as_secs_f64());
    client.batch_execute("VACUUM ANALYZE").await.expect("cleans");

    let memory = peak_megabytes();
    let mut joins = Vec::new();
    let mut passes: [(&str, bool, Vec<Duration>); 2] = [("by digests", false, Vec::new()), ("full", true, Vec::new())];
    for _ in 0..ROUNDS {
        joins.push(timed(&client, include_str!("outer_join.sql")).await);
        for (_, full, rounds) in &mut passes {
            rounds.push(pass(&options, *full, bills).await);
        }
    }
    let join = median(&joins);
    println!("plain SQL outer join of the same rows: {:.2} s, median of {ROUNDS} rounds", join.as_secs_f64());
    for (name, _, rounds) in &passes {
        let took = median(rounds);
        println!(
            "  pass {name}: {:.2} s, {:.2} of the join",
            took.as_secs_f64(),
            took.as_secs_f64() / join.as_secs_f64()
        );
    }
    println!("  memory: {memory} MB at most before, {} MB after", peak_megabytes());

    println!("processes on the processors that the system gives them:");
    beside_what_runs(&client, &config, &options, bills, None).await;
    let Some(placement) = Placement::of_its_own() else { return };
    println!("the application on one processor, all else on the others:");
    // New sessions are placed as the postmaster is, and new threads as those that start them.
    let postmaster = "SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)::integer";
    for process in [postmaster, OWN_PROCESS] {
        place(client.query_one(process, &[]).await.expect("tells a process").get(0), &placement.others);
    }
    for thread in std::fs::read_dir("/proc/self/task").expect("lists threads").flatten() {
        place(thread.file_name().to_string_lossy().parse().expect("a number"), &placement.others);
    }
    beside_what_runs(&client, &config, &options, bills, Some(placement)).await;
}

const OWN_PROCESS: &str = "SELECT pg_backend_pid()";

/// What an application notices beside the join and the passes.
async fn beside_what_runs(
    client: &Client,
    config: &Address,
    options: &Databases,
    bills: i64,
    placement: Option<Placement>,
) {
    for beside in [Beside::Join, Beside::Pass { full: false }, Beside::Pass { full: true }] {
        let (mut alone, mut meanwhile) = (Writing::default(), Writing::default());
        for _ in 0..ROUNDS {
            consumer::drain(options.clone(), Duration::from_secs(3_600)).await.expect("drains");
            alone.extend(writing(config, placement).await.expect("writes"));
            let busy = async {
                loop {
                    match beside {
                        Beside::Join => drop(timed(client, include_str!("outer_join.sql")).await),
                        Beside::Pass { full } => drop(pass(options, full, bills).await),
                    }
                }
            };
            let times = tokio::select! { times = writing(config, placement) => times, () = busy => unreachable!() };
            meanwhile.extend(times.expect("writes"));
        }
        tell(beside, &alone, &meanwhile);
    }
}

fn tell(beside: Beside, alone: &Writing, meanwhile: &Writing) {
    println!(
        "an application's INSERT, fifty a second, alone and while {} run one after the other, {ROUNDS} rounds of each by turns:",
        match beside {
            Beside::Join => "outer joins",
            Beside::Pass { full: false } => "digest passes",
            Beside::Pass { full: true } => "full passes",
        }
    );
    let mean = |times: &[Duration]| times.iter().sum::<Duration>() / times.len() as u32;
    for (what, alone, meanwhile) in [
        ("median", median(&alone.times), median(&meanwhile.times)),
        ("mean", mean(&alone.times), mean(&meanwhile.times)),
        ("nine of ten within", nine_of_ten(&alone.times), nine_of_ten(&meanwhile.times)),
    ] {
        let (alone, meanwhile) = (alone.as_secs_f64(), meanwhile.as_secs_f64());
        println!("  {what}: {:.0} us, {:.0} us, ratio {:.2}", alone * 1e6, meanwhile * 1e6, meanwhile / alone);
    }
    let waited = |writing: &Writing| writing.waited.as_secs_f64() * 1e6 / writing.times.len() as f64;
    println!("  of it the server waited for a processor: {:.0} us, {:.0} us", waited(alone), waited(meanwhile));
}

/// The processors that may run the application and its session, and those for all else.
#[derive(Clone, Copy)]
struct Placement {
    application: CpuSet,
    others: CpuSet,
}

impl Placement {
    /// One processor for the application; `None` where there is no other.
    fn of_its_own() -> Option<Placement> {
        let all = sched_getaffinity(Pid::from_raw(0)).expect("tells its processors");
        let mut processors = (0..CpuSet::count()).filter(|at| all.is_set(*at).unwrap_or_default());
        let first = processors.next()?;
        let (mut application, mut others) = (CpuSet::new(), all);
        application.set(first).and(others.unset(first)).expect("a processor");
        processors.next().map(|_| Placement { application, others })
    }
}

/// Has the system run a process or a thread on these processors only.
fn place(process: i32, processors: &CpuSet) {
    sched_setaffinity(Pid::from_raw(process), processors).expect("places a process of its own user, or as root");
}

/// What runs beside the application. One plain query keeps one processor busy: what it costs the application is the machine's.
#[derive(Clone, Copy)]
enum Beside {
    Join,
    Pass { full: bool },
}

async fn pass(databases: &Databases, full: bool, bills: i64) -> Duration {
    let began = Instant::now();
    let options = Options { full, repair: false, ..Options::default() };
    let report = reconcile(databases, options).await.expect("reconciles");
    let took = began.elapsed();
    let looked: i64 = report.tables.iter().map(|table| table.bills).sum();
    assert!(report.outcome == "proven" && looked >= bills, "{}", report.to_text());
    took
}

/// INSERTs with their commits.
#[derive(Default)]
struct Writing {
    times: Vec<Duration>,
    /// How long all in all their server process was ready to run, and no processor was free, as Linux tells it. It says more than the times,
    /// most of which is the disk's.
    waited: Duration,
}

impl Writing {
    fn extend(&mut self, other: Writing) {
        self.times.extend(other.times);
        self.waited += other.waited;
    }
}

/// INSERTs over some thirty seconds. An application has a process of its own, and does not wait for what this one computes: it is a thread
/// here.
fn writing(config: &Address, placement: Option<Placement>) -> JoinHandle<Writing> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = connect(Side::Source, &config).await.expect("connects");
            let insert = client.prepare(INSERT).await.expect("prepares");
            let process: i32 = client.query_one(OWN_PROCESS, &[]).await.expect("asks").get(0);
            if let Some(Placement { application, .. }) = &placement {
                place(process, application);
                place(0, application);
            }
            let waited_before = waited_for_processor(process);
            let mut times = Vec::new();
            for _ in 0..INSERTS {
                let began = Instant::now();
                client.execute(&insert, &[]).await.expect("writes");
                times.push(began.elapsed());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if let Some(Placement { others, .. }) = &placement {
                place(0, others); // this thread does other work next
            }
            Writing { times, waited: waited_for_processor(process) - waited_before }
        })
    })
}

/// The second number of Linux's /proc/<process>/schedstat, nanoseconds.
fn waited_for_processor(process: i32) -> Duration {
    let status = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let waited = status.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

async fn timed(client: &Client, sql: &str) -> Duration {
    let began = Instant::now();
    client.batch_execute(sql).await.expect("runs");
    began.elapsed()
}

fn median(rounds: &[Duration]) -> Duration {
    sorted(rounds)[rounds.len() / 2]
}

fn nine_of_ten(rounds: &[Duration]) -> Duration {
    sorted(rounds)[rounds.len() * 9 / 10]
}

fn sorted(rounds: &[Duration]) -> Vec<Duration> {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The most memory that this process has had so far, as Linux tells it.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}
