//! A plan: everything that happens in one simulated clinic, as steps with their times, made from a seed alone.
//!
//! A plan holds no chance and no clock, so that it can be told, and cut down to the steps that matter.

use std::fmt;

use daybook::crash_point;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{dba, writes};

/// What one seed stands for.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    /// In the order of their times.
    pub steps: Vec<Step>,
}

/// What holds for the whole of a plan.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Source and ledger in two clusters, or both in one database.
    pub two_clusters: bool,
    /// Every table captured by triggers and from the WAL, and the stream struck along with everything else.
    pub is_streamed: bool,
    /// Workers of each process.
    pub workers: Vec<usize>,
    /// At which points processes are to die by themselves, one after the other, as `DAYBOOK_CRASH_AT` says it.
    pub crash_at: Vec<(usize, String)>,
    pub settings: Vec<(&'static str, String)>,
    /// Whether every desk lets its commits become durable later.
    pub always_lazy: bool,
    /// Whether transactions that are prepared at the end are committed.
    pub commit_prepared: bool,
}

/// One thing that happens.
#[derive(Clone)]
pub struct Step {
    /// Milliseconds from the start.
    pub at: u64,
    pub actor: Actor,
    pub act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A session of the legacy application.
    Desk(usize),
    Dba,
    Fault,
}

#[derive(Clone)]
pub enum Act {
    Transact(Transaction),
    Administer { on: Side, sql: String },
    Strike(Fault),
}

#[derive(Clone)]
pub struct Transaction {
    pub begin: String,
    pub statements: Vec<Statement>,
    /// COMMIT, ROLLBACK, or PREPARE TRANSACTION; empty for what cannot stand in a transaction.
    pub end: String,
}

#[derive(Clone)]
pub enum Statement {
    Sql(String),
    Copy {
        sql: String,
        rows: String,
    },
    /// The user thinks, in milliseconds.
    Pause(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Source,
    Ledger,
}

/// What goes wrong; each mends itself after its milliseconds.
#[derive(Clone, Debug)]
pub enum Fault {
    KillConsumer {
        process: usize,
    },
    /// SIGSTOP, and SIGCONT later.
    StopConsumer {
        process: usize,
        ms: u64,
    },
    CrashServer {
        side: Side,
        ms: u64,
    },
    RestartServer {
        side: Side,
        ms: u64,
    },
    ReadOnlyLedger {
        ms: u64,
    },
    /// Connections of the consumers are cut, and none is let through.
    Cut {
        side: Side,
        ms: u64,
    },
    /// On every other connection, every message takes up to so long more.
    Delay {
        side: Side,
        each: u64,
        ms: u64,
    },
    /// Half open: nothing arrives in either direction; then the connections are cut.
    Swallow {
        side: Side,
        ms: u64,
    },
    /// What is said arrives, and no answer comes back; then the connections are cut.
    LoseAnswers {
        side: Side,
        ms: u64,
    },
    TerminateConsumers {
        side: Side,
    },
    TerminateEverybody {
        side: Side,
    },
    CancelConsumers {
        side: Side,
    },
    ExhaustConnections {
        side: Side,
        ms: u64,
    },
    LockTable {
        side: Side,
        table: &'static str,
        ms: u64,
    },
    /// The slot of the stream is gone; it is made anew by hand, or by whoever streams.
    DropSlot {
        makes_it_anew: bool,
    },
    /// A `wal_sender_timeout` that a stopped process does not keep.
    ImpatientWalsender {
        ms: u64,
    },
    /// The source's server ends, and a standby takes over that had heard of everything and has its slot.
    PromoteSource {
        ms: u64,
    },
    /// What the server says when its disk is full, where the consumer writes.
    FullDisk {
        side: Side,
        ms: u64,
    },
}

impl Fault {
    /// For counting.
    pub fn kind(&self) -> String {
        let told = format!("{self:?}");
        told.split([' ', '{']).next().unwrap_or_default().to_string()
    }
}

/// How long the application works in a plan, in milliseconds.
const WORK_MS: u64 = 4000;

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let mut random = StdRng::seed_from_u64(seed);
        let shape = shape(seed, &mut random);
        let mut steps = Vec::new();
        for desk in 0..random.random_range(2..5) {
            desk_steps(desk, &shape, &mut random, &mut steps);
        }
        dba::steps(WORK_MS, &mut random, &mut steps);
        fault_steps(&shape, &mut random, &mut steps);
        steps.sort_by_key(|step| step.at);
        Plan { seed, shape, steps }
    }

    /// The same clinic with fewer steps.
    pub fn with(&self, steps: Vec<Step>) -> Plan {
        Plan { steps, ..self.clone() }
    }
}

