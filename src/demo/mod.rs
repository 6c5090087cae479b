//! `daybook demo`: a clinic at work, and its books, on a server that is gone afterwards.

mod clinic;
mod fault;
mod summary;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::address::Address;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_postgres::Client;

use crate::address::parse_url;
use crate::consumer;
use crate::database::{Side, connect, quote_identifier};
use crate::error::{Doing, Error, Result};
use crate::identity::Wishes;
use crate::install::install;
use crate::options::Databases;
use crate::print;
use crate::private_server::PrivateServer;

/// How many sessions the simulated application has.
const SESSIONS: u64 = 4;

const ATTACH: [&str; 4] = [
    include_str!("../../triggers/consultation_invoices.sql"),
    include_str!("../../triggers/pharmacy_bills.sql"),
    include_str!("../../triggers/lab_bills.sql"),
    include_str!("../../triggers/ultrasound_bills.sql"),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Bills that the simulated clinic creates
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    bills: u64,
    /// Seed of what it does
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End by itself, instead of staying up for a look; exit code 1 if the ledger differs from the bills
    #[arg(long)]
    exit: bool,
    /// A server of yours instead of a private one; the demo makes a database there, and drops it at the end
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// How the tables are captured
    #[arg(long, value_enum, default_value_t = Capture::Trigger)]
    capture: Capture,
    /// Bills are posted by so many workers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

/// How the demo's tables are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Capture {
    /// By triggers
    Trigger,
    /// From the WAL, without triggers
    Wal,
    /// By triggers, and from the WAL, which proves that the triggers missed nothing
    Both,
}

impl Capture {
    /// As `daybook.attach` takes it.
    fn mode(self) -> &'static str {
        match self {
            Capture::Trigger => "trigger",
            Capture::Wal => "wal",
            Capture::Both => "both",
        }
    }
}

/// A consumer that runs beside what the demo does; dropping it ends it at once.
struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    consumer: tokio::task::JoinSet<Result<()>>,
}

impl Running {
    fn start(databases: Databases) -> Running {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut consumer = tokio::task::JoinSet::new();
        consumer.spawn(consumer::run(databases, async {
            let _ = stopped.await;
        }));
        Running { stop, consumer }
    }

    async fn end(mut self) -> Result<()> {
        let _ = self.stop.send(());
        while let Some(ended) = self.consumer.join_next().await {
            ended.map_err(|error| Error::Unexpected(error.to_string()))??;
        }
        Ok(())
    }
}

/// Where the demo plays.
struct Stage {
    /// Held until the end; dropping it removes everything.
    private: Option<PrivateServer>,
    /// The server's own database, to make and drop ours in.
    server: Address,
    /// Our database, as its administrator.
    clinic: Address,
    /// Our database, as the application.
    application: Address,
    database: String,
}

impl Stage {
    async fn set(database_url: Option<&str>, capture: Capture) -> Result<Stage> {
        let database = match database_url {
            Some(_) => format!("daybook_demo_{}", std::process::id()),
            None => "clinic".to_string(),
        };
        let (private, server) = match database_url {
            Some(url) => (None, parse_url(Side::Source, url)?),
            None => {
                let mut settings = vec!["max_connections=40"];
                settings.extend((capture != Capture::Trigger).then_some("wal_level=logical"));
                let server = tokio::task::spawn_blocking(move || PrivateServer::start(&settings));
                let server = server.await.map_err(|error| Error::Unexpected(error.to_string()))??;
                let config = parse_url(Side::Source, &server.url("postgres", "postgres"))?;
                (Some(server), config)
            }
        };
        let mut clinic = server.clone();
        clinic.dbname(&database);
        let mut application = clinic.clone();
        application.application_name("clinic desk");
        let client = connect(Side::Source, &server).await?;
        let create = format!("CREATE DATABASE {}", quote_identifier(&database));
        client.batch_execute(&create).await.doing("making the demo's database")?;
        if private.is_some() {
            client.batch_execute("CREATE ROLE clinic LOGIN").await.doing("making the application's role")?;
            application.user("clinic");
        }
        let stage = Stage { private, server, clinic, application, database };
        let client = connect(Side::Source, &stage.clinic).await?;
        client.batch_execute(include_str!("../../sql/demo/clinic.sql")).await.doing("making the bill tables")?;
        if stage.private.is_some() {
            let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clinic";
            client.batch_execute(grant).await.doing("granting the application its tables")?;
        }
        Ok(stage)
    }

