//! The command line: parses arguments, calls the library, and turns what it returns into text and an exit code.
//!
//! 0 done; 1 done, but something needs attention; 2 usage or configuration; 3 database unreachable or not installed;
//! 4 gave up after `--timeout`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use daybook::consumer::Drained;
use daybook::error::{Error, Result};
use daybook::identity::Wishes;
use daybook::options::{Databases, Urls};
use daybook::report::{export, trace, trial_balance};
use daybook::{
    backfill, chart, closure, dead_letters, demo, doctor, install, meeting, periods, print, reconcile, rules, status,
    supervise, switches, verify,
};

#[derive(Parser)]
#[command(name = "daybook", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the schemas daybook (source) and ledger; twice changes nothing
    Install {
        #[command(flatten)]
        urls: Urls,
        /// Print the SQL for review instead of running it: the ledger's script, then the source's
        #[arg(long)]
        print: bool,
        /// Name of the book that its bills belong to [default: main]
        #[arg(long)]
        book: Option<String>,
        /// Currency of the book, ISO 4217 [default: INR]
        #[arg(long)]
        currency: Option<String>,
        /// Decimals of the currency: 0, 2 or 3 [default: 2]
        #[arg(long)]
        minor_unit: Option<i16>,
        /// Time zone of the book's days [default: the server's]
        #[arg(long)]
        time_zone: Option<String>,
    },
    /// Take daybook out of the source without a trace; the ledger stays unless told otherwise
    Uninstall {
        #[command(flatten)]
        urls: Urls,
        /// Print the SQL for review instead of running it
        #[arg(long)]
        print: bool,
        /// Delete the ledger too, with every entry (needs --yes)
        #[arg(long)]
        ledger: bool,
        /// Yes, delete the ledger
        #[arg(long)]
        yes: bool,
    },
    /// Post bills as they change, until SIGINT or SIGTERM
    Run {
        #[command(flatten)]
        urls: Urls,
        /// Bills are posted by so many workers [default: 2]
        #[arg(long)]
        workers: Option<usize>,
    },
    /// Post until nothing is left to do
    Drain {
        #[command(flatten)]
        urls: Urls,
        /// Bills are posted by so many workers [default: 2]
        #[arg(long)]
        workers: Option<usize>,
        /// Give up after so many seconds (retries that fall due meanwhile are waited for)
        #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
        timeout: f64,
    },
    /// Show queue, parked bills, alerts and the journal's size
    Status {
        #[command(flatten)]
        urls: Urls,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for everything that can be wrong, before or after installing, and say what mends it
    Doctor(doctor::Arguments),
    /// Attach the bill table that a rule file names, with the columns that it maps
    Attach(rules::Attach),
    /// Look at, try and apply posting rules
    #[command(subcommand)]
    Rules(rules::Command),
    /// Enqueue the bills that a table held before it was attached
    Backfill(backfill::Arguments),
    /// The chart of accounts
    #[command(subcommand)]
    Accounts(chart::Command),
    /// Close and reopen periods
    #[command(subcommand)]
    Period(periods::Command),
    /// The day's cash of a site: open, count, close, reopen, show
    #[command(subcommand)]
    Closure(closure::Command),
    /// Stop capturing a table at once, without a lock on it
    Suspend(switches::OneTable),
    /// Capture a suspended table again, and have it reconciled; without a table: go on posting
    Resume(switches::TableOrSource),
    /// Stop posting for a source; changes go on being captured
    Pause {
        #[command(flatten)]
        urls: Urls,
    },
    /// Reverse bills whose entries were kept when their rows disappeared
    Release(switches::Release),
    /// Prove that the ledger equals the bills, and have what differs synchronised; exit code 1 where it is not proven
    Reconcile(reconcile::Arguments),
    /// Parked bills: why, what to do, another try, or the word that one need not be posted
    #[command(subcommand)]
    Dead(dead_letters::Command),
    /// Take a source that was moved, restored or exchanged for the one that the ledger knows, and have it reconciled
    Rejoin {
        #[command(flatten)]
        urls: Urls,
        /// Kept in ledger.sources
        #[arg(long)]
        reason: String,
    },
    /// Show the life of a bill: what changed it, what was posted for it, what it amounts to
    Trace {
        #[command(flatten)]
        urls: Urls,
        #[command(flatten)]
        arguments: trace::Arguments,
    },
    /// Show what the accounts amount to, as of a day or within a span of days
    TrialBalance {
        #[command(flatten)]
        urls: Urls,
        #[command(flatten)]
        arguments: trial_balance::Arguments,
    },
    /// Prove the ledger by itself: balance, seals, reversals, periods, and that nothing was changed since it was sealed
    Verify(verify::Arguments),
    /// Write the journal in the format of another program
    Export {
        #[command(flatten)]
        urls: Urls,
        #[command(flatten)]
        arguments: export::Arguments,
    },
    /// Let a simulated clinic write bills, and post them, on a private throw-away PostgreSQL
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("DAYBOOK_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("daybook=info,refinery_core=off")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: cannot start: {error}");
            return ExitCode::from(3);
        }
    };
    match runtime.block_on(execute(cli.command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("daybook: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Install { urls, print, book, currency, minor_unit, time_zone } => {
            let wishes = Wishes { source: urls.source.clone(), book, currency, minor_unit, time_zone };
            if print {
                print::line(install::print_install(&wishes)?.trim_end());
                return Ok(0);
            }
            let databases = urls.one()?;
            let installed = install::install(&databases.source, &databases.ledger, &wishes).await?;
            match installed.source_migrations + installed.ledger_migrations {
                0 => print::line(format_args!("nothing to do: {}", installed.identity)),
                count => print::line(format_args!("installed {count} migrations: {}", installed.identity)),
            }
            print::line(
                "next: attach the bill tables, as triggers/*.sql do; GRANT daybook_consumer to a login role; `daybook run`",
            );
            Ok(0)
        }
        Command::Uninstall { urls, print, ledger, yes } => {
            if print {
                print::line(install::print_uninstall(ledger));
                return Ok(0);
            }
            if ledger && !yes {
                return Err(Error::Usage(
                    "--ledger deletes every entry for good: say --ledger --yes, after a backup".into(),
                ));
            }
            let databases = urls.one()?;
            for side in install::uninstall(&databases.source, &databases.ledger, ledger).await? {
                print::line(side);
            }
            Ok(0)
        }
        Command::Run { urls, workers } => {
            supervise::run(urls.all(workers)?, termination()).await?;
            Ok(0)
        }
        Command::Drain { urls, workers, timeout } => {
            if !(0.0..=1e9).contains(&timeout) {
                return Err(Error::Usage(format!("--timeout {timeout}: give seconds, 0 or more")));
            }
            drain(urls.all(workers)?, timeout).await
        }
        Command::Status { urls, json } => {
            let databases = urls.one()?;
            let status = status::status(&databases.source, &databases.ledger).await?;
            if json {
                let text = serde_json::to_string_pretty(&status);
                print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
            } else {
                print::line(status.to_text());
            }
            Ok(u8::from(status.needs_attention()))
        }
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Attach(arguments) => rules::attach(arguments).await,
        Command::Rules(command) => rules::execute(command).await,
        Command::Backfill(arguments) => backfill::backfill(arguments).await,
        Command::Accounts(command) => chart::execute(command).await,
        Command::Period(command) => periods::execute(command).await,
        Command::Closure(command) => closure::execute(command).await,
        Command::Suspend(arguments) => switches::suspend(arguments).await,
        Command::Resume(arguments) => switches::resume(arguments).await,
        Command::Pause { urls } => switches::pause(urls).await,
        Command::Release(arguments) => switches::release(arguments).await,
        Command::Reconcile(arguments) => reconcile::execute(arguments).await,
        Command::Dead(command) => dead_letters::execute(command).await,
        Command::Rejoin { urls, reason } => {
            let databases = urls.one()?;
            let tables = meeting::rejoin(&databases.source, &databases.ledger, &reason).await?;
            print::line(format_args!("rejoined: {tables} tables are reconciled while `daybook run` is at work"));
            Ok(0)
        }
        Command::Trace { urls, arguments } => trace::run(arguments, &urls.one()?).await,
        Command::TrialBalance { urls, arguments } => trial_balance::run(arguments, &urls.one()?).await,
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Export { urls, arguments } => export::run(arguments, &urls.one()?).await,
        Command::Demo(arguments) => demo::demo(arguments, termination()).await,
    }
}

