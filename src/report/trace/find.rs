//! Which bill is meant: by its reference, by an entry or by an event; and what to say where there is none, or several.

use tokio_postgres::{Client, Transaction};

use super::{Arguments, Bill, Question, Source, Trace};
use crate::database::{Parameters, Side};
use crate::error::{Error, Result};
use crate::report::{failed, printable, snapshot};

/// Why there is nothing to show, for exit code 1.
pub struct NotFound(pub String);

pub async fn find_bill(
    question: &Question,
    arguments: &Arguments,
    ledger: &mut Client,
    source: &Result<Source>,
) -> Result<Result<Bill, NotFound>> {
    let (book, source_name) = (arguments.book.as_deref(), arguments.source_name.as_deref());
    let ledger = snapshot(ledger).await?;
    let only = narrowing(book, source_name);
    let unheard = match source {
        Ok(_) => String::new(),
        Err(error) => format!("; the source could not be asked: {error}"),
    };
    match question {
        Question::Bill { reference_type, reference_id } => {
            if let Some(bill) = own_bill(arguments, source, reference_type, reference_id) {
                return Ok(Ok(bill));
            }
            let sql = include_str!("../../../sql/report/bills_of_reference.sql");
            let bills = bills(&ledger, sql, &[reference_type, reference_id, &book, &source_name]).await?;
            one_of(bills, || {
                format!(
                    "the ledger knows no bill {reference_type} {}{only}: check type and id{unheard}",
                    printable(reference_id)
                )
            })
        }
        Question::Entry(id) => {
            let bills =
                bills(&ledger, include_str!("../../../sql/report/bill_of_entry.sql"), &[id, &book, &source_name])
                    .await?;
            one_of(bills, || {
                format!("there is no entry {id}{only}: SELECT max(id) FROM ledger.journal_entries tells the last one")
            })
        }
        Question::Event(seq) => {
            if let Ok(source) = source
                && source_name.is_none_or(|name| name == source.home.source)
                && let Some((reference_type, reference_id, operation)) = event(&source.client, *seq).await?
            {
                let Some(reference_id) = reference_id else {
                    return Ok(Err(NotFound(format!(
                        "event {seq} ({operation}) concerns no single bill but the table of {reference_type}: trace one of \
                         its bills"
                    ))));
                };
                let book = book.unwrap_or(&source.home.book).to_string();
                return Ok(Ok(Bill { book, source: source.home.source.clone(), reference_type, reference_id }));
            }
            let own = source.as_ref().ok().map(|source| source.home.source.as_str());
            let source_name = source_name.or(own);
            let bills =
                bills(&ledger, include_str!("../../../sql/report/bills_of_event.sql"), &[seq, &book, &source_name])
                    .await?;
            one_of(bills, || {
                format!(
                    "there is no event {seq}{only}, nor an entry that it caused. If the audit log was pruned, trace the bill or \
                     its entry{unheard}"
                )
            })
        }
    }
}

/// What to say of a bill of which nobody knows anything; other sources may know one by the same reference.
pub async fn nothing_known(trace: &Trace, ledger: &mut Client) -> Result<String> {
    let Bill { book, source, reference_type, reference_id } = &trace.bill;
    let mut line = format!(
        "no bill {} {} is known in book {}, source {}: ",
        printable(reference_type),
        printable(reference_id),
        printable(book),
        printable(source)
    );
    let ledger = snapshot(ledger).await?;
    let none: Option<&str> = None;
    let sql = include_str!("../../../sql/report/bills_of_reference.sql");
    let others = bills(&ledger, sql, &[reference_type, reference_id, &none, &none]).await?;
    match others.is_empty() {
        true => line.push_str("check type and id (a composite key is a JSON array of texts); `daybook status` lists the attached tables. A row that was never \
             captured, such as one from before the go-live date, is not known either"),
        false => line.push_str(&format!("another one is: add {}", choices(&others))),
    }
    for note in &trace.notes {
        line.push_str(&format!(" ({note})"));
    }
    Ok(line)
}

/// The bill of the source that was asked, which needs no search. None where another source or book is meant, or none answers.
fn own_bill(arguments: &Arguments, source: &Result<Source>, reference_type: &str, reference_id: &str) -> Option<Bill> {
    if reference_type == "CASH_CLOSURE" {
        return None; // that of no source
    }
    let home = source.as_ref().ok().map(|source| &source.home);
    let (book, name) = match (&arguments.book, &arguments.source_name) {
        (Some(book), Some(name)) => (book, name),
        (book, name) => {
            let home = home.filter(|home| name.as_ref().is_none_or(|name| *name == home.source))?;
            (book.as_ref().unwrap_or(&home.book), &home.source)
        }
    };
    Some(Bill {
        book: book.clone(),
        source: name.clone(),
        reference_type: reference_type.into(),
        reference_id: reference_id.into(),
    })
}

async fn bills(ledger: &Transaction<'_>, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Bill>> {
    let rows = ledger.query(sql, parameters).await.map_err(failed(Side::Ledger))?;
    Ok(rows.iter().map(Bill::from_row).collect())
}

/// The only bill. Several are told apart by the options that narrow.
fn one_of(mut bills: Vec<Bill>, none: impl FnOnce() -> String) -> Result<Result<Bill, NotFound>> {
    match bills.len() {
        0 => Ok(Err(NotFound(none()))),
        1 => Ok(Ok(bills.remove(0))),
        _ => Err(Error::Usage(format!("there are several: add one of {}", choices(&bills)))),
    }
}

fn choices(bills: &[Bill]) -> String {
    let mut choices: Vec<String> = bills
        .iter()
        .map(|bill| format!("--book {} --source-name {}", printable(&bill.book), printable(&bill.source)))
        .collect();
    choices.dedup();
    choices.truncate(10);
    choices.join(", ")
}

fn narrowing(book: Option<&str>, source: Option<&str>) -> String {
    let named =
        |what, name: Option<&str>| name.map(|name| format!(" in {what} {}", printable(name))).unwrap_or_default();
    named("book", book) + &named("source", source)
}

async fn event(source: &Client, seq: i64) -> Result<Option<(String, Option<String>, String)>> {
    let row =
        source.query_opt(include_str!("../../../sql/report/event.sql"), &[&seq]).await.map_err(failed(Side::Source))?;
    Ok(row.map(|row| (row.get("reference_type"), row.get("reference_id"), row.get("operation"))))
}