    /// Takes the demo's database off a server of the user's. A private server goes as a whole.
    async fn strike(&self) -> Result<()> {
        if self.private.is_none() {
            crate::install::uninstall(&self.clinic, &self.clinic, true).await?;
            let client = connect(Side::Source, &self.server).await?;
            let drop = format!("DROP DATABASE IF EXISTS {}", quote_identifier(&self.database));
            client.batch_execute(&drop).await.doing("dropping the demo's database")?;
        }
        Ok(())
    }
}

/// Runs the demo; returns its exit code.
pub async fn demo(arguments: Arguments, shutdown: impl Future<Output = ()>) -> Result<u8> {
    tokio::pin!(shutdown);
    print::line(match arguments.database_url {
        Some(_) => "making a database on your server",
        None => "starting a private PostgreSQL",
    });
    let stage = Stage::set(arguments.database_url.as_deref(), arguments.capture).await?;
    let ended = tokio::select! {
        ended = play(&stage, &arguments) => Some(ended),
        () = &mut shutdown => None,
    };
    let code = match ended {
        Some(Ok(equal)) => {
            if !arguments.exit {
                stay(&stage, &arguments, &mut shutdown).await?;
            }
            Ok(u8::from(!equal))
        }
        Some(Err(error)) => Err(error),
        None => {
            print::line("interrupted: nothing was compared");
            Ok(1)
        }
    };
    stage.strike().await?;
    code
}

/// Installs, lets the clinic write and daybook post, and sums up. Returns whether the ledger equals the bills.
async fn play(stage: &Stage, arguments: &Arguments) -> Result<bool> {
    let installed = install(&stage.clinic, &stage.clinic, &Wishes::default()).await?;
    let client = connect(Side::Source, &stage.clinic).await?;
    for attach in ATTACH {
        client.batch_execute(attach).await.doing("attaching a bill table")?;
    }
    if arguments.capture != Capture::Trigger {
        let sql =
            "SELECT daybook.attach(relation, reference_type, key_columns, filter_columns, $1) FROM daybook.sync_source";
        client.query(sql, &[&arguments.capture.mode()]).await.doing("attaching the bill tables to the WAL")?;
    }
    // This clinic deletes bills by the hundred in a minute, which the brake would take for an archive job.
    let release =
        "UPDATE daybook.sync_configuration SET config_value = '999999999' WHERE config_key = 'reversal_brake'";
    client.batch_execute(release).await.doing("setting the brake")?;
    print::line(format_args!(
        "installed: {}; four tables attached, captured by {}, reversal_brake lifted",
        installed.identity,
        arguments.capture.mode()
    ));

    let options = options(stage, arguments);
    let running = Running::start(options.clone());
    let started = Instant::now();
    let written = write(stage, arguments, &client).await?;
    let writing = started.elapsed();
    running.end().await?;
    let databases = options.clone();
    let drained = consumer::drain(options, Duration::from_secs(120)).await?;
    let total = started.elapsed();

    let summary = summary::sum_up(&client, drained.unfinished).await?;
    print::line(summary.to_text(&written, writing, total).trim_end());
    let is_proven = fault::prove_break_and_heal(&client, &databases, arguments.capture).await?;
    Ok(summary.is_equal() && is_proven)
}

fn options(stage: &Stage, arguments: &Arguments) -> Databases {
    Databases {
        name: None,
        source: stage.clinic.clone(),
        ledger: stage.clinic.clone(),
        workers: arguments.workers.into(),
        heads: Default::default(),
    }
}

