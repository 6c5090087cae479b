//! What accountants and auditors ask: where a number came from, what the accounts amount to, and the whole journal in the
//! formats of other programs.
//!
//! Nothing here writes, takes a lock or needs a consumer to be alive: each command looks through one read-only snapshot of
//! the ledger, with the login role's own rights. It takes membership in `daybook_reader` and nothing more. Money travels as
//! the text that PostgreSQL made of it, with the decimals of the book's currency: sums are computed by the database, and
//! no number passes through a type that could round it.

pub mod entry;
pub mod export;
pub mod trace;
pub mod trial_balance;

use crate::address::Address;
use chrono::{Datelike, NaiveDate};
use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::database::{Side, connect_plainly};
use crate::error::{Error, Result, explain, is_undefined};
use crate::options::Databases;

/// A book of the ledger, as reports need it.
#[derive(Debug, Clone)]
pub struct Book {
    pub book: String,
    pub currency: String,
    /// Decimals of the currency.
    pub minor_unit: i32,
}

/// Who a source is: its name, and the book of its bills.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub source: String,
    pub book: String,
}

/// Connects to look. A snapshot keeps vacuum from cleaning up, so one that is forgotten, behind a pager perhaps, ends by
/// itself.
pub(crate) async fn look(side: Side, config: &Address) -> Result<Client> {
    let client = connect_plainly(side, config).await?;
    let session = "SET default_transaction_read_only = on; \
                   SET idle_in_transaction_session_timeout = '15min'";
    client.batch_execute(session).await.map_err(failed(side))?;
    Ok(client)
}

/// One snapshot for all that a report reads.
pub(crate) async fn snapshot(client: &mut Client) -> Result<Transaction<'_>> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    transaction.start().await.map_err(failed(Side::Ledger))
}

/// What a failed look means to a person.
pub(crate) fn failed(side: Side) -> impl Fn(tokio_postgres::Error) -> Error {
    move |error| match is_undefined(&error) {
        true => Error::NotInstalled(format!(
            "daybook is not installed in the {} database: run `daybook install`",
            side.name()
        )),
        false => Error::Unreachable(format!(
            "cannot look at the {} database: {}. It takes the role daybook_reader",
            side.name(),
            explain(&error)
        )),
    }
}

/// Asks a source who it is.
pub(crate) async fn home(source: &Client) -> Result<Home> {
    let row = source.query_one(include_str!("../../sql/report/home.sql"), &[]).await.map_err(failed(Side::Source))?;
    match (row.get("source"), row.get("book")) {
        (Some(source), Some(book)) => Ok(Home { source, book }),
        _ => Err(Error::NotInstalled("the source does not know its name and book: run `daybook install`".into())),
    }
}

/// The book that is wished for; else the ledger's only one; else the one that the source's bills belong to.
pub(crate) async fn choose_book(databases: &Databases, ledger: &Transaction<'_>, wish: Option<&str>) -> Result<Book> {
    let rows = ledger.query(include_str!("../../sql/report/books.sql"), &[]).await.map_err(failed(Side::Ledger))?;
    let mut books: Vec<Book> = rows
        .iter()
        .map(|row| Book { book: row.get("book"), currency: row.get("currency"), minor_unit: row.get("minor_unit") })
        .collect();
    let name = match wish {
        Some(name) => name.to_string(),
        None if books.len() == 1 => return Ok(books.remove(0)),
        None => home(&look(Side::Source, &databases.source).await?).await?.book,
    };
    let known: Vec<String> = books.iter().map(|book| book.book.clone()).collect();
    books.into_iter().find(|book| book.book == name).ok_or_else(|| match known.is_empty() {
        true => Error::NotInstalled("the ledger has no book yet: run `daybook install`".into()),
        false => Error::Usage(format!("the ledger has no book {}: it has {}", printable(&name), known.join(", "))),
    })
}

/// The day that an option names.
pub(crate) fn day(option: &str, text: Option<&str>) -> Result<Option<NaiveDate>> {
    let Some(text) = text else { return Ok(None) };
    let well_formed = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) if well_formed && (1..=9999).contains(&day.year()) => Ok(Some(day)),
        _ => Err(Error::Usage(format!("--{option} {} is no date: write it like 2024-03-31", printable(text)))),
    }
}

/// Refuses a span that ends before it begins.
pub(crate) fn check_order(from: Option<NaiveDate>, to: Option<NaiveDate>) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => {
            Err(Error::Usage(format!("--from {from} is after --to {to}: exchange the two")))
        }
        _ => Ok(()),
    }
}

/// Text for a terminal: control characters, which could move the cursor or forge a line, are shown as escapes.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_one_way() {
        assert_eq!(day("from", Some("2024-02-29")).ok().flatten(), NaiveDate::from_ymd_opt(2024, 2, 29));
        assert!(day("from", None).is_ok_and(|day| day.is_none()));
        for text in ["2023-02-29", "2024-2-29", "29.02.2024", "today", "", "+2024-02-9", "0000-01-01", "2024-02-29 "] {
            assert!(matches!(day("from", Some(text)), Err(Error::Usage(_))), "{text}");
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_that_could_drive_it() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(printable("caf\u{e9} 42"), "caf\u{e9} 42");
    }
}