fn shape(seed: u64, random: &mut StdRng) -> Shape {
    let workers: Vec<usize> = (0..random.random_range(2..4)).map(|_| random.random_range(1..3)).collect();
    let batch = [1, 2, 5, 40, 1000][random.random_range(0..5)];
    let attempts = if random.random_bool(0.8) { 100 } else { 2 };
    let brake = if random.random_bool(0.85) { 999_999_999 } else { 5 };
    let points: Vec<&str> = crash_point::ALL.into_iter().chain(crash_point::STREAM).collect();
    let mut crash = || {
        let point = points[random.random_range(0..points.len())];
        (random.random_range(0..workers.len()), format!("{point}:{}", random.random_range(1..30)))
    };
    let crash_at = (0..7).map(|_| crash()).collect();
    Shape {
        two_clusters: seed % 2 == 1,
        is_streamed: seed.is_multiple_of(3),
        workers,
        crash_at,
        settings: vec![
            ("queue_batch_size", batch.to_string()),
            ("poll_interval_ms_max", "20".into()),
            ("retry_delay_seconds", "0.2".into()),
            ("retry_backoff_multiplier", "1".into()),
            ("table_retry_seconds", format!("0.{}", random.random_range(1..4))),
            ("max_retry_attempts", attempts.to_string()),
            ("reversal_brake", brake.to_string()),
            ("statement_timeout_seconds", "3".into()),
        ],
        always_lazy: random.random_bool(0.6),
        commit_prepared: random.random_bool(0.5),
    }
}

/// When the bursts begin in which the application works.
const BURSTS: [u64; 4] = [0, 1000, 2000, 3100];

/// A desk works in bursts, with silence between them, in which what was not flushed stays so.
fn desk_steps(desk: usize, shape: &Shape, random: &mut StdRng, steps: &mut Vec<Step>) {
    let mut author = writes::Author::new(desk, shape.always_lazy);
    for burst in BURSTS {
        let mut at = burst + random.random_range(0..120);
        let until = burst + random.random_range(200..700);
        while at < until {
            steps.push(Step { at, actor: Actor::Desk(desk), act: Act::Transact(author.transaction(random)) });
            at += random.random_range(0..60);
        }
    }
}

fn fault_steps(shape: &Shape, random: &mut StdRng, steps: &mut Vec<Step>) {
    let mut strike = |at: u64, fault: Fault| steps.push(Step { at, actor: Actor::Fault, act: Act::Strike(fault) });
    for _ in 0..random.random_range(2..9) {
        strike(random.random_range(50..WORK_MS + 200), fault(shape, random));
    }
    let mut hurried = Vec::new();
    for burst in BURSTS {
        // Who is frozen while the way to the ledger is slow has often just read, and comes late to what follows.
        if random.random_bool(0.3) {
            strike(burst, Fault::Delay { side: Side::Ledger, each: random.random_range(10..50), ms: 900 });
            hurried_steps(burst, shape, random, &mut hurried);
            for _ in 0..3 {
                let process = random.random_range(0..shape.workers.len());
                strike(
                    burst + random.random_range(30..700),
                    Fault::StopConsumer { process, ms: random.random_range(50..300) },
                );
            }
        }
    }
    steps.append(&mut hurried);
    // Single small changes, with nothing else in the log, and then a crash: what is lost by it is not mended by later writes.
    let mut author = writes::Author::new(90, true);
    for burst in BURSTS {
        if !random.random_bool(if shape.two_clusters { 0.6 } else { 0.2 }) {
            continue;
        }
        let mut at = burst + 720;
        for _ in 0..random.random_range(1..5) {
            steps.push(Step { at, actor: Actor::Desk(90), act: Act::Transact(author.new_bill(random)) });
            at += random.random_range(10..50);
        }
        let fault = Fault::CrashServer { side: Side::Source, ms: random.random_range(0..100) };
        steps.push(Step { at: at + random.random_range(0..60), actor: Actor::Fault, act: Act::Strike(fault) });
    }
}

