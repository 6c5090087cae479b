//! `daybook reconcile`.

use super::{Options, reconcile};
use crate::error::{Error, Result};
use crate::options::Urls;
use crate::print;
use crate::switches::{attached, connect_source};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    urls: Urls,
    /// Each row through the posting function, totals in plain SQL, and the journal by itself, as each night
    #[arg(long)]
    full: bool,
    /// One table: reference type, such as PHARMACY, or the table's name
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only bills of this site; each row is read for it
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only look: enqueue nothing
    #[arg(long)]
    no_repair: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The exit code: 0 proven equal, 1 findings, or not everything could be looked at.
pub async fn execute(arguments: Arguments) -> Result<u8> {
    let Arguments { urls, full, table, site, no_repair, json } = arguments;
    let databases = urls.one()?;
    let reference_type = match &table {
        Some(table) => Some(attached(&connect_source(&urls).await?, table).await?.0),
        None => None,
    };
    let options = Options { full, journal: full, reference_type, site, repair: !no_repair, ..Options::default() };
    let report = reconcile(&databases, options).await?;
    match json {
        true => {
            let text = serde_json::to_string_pretty(&report);
            print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
        }
        false => print::line(report.to_text()),
    }
    Ok(report.exit_code())
}
