//! The ledger: bills' status under lock, live entries, and appending to the journal.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;

use crate::capture::Cause;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::posting::entries::{Calendar, Entry, LiveEntry};
use crate::posting::lines::{BalancedLines, Dimensions, Line};
use crate::posting::rule::RuleSet;
use crate::sql;

/// The bills of one table of one source, in one book.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub book: &'a str,
    pub source: &'a str,
    pub reference_type: &'a str,
}

impl Scope<'_> {
    fn lock_name(&self) -> String {
        format!("daybook batches of {:?}", (self.book, self.source, self.reference_type))
    }
}

/// A book, locked against the closing of periods.
#[derive(Debug, Clone)]
pub struct Book {
    pub currency: String,
    pub minor_unit: u32,
    pub time_zone: String,
    pub calendar: Calendar,
}

/// State of a bill, as `ledger.sync_master_status.state` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its live entries say what its row says.
    Current,
    /// Its row cannot be posted; its entries say what it said before.
    Parked,
    /// Its row is gone, and its entries stay until somebody decides.
    Retained,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Current => "current",
            State::Parked => "parked",
            State::Retained => "retained",
        }
    }
}

/// A bill's row in `ledger.sync_master_status`.
#[derive(Debug, Clone)]
pub struct Status {
    pub reference_id: String,
    pub state: State,
    pub synchronisation: i64,
    /// Number of the bill's last entry.
    pub revision: i32,
    pub live_entry_ids: Vec<i64>,
    pub last_entry_id: Option<i64>,
    pub last_event_seq: Option<i64>,
    pub parked: Option<ParkedSpell>,
    /// Why its entries are retained, while they are.
    pub retained_because: Option<Retained>,
    /// What is odd about its row, which was posted all the same.
    pub warning: Option<String>,
}

/// Why the entries of a bill stay although its row is gone, as `ledger.sync_master_status.retained_because` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// Its table was truncated.
    Truncate,
    /// The table's policy keeps the entries of deleted bills.
    Keep,
    /// The same, and somebody is to look.
    Alert,
    /// Too many bills of the table were gone at once.
    Brake,
}

impl Retained {
    fn as_str(self) -> &'static str {
        match self {
            Retained::Truncate => "truncate",
            Retained::Keep => "keep",
            Retained::Alert => "alert",
            Retained::Brake => "brake",
        }
    }

    fn parse(text: &str) -> Option<Retained> {
        [Retained::Truncate, Retained::Keep, Retained::Alert, Retained::Brake]
            .into_iter()
            .find(|of| of.as_str() == text)
    }
}

/// The last spell in which a bill was parked; kept when it has healed, so that its dead letter can be resolved again
/// after a crash.
#[derive(Debug, Clone)]
pub struct ParkedSpell {
    pub spell: i64,
    pub parked_at: DateTime<Utc>,
    pub reason: String,
    pub advice: String,
}

/// Takes part in synchronising a table's bills, until the transaction ends.
///
/// Whoever turns an event of the whole table into events of its bills waits for those who take part
/// ([`wait_for_batches`]), and reads afterwards which bills the ledger knows. Else a batch that read its rows before a
/// TRUNCATE would post a bill right after that list was made, and no event would be left to tell.
pub async fn join_batches(ledger: &Session, scope: Scope<'_>) -> Result<()> {
    let sql = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))";
    ledger.execute(sql, &[&scope.lock_name()]).await.doing("joining the table's batches")?;
    Ok(())
}

/// Waits until every batch of the table that is under way has ended, and holds others off until the transaction ends.
pub async fn wait_for_batches(ledger: &Session, scope: Scope<'_>) -> Result<()> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    ledger.execute(sql, &[&scope.lock_name()]).await.doing("waiting for the table's batches")?;
    Ok(())
}

/// Locks the bills, in two statements and key order (design, rule 1). `reference_ids` are sorted bytewise.
pub async fn lock_bills(ledger: &Session, scope: Scope<'_>, reference_ids: &[&str]) -> Result<Vec<Status>> {
    let Scope { book, source, reference_type } = scope;
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &reference_ids];
    ledger.execute(sql::INSERT_STATUS, parameters).await.doing("inserting the status of new bills")?;
    let rows = ledger.query(sql::LOCK_STATUS, parameters).await.doing("locking the bills")?;
    if rows.len() != reference_ids.len() {
        return Err(Error::Unexpected(format!("{} bills were locked instead of {}", rows.len(), reference_ids.len())));
    }
    rows.iter().map(status).collect()
}

