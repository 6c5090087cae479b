//! `daybook trace`: the life of a bill, from the transactions that changed it to the lines that they led to.
//!
//! The ledger is asked first and must answer. The source adds what it remembers of the bill's events; where it cannot be
//! reached, or its audit log was pruned, what each entry keeps of its own cause still answers.

mod find;
mod text;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use find::NotFound;

use super::entry::Entry;
use super::{Home, failed, home, look, snapshot};
use crate::database::{Parameters, Side};
use crate::error::{Error, Result};
use crate::options::Databases;
use crate::print;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Reference type of a bill, such as PHARMACY
    #[arg(value_name = "TYPE")]
    reference_type: Option<String>,
    /// Its id; of a composite key the JSON array of texts, '["2024", "17"]'
    #[arg(value_name = "ID", allow_negative_numbers = true)]
    reference_id: Option<String>,
    /// The bill of this journal entry
    #[arg(long, value_name = "ID")]
    entry: Option<i64>,
    /// The bill that this event concerns
    #[arg(long, value_name = "SEQ")]
    event: Option<i64>,
    /// The bill of this book [default: the source's]
    #[arg(long)]
    book: Option<String>,
    /// The bill of this source, where several share the ledger [default: the source's own name]
    #[arg(long, value_name = "NAME")]
    source_name: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a person knows of the bill.
enum Question {
    Bill { reference_type: String, reference_id: String },
    Entry(i64),
    Event(i64),
}

impl Arguments {
    fn question(&self) -> Result<Question> {
        match (&self.reference_type, &self.reference_id, self.entry, self.event) {
            (Some(reference_type), Some(reference_id), None, None) => Ok(Question::Bill {
                reference_type: reference_type.to_ascii_uppercase(),
                reference_id: crate::key::canonical(reference_id),
            }),
            (None, None, Some(entry), None) => Ok(Question::Entry(entry)),
            (None, None, None, Some(event)) => Ok(Question::Event(event)),
            _ => Err(Error::Usage(
                "which bill? Give one of: trace PHARMACY 42, trace --entry 17, trace --event 123".into(),
            )),
        }
    }
}

/// A bill, as the ledger knows it.
#[derive(Debug, Clone, Serialize)]
pub struct Bill {
    pub book: String,
    pub source: String,
    pub reference_type: String,
    pub reference_id: String,
}

impl Bill {
    fn from_row(row: &Row) -> Bill {
        Bill {
            book: row.get("book"),
            source: row.get("source"),
            reference_type: row.get("reference_type"),
            reference_id: row.get("reference_id"),
        }
    }
}

/// An event, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    pub seq: i64,
    /// Unknown where only the journal remembers the event.
    pub operation: Option<String>,
    pub origin: String,
    /// Id of the transaction that changed the bill.
    pub xid: String,
    pub changed_at: DateTime<Utc>,
    pub session_user: String,
    pub application: String,
    /// `queued`, or how it was finished.
    pub outcome: String,
    pub entry_id: Option<i64>,
    pub attempts: Option<i32>,
    pub last_error: Option<String>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Who remembers it: `source` or `journal`.
    pub told_by: &'static str,
}

/// A spell in which the bill was parked.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    pub reason: String,
    pub advice: String,
    pub event_seq: i64,
    pub parked_at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolution: Option<String>,
    pub resolved_by: Option<String>,
    pub note: Option<String>,
}

/// The bill's state in the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    pub state: String,
    pub live_entry_ids: Vec<i64>,
    pub last_event_seq: Option<i64>,
    /// Why it is parked, and what would mend it.
    pub reason: Option<String>,
    pub advice: Option<String>,
}

/// What the bill amounts to on one account.
#[derive(Debug, Clone, Serialize)]
pub struct Balance {
    pub account_code: String,
    pub account_name: Option<String>,
    pub balance: String,
}

/// The life of a bill.
#[derive(Debug, Serialize)]
pub struct Trace {
    pub bill: Bill,
    pub state: Option<State>,
    pub balances: Vec<Balance>,
    pub entries: Vec<Entry>,
    pub events: Vec<Event>,
    pub parked: Vec<DeadLetter>,
    /// What could not be told, and why.
    pub notes: Vec<String>,
}

/// A source that answers.
struct Source {
    client: Client,
    home: Home,
}

/// Prints the life of a bill; returns the exit code, 1 where there is none.
pub async fn run(arguments: Arguments, databases: &Databases) -> Result<u8> {
    let question = arguments.question()?;
    let mut ledger = look(Side::Ledger, &databases.ledger).await?;
    let source = ask_source(databases).await;
    let bill = match find::find_bill(&question, &arguments, &mut ledger, &source).await? {
        Ok(bill) => bill,
        Err(NotFound(line)) => return Ok(say_not_found(&line)),
    };
    let trace = trace(bill, &mut ledger, source).await?;
    if trace.state.is_none() && trace.entries.is_empty() && trace.events.is_empty() && trace.parked.is_empty() {
        return Ok(say_not_found(&find::nothing_known(&trace, &mut ledger).await?));
    }
    match arguments.json {
        true => {
            let text = serde_json::to_string_pretty(&trace);
            print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
        }
        false => print::line(trace.to_text().trim_end()),
    }
    Ok(0)
}

