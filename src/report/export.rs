//! `daybook export`: the journal of a book in the formats of other programs, so that anybody can check it with tools that
//! know nothing of us.
//!
//! It streams: one snapshot, one portal, a page of entries at a time. Neither the journal nor its largest day is ever in
//! memory. What turns an entry into text is pure, one file per format.

mod beancount;
mod csv;
mod hledger;
mod json_lines;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use chrono::{Datelike, NaiveDate};
use tokio_postgres::Transaction;

use super::entry::{Entry, Line};
use super::{Book, check_order, choose_book, day, failed, look, snapshot};
use crate::database::Side;
use crate::error::{Error, Result};
use crate::options::Databases;

/// So many entries are in memory at once.
const PAGE_ENTRIES: i32 = 1_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Format; json is one entry a line, csv one journal line a row
    #[arg(long, value_enum)]
    format: Format,
    /// Book [default: the ledger's only one, else the source's]
    #[arg(long)]
    book: Option<String>,
    /// First posting date
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Last posting date
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Hledger,
    Beancount,
    Csv,
    Json,
}

/// An account, as a format has to declare it.
#[derive(Debug, Clone)]
struct Account {
    code: String,
    name: String,
    /// None where the account was taken out of the chart after it was used.
    account_type: Option<String>,
}

impl Account {
    fn of(line: &Line) -> Account {
        Account {
            code: line.account_code.clone(),
            name: line.account_name.clone().unwrap_or_default(),
            account_type: line.account_type.clone(),
        }
    }

    /// The top of its name, which both programs know. What is in no chart must stand somewhere.
    fn root(&self) -> &'static str {
        match self.account_type.as_deref() {
            Some("asset") => "Assets",
            Some("liability") => "Liabilities",
            Some("income") => "Income",
            Some("expense") => "Expenses",
            _ => "Equity",
        }
    }
}

impl Format {
    /// What comes before the entries. `first` is the posting date of the first.
    fn opening(self, book: &Book, accounts: &[Account], first: NaiveDate) -> Result<String> {
        Ok(match self {
            Format::Hledger => hledger::opening(book, accounts),
            Format::Beancount => beancount::opening(book, accounts, first),
            Format::Csv => csv::header()?,
            Format::Json => String::new(),
        })
    }

    /// The declaration of an account that a line names and the chart does not.
    fn account(self, account: &Account, book: &Book, first: NaiveDate) -> String {
        match self {
            Format::Hledger => hledger::account(account),
            Format::Beancount => beancount::open(account, book, first),
            Format::Csv | Format::Json => String::new(),
        }
    }

    /// The declaration of a reference type, which stands where these programs expect who was dealt with.
    fn payee(self, reference_type: &str) -> String {
        match self {
            Format::Hledger => hledger::payee(reference_type),
            _ => String::new(),
        }
    }

    fn entry(self, entry: &Entry) -> Result<String> {
        match self {
            Format::Hledger => Ok(hledger::entry(entry)),
            Format::Beancount => Ok(beancount::entry(entry)),
            Format::Csv => csv::entry(entry),
            Format::Json => json_lines::entry(entry),
        }
    }
}

/// Writes the journal; returns the exit code. A reader that goes away, such as `head`, is no error.
pub async fn run(arguments: Arguments, databases: &Databases) -> Result<u8> {
    let from = day("from", arguments.from.as_deref())?;
    let to = day("to", arguments.to.as_deref())?;
    check_order(from, to)?;
    let mut client = look(Side::Ledger, &databases.ledger).await?;
    let ledger = snapshot(&mut client).await?;
    let book = choose_book(databases, &ledger, arguments.book.as_deref()).await?;
    let export = Export { ledger: &ledger, book, from, to, format: arguments.format };
    match &arguments.output {
        Some(path) => to_file(&export, path).await?,
        None => match export.write(&mut BufWriter::new(io::stdout())).await {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {}
            ended => ended?,
        },
    }
    Ok(0)
}

/// Writes beside the file and puts it into place when it is whole: half a journal must not pass for one. What is there and
/// no ordinary file, such as a named pipe, is written to as it is.
async fn to_file(export: &Export<'_>, path: &Path) -> Result<()> {
    let failed = |doing: &str| {
        let doing = format!("{doing} {}", path.display());
        move |source| Error::Io { doing, source }
    };
    let is_special = std::fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file());
    if is_special {
        let file = File::options().write(true).truncate(true).open(path).map_err(failed("opening"))?;
        return export.write(&mut BufWriter::new(file)).await;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let file = File::create(&partial).map_err(failed("making"))?;
    let written = export.write(&mut BufWriter::new(&file)).await;
    let placed = written.and_then(|()| {
        file.sync_all().map_err(failed("writing"))?;
        std::fs::rename(&partial, path).map_err(failed("putting into place"))
    });
    if placed.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    placed
}