fn status(row: &tokio_postgres::Row) -> Result<Status> {
    let state: &str = row.get(1);
    let parked = match (row.get(7), row.get(8), row.get(9), row.get(10)) {
        (Some(spell), Some(parked_at), Some(reason), Some(advice)) => {
            Some(ParkedSpell { spell, parked_at, reason, advice })
        }
        _ => None,
    };
    Ok(Status {
        reference_id: row.get(0),
        state: match state {
            "current" => State::Current,
            "parked" => State::Parked,
            "retained" => State::Retained,
            other => {
                return Err(Error::Unexpected(format!("a bill's state is {other}, which this version does not know")));
            }
        },
        synchronisation: row.get(2),
        revision: row.get(3),
        live_entry_ids: row.get(4),
        last_entry_id: row.get(5),
        last_event_seq: row.get(6),
        parked,
        retained_because: row.get::<_, Option<&str>>(11).and_then(Retained::parse),
        warning: row.get(12),
    })
}

/// Locks the book against closing, and reads what is closed.
pub async fn lock_book(ledger: &Session, book: &str) -> Result<Book> {
    let row = ledger.query_one("SELECT * FROM ledger.lock_book($1)", &[&book]).await.doing("locking the book")?;
    let currency: Option<String> = row.get("currency");
    let missing = || Error::NotInstalled(format!("the ledger has no book {book}: run `daybook install`"));
    let from: Vec<NaiveDate> = row.get("closed_from");
    let to: Vec<NaiveDate> = row.get("closed_to");
    Ok(Book {
        currency: currency.ok_or_else(missing)?,
        minor_unit: u32::try_from(row.get::<_, i16>("minor_unit")).unwrap_or_default(),
        time_zone: row.get("time_zone"),
        calendar: Calendar::new(from.into_iter().zip(to)),
    })
}

/// The versions of a reference type's rule that are in force.
pub async fn load_rules(ledger: &Session, book: &str, reference_type: &str) -> Result<RuleSet> {
    let rows = ledger.query(sql::POSTING_RULES, &[&book, &reference_type]).await.doing("reading the posting rule")?;
    if rows.is_empty() {
        return Err(Error::TableUnreadable(format!(
            "book {book} has no posting rule for {reference_type}. Its events wait. Write one, and `daybook rules apply FILE`"
        )));
    }
    let unusable = |version: usize, problem: String| {
        Error::TableUnreadable(format!(
            "version {} of posting rule {reference_type} in book {book} is not usable: {problem}. Its events wait",
            version + 1
        ))
    };
    let definitions: Vec<&str> = rows.iter().map(|row| row.get("definition")).collect();
    let rules = RuleSet::parse(&definitions).map_err(|(version, error)| unusable(version, error.to_string()))?;
    for (at, (rule, row)) in rules.versions().iter().zip(&rows).enumerate() {
        let valid_from: Option<String> = row.get("valid_from");
        if rule.reference_type != reference_type {
            return Err(unusable(at, format!("it says reference_type = {:?}", rule.reference_type)));
        }
        if rule.valid_from.map(|day| day.to_string()) != valid_from {
            return Err(unusable(at, "it says another valid_from than it was applied with".into()));
        }
    }
    Ok(rules)
}

/// Compares the versions in force with those at hand (design, rule 8).
pub async fn check_rules(ledger: &Session, book: &str, rules: &RuleSet) -> Result<()> {
    let reference_type = rules.reference_type();
    let row = ledger.query_one(sql::POSTING_RULES_HASH, &[&book, &reference_type]).await.doing("comparing the rule")?;
    match row.get::<_, &str>(0) == rules.hash() {
        true => Ok(()),
        false => Err(Error::DefinitionChanged(reference_type.into())),
    }
}

