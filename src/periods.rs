//! `daybook period`: closing and reopening days of a book, and what came late. The functions in the ledger decide.

use std::time::{Duration, Instant};

use chrono::{Days, Months, NaiveDate};
use clap::Subcommand;
use comfy_table::{Table, presets};
use tokio_postgres::{Client, Row};

use crate::database::{Parameters, Side, connect_plainly};
use crate::error::{Error, Result, explain};
use crate::options::Urls;
use crate::print;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Closed periods, and who closed them why
    List(Where),
    /// Close a month, or any days; refused while bills are parked or queued
    Close(Close),
    /// Reopen a soft closed period
    Reopen(Reopen),
    /// Entries that a closed period moved to a later day
    Late(Where),
}

#[derive(Debug, clap::Args)]
pub struct Where {
    #[command(flatten)]
    urls: Urls,
    /// Book [default: the source's]
    #[arg(long)]
    book: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Close {
    #[command(flatten)]
    place: Where,
    /// A month, such as 2024-03; or a first day, with --to
    period: String,
    /// The last day, where it is not a month
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// For good: it can never be reopened
    #[arg(long)]
    hard: bool,
    /// Kept in ledger.period_log
    #[arg(long)]
    reason: Option<String>,
    /// Although bills are parked or queued; takes a reason
    #[arg(long)]
    force: bool,
    /// Wait so long for the queue to run empty
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub struct Reopen {
    #[command(flatten)]
    place: Where,
    /// The month, such as 2024-03, or the period's first day
    period: String,
    /// Kept in ledger.period_log
    #[arg(long)]
    reason: String,
}

pub async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::List(place) => list(place).await,
        Command::Close(close) => self::close(close).await,
        Command::Reopen(reopen) => self::reopen(reopen).await,
        Command::Late(place) => late(place).await,
    }
}

/// The first and last day that a person names: a month, or two days.
fn days(period: &str, to: Option<&str>) -> Result<(NaiveDate, NaiveDate)> {
    let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let month = day(&format!("{period}-01"));
    let span = match (month, to) {
        (Some(first), None) => first
            .checked_add_months(Months::new(1))
            .and_then(|next| next.checked_sub_days(Days::new(1)))
            .map(|last| (first, last)),
        (None, Some(to)) => day(period).zip(day(to)),
        _ => None,
    };
    span.filter(|(first, last)| first <= last).ok_or_else(|| {
        Error::Usage(format!(
            "{period} is no period: give a month, such as 2024-03, or two days, such as 2024-03-01 --to 2024-03-15"
        ))
    })
}

async fn ledger(place: &Where) -> Result<(Client, String)> {
    let databases = place.urls.one()?;
    let ledger = connect_plainly(Side::Ledger, &databases.ledger).await?;
    let book = match &place.book {
        Some(book) => book.clone(),
        None => {
            let source = connect_plainly(Side::Source, &databases.source).await?;
            source.query_one(include_str!("../sql/status/source.sql"), &[]).await.map_err(refused)?.get("book")
        }
    };
    Ok((ledger, book))
}

fn refused(error: tokio_postgres::Error) -> Error {
    // The functions speak to psql; here it is options.
    let told = explain(&error).replace("force => true with a reason", "--force with --reason");
    let told = told.replace("reason => '...', which", "--reason ..., which");
    match error.code().map(|state| state.code()) {
        Some("P0001") => Error::Usage(told),
        Some("42501") => {
            Error::Unreachable(format!("{told}. It takes a member of daybook_controller (to look: daybook_reader)"))
        }
        _ => Error::Unreachable(told),
    }
}

async fn query(ledger: &Client, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
    ledger.query(sql, parameters).await.map_err(refused)
}

async fn close(close: Close) -> Result<u8> {
    let (first, last) = days(&close.period, close.to.as_deref())?;
    let (ledger, book) = ledger(&close.place).await?;
    let state = if close.hard { "hard" } else { "soft" };
    let until = Instant::now() + Duration::from_secs(close.wait);
    // What is in flight just now ends within milliseconds; what stays is told by the function that refuses.
    while !close.force && Instant::now() < until {
        let waits = "SELECT EXISTS (SELECT FROM ledger.unfinished_business($1) AS b WHERE b NOT LIKE '% is parked: %')";
        let waits: bool = ledger.query_one(waits, &[&book]).await.map_err(refused)?.get(0);
        if !waits {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sql = "SELECT ledger.close_period($1, $2, $3, $4, $5, $6)";
    query(&ledger, sql, &[&book, &first, &last, &state, &close.reason, &close.force]).await?;
    print::line(format_args!("{first} to {last} of book {book} is closed ({state})"));
    Ok(0)
}

async fn reopen(reopen: Reopen) -> Result<u8> {
    let first = match NaiveDate::parse_from_str(&reopen.period, "%Y-%m-%d") {
        Ok(first) => first,
        Err(_) => days(&reopen.period, None)?.0,
    };
    let (ledger, book) = ledger(&reopen.place).await?;
    query(&ledger, "SELECT ledger.reopen_period($1, $2, $3)", &[&book, &first, &reopen.reason]).await?;
    print::line(format_args!("the period from {first} of book {book} is open again"));
    Ok(0)
}

async fn list(place: Where) -> Result<u8> {
    let (ledger, book) = ledger(&place).await?;
    let rows = query(&ledger, include_str!("../sql/status/periods.sql"), &[&book]).await?;
    table(&["first day", "last day", "state", "since", "by", "reason", "late entries"], &rows);
    Ok(0)
}

async fn late(place: Where) -> Result<u8> {
    let (ledger, book) = ledger(&place).await?;
    let rows = query(&ledger, include_str!("../sql/status/late_entries.sql"), &[&book]).await?;
    table(&["effective date", "posting date", "bill", "source", "entry", "kind", "total"], &rows);
    Ok(0)
}

/// Rows of texts.
fn table(header: &[&str], rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for row in rows {
        table.add_row((0..header.len()).map(|at| row.get::<_, Option<String>>(at).unwrap_or_default()));
    }
    print::line(table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_month_or_two_days() {
        let table = [
            ("2024-02", None, Some("2024-02-01 2024-02-29")),
            ("2024-12", None, Some("2024-12-01 2024-12-31")),
            ("2024-03-01", Some("2024-03-15"), Some("2024-03-01 2024-03-15")),
            ("2024-03-15", Some("2024-03-01"), None),
            ("2024-03-15", None, None),
            ("2024-13", None, None),
            ("march", None, None),
        ];
        for (period, to, expected) in table {
            let got = days(period, to).ok().map(|(first, last)| format!("{first} {last}"));
            assert_eq!(got.as_deref(), expected, "{period} {to:?}");
        }
    }
}
