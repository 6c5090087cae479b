//! `daybook dead`: parked bills, by the view and the SQL functions of the source. Looking takes daybook_reader, deciding takes a
//! member of daybook_owner.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::error::{Error, Result};
use crate::options::Urls;
use crate::print;
use crate::report::printable;
use crate::switches::{connect_source, refused};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bills that are parked now, with reason and advice
    List(List),
    /// A parked bill: why, what to do, how often it was tried, and its history
    Show(Show),
    /// Try one again, or all, after mending the rule, the chart of accounts, or what else was in the way
    Retry(Retry),
    /// Say that a bill need not be posted: it no longer keeps a period from being closed
    Resolve(Resolve),
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name [default: all]
    table: Option<String>,
    /// Those that healed or were resolved, too
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Show {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name
    #[arg(value_name = "TYPE")]
    table: String,
    /// The bill; of a composite key the JSON array of texts, '["2024", "17"]'
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    reference_id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Retry {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name
    #[arg(value_name = "TYPE", requires = "reference_id", conflicts_with = "all")]
    table: Option<String>,
    /// The bill
    #[arg(value_name = "ID", allow_negative_numbers = true, required_unless_present = "all")]
    reference_id: Option<String>,
    /// Every bill that is parked now
    #[arg(long)]
    all: bool,
    /// Only those of this table
    #[arg(long = "table", value_name = "TYPE", requires = "all")]
    only: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Resolve {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name
    #[arg(value_name = "TYPE")]
    table: String,
    /// The bill
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    reference_id: String,
    /// Why it need not be posted; kept with its dead letter
    #[arg(long)]
    note: String,
}

/// A spell in which a bill was parked.
#[derive(Debug, Serialize)]
struct DeadLetter {
    reference_type: String,
    reference_id: String,
    /// `open`, or how it was resolved: `healed`, `retried`, `resolved`.
    state: String,
    reason: String,
    advice: String,
    parked_at: DateTime<Utc>,
    event_seq: i64,
    /// How often the event failed that parked it, as long as the audit log tells.
    attempts: Option<i32>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: Option<String>,
    note: Option<String>,
}

impl DeadLetter {
    fn from_row(row: &Row) -> DeadLetter {
        DeadLetter {
            reference_type: row.get("reference_type"),
            reference_id: row.get("reference_id"),
            state: row.get("state"),
            reason: row.get("reason"),
            advice: row.get("advice"),
            parked_at: row.get("parked_at"),
            event_seq: row.get("event_seq"),
            attempts: row.get("attempts"),
            resolved_at: row.get("resolved_at"),
            resolved_by: row.get("resolved_by"),
            note: row.get("note"),
        }
    }
}

/// An event of the bill, finished or not.
#[derive(Debug, Serialize)]
struct Event {
    seq: i64,
    operation: String,
    origin: String,
    changed_at: DateTime<Utc>,
    session_user: String,
    application: String,
    outcome: String,
    attempts: i32,
    last_error: Option<String>,
}

impl Event {
    fn from_row(row: &Row) -> Event {
        Event {
            seq: row.get("seq"),
            operation: row.get("operation"),
            origin: row.get("origin"),
            changed_at: row.get("enqueued_at"),
            session_user: row.get("session_user_name"),
            application: row.get("application_name"),
            outcome: row.get("outcome"),
            attempts: row.get("attempts"),
            last_error: row.get("last_error"),
        }
    }
}

/// A parked bill with its history, the oldest first.
#[derive(Debug, Serialize)]
struct History {
    reference_type: String,
    reference_id: String,
    spells: Vec<DeadLetter>,
    events: Vec<Event>,
}

pub async fn execute(command: Command) -> Result<u8> {
    match command {
        Command::List(arguments) => list(arguments).await,
        Command::Show(arguments) => show(arguments).await,
        Command::Retry(arguments) => retry(arguments).await,
        Command::Resolve(arguments) => resolve(arguments).await,
    }
}

async fn reference_type(source: &Client, table: &str) -> Result<String> {
    let sql = include_str!("../sql/report/dead_letter_type.sql");
    match source.query_opt(sql, &[&table]).await.map_err(refused)? {
        Some(row) => Ok(row.get(0)),
        None => Err(Error::Usage(format!("no attached table is called {table}: `daybook status` lists them"))),
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Unexpected(error.to_string()))
}

async fn list(arguments: List) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let only = match &arguments.table {
        Some(table) => Some(reference_type(&source, table).await?),
        None => None,
    };
    let sql = include_str!("../sql/report/dead_letters.sql");
    let rows = source.query(sql, &[&only, &arguments.all]).await.map_err(refused)?;
    let letters: Vec<DeadLetter> = rows.iter().map(DeadLetter::from_row).collect();
    match (arguments.json, letters.is_empty()) {
        (true, _) => print::line(json(&letters)?),
        (false, true) => print::line("no bill is parked"),
        (false, false) => print::line(table(
            &["reference type", "bill", "state", "parked at", "reason", "advice", "note"],
            letters.iter().map(|letter| {
                vec![
                    letter.reference_type.clone(),
                    letter.reference_id.clone(),
                    letter.state.clone(),
                    moment(letter.parked_at),
                    letter.reason.clone(),
                    letter.advice.clone(),
                    letter.note.clone().unwrap_or_default(),
                ]
            }),
        )),
    }
    Ok(0)
}

/// Prints a bill's dead letters and events; returns the exit code, 1 where it was never parked.
async fn show(arguments: Show) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let reference_type = reference_type(&source, &arguments.table).await?;
    let sql = include_str!("../sql/report/dead_letters_of_bill.sql");
    let rows = source.query(sql, &[&reference_type, &arguments.reference_id]).await.map_err(refused)?;
    let spells: Vec<DeadLetter> = rows.iter().map(DeadLetter::from_row).collect();
    let Some(last) = spells.last() else {
        let id = printable(&arguments.reference_id);
        eprintln!(
            "daybook: bill {reference_type} {id} was never parked; `daybook trace {reference_type} {id}` tells its life"
        );
        return Ok(1);
    };
    let (source_name, reference_id): (String, String) = (rows[0].get("source"), last.reference_id.clone());
    let sql = include_str!("../sql/report/bill_events.sql");
    let events = source.query(sql, &[&source_name, &reference_type, &reference_id]).await.map_err(refused)?;
    let events = events.iter().map(Event::from_row).collect();
    let history = History { reference_type, reference_id, spells, events };
    match arguments.json {
        true => print::line(json(&history)?),
        false => print::line(history.to_text()),
    }
    Ok(0)
}

