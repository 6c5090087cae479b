//! `daybook doctor`: everything that can be wrong before and after installing, each with its severity and the statement that
//! mends it. `examine` reads the facts (`look`), and has them judged by pure functions: `server`, `installed`, `rights`,
//! `tables`, `columns`, `queue`, `together`. It never writes, and never reads a bill.

mod columns;
mod examine;
pub mod facts;
pub mod finding;
mod installed;
mod look;
mod queue;
mod rights;
mod server;
mod shipped;
mod stream;
mod tables;
mod together;

pub use examine::examine;
pub(crate) use installed::{functions as changed_functions, guards as broken_guards, inheritance};
pub(crate) use shipped::functions as functions_in;

use crate::error::{Error, Result};
use crate::options::Urls;
use crate::print;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    urls: Urls,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// From where on something is a finding.
#[derive(Debug, Clone)]
pub struct Limits {
    pub transaction_warning_s: i64,
    pub transaction_error_s: i64,
    pub clock_warning_ms: i64,
    pub clock_error_ms: i64,
    pub slot_xid_age: i64,
    pub slot_bytes: i64,
    pub xid_age_warning: i64,
    pub xid_age_error: i64,
    pub dead_rows: i64,
    pub index_bytes: i64,
    pub backlog_s: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            transaction_warning_s: 600,
            transaction_error_s: 86_400,
            clock_warning_ms: 2_000,
            clock_error_ms: 60_000,
            slot_xid_age: 1_000_000,
            slot_bytes: 10 << 30,
            // Autovacuum forces itself at 200 million, and tries everything at 1.6 billion; writes end at 2.1.
            xid_age_warning: 1_000_000_000,
            xid_age_error: 1_800_000_000,
            dead_rows: 50_000,
            index_bytes: 64 << 20,
            backlog_s: 60,
        }
    }
}

/// The exit code: 1 where anything is an error.
pub async fn run(Arguments { urls, json }: Arguments) -> Result<u8> {
    let report = examine(&urls.one()?, &Limits::default()).await?;
    match json {
        true => {
            let text = serde_json::to_string_pretty(&report);
            print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
        }
        false => print::line(report.to_text()),
    }
    Ok(u8::from(report.has_errors()))
}