/// Drains every source; the exit code is that of the one that went worst.
async fn drain(sources: Vec<Databases>, timeout: f64) -> Result<u8> {
    let names: Vec<String> = match sources.as_slice() {
        [_] => vec![String::new()],
        several => several.iter().map(|source| source.name.clone().unwrap_or_default() + ": ").collect(),
    };
    let mut worst = 0;
    for (name, drained) in names.iter().zip(supervise::drain(sources, Duration::from_secs_f64(timeout)).await) {
        let code = match drained {
            Err(error) if names.len() == 1 => return Err(error),
            Err(error) => {
                eprintln!("daybook: {name}{error}");
                error.exit_code()
            }
            Ok(Drained { events, parked, unfinished }) => {
                print::line(format_args!(
                    "{name}{events} events finished, {parked} bills parked, {unfinished} events left"
                ));
                if unfinished > 0 {
                    eprintln!(
                        "daybook: {name}gave up after {timeout} s; `daybook status` says what the events wait for"
                    );
                    4
                } else if parked > 0 {
                    eprintln!("daybook: {name}parked bills need attention: `daybook dead list`");
                    1
                } else {
                    0
                }
            }
        };
        worst = worst.max(code);
    }
    Ok(worst)
}

/// Ends at the first SIGINT or SIGTERM.
async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