struct Export<'a> {
    ledger: &'a Transaction<'a>,
    book: Book,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    format: Format,
}

impl Export<'_> {
    async fn write(&self, output: &mut impl Write) -> Result<()> {
        let accounts = self.accounts().await?;
        let mut declared: BTreeSet<String> = accounts.iter().map(|account| account.code.clone()).collect();
        let mut payees = BTreeSet::new();
        let mut first: Option<NaiveDate> = None;
        let sql = include_str!("../../sql/report/export_entries.sql");
        let portal =
            self.ledger.bind(sql, &[&self.book.book, &self.from, &self.to]).await.map_err(failed(Side::Ledger))?;
        loop {
            let page = self.ledger.query_portal(&portal, PAGE_ENTRIES).await.map_err(failed(Side::Ledger))?;
            for row in &page {
                let entry = Entry::from_row(row).map_err(failed(Side::Ledger))?;
                check_dates(&entry)?;
                if first.is_none() {
                    put(output, &self.format.opening(&self.book, &accounts, entry.posting_date)?)?;
                }
                let first = *first.get_or_insert(entry.posting_date);
                for line in &entry.lines {
                    if declared.insert(line.account_code.clone()) {
                        put(output, &self.format.account(&Account::of(line), &self.book, first))?;
                    }
                }
                if payees.insert(entry.reference_type.clone()) {
                    put(output, &self.format.payee(&entry.reference_type))?;
                }
                put(output, &self.format.entry(&entry)?)?;
            }
            if page.len() < PAGE_ENTRIES as usize {
                break;
            }
        }
        if first.is_none() {
            let day = self.from.or(self.to).unwrap_or_default();
            put(output, &self.format.opening(&self.book, &accounts, day)?)?;
        }
        output.flush().map_err(writing)
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        let sql = include_str!("../../sql/report/accounts.sql");
        let rows = self.ledger.query(sql, &[&self.book.book]).await.map_err(failed(Side::Ledger))?;
        let account = |row: &tokio_postgres::Row| Account {
            code: row.get("account_code"),
            name: row.get("account_name"),
            account_type: row.get("account_type"),
        };
        Ok(rows.iter().map(account).collect())
    }
}

fn put(output: &mut impl Write, text: &str) -> Result<()> {
    output.write_all(text.as_bytes()).map_err(writing)
}

fn writing(source: io::Error) -> Error {
    Error::Io { doing: "writing the journal".into(), source }
}

/// Consumers post days of these years only; beyond them the formats have no way to write a date.
fn check_dates(entry: &Entry) -> Result<()> {
    let is_written = |day: NaiveDate| (1..=9999).contains(&day.year());
    match is_written(entry.posting_date) && is_written(entry.effective_date) {
        true => Ok(()),
        false => Err(Error::Unexpected(format!("entry {} is dated beyond the years 1 to 9999", entry.id))),
    }
}

#[cfg(test)]
mod examples {
    //! Entries for the tests of the formats.

    use super::*;

    /// Text that would end a string, a comment, a field or a line wherever one is not escaped.
    pub const NASTY: &str = " a\"b\\c,d;e:f|g%h\n2024-01-01 open Assets:Forged\r\n\t[2024-13-45] date:2020-01-01 \u{1b}\u{85}\u{2028}\u{a0}\u{e9} ";

    pub fn book() -> Book {
        Book { book: "main".into(), currency: "INR".into(), minor_unit: 2 }
    }

    pub fn account(code: &str, name: &str, account_type: &str) -> Account {
        Account { code: code.into(), name: name.into(), account_type: Some(account_type.into()) }
    }

    pub fn entry(reference_id: &str) -> Entry {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap_or_default();
        let line = |line_no, code: &str, name: &str, account_type: &str, debit: &str, credit: &str| Line {
            line_no,
            account_code: code.into(),
            account_name: Some(name.into()),
            account_type: Some(account_type.into()),
            debit: debit.into(),
            credit: credit.into(),
            is_settlement: false,
            site: Some("main".into()),
            department: None,
            party: Some("visit:7".into()),
        };
        Entry {
            id: 17,
            book: "main".into(),
            source: "main".into(),
            reference_type: "PHARMACY".into(),
            reference_id: reference_id.into(),
            revision: 2,
            kind: "reversal".into(),
            effective_date: day("2024-03-01"),
            posting_date: day("2024-03-05"),
            late: true,
            reverses_id: Some(16),
            rule_hash: "abc".into(),
            event_seq: 123,
            event_origin: "trigger".into(),
            event_xid: "777".into(),
            changed_at: Default::default(),
            session_user: "desk".into(),
            application: "billing".into(),
            posted_at: Default::default(),
            currency: "INR".into(),
            lines: vec![
                line(1, "1000", "Cash", "asset", "0.00", "100000000000000000.01"),
                line(2, "4100", "Revenue; \"x\"", "income", "100000000000000000.01", "0.00"),
            ],
        }
    }
}