/// Takes the brake on disappearances until the transaction ends, and returns how many bills of the table have been reversed
/// within its hour because their rows were gone.
pub async fn take_brake(ledger: &Session, scope: Scope<'_>) -> Result<i64> {
    let Scope { book, source, reference_type } = scope;
    let row = ledger.query_one(sql::TAKE_BRAKE, &[&book, &source, &reference_type]).await.doing("taking the brake")?;
    Ok(row.get::<_, i32>(0).into())
}

/// Counts so many more, under [`take_brake`].
pub async fn count_reversed(ledger: &Session, scope: Scope<'_>, count: i64) -> Result<()> {
    let Scope { book, source, reference_type } = scope;
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &count];
    ledger.execute(sql::COUNT_REVERSED, parameters).await.doing("counting for the brake")?;
    Ok(())
}

/// The entries with these ids, with their lines, by id.
pub async fn live_entries(ledger: &Session, ids: &[i64]) -> Result<HashMap<i64, LiveEntry>> {
    let mut lines: HashMap<i64, (NaiveDate, Vec<Line>)> = HashMap::new();
    if !ids.is_empty() {
        for row in ledger.query(sql::LIVE_LINES, &[&ids]).await.doing("reading live lines")? {
            let (_, lines) = lines.entry(row.get(0)).or_insert_with(|| (row.get(1), Vec::new()));
            lines.push(Line {
                account: row.get(2),
                amount: row.get::<_, Decimal>(3).normalize(),
                is_settlement: row.get(4),
                dimensions: Dimensions { site: row.get(5), department: row.get(6), party: row.get(7) },
            });
        }
    }
    if lines.len() != ids.len() {
        return Err(Error::Unexpected(
            "a live entry is missing from the journal: compare ledger.sync_master_status with it".into(),
        ));
    }
    let entry = |(id, (effective_date, lines))| match BalancedLines::net(lines) {
        Ok(lines) => Ok((id, LiveEntry { id, effective_date, lines })),
        Err(unbalanced) => Err(Error::Unexpected(format!("entry {id} in the journal is unbalanced: {unbalanced}"))),
    };
    lines.into_iter().map(entry).collect()
}

/// Of these events, given with their bills, those that an entry names as its cause, with the last such entry.
pub async fn posted_events(ledger: &Session, scope: Scope<'_>, events: &[(&str, i64)]) -> Result<HashMap<i64, i64>> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let (reference_ids, seqs): (Vec<&str>, Vec<i64>) = events.iter().copied().unzip();
    let Scope { book, source, reference_type } = scope;
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &reference_ids, &seqs];
    let rows = ledger.query(sql::POSTED_EVENTS, parameters).await.doing("looking for entries of the events")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// An entry with its place in the journal.
#[derive(Debug)]
pub struct Posting<'a> {
    pub id: i64,
    pub reference_id: String,
    pub revision: i32,
    pub cause: &'a Cause,
    /// Of the version of the rule that the bill was judged by.
    pub rule_hash: String,
    pub entry: Entry,
}

