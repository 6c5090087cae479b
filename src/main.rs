//! The command line: parses arguments, calls the library, and turns what it returns into text and an exit code.
//!
//! 0 done; 1 done, but something needs attention; 2 usage or configuration; 3 database unreachable or not installed;
//! 4 gave up after `--timeout`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use daybook::consumer::{self, Options};
use daybook::demo;
use daybook::error::{Error, Result};
use daybook::identity::Wishes;
use daybook::install;
use daybook::options::Databases;
use daybook::print;
use daybook::report::{export, trace, trial_balance};
use daybook::status;

#[derive(Parser)]
#[command(name = "daybook", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Urls {
    /// Database of the bill tables: postgresql://user@host:5432/database
    #[arg(long, env = "DAYBOOK_SOURCE_URL", hide_env_values = true)]
    source_url: Option<String>,
    /// Database of the ledger; the source's where it is left out
    #[arg(long, env = "DAYBOOK_LEDGER_URL", hide_env_values = true)]
    ledger_url: Option<String>,
    /// Configuration file instead of ./daybook.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Urls {
    fn resolve(self, workers: Option<usize>) -> Result<Databases> {
        Databases::resolve(self.source_url, self.ledger_url, workers, self.config)
    }
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
        /// Name of this source, the site of its bills [default: main]
        #[arg(long)]
        source: Option<String>,
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
        Command::Install { urls, print, source, book, currency, minor_unit, time_zone } => {
            let wishes = Wishes { source, book, currency, minor_unit, time_zone };
            if print {
                print::line(install::print_install(&wishes)?.trim_end());
                return Ok(0);
            }
            let databases = urls.resolve(None)?;
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
            let databases = urls.resolve(None)?;
            for side in install::uninstall(&databases.source, &databases.ledger, ledger).await? {
                print::line(side);
            }
            Ok(0)
        }
        Command::Run { urls, workers } => {
            let options = options(urls.resolve(workers)?);
            consumer::run(options, termination()).await?;
            Ok(0)
        }
        Command::Drain { urls, workers, timeout } => {
            if !(0.0..=1e9).contains(&timeout) {
                return Err(Error::Usage(format!("--timeout {timeout}: give seconds, 0 or more")));
            }
            let options = options(urls.resolve(workers)?);
            let drained = consumer::drain(options, Duration::from_secs_f64(timeout)).await?;
            print::line(format_args!(
                "{} events finished, {} bills parked, {} events left",
                drained.events, drained.parked, drained.unfinished
            ));
            if drained.unfinished > 0 {
                eprintln!("daybook: gave up after {timeout} s; `daybook status` says what the events wait for");
                return Ok(4);
            }
            if drained.parked > 0 {
                eprintln!(
                    "daybook: parked bills need attention: SELECT * FROM daybook.sync_dead_letter WHERE resolved_at IS NULL"
                );
                return Ok(1);
            }
            Ok(0)
        }
        Command::Status { urls, json } => {
            let databases = urls.resolve(None)?;
            let status = status::status(&databases.source, &databases.ledger).await?;
            if json {
                let text = serde_json::to_string_pretty(&status);
                print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
            } else {
                print::line(status.to_text());
            }
            Ok(u8::from(status.needs_attention()))
        }
        Command::Trace { urls, arguments } => trace::run(arguments, &urls.resolve(None)?).await,
        Command::TrialBalance { urls, arguments } => trial_balance::run(arguments, &urls.resolve(None)?).await,
        Command::Export { urls, arguments } => export::run(arguments, &urls.resolve(None)?).await,
        Command::Demo(arguments) => demo::demo(arguments, termination()).await,
    }
}

fn options(databases: Databases) -> Options {
    Options { source: databases.source, ledger: databases.ledger, workers: databases.workers }
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