fn say_not_found(line: &str) -> u8 {
    eprintln!("daybook: {line}");
    1
}

async fn ask_source(databases: &Databases) -> Result<Source> {
    let client = look(Side::Source, &databases.source).await?;
    let home = home(&client).await?;
    Ok(Source { client, home })
}

async fn trace(bill: Bill, ledger: &mut Client, source: Result<Source>) -> Result<Trace> {
    // The source is read first. What is posted meanwhile is then shown with an event that still waits; the other way round, an
    // event would be shown as posted without its entry.
    let mut notes = Vec::new();
    let (mut events, mut parked) = (Vec::new(), Vec::new());
    match source {
        Ok(source) if source.home.source == bill.source => match source_part(&source.client, &bill).await {
            Ok(part) => (events, parked) = part,
            Err(error) => notes.push(without_source(&error)),
        },
        Ok(source) => notes.push(format!(
            "events and parked spells of source {} are kept in its own database; --source-url is that of source {}",
            bill.source, source.home.source
        )),
        Err(error) => notes.push(without_source(&error)),
    }
    let ledger = snapshot(ledger).await?;
    let key: Parameters<'_> = &[&bill.book, &bill.source, &bill.reference_type, &bill.reference_id];
    let on_ledger = failed(Side::Ledger);
    let sql = include_str!("../../sql/report/bill_entries.sql");
    let rows = ledger.query(sql, key).await.map_err(&on_ledger)?;
    let entries = rows.iter().map(Entry::from_row).collect::<Result<Vec<_>, _>>().map_err(&on_ledger)?;
    let sql = include_str!("../../sql/report/bill_status.sql");
    let state = ledger.query_opt(sql, key).await.map_err(&on_ledger)?.map(|row| State {
        state: row.get("state"),
        live_entry_ids: row.get("live_entry_ids"),
        last_event_seq: row.get("last_event_seq"),
        reason: row.get("reason"),
        advice: row.get("advice"),
    });
    let sql = include_str!("../../sql/report/bill_balances.sql");
    let rows = ledger.query(sql, key).await.map_err(&on_ledger)?;
    let balances = rows.iter().map(|row| Balance {
        account_code: row.get("account_code"),
        account_name: row.get("account_name"),
        balance: row.get("balance"),
    });
    let balances = balances.collect();
    drop(ledger);
    let events = with_remembered(events, &entries);
    Ok(Trace { bill, state, balances, entries, events, parked, notes })
}

fn without_source(error: &Error) -> String {
    format!("the ledger alone answers, with what each entry keeps of its cause: {error}")
}

async fn source_part(source: &Client, bill: &Bill) -> Result<(Vec<Event>, Vec<DeadLetter>)> {
    let key: Parameters<'_> = &[&bill.source, &bill.reference_type, &bill.reference_id];
    let sql = include_str!("../../sql/report/bill_events.sql");
    let events = source.query(sql, key).await.map_err(failed(Side::Source))?;
    let events = events.iter().map(|row| Event {
        seq: row.get("seq"),
        operation: row.get("operation"),
        origin: row.get("origin"),
        xid: row.get("xid"),
        changed_at: row.get("enqueued_at"),
        session_user: row.get("session_user_name"),
        application: row.get("application_name"),
        outcome: row.get("outcome"),
        entry_id: row.get("entry_id"),
        attempts: row.get("attempts"),
        last_error: row.get("last_error"),
        finished_at: row.get("finished_at"),
        told_by: "source",
    });
    let sql = include_str!("../../sql/report/bill_dead_letters.sql");
    let letters = source.query(sql, key).await.map_err(failed(Side::Source))?;
    let letters = letters.iter().map(|row| DeadLetter {
        reason: row.get("reason"),
        advice: row.get("advice"),
        event_seq: row.get("event_seq"),
        parked_at: row.get("parked_at"),
        resolved_at: row.get("resolved_at"),
        resolution: row.get("resolution"),
        resolved_by: row.get("resolved_by"),
        note: row.get("note"),
    });
    Ok((events.collect(), letters.collect()))
}

/// The source's events, and those that it has forgotten but an entry remembers as its cause.
fn with_remembered(mut events: Vec<Event>, entries: &[Entry]) -> Vec<Event> {
    for entry in entries {
        match events.iter_mut().find(|event| event.seq == entry.event_seq) {
            // An event that led to a reversal and a correction: the later entry is its result.
            Some(event) if event.told_by == "journal" => event.entry_id = Some(entry.id),
            Some(_) => {}
            None => events.push(Event {
                seq: entry.event_seq,
                operation: None,
                origin: entry.event_origin.clone(),
                xid: entry.event_xid.clone(),
                changed_at: entry.changed_at,
                session_user: entry.session_user.clone(),
                application: entry.application.clone(),
                outcome: "posted".into(),
                entry_id: Some(entry.id),
                attempts: None,
                last_error: None,
                finished_at: None,
                told_by: "journal",
            }),
        }
    }
    events.sort_by_key(|event| event.seq);
    events
}