/// Lets the application's sessions write, under a live line of progress.
async fn write(stage: &Stage, arguments: &Arguments, client: &Client) -> Result<clinic::Written> {
    let created = Arc::new(AtomicU64::new(0));
    let mut sessions = tokio::task::JoinSet::new();
    for index in 0..SESSIONS {
        let bills = arguments.bills / SESSIONS + u64::from(index < arguments.bills % SESSIONS);
        let (config, created) = (stage.application.clone(), created.clone());
        let seed = arguments.seed.wrapping_mul(SESSIONS).wrapping_add(index);
        sessions.spawn(async move {
            let application = connect(Side::Source, &config).await?;
            let progress = |bills| {
                created.fetch_add(bills, Ordering::Relaxed);
            };
            clinic::session(&application, seed, bills, progress).await
        });
    }
    let bar = ProgressBar::with_draw_target(Some(arguments.bills), ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} bills, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut written = clinic::Written::default();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                None => break,
                Some(ended) => {
                    let session = ended.map_err(|error| Error::Unexpected(error.to_string()))??;
                    written.bills += session.bills;
                    written.transactions += session.transactions;
                    written.rollbacks += session.rollbacks;
                }
            },
            _ = tick.tick() => {
                let sql = "SELECT (SELECT count(*) FROM daybook.sync_queue), (SELECT last_value FROM ledger.journal_entry_id)";
                let row = client.query_one(sql, &[]).await.doing("looking at the queue")?;
                bar.set_position(created.load(Ordering::Relaxed).min(arguments.bills));
                bar.set_message(format!("{} events queued, {} entries", row.get::<_, i64>(0), row.get::<_, i64>(1)));
            }
        }
    }
    bar.finish_and_clear();
    Ok(written)
}

/// Stays up and goes on posting, so that a person can look, and write bills by hand.
async fn stay(stage: &Stage, arguments: &Arguments, shutdown: impl Future<Output = ()>) -> Result<()> {
    let psql = match &stage.private {
        Some(server) => format!("psql -h {} -U postgres {}", server.directory().display(), stage.database),
        None => format!("psql, database {}", stage.database),
    };
    // A bill whose total is what is charged, so that the change below shows.
    let client = connect(Side::Source, &stage.clinic).await?;
    let sql =
        "SELECT coalesce(min(id), 0) FROM pharmacy_bills WHERE invoice_number IS NOT NULL AND discounted_total IS NULL
               AND total_amount > 0 AND payment_mode IS DISTINCT FROM 'barter'";
    let id: i64 = client.query_one(sql, &[]).await.doing("choosing a bill")?.get(0);
    let often = "UPDATE daybook.sync_configuration SET config_value = '0.01' WHERE config_key = 'reconciliation_frequency_hours'";
    client.batch_execute(often).await.doing("setting how often to reconcile")?;
    drop(client);
    print::line(format_args!(
        "\nstaying up and posting. Look with: {psql}\n  \
         SELECT * FROM ledger.trial_balance ORDER BY account_code;\n  \
         SELECT * FROM daybook.sync_dead_letter WHERE resolved_at IS NULL;\n  \
         UPDATE pharmacy_bills SET total_amount = total_amount + 1 WHERE id = {id};  -- posted within a second\n  \
         SELECT * FROM ledger.journal_entries WHERE reference_type = 'PHARMACY' AND reference_id = '{id}' ORDER BY revision;\n\
         Change something behind its back, and see it found and healed within a minute (it reconciles every 36 seconds here):\n  \
         BEGIN; ALTER TABLE pharmacy_bills DISABLE TRIGGER daybook_capture; UPDATE pharmacy_bills SET total_amount = 1 WHERE id = {id};\n  \
         ALTER TABLE pharmacy_bills ENABLE ALWAYS TRIGGER daybook_capture; COMMIT;\n  \
         SELECT kind, message, details, resolution FROM daybook.reconciliation_findings;\n\
         End with Ctrl-C; nothing is left behind."
    ));
    consumer::run(options(stage, arguments), shutdown).await
}