/// New bills, each changed once more before a slow worker has posted it, and never again.
fn hurried_steps(burst: u64, shape: &Shape, random: &mut StdRng, steps: &mut Vec<Step>) {
    let mut author = writes::Author::new(80 + (burst / 1000) as usize, shape.always_lazy);
    let mut at = burst + 50;
    while at < burst + 700 {
        for act in author.new_bill_twice(random) {
            steps.push(Step { at, actor: Actor::Desk(80), act: Act::Transact(act) });
            at += random.random_range(10..60);
        }
    }
}

fn fault(shape: &Shape, random: &mut StdRng) -> Fault {
    let side = if random.random_bool(0.5) { Side::Source } else { Side::Ledger };
    let process = random.random_range(0..shape.workers.len());
    let ms = random.random_range(20..900);
    if shape.is_streamed && random.random_bool(0.15) {
        return Fault::DropSlot { makes_it_anew: random.random_bool(0.5) };
    }
    if shape.is_streamed && random.random_bool(0.1) {
        return match random.random_bool(0.7) {
            true => Fault::ImpatientWalsender { ms: ms * 3 },
            false => Fault::PromoteSource { ms: ms / 3 },
        };
    }
    match random.random_range(0..27) {
        0..3 => Fault::KillConsumer { process },
        3..5 => Fault::StopConsumer { process, ms },
        5..8 => Fault::CrashServer { side, ms: ms / 3 },
        8 => Fault::RestartServer { side, ms: ms / 3 },
        9 if shape.two_clusters => Fault::ReadOnlyLedger { ms },
        9..11 => Fault::Cut { side, ms },
        11..14 => Fault::Delay { side, each: random.random_range(1..60), ms: ms * 2 },
        14 => Fault::Swallow { side, ms },
        15 => Fault::LoseAnswers { side, ms },
        16 => Fault::TerminateConsumers { side },
        17 => Fault::TerminateEverybody { side },
        18 => Fault::CancelConsumers { side },
        19 => Fault::ExhaustConnections { side, ms },
        20 => {
            let table = match side {
                Side::Source => {
                    ["lab_bills", "pharmacy_bills", "claims", "daybook.sync_audit_log"][random.random_range(0..4)]
                }
                Side::Ledger => {
                    ["ledger.journal_entries", "ledger.sync_master_status", "ledger.books"][random.random_range(0..3)]
                }
            };
            Fault::LockTable { side, table, ms }
        }
        21 => Fault::FullDisk { side, ms },
        22..24 => Fault::Delay { side, each: 60, ms: 2 * ms },
        _ => Fault::KillConsumer { process },
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} ms  ", self.at)?;
        match (&self.actor, &self.act) {
            (Actor::Desk(desk), Act::Transact(transaction)) => {
                write!(f, "desk {desk}: {}", on_one_line(&transaction.to_string()))
            }
            (_, Act::Administer { on, sql }) => write!(f, "dba on the {}: {}", on.name(), on_one_line(sql)),
            (_, Act::Strike(fault)) => write!(f, "fault: {fault:?}"),
            (_, Act::Transact(transaction)) => write!(f, "{transaction}"),
        }
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |statement: &Statement| match statement {
            Statement::Sql(sql) => sql.clone(),
            Statement::Copy { sql, rows } => format!("{sql} of {}", rows.trim_end().replace('\n', " | ")),
            Statement::Pause(ms) => format!("(pause {ms} ms)"),
        };
        let statements = self.statements.iter().map(told);
        let all = std::iter::once(self.begin.clone()).chain(statements).chain([self.end.clone()]);
        let all: Vec<String> = all.filter(|sql| !sql.is_empty()).collect();
        write!(f, "{}", all.join("; "))
    }
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Ledger => "ledger",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_made_from_its_seed_alone() {
        let told = |seed| Plan::new(seed).steps.iter().map(|step| format!("{step}\n")).collect::<String>();
        assert_eq!(told(17), told(17));
        assert_ne!(told(17), told(18));
    }
}