/// Ids for so many new entries.
pub async fn entry_ids(ledger: &Session, count: usize) -> Result<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let rows = ledger.query(sql::ENTRY_IDS, &[&(count as i32)]).await.doing("taking entry ids")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Appends entries, headers and lines in one statement.
pub async fn post(ledger: &Session, scope: Scope<'_>, book: &Book, postings: &[Posting<'_>]) -> Result<()> {
    if postings.is_empty() {
        return Ok(());
    }
    let scaled = |amount: Decimal| {
        let mut amount = amount;
        amount.rescale(book.minor_unit);
        amount
    };
    macro_rules! column {
        ($posting:ident => $value:expr) => {
            postings.iter().map(|$posting| $value).collect::<Vec<_>>()
        };
    }
    let rule_hashes = column!(p => p.rule_hash.as_str());
    let headers = (
        column!(p => p.id),
        column!(p => p.reference_id.as_str()),
        column!(p => p.revision),
        column!(p => p.entry.kind.as_str()),
        column!(p => p.entry.effective_date),
        column!(p => p.entry.posting_date),
        column!(p => p.entry.late),
        column!(p => p.entry.reverses),
        column!(p => p.entry.lines.as_slice().len() as i32),
        column!(p => scaled(p.entry.lines.total())),
    );
    let causes = (
        column!(p => p.cause.seq),
        column!(p => p.cause.origin.as_str()),
        column!(p => p.cause.xid.as_str()),
        column!(p => p.cause.changed_at),
        column!(p => p.cause.session_user_name.as_str()),
        column!(p => p.cause.application_name.as_str()),
    );
    let lines: Vec<(i64, usize, &Line)> = postings
        .iter()
        .flat_map(|p| p.entry.lines.as_slice().iter().enumerate().map(|(at, line)| (p.id, at, line)))
        .collect();
    macro_rules! line_column {
        ($line:pat => $value:expr) => {
            lines.iter().map(|$line| $value).collect::<Vec<_>>()
        };
    }
    let columns = (
        line_column!((id, _, _) => *id),
        line_column!((_, at, _) => *at as i32 + 1),
        line_column!((_, _, line) => line.account.as_str()),
        line_column!((_, _, line) => scaled(line.amount.max(Decimal::ZERO))),
        line_column!((_, _, line) => scaled((-line.amount).max(Decimal::ZERO))),
        line_column!((_, _, line) => line.is_settlement),
        line_column!((_, _, line) => line.dimensions.department.as_deref()),
        line_column!((_, _, line) => line.dimensions.party.as_deref()),
    );
    let sites = line_column!((_, _, line) => line.dimensions.site.as_deref());
    let Scope { book: book_name, source, reference_type } = scope;
    ledger
        .execute(
            sql::POST_ENTRIES,
            &[
                &book_name,
                &source,
                &reference_type,
                &rule_hashes,
                &book.currency,
                &sites,
                &headers.0,
                &headers.1,
                &headers.2,
                &headers.3,
                &headers.4,
                &headers.5,
                &headers.6,
                &headers.7,
                &headers.8,
                &headers.9,
                &causes.0,
                &causes.1,
                &causes.2,
                &causes.3,
                &causes.4,
                &causes.5,
                &columns.0,
                &columns.1,
                &columns.2,
                &columns.3,
                &columns.4,
                &columns.5,
                &columns.6,
                &columns.7,
            ],
        )
        .await
        .doing("posting entries")?;
    Ok(())
}

/// Writes the state of the bills that the batch synchronised, under their locks.
pub async fn update_status(ledger: &Session, scope: Scope<'_>, statuses: &[Status]) -> Result<()> {
    macro_rules! column {
        ($status:ident => $value:expr) => {
            statuses.iter().map(|$status| $value).collect::<Vec<_>>()
        };
    }
    let array_text = |ids: &[i64]| {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        format!("{{{}}}", ids.join(","))
    };
    let Scope { book, source, reference_type } = scope;
    let count = ledger
        .execute(
            sql::UPDATE_STATUS,
            &[
                &book,
                &source,
                &reference_type,
                &column!(s => s.reference_id.as_str()),
                &column!(s => s.state.as_str()),
                &column!(s => s.synchronisation),
                &column!(s => s.revision),
                &column!(s => array_text(&s.live_entry_ids)),
                &column!(s => s.last_entry_id),
                &column!(s => s.last_event_seq),
                &column!(s => s.parked.as_ref().map(|p| p.spell)),
                &column!(s => s.parked.as_ref().map(|p| p.parked_at)),
                &column!(s => s.parked.as_ref().map(|p| p.reason.as_str())),
                &column!(s => s.parked.as_ref().map(|p| p.advice.as_str())),
                &column!(s => s.retained_because.map(Retained::as_str)),
                &column!(s => s.warning.as_deref()),
            ],
        )
        .await
        .doing("writing the status of the bills")?;
    if count != statuses.len() as u64 {
        return Err(Error::Unexpected(format!(
            "the status of {count} bills was written instead of {}",
            statuses.len()
        )));
    }
    Ok(())
}

/// Which of the bills that the ledger knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Those that it holds something of.
    All,
    /// Those that the brake holds.
    Held,
}

/// A page of the bills that the ledger knows, after the given id.
pub async fn known_bills(
    ledger: &Session,
    scope: Scope<'_>,
    known: Known,
    after: &str,
    page: i64,
) -> Result<Vec<String>> {
    let Scope { book, source, reference_type } = scope;
    let rows = ledger
        .query(sql::KNOWN_BILLS, &[&book, &source, &reference_type, &after, &page, &(known == Known::Held)])
        .await
        .doing("reading the bills that the ledger knows")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