impl History {
    fn to_text(&self) -> String {
        let History { reference_type, reference_id, spells, events } = self;
        let mut text = String::new();
        if let Some(DeadLetter { state, reason, advice, .. }) = spells.last() {
            let state = if state == "open" { "parked" } else { state };
            text = format!("{reference_type} {}: {state}\nreason: {}\n", printable(reference_id), printable(reason));
            text.push_str(&format!("advice: {}\n", printable(advice)));
        }
        text.push_str("\nspells\n");
        text.push_str(&table(
            &["parked at", "event", "attempts", "state", "at", "by", "reason", "note"],
            spells.iter().map(|letter| {
                vec![
                    moment(letter.parked_at),
                    letter.event_seq.to_string(),
                    letter.attempts.map(|count| count.to_string()).unwrap_or_default(),
                    letter.state.clone(),
                    letter.resolved_at.map(moment).unwrap_or_default(),
                    letter.resolved_by.clone().unwrap_or_default(),
                    letter.reason.clone(),
                    letter.note.clone().unwrap_or_default(),
                ]
            }),
        ));
        text.push_str("\n\nevents\n");
        text.push_str(&table(
            &[
                "event",
                "operation",
                "origin",
                "changed at",
                "session user",
                "application",
                "outcome",
                "attempts",
                "last error",
            ],
            events.iter().map(|event| {
                vec![
                    event.seq.to_string(),
                    event.operation.clone(),
                    event.origin.clone(),
                    moment(event.changed_at),
                    event.session_user.clone(),
                    event.application.clone(),
                    event.outcome.clone(),
                    event.attempts.to_string(),
                    event.last_error.clone().unwrap_or_default(),
                ]
            }),
        ));
        text
    }
}

async fn retry(arguments: Retry) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let count: i64 = match (&arguments.table, &arguments.reference_id) {
        (Some(table), Some(id)) => {
            let reference_type = reference_type(&source, table).await?;
            let sql = "SELECT daybook.retry($1, $2)";
            source.query_one(sql, &[&reference_type, id]).await.map_err(refused)?;
            1
        }
        _ => {
            let only = match &arguments.only {
                Some(table) => Some(reference_type(&source, table).await?),
                None => None,
            };
            source.query_one("SELECT daybook.retry_all($1)", &[&only]).await.map_err(refused)?.get(0)
        }
    };
    print::line(match count {
        0 => "nothing to retry: no bill is parked that does not wait for its retry already".to_string(),
        count => format!("queued: {count} bills are tried again by `daybook run`"),
    });
    Ok(0)
}

async fn resolve(arguments: Resolve) -> Result<u8> {
    let source = connect_source(&arguments.urls).await?;
    let Resolve { table, reference_id, note, .. } = &arguments;
    let reference_type = reference_type(&source, table).await?;
    let sql = "SELECT daybook.resolve($1, $2, $3)";
    let was_open = source.query_one(sql, &[&reference_type, reference_id, note]).await.map_err(refused)?.get(0);
    print::line(match was_open {
        true => {
            "resolved: `daybook run` tells the ledger; the bill is parked again if its row changes and still cannot be posted"
        }
        false => "its dead letter was closed already; `daybook run` tells the ledger again",
    });
    Ok(0)
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table.to_string()
}
